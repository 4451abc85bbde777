import type { MigrationError } from '../errors.js';
import type { EventLog } from '../wire/event-log.js';
import type { ExtensionMessage } from '../wire/extension.js';
import type { CausalEvent, CausalLink } from '../wire/link.js';
import type { MigrationMessage } from '../wire/message.js';
import type { AssembledSnapshot } from '../wire/reassembler.js';
import type { Trailer } from '../wire/trailer.js';
import type { Offer } from './offer.js';
import type { OutgoingSnapshot } from './outgoing-snapshot.js';

/** `pause`: from the snapshot on the source logs events and does not process them. */
export type MigrationMode = 'pause';

/** Which of a migration's three halves a record belongs to. */
export type MigrationRole = 'orchestrator' | 'source' | 'target';

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

/** Who wants to take a daemon from its source, or place one on its target. */
export interface AuthorizationRequest {
  readonly role: 'source' | 'target';
  readonly origin: bigint;
  readonly orchestrator: bigint;
  readonly source: bigint | undefined;
  readonly target: bigint;
}

/**
 * What the core asks of the world, and what the answer holds. An answer may come at once or later; a refusal is a
 * MigrationError. The core asks nothing twice.
 */
export interface RequestTypes {
  authorize: { readonly ask: AuthorizationRequest; readonly answer: undefined };
  /** Source: begin an attempt. The daemon's events go into its log from `takeSnapshot` on. */
  beginTry: {
    readonly ask: { readonly origin: bigint };
    readonly answer: { readonly try: bigint; readonly epoch: bigint };
  };
  takeSnapshot: {
    readonly ask: {
      readonly origin: bigint;
      readonly target: bigint;
      readonly try: bigint;
      readonly identity: IdentityTransport;
    };
    readonly answer: OutgoingSnapshot;
  };
  /** Source: stop; nothing is accepted from here on. Answered when the last event is in the log. */
  fence: { readonly ask: { readonly origin: bigint; readonly target: bigint }; readonly answer: undefined };
  offer: {
    readonly ask: { readonly origin: bigint; readonly epoch: bigint; readonly offer: Offer };
    readonly answer: undefined;
  };
  /** Source: take the offer back. `claimed`: too late, the target has the daemon. */
  withdraw: {
    readonly ask: { readonly origin: bigint; readonly epoch: bigint };
    readonly answer: 'withdrawn' | 'claimed';
  };
  /** Source: go on; the log is processed first. */
  resume: { readonly ask: { readonly origin: bigint; readonly epoch: bigint }; readonly answer: undefined };
  /** Source: the target is live; let the copy and its key go. */
  release: { readonly ask: { readonly origin: bigint }; readonly answer: undefined };
  /** Target: build the daemon and restore it, held. */
  restore: {
    readonly ask: {
      readonly origin: bigint;
      readonly snapshot: AssembledSnapshot;
      readonly daemonKind: string | undefined;
      readonly source: bigint | undefined;
    };
    readonly answer: { readonly restoredSeq: bigint };
  };
  /** Target: apply logged events to the held copy, in order. */
  replay: {
    readonly ask: { readonly origin: bigint; readonly events: readonly CausalEvent[] };
    readonly answer: undefined;
  };
  /** Target: become the owner, where the register holds exactly this offer. */
  claim: {
    readonly ask: { readonly origin: bigint; readonly offer: Offer };
    readonly answer: { readonly epoch: bigint };
  };
  /** Target: the claim is won; go live. */
  activate: { readonly ask: { readonly origin: bigint; readonly epoch: bigint }; readonly answer: undefined };
  /** Target: drop the held copy. */
  discard: { readonly ask: { readonly origin: bigint }; readonly answer: undefined };
}

export type RequestKind = keyof RequestTypes;

/** One question to the world. */
export type MigrationRequest = {
  [K in RequestKind]: { readonly kind: K; readonly id: number; readonly role: MigrationRole } & RequestTypes[K]['ask'];
}[RequestKind];

/** The answer to a request, by its kind; `error` where it was refused. */
export type MigrationAnswer = {
  [K in RequestKind]: {
    readonly kind: K;
    readonly id: number;
    readonly role: MigrationRole;
    readonly origin: bigint;
    readonly value?: RequestTypes[K]['answer'];
    readonly error?: MigrationError;
  };
}[RequestKind];

/** What a half of the dispatcher may do: everything else comes in from outside. */
export interface RoleContext {
  readonly localNode: bigint;
  /** Milliseconds, as the last tick or call told. */
  readonly now: number;
  send(destNode: bigint, message: MigrationMessage | ExtensionMessage, trailer?: Trailer): void;
  /** Sends base fields that are bytes already, with a trailer. */
  sendEncoded(destNode: bigint, frame: Uint8Array, trailer: Trailer): void;
  /** Sends a frame on as it came. */
  forward(destNode: bigint, frame: Uint8Array): void;
  stream(destNode: bigint, snapshot: OutgoingSnapshot): void;
  /** @returns the id that the answer will bear */
  request<K extends RequestKind>(role: MigrationRole, kind: K, ask: RequestTypes[K]['ask']): number;
  /** The head of a local copy's chain. */
  head(origin: bigint): CausalLink;
  /** The log of a local copy. */
  log(origin: bigint): EventLog;
  /** The first event in it that no frame takes; undefined where there is none. */
  oversized(origin: bigint): CausalEvent | undefined;
  /** Something went wrong that no peer is to be told of. */
  fault(error: MigrationError): void;
  report(report: MigrationReport): void;
}

/** What a half tells its node: for handles, hooks and whoever watches. */
export type MigrationReport =
  | { readonly kind: 'progress'; readonly role: MigrationRole; readonly progress: MigrationProgress }
  | { readonly kind: 'completed'; readonly role: MigrationRole; readonly origin: bigint }
  | { readonly kind: 'failed'; readonly role: MigrationRole; readonly origin: bigint; readonly error: MigrationError }
  | { readonly kind: 'restored'; readonly origin: bigint }
  /** Source: it will stop as soon as little is left to replay. */
  | { readonly kind: 'draining'; readonly origin: bigint }
  /** Source: the target has replayed so many more logged events. */
  | { readonly kind: 'replayed'; readonly origin: bigint; readonly events: number }
  /** Source: it stops now. */
  | { readonly kind: 'cutover'; readonly origin: bigint };

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
