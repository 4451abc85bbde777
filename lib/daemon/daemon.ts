import type { MaybePromise } from '../maybe-promise.js';
import type { CausalEvent } from '../wire/link.js';

/** What a daemon publishes in answer to an event: payloads, in order. */
// biome-ignore lint/suspicious/noConfusingVoidType: a `process` that publishes nothing should need no return
export type DaemonOutputs = Iterable<Uint8Array> | undefined | void;

/** A stateful daemon that can be moved to another node. It is called one call at a time. */
export interface MeshDaemon {
  /** For people: logs and errors. */
  readonly name: string;

  /** Where its outputs are published. Default: `daemon/` and the origin hash in hex. */
  readonly channel?: string;

  /**
   * One event, in order per publisher. `event.payload` is the daemon's to keep.
   *
   * @returns payloads to publish; each may be at most 7,000 bytes where a migration is to carry it
   */
  process(event: CausalEvent): MaybePromise<DaemonOutputs>;

  /**
   * The whole state, as bytes that no longer change: a copy, or memory that the daemon will not write again. `undefined`
   * where it has none and so cannot be moved.
   */
  snapshot(): MaybePromise<Uint8Array | undefined>;

  /** Takes up a state that `snapshot` gave. The view is valid only until the call returns (or its promise settles). */
  restore(state: Uint8Array): MaybePromise<void>;
}

/** Makes a daemon in its first state; `restore` follows where it moves in from another node. */
export type DaemonFactory = (config: unknown) => MeshDaemon;
