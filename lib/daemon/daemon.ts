import type { MaybePromise } from '../maybe-promise.js';
import type { CausalEvent } from '../wire/link.js';

/** What a daemon publishes in answer to an event: payloads, in order. */
// biome-ignore lint/suspicious/noConfusingVoidType: a `process` that publishes nothing should need no return
export type DaemonOutputs = Iterable<Uint8Array> | undefined | void;

/** How a daemon says that it is. Without a `health` of its own it counts as healthy. */
export type DaemonHealth =
  | { readonly status: 'healthy' }
  /** It works, but not as it should. */
  | { readonly status: 'degraded'; readonly reason: string }
  | { readonly status: 'unhealthy'; readonly reason?: string };

/** Pieces of a state, in order, of any size. */
export type StateChunks = Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

/**
 * A state that is read piece by piece while it leaves, for a daemon on a file or a database: at no time is more of it
 * read ahead than 1 MiB and the piece that passes that. `return()` of its iterator is called when a migration ends before it does.
 *
 * A stream that gives more or fewer bytes than `byteLength`, anything but Uint8Arrays, more than 10,000 empty pieces in a row,
 * or throws, fails the migration (`state-failed`, with what was thrown as cause), and one that gives nothing for the source's
 * patience does too; the daemon goes on where it is.
 */
export interface StreamedState {
  /** Bytes of all pieces together. */
  readonly byteLength: number;
  /**
   * Each piece no longer changes once it has been given.
   *
   * Pieces that are lost on their way are read again. Where this is a function, it is called for each reading, and must give
   * the same bytes each time: one that gives others is found out by the target, and the migration fails. So is an
   * iterable that makes a new iterator for each `[Symbol.iterator]()`, as an array or a Set does. What can be read only once (a
   * generator object, any iterator, and every async iterable, because a Node stream is one) is kept, as it was read,
   * until the target has all of it: in memory, which then takes up to `byteLength`.
   */
  readonly chunks: StateChunks | (() => StateChunks);
}

/** A stateful daemon that can be moved to another node. It is called one call at a time. */
export interface MeshDaemon {
  /** For people: logs and errors. */
  readonly name: string;

  /**
   * False pins the daemon to its node: a migration of it is refused as `pinned`. On the daemon and not an option of `spawn`,
   * because what holds a daemon in its place (a device, a file) is the daemon's own, however it came to live there. Read
   * whenever a migration begins, so it may change. Default: true.
   */
  readonly movable?: boolean;

  /**
   * False only where the daemon has nothing to take along: it moves without a state, and neither `snapshot` nor `restore` is
   * called. Default: true, and then a `snapshot` that gives nothing fails the migration.
   */
  readonly isStateful?: boolean;

  /** Where its outputs are published. Default: `daemon/` and the origin hash in hex. */
  readonly channel?: string;

  /**
   * One event, in order per publisher. `event.payload` is the daemon's to keep.
   *
   * @returns payloads to publish; each at most 64 MiB where a daemon that may move reads them, and at most 7,000 bytes where
   * that moves to a node without extensions
   */
  process(event: CausalEvent): MaybePromise<DaemonOutputs>;

  /**
   * The whole state, as bytes that no longer change: a copy, or memory that the daemon will not write again; or as a
   * stream of them. `undefined` where it has none and so cannot be moved.
   *
   * A stream is read after this has returned. In `pause` mode, and for `DaemonRuntime.snapshot` and `state`, the daemon processes
   * nothing until it has been read, or the migration has ended and the iterator was closed; in `live` mode it goes on, so
   * what is streamed must be a frozen state (a database's snapshot, a file that is only added to). While one stream
   * is read, this may be called again.
   */
  snapshot(): MaybePromise<Uint8Array | StreamedState | undefined>;

  /**
   * Takes up a state that `snapshot` gave.
   *
   * @param state a view, valid only until the call returns (or its promise settles); where the node has a spool and the state
   * is large, of a mapped file, so that what is not looked at need not be in memory (docs/spool.md)
   */
  restore(state: Uint8Array): MaybePromise<void>;

  /** How it is. What it throws fails that one call of `DaemonRuntime.health`. */
  health?(): MaybePromise<DaemonHealth>;

  /**
   * A message from whoever runs the node, past all events (`DaemonRuntime.control`). It leaves no trace in any log, so a
   * daemon that moves gets none until it is live again.
   *
   * @returns what the caller gets
   */
  onControl?(message: unknown): MaybePromise<unknown>;

  /**
   * This copy is over on this node: a daemon on a file, a database or a timer lets go of it here. Called once for each daemon
   * that a factory gave, whatever ended it: it has moved and its new home has confirmed that (until then this copy may be
   * brought back), `stop`, `shutdown`, a migration to here or a `spawn` that failed. Never while another call of it runs, and
   * nothing is called afterwards; its key is wiped already, and the iterators of what it streamed have been told to `return`. The
   * daemon itself may live on elsewhere.
   *
   * What it throws is reported (`onError`, `state-failed`) and stops nothing. `stop` waits for it, and `shutdown` does within its
   * deadline. Where a daemon has both this and `[Symbol.dispose]`, this one is called.
   */
  [Symbol.asyncDispose]?(): MaybePromise<void>;

  /** The same, for a daemon that lets go at once. */
  [Symbol.dispose]?(): void;
}

/** Makes a daemon in its first state; `restore` follows where it moves in from another node. */
export type DaemonFactory = (config: unknown) => MeshDaemon;
