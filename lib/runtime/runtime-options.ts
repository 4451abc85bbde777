import type { MigrationError } from '../errors.js';
import type { NodeKeys } from '../identity/node-keys.js';
import type { Mesh } from '../mesh/mesh.js';
import type { MigrationMode } from '../migration/core.js';
import type { AuthorizeFn } from '../migration/hooks.js';
import type { OrchestratorPolicyOptions, ParticipantPolicyOptions } from '../migration/policy.js';
import type { SpoolStorage } from '../spool/storage.js';
import type { EventLogOptions } from '../wire/event-log.js';
import type { ReassemblerOptions } from '../wire/reassembler.js';
import type { Environment } from './environment.js';
import type { HandleProgress } from './progress.js';
import type { RebindPolicyOptions } from './rebind-policy.js';

export interface DaemonRuntimeOptions {
  readonly mesh: Mesh;
  /** Default: native, and typescript where the addon cannot be loaded. */
  readonly engine?: 'native' | 'typescript';
  /** Nodes that may take daemons from here and place them here, beside this node itself. */
  readonly orchestrators?: readonly bigint[];
  /** Decides instead of `orchestrators`. */
  readonly authorize?: AuthorizeFn;
  /** What nobody waits for: a daemon that threw at an event, a refused frame. Default: a process warning. */
  readonly onError?: (error: MigrationError) => void;
  /** How many events, and bytes of payload, are logged for a daemon while it moves; then it refuses more. */
  readonly eventLog?: EventLogOptions;
  /** Migrations led from here at once; more wait for their turn. Default: 256. */
  readonly maxConcurrentMigrations?: number;
  readonly environment?: Environment;
  /** This node's keys: daemons' keys are sealed to them. The caller's to dispose. Default: new ones, for this run. */
  readonly nodeKeys?: NodeKeys;
  /**
   * Where daemons that are being moved are kept across a restart of this node (docs/spool.md): a folder of this node's own,
   * made where it is not there, or what stands for one. Needs `nodeKeys`, the same after the restart: the daemons' keys in there
   * are sealed to them. Default: nothing is kept.
   */
  readonly spool?: string | SpoolStorage;
  /**
   * Bytes of snapshots per second that leave this node, over all migrations from here; at least 7,000 (one chunk). It is the
   * source's to say, because it sends; whoever leads. Logged events are not held back. Default: as fast as the mesh takes them.
   */
  readonly maxBytesPerSecond?: number;
  /** How patient this node is in each role, and how many migrations it takes on at once. */
  readonly policy?: RuntimePolicy;
  /** How patient daemons are with their channels when they have moved. */
  readonly rebind?: RebindPolicyOptions;
}

export interface RuntimePolicy {
  /** Of migrations led from here. */
  readonly orchestrator?: OrchestratorPolicyOptions;
  /** Of migrations from here. */
  readonly source?: ParticipantPolicyOptions;
  /** Of migrations to here; and how large snapshots may be, one and all that are half here. */
  readonly target?: ParticipantPolicyOptions & Pick<ReassemblerOptions, 'maxSnapshotBytes' | 'maxPendingBytes'>;
}

export interface SubscribeChannelOptions {
  /** At most 65,535 bytes; for the publisher. */
  readonly token?: Uint8Array;
  /**
   * Begins behind the event that this position names (at most 64 bytes, as a channel told it); an empty one: with the oldest
   * event that the channel still holds. Default: with the next event; for a subscription that is there, where it was.
   */
  readonly after?: Uint8Array;
}

export interface StartMigrationOptions {
  /**
   * Whether the daemon's private key travels along, sealed to the target (PROTOCOL.md §6). Where it cannot, the migration fails
   * and says what is missing. `false`: the daemon arrives with its public half alone, whose `sign` refuses. Default: true.
   */
  readonly transportIdentity?: boolean;
  /**
   * For how many milliseconds a target that is not ready is asked again: after 500 ms, 1, 2, 4, 8, 16, 16 … s, then the
   * migration fails with `not-ready-timeout` (PROTOCOL.md §7). `false`: not at all. Default: `true`, which is 30,000.
   */
  readonly retryNotReady?: boolean | number;
  /**
   * `live`: the daemon goes on while it is moved, and stops only for the hand-over. For deterministic daemons alone, whose
   * snapshot is a copy or no longer changes: the target's replay must put out the same, else the migration fails and
   * the daemon goes on here. Default: `pause`, right for every daemon.
   */
  readonly mode?: MigrationMode;
  /** Cancels the migration when it aborts. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: HandleProgress) => void;
}

export interface ExpectMigrationOptions {
  /** The only node that may place the daemon here, of those that `authorize` allows. Default: any of them. */
  readonly orchestrator?: bigint;
}
