import { MigrationError } from '../errors.js';
import type { MaybePromise } from '../maybe-promise.js';
import type { FrameProducer } from '../wire/frame-producer.js';
import type { CausalEvent } from '../wire/link.js';
import { BATCH_BYTES, type Batch, OutgoingLink } from './link.js';
import type {
  BatchListener,
  ChannelListener,
  ChannelSubscription,
  ListenOptions,
  Mesh,
  PeerInfo,
  SubscribeOptions,
} from './mesh.js';
import type { OwnershipRegister } from './register.js';

/** What a link's bytes travel over, to one peer. */
export interface PeerPort {
  /** The batch's memory may be given away. */
  post(batch: Batch): void;
  /**
   * Tells the peer that so many of its bytes have been taken.
   *
   * @param memory of its batch, where it may have that back
   */
  credit(bytes: number, memory?: Uint8Array): void;
  announce(staticKey: Uint8Array): void;
  close(): void;
}

/** Where a mesh's channels live. */
export type ChannelService = Pick<Mesh, 'publish' | 'subscribe' | 'forget'>;

interface Listening extends Required<ListenOptions> {
  readonly listener: BatchListener;
}

interface Peer {
  info: PeerInfo;
  readonly port: PeerPort;
  readonly link: OutgoingLink;
}

/** A mesh node whose peers are reached by one ordered port each: what in-process and worker-thread meshes are made of. */
export class LinkedMesh implements Mesh {
  readonly nodeId: bigint;
  readonly register: OwnershipRegister;
  readonly #channels: ChannelService;
  readonly #peers = new Map<bigint, Peer>();
  readonly #listeners = new Map<number, Listening>();
  readonly #goneListeners: Array<(nodeId: bigint) => void> = [];
  readonly #onClose: () => MaybePromise<void>;
  #staticKey: Uint8Array | undefined;

  constructor(
    nodeId: bigint,
    register: OwnershipRegister,
    channels: ChannelService,
    onClose: () => MaybePromise<void> = () => {},
  ) {
    this.nodeId = nodeId;
    this.register = register;
    this.#channels = channels;
    this.#onClose = onClose;
  }

  addPeer(info: PeerInfo, port: PeerPort): void {
    this.#peers.set(info.nodeId, { info, port, link: new OutgoingLink((batch) => port.post(batch)) });
    if (this.#staticKey) port.announce(this.#staticKey);
  }

  /** That node is gone for certain. */
  removePeer(nodeId: bigint): void {
    const peer = this.#peers.get(nodeId);
    if (!peer) return;
    this.#peers.delete(nodeId);
    peer.link.close();
    peer.port.close();
    for (const listener of this.#goneListeners) listener(nodeId);
  }

  /** A batch has come from a peer. */
  receive(from: bigint, batch: Batch): void {
    const listening = this.#listeners.get(batch.subprotocol);
    const taken = () => {
      const { length } = batch.bytes;
      const isReturned = listening?.keepsBatches !== true && batch.bytes.buffer.byteLength === BATCH_BYTES;
      this.#peers.get(from)?.port.credit(length, isReturned ? batch.bytes : undefined);
    };
    let later: Promise<void> | undefined;
    try {
      const pending = listening?.listener(from, batch.bytes);
      if (pending) later = pending.finally(taken);
    } finally {
      // Whatever the listener did: a peer that gets no credit is stuck.
      if (!later) taken();
    }
  }

  /** A peer has taken bytes of ours. */
  credited(from: bigint, bytes: number, memory?: Uint8Array): void {
    this.#peers.get(from)?.link.credit(bytes, memory);
  }

  /** A peer has told its key. */
  announced(from: bigint, staticKey: Uint8Array): void {
    const peer = this.#peers.get(from);
    if (peer) peer.info = { ...peer.info, staticKey };
  }

  announce(staticKey: Uint8Array): void {
    this.#staticKey = staticKey;
    for (const { port } of this.#peers.values()) port.announce(staticKey);
  }

  peer(nodeId: bigint): PeerInfo | undefined {
    return this.#peers.get(nodeId)?.info;
  }

  send(to: bigint, subprotocol: number, frame: Uint8Array): void {
    this.#require(to).link.send(subprotocol, frame);
  }

  stream(to: bigint, subprotocol: number, frames: FrameProducer): void {
    this.#require(to).link.stream(subprotocol, frames);
  }

  ready(to: bigint): MaybePromise<void> {
    return this.#peers.get(to)?.link.ready();
  }

  listen(subprotocol: number, listener: BatchListener, { keepsBatches = true }: ListenOptions = {}): void {
    this.#listeners.set(subprotocol, { listener, keepsBatches });
  }

  publish(channel: string, epoch: bigint, events: readonly CausalEvent[]): MaybePromise<void> {
    return this.#channels.publish(channel, epoch, events);
  }

  subscribe(channel: string, options: SubscribeOptions, listener: ChannelListener): MaybePromise<ChannelSubscription> {
    return this.#channels.subscribe(channel, options, listener);
  }

  forget(originHash: bigint): void {
    this.#channels.forget(originHash);
  }

  onPeerGone(listener: (nodeId: bigint) => void): void {
    this.#goneListeners.push(listener);
  }

  close(): MaybePromise<void> {
    for (const { link, port } of this.#peers.values()) {
      link.close();
      port.close();
    }
    this.#peers.clear();
    this.#listeners.clear();
    return this.#onClose();
  }

  #require(nodeId: bigint): Peer {
    const peer = this.#peers.get(nodeId);
    if (peer) return peer;
    const known = [...this.#peers.keys()].join(', ') || 'none';
    throw new MigrationError('target-unavailable', `node ${nodeId} is not in the mesh (known: ${known})`, {
      details: { node: nodeId },
    });
  }
}
