import type { LargeEvent } from '../daemon/host.js';
import type { MigrationError } from '../errors.js';
import type { MigrationCodec } from '../wire/codec.js';
import type { EventLog } from '../wire/event-log.js';
import type { ExtensionMessage } from '../wire/extension.js';
import type { FrameProducer } from '../wire/frame-producer.js';
import type { CausalEvent, CausalLink } from '../wire/link.js';
import type { MigrationMessage } from '../wire/message.js';
import type { AssembledSnapshot, SnapshotFile } from '../wire/reassembler.js';
import type { Trailer } from '../wire/trailer.js';
import type { SnapshotAttestation } from './attestation.js';
import type { Offer } from './offer.js';
import type { WithdrawalOutcome } from './ownership.js';
import type { SnapshotBytes } from './snapshot-bytes.js';

/**
 * `pause`: from the snapshot on the source logs events and does not process them: right for every daemon. `live`: it goes
 * on processing and publishing until it stops, and the target replays with its outputs held back: for deterministic daemons,
 * whose snapshot no longer changes.
 */
export type MigrationMode = 'pause' | 'live';

/** Which of a migration's three halves a record belongs to. */
export type MigrationRole = 'orchestrator' | 'source' | 'target';

/** Who asks the world: a half, or the probing of what a migration would be refused for. */
export type RequestRole = MigrationRole | 'probe';

/** Of which part in a migration a node is asked. */
export type ProbedSide = 'source' | 'target';

/**
 * The phases that an operator sees: those of PROTOCOL.md §7, and `Rollback`, in which a migration that failed or was
 * cancelled waits until its source says that the daemon goes on.
 */
export type MigrationPhase = 'Snapshot' | 'Transfer' | 'Restore' | 'Replay' | 'Cutover' | 'Complete' | 'Rollback';

/**
 * Whether the daemon's private key travels along, sealed to the target. `where-possible`: what an orchestrator without
 * extensions asks for.
 */
export type IdentityTransport = 'required' | 'where-possible' | 'none';

/** Who wants to take a daemon from its source, or place one (or events for one) on its target. All are node ids. */
export interface AuthorizationRequest {
  readonly role: 'source' | 'target';
  readonly origin: bigint;
  readonly orchestrator: bigint;
  /**
   * Undefined on a target whose peer does not tell it. From such a peer events may come from anyone: then `authorize` is
   * asked again, with their sender as the source.
   */
  readonly source: bigint | undefined;
  readonly target: bigint;
}

/** Who had a daemon, in which epoch, and is gone: if anybody else has it by now, nothing is recovered. */
export interface LostOwner {
  /** Node id. */
  readonly node: bigint;
  readonly epoch: bigint;
}

/** A migration as its source knows it from when it has a number on. */
export interface SourceMigration {
  readonly origin: bigint;
  readonly try: bigint;
  /** In which the daemon is the source's. */
  readonly epoch: bigint;
  /** Node id. */
  readonly target: bigint;
  /** Node id. */
  readonly orchestrator: bigint;
  /** Undefined from an orchestrator without extensions: then this migration has none. */
  readonly requestId: Uint8Array | undefined;
  readonly mode: MigrationMode;
}

/** What a source sends of a daemon. */
export interface DaemonSnapshot {
  /** The sequence of the daemon's last output. */
  readonly seqThrough: bigint;
  /** Closed by whoever has been given it. */
  readonly bytes: SnapshotBytes;
  readonly daemonKind: string;
  /** The daemon's own signature (64 bytes); undefined where its private half is not here. */
  readonly sign: (message: Uint8Array) => Uint8Array | undefined;
}

/** A snapshot on its way to this node. What has come of it is taken up again only for exactly the same. */
export interface SnapshotArrival {
  readonly origin: bigint;
  readonly try: bigint;
  /** Node id, as is `source`. */
  readonly orchestrator: bigint;
  readonly source: bigint;
  readonly seqThrough: bigint;
  readonly totalChunks: number;
  readonly byteLength: number;
}

/** What is here of a snapshot in a file: a bit per chunk, or all of it, which the daemon has not taken up yet. */
export type ArrivedChunks = Uint8Array | 'whole';

/** What stands in the way of a migration at one of its sides, as far as the daemons and factories there tell. */
export interface Examination {
  /** What an attempt would be refused with. */
  readonly obstacles: readonly MigrationError[];
  /** Source: where the daemon is here. */
  readonly daemonKind?: string | undefined;
  /** Source: bytes of the daemon's last snapshot, where one is known. */
  readonly snapshotLength?: number | undefined;
}

/**
 * What the core asks of the world, and what the answer holds. An answer may come at once or later; a refusal is a
 * MigrationError. The core asks nothing twice.
 */
export interface RequestTypes {
  /** Whether a daemon may be taken from here, or events for one be given to here. */
  authorize: { readonly ask: AuthorizationRequest; readonly answer: undefined };
  /** Target: whether a daemon may be placed here and could live here; asked at the first chunk. */
  admit: {
    readonly ask: AuthorizationRequest & { readonly daemonKind: string | undefined };
    readonly answer: undefined;
  };
  /** Either side: what an attempt would be refused for. Refused itself, as `not-authorised`, to whom that attempt is. */
  examine: {
    readonly ask: Omit<AuthorizationRequest, 'role'> & {
      readonly side: ProbedSide;
      /** Target: undefined where nobody could tell. */
      readonly daemonKind: string | undefined;
      readonly identity: IdentityTransport;
    };
    readonly answer: Examination;
  };
  /** Source: begin an attempt. The daemon's events go into its log from `takeSnapshot` on. */
  beginTry: {
    readonly ask: { readonly origin: bigint };
    readonly answer: { readonly try: bigint; readonly epoch: bigint };
  };
  takeSnapshot: {
    readonly ask: SourceMigration & { readonly identity: IdentityTransport };
    readonly answer: DaemonSnapshot;
  };
  /** Source: stop; nothing is accepted from here on. Answered when the last event is in the log. */
  fence: { readonly ask: { readonly origin: bigint; readonly target: bigint }; readonly answer: undefined };
  offer: {
    readonly ask: { readonly origin: bigint; readonly epoch: bigint; readonly offer: Offer };
    readonly answer: undefined;
  };
  /**
   * Source, once the target holds the copy, and target, once it has heard of the offer: look at what stands in the register, so
   * that the offer, and the claim, need not read first. No more than a hint.
   */
  readAhead: { readonly ask: { readonly origin: bigint }; readonly answer: undefined };
  /**
   * Source: take the offer back. Where that is undecided, only `recover` brings the daemon back.
   */
  withdraw: {
    readonly ask: { readonly origin: bigint; readonly epoch: bigint; readonly try: bigint };
    readonly answer: WithdrawalOutcome;
  };
  /** Source: go on; the log is processed first. */
  resume: { readonly ask: { readonly origin: bigint; readonly epoch: bigint }; readonly answer: undefined };
  /** Source: the target is live; let the copy and its key go. */
  release: { readonly ask: { readonly origin: bigint }; readonly answer: undefined };
  /** Source: let go to a target without extensions, and keep a frozen backup for `recover`. */
  setAside: {
    readonly ask: { readonly origin: bigint; readonly epoch: bigint; readonly target: bigint };
    readonly answer: undefined;
  };
  /** Source: the time of a frozen backup is over. */
  dropBackup: { readonly ask: { readonly origin: bigint }; readonly answer: undefined };
  /** Source: somebody knows that the target will never be live; this node becomes the owner again, in a new epoch. */
  recover: {
    readonly ask: { readonly origin: bigint; readonly lost: LostOwner | undefined };
    readonly answer: { readonly epoch: bigint };
  };
  /**
   * Target: a file in which to go on receiving a snapshot, with what came of it before this node was started again. Asked
   * for once its orchestrator is known to be allowed. Undefined: go on in memory.
   */
  keep: {
    readonly ask: SnapshotArrival & {
      /** Of all snapshots that are being received here. */
      readonly pendingBytes: number;
    };
    readonly answer: { readonly file: SnapshotFile | undefined };
  };
  /** Target: build the daemon and restore it, held. */
  restore: {
    readonly ask: {
      readonly origin: bigint;
      readonly snapshot: AssembledSnapshot;
      readonly daemonKind: string | undefined;
      readonly source: bigint | undefined;
      /** The source sends no key on purpose: the copy gets the public half alone. */
      readonly keyless: boolean;
      /** What the daemon itself must have signed; undefined from a peer without extensions. */
      readonly attestation: SnapshotAttestation | undefined;
    };
    readonly answer: { readonly restoredSeq: bigint };
  };
  /** Target: apply logged events to the copy, in order. */
  replay: {
    readonly ask: { readonly origin: bigint; readonly events: readonly CausalEvent[] };
    readonly answer: undefined;
  };
  /** Target: become the owner, where the register holds exactly this offer. */
  claim: {
    readonly ask: { readonly origin: bigint; readonly offer: Offer; readonly epoch: bigint | undefined };
    readonly answer: { readonly epoch: bigint };
  };
  /** Target: the claim is won; go live. In live mode the source has published what the replay put out. */
  activate: {
    readonly ask: { readonly origin: bigint; readonly epoch: bigint; readonly mode: MigrationMode };
    readonly answer: undefined;
  };
  /**
   * Target: the epoch in which the register has the daemon as this node's since that try, where no copy of that epoch is here
   * and none can come; else undefined.
   */
  missing: {
    readonly ask: { readonly origin: bigint; readonly try: bigint };
    readonly answer: { readonly epoch: bigint } | undefined;
  };
  /** Target: drop the held copy. */
  discard: { readonly ask: { readonly origin: bigint }; readonly answer: undefined };
}

export type RequestKind = keyof RequestTypes;

/** One question to the world. */
export type MigrationRequest = {
  [K in RequestKind]: { readonly kind: K; readonly id: number; readonly role: RequestRole } & RequestTypes[K]['ask'];
}[RequestKind];

/** The answer to a request, by its kind; `error` where it was refused. */
export type MigrationAnswer = {
  [K in RequestKind]: {
    readonly kind: K;
    readonly id: number;
    readonly role: RequestRole;
    readonly origin: bigint;
    readonly value?: RequestTypes[K]['answer'];
    readonly error?: MigrationError;
  };
}[RequestKind];

/** What a half of the dispatcher may do: everything else comes in from outside. */
export interface RoleContext {
  readonly localNode: bigint;
  readonly codec: MigrationCodec;
  /** Milliseconds, as the last tick or call told. */
  readonly now: number;
  /** Whether this node sends and reads trailers at all (PROTOCOL.md §8). */
  readonly extensions: boolean;
  /** Whether a node reads them, where the mesh says so; undefined where it does not know. */
  speaks(node: bigint): boolean | undefined;
  /** Whether a node can be reached; undefined where nobody knows. */
  isPeer(node: bigint): boolean | undefined;
  /** Trailers, and messages that the base protocol lacks, stay here where this node speaks no extensions. */
  send(destNode: bigint, message: MigrationMessage | ExtensionMessage, trailer?: Trailer): void;
  /** Sends base fields that are bytes already, with a trailer. */
  sendEncoded(destNode: bigint, frame: Uint8Array, trailer: Trailer | undefined): void;
  /** Sends a frame on as it came. */
  forward(destNode: bigint, frame: Uint8Array): void;
  stream(destNode: bigint, frames: FrameProducer): void;
  /** @returns the id that the answer will bear */
  request<K extends RequestKind>(role: RequestRole, kind: K, ask: RequestTypes[K]['ask']): number;
  /** The head of a local copy's chain. */
  head(origin: bigint): CausalLink;
  /** 32 bytes for all that a local copy has put out, its last payload too: see `headLink` of the trailer. */
  chainEnd(origin: bigint): Uint8Array;
  /** The log of a local copy. */
  log(origin: bigint): EventLog;
  /** The largest event in it, where no frame takes that. */
  largest(origin: bigint): LargeEvent | undefined;
  /** The only node that may place that daemon here, where one was bound to its factory. */
  expectedOrchestrator(origin: bigint): bigint | undefined;
  /** Something went wrong that no peer is to be told of. */
  fault(error: MigrationError): void;
  report(report: MigrationReport): void;
  /** A half has let its record of that daemon go. */
  ended(origin: bigint): void;
  /** Runs what something other than a call of the dispatcher has brought, and all that follows from it. */
  run(brought: () => void): void;
}

/** What a half tells its node: for handles, hooks and whoever watches. */
export type MigrationReport =
  | { readonly kind: 'progress'; readonly role: MigrationRole; readonly progress: MigrationProgress }
  | { readonly kind: 'completed'; readonly role: MigrationRole; readonly origin: bigint }
  /** `begun`: more than a request that was refused. */
  | {
      readonly kind: 'failed';
      readonly role: MigrationRole;
      readonly origin: bigint;
      readonly error: MigrationError;
      readonly begun: boolean;
    }
  | { readonly kind: 'restored'; readonly origin: bigint }
  /** Source: it will stop as soon as little is left to replay. */
  | { readonly kind: 'draining'; readonly origin: bigint }
  /** Source: the target has replayed so many more logged events. */
  | { readonly kind: 'replayed'; readonly origin: bigint; readonly events: number }
  /** Orchestrator: what has become of the daemon's subscriptions at its target, as that encodes it. */
  | { readonly kind: 'rebind'; readonly origin: bigint; readonly rebind: Uint8Array }
  /** Source: it stops now. */
  | { readonly kind: 'cutover'; readonly origin: bigint }
  /** Source: what `recover` began is over; `error` where the daemon is not back. */
  | { readonly kind: 'recovered'; readonly origin: bigint; readonly error: MigrationError | undefined };

/** Where a migration stands, as its orchestrator sees it. */
export interface MigrationProgress {
  readonly origin: bigint;
  readonly source: bigint;
  readonly target: bigint;
  readonly phase: MigrationPhase;
  /** Snapshot bytes that have left the source. */
  readonly bytesDone: number;
  /** 0 while not known. */
  readonly bytesTotal: number;
  /** Logged events that the target has not applied yet. */
  readonly eventsWaiting: number;
}

/** A migration as one role on this node sees it. Times are milliseconds, counts are whole. */
export interface MigrationStatus {
  readonly origin: bigint;
  readonly role: MigrationRole;
  readonly source: bigint | undefined;
  readonly target: bigint;
  readonly orchestrator: bigint;
  /** Of that role: a {@link MigrationPhase} at the orchestrator, a `SourcePhase` or `TargetPhase` at the others. */
  readonly phase: string;
  readonly ageMs: number;
  readonly phaseAgeMs: number;
  /** Snapshot bytes that have left the source, passed by, or arrived. */
  readonly bytesDone: number;
  /** 0 while not known. */
  readonly bytesTotal: number;
  /** Logged events that the target has not applied yet, as far as known here. */
  readonly eventsWaiting: number;
  /** How often this phase has asked for what it waits for. */
  readonly tries: number;
}
