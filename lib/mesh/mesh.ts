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

/**
 * Frames as they came, one behind the other, each behind its length (u32 LE): what a codec's `decodeBatch` reads. The
 * receiver's to keep.
 */
export type FrameBatch = Uint8Array;

/**
 * Takes batches from an authenticated peer. While a promise that it gave is pending, the peer is not allowed to send more
 * than its window.
 */
export type BatchListener = (from: bigint, batch: FrameBatch) => MaybePromise<void>;

export interface ChannelSubscription {
  unsubscribe(): void;
}

/** Outputs on a channel, in order. */
export type ChannelListener = (channel: string, events: readonly CausalEvent[]) => void;

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
  listen(subprotocol: number, listener: BatchListener): void;

  /**
   * Outputs of a daemon. Those of an older epoch than the channel has seen, and those that it has seen, are dropped.
   */
  publish(channel: string, epoch: bigint, events: readonly CausalEvent[]): void;
  subscribe(channel: string, listener: ChannelListener): MaybePromise<ChannelSubscription>;

  /** A daemon has ended for good: should it ever live again, its outputs begin anew. */
  forget(originHash: bigint): void;

  /** Called once per node that is gone for certain. */
  onPeerGone(listener: (nodeId: bigint) => void): void;

  close(): MaybePromise<void>;
}
