import type { HubMessage, HubRefusal, HubRequest, LinkMessage } from '../../lib/mesh/worker-protocol.js';

/** The test's process is two nodes: who leads migrations and reads outputs, and who publishes events. */
export const [LEADER, PUBLISHER] = [1n, 2n];
/** Those in processes of their own, which are killed. */
export const [NORTH, SOUTH] = [11n, 12n];

export type Role = 'source' | 'target';

/** Where a node is to stop dead, to be killed there. */
export interface Trap {
  readonly role: Role;
  readonly phase: string;
  /** At which of its own steps in that phase: 1 is the first. */
  readonly step: number;
}

/** What a node's daemons are. */
export interface DaemonShape {
  /** Bytes by which a snapshot is longer than it need be. */
  readonly padding: number;
  /** Answers `process`, `snapshot` and `restore` in a later turn. */
  readonly isAsync: boolean;
  /** Gives its state piece by piece. */
  readonly isStreamed: boolean;
}

export interface StartOptions {
  readonly nodeId: bigint;
  readonly peers: readonly bigint[];
  /** Files that outlive the process. */
  readonly keyFile: string;
  readonly spool: string;
  readonly engine: 'native' | 'typescript';
}

/** A daemon of which the node is to say whether it is live here, and how it moves. */
export interface Watch {
  readonly origin: bigint;
  readonly trap: Trap | undefined;
}

/** What a node says of the daemon that is watched. */
export interface NodeState {
  /** Of which daemon this is said: of one that was watched before, where that is another. */
  readonly origin: string;
  readonly isLive: boolean;
  readonly source: string | undefined;
  readonly target: string | undefined;
}

export type Command =
  | { readonly kind: 'spawn'; readonly shape: DaemonShape; readonly channel: string }
  | { readonly kind: 'stop' | 'state' | 'recover'; readonly origin: bigint };

export type ToNode =
  | { readonly start: StartOptions; readonly watch: Watch | undefined }
  | { readonly watch: Watch | undefined }
  | { readonly hub: Exclude<HubMessage, { readonly op: 'joined' }> }
  | { readonly joined: bigint }
  | { readonly from: bigint; readonly link: LinkMessage }
  | { readonly ask: number; readonly command: Command };

export type FromNodeBody =
  | { readonly started: true }
  | { readonly state: true }
  | { readonly fault: string }
  | { readonly hub: HubRequest }
  | { readonly to: bigint; readonly link: LinkMessage }
  | { readonly answer: number; readonly value: unknown }
  | { readonly refused: number; readonly error: HubRefusal };

/** Each message bears how things stand where it was sent. */
export interface FromNode {
  readonly at: NodeState;
  readonly body: FromNodeBody;
}

/** The pipe on which a node that has stopped dead says so. */
export const TRAP_FD = 4;

/** Who sent an event, and which of theirs it is, as one number. */
export function entryOf(publisher: number, sequence: number): bigint {
  return BigInt(publisher) * 1_000_000n + BigInt(sequence);
}
