import type { MigrationError } from '../errors.js';
import type { MaybePromise } from '../maybe-promise.js';
import type { FrameProducer } from '../wire/frame-producer.js';
import type { CausalEvent } from '../wire/link.js';
import type { OwnershipRegister } from './register.js';

/** What a node knows of another. */
export interface PeerInfo {
  /** Node id. */
  readonly nodeId: bigint;
  /** Whether it reads trailers and our messages (PROTOCOL.md §8). */
  readonly extensions: boolean;
  /** Its X25519 public key (32 bytes), once it has announced it. */
  readonly staticKey?: Uint8Array;
}

/** Frames as they came, one behind the other, each behind its length (u32 LE): what a codec's `decodeBatch` reads. */
export type FrameBatch = Uint8Array;

/**
 * Takes batches from an authenticated peer. While a promise that it gave is pending, the peer is not allowed to send more
 * than its window.
 */
export type BatchListener = (from: bigint, batch: FrameBatch) => MaybePromise<void>;

export interface ListenOptions {
  /**
   * Whether batches are the listener's to keep. False: each is the mesh's again, to be written over, once the listener has returned,
   * or the promise that it gave has settled. Default: true.
   */
  readonly keepsBatches?: boolean;
}

export interface SubscribeOptions {
  /**
   * Begins behind the event that this position names; an empty one: with the oldest event that is left. Default: with the
   * next event that is published.
   */
  readonly after?: Uint8Array;
  /** Whom the subscription names as its publisher, a node id; for a mesh that reaches channels through their publishers. */
  readonly publisher?: bigint;
  /** What the publisher wants to see; for a mesh whose channels are not open to all of its nodes. */
  readonly token?: Uint8Array;
  /** Bytes of one delivery, unless a single event has more. Default: 256 KiB. */
  readonly batchBytes?: number;
  /**
   * The reader was slower than the channel keeps events: the subscription has ended, with a `position-expired`. Default: a
   * process warning.
   */
  readonly onExpired?: (error: MigrationError) => void;
}

export interface ChannelSubscription {
  /** Where it began: opaque, at most 64 bytes. */
  readonly position: Uint8Array;
  /** The listener is not called again. Idempotent. */
  unsubscribe(): void;
}

/**
 * Outputs on a channel, in order; those of one daemon have consecutive sequences. While a promise that it gave is pending,
 * it is not called again, and the channel keeps what it keeps. Events are shared with other readers: read only.
 *
 * @param position behind the last of these events: opaque, at most 64 bytes, for a `subscribe` that goes on after them
 */
export type ChannelListener = (
  channel: string,
  events: readonly CausalEvent[],
  position: Uint8Array,
) => MaybePromise<void>;

/**
 * What the runtime needs of a network: this node's id, authenticated peers, delivery of batches with back-pressure (ordered
 * while a link holds), channels, the ownership register, and, where it can know, that a node is gone.
 */
export interface Mesh {
  readonly nodeId: bigint;
  readonly register: OwnershipRegister;

  peer(nodeId: bigint): PeerInfo | undefined;
  /** Tells all peers, those that join later too, this node's X25519 public key (32 bytes). */
  announce(staticKey: Uint8Array): void;

  /** @throws MigrationError `target-unavailable` where the peer is not known */
  send(to: bigint, subprotocol: number, frame: Uint8Array): void;
  /** Pulls frames whenever the peer takes more, behind what `send` has queued. */
  stream(to: bigint, subprotocol: number, frames: FrameProducer): void;
  /** Resolves when what is queued for that peer is little enough to add to; at once where the peer is gone. */
  ready(to: bigint): MaybePromise<void>;
  /** One listener per subprotocol. */
  listen(subprotocol: number, listener: BatchListener, options?: ListenOptions): void;

  /**
   * Outputs of a daemon. Those of an older epoch than the channel has seen, and those that it has seen, are dropped. The
   * channel keeps the last ones, and stays where it is when the daemon moves.
   *
   * @returns a promise where the channels are behind: whoever goes on before it resolves is queued for
   */
  publish(channel: string, epoch: bigint, events: readonly CausalEvent[]): MaybePromise<void>;
  /**
   * @throws MigrationError `position-expired` where the channel no longer holds what follows `after`; `details` tell the
   * range that is left: `oldest`, `newest` (numbers of the channel's own; `oldest` above `newest`: none)
   */
  subscribe(channel: string, options: SubscribeOptions, listener: ChannelListener): MaybePromise<ChannelSubscription>;

  /** A daemon has ended for good: should it ever live again, its outputs begin anew. */
  forget(originHash: bigint): void;

  /** Called once per node that is gone for certain. */
  onPeerGone(listener: (nodeId: bigint) => void): void;

  close(): MaybePromise<void>;
}
