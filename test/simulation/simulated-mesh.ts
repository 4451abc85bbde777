import { MigrationError } from '../../lib/errors.js';
import { isPromise, type MaybePromise, whenReady } from '../../lib/maybe-promise.js';
import type {
  BatchListener,
  ChannelListener,
  ChannelSubscription,
  ListenOptions,
  Mesh,
  PeerInfo,
  SubscribeOptions,
} from '../../lib/mesh/mesh.js';
import type { OwnershipRegister } from '../../lib/mesh/register.js';
import type { FrameProducer } from '../../lib/wire/frame-producer.js';
import type { CausalEvent } from '../../lib/wire/link.js';
import type { Broker } from './broker.js';
import type { Network } from './network.js';
import type { NodeRegister } from './simulated-register.js';

/** What a node of the simulated cluster is in the mesh; from its crash on it reaches nobody. */
export class SimulatedMesh implements Mesh {
  readonly nodeId: bigint;
  readonly number: number;
  readonly incarnation: number;
  readonly register: OwnershipRegister;
  readonly #register: NodeRegister;
  readonly #network: Network;
  readonly #broker: Broker;
  readonly #listeners = new Map<number, BatchListener>();
  readonly #goneListeners: Array<(nodeId: bigint) => void> = [];
  staticKey: Uint8Array | undefined;
  /** Nodes that this one knows to be gone for certain. */
  readonly #gone = new Set<number>();
  isCut = false;

  constructor(number: number, incarnation: number, network: Network, register: NodeRegister, broker: Broker) {
    this.number = number;
    this.incarnation = incarnation;
    this.nodeId = BigInt(number);
    this.#network = network;
    this.#register = register;
    this.register = register;
    this.#broker = broker;
  }

  /** The node has crashed: nothing that it does reaches the world any more. */
  cutOff(): void {
    this.isCut = true;
    this.#register.isCut = true;
    this.#listeners.clear();
    this.#goneListeners.length = 0;
  }

  peer(nodeId: bigint): PeerInfo | undefined {
    if (this.isCut) return undefined;
    const number = Number(nodeId);
    if (this.#gone.has(number)) return undefined;
    const staticKey = this.#broker.keys.get(number);
    if (!this.#broker.members.has(number)) return undefined;
    return { nodeId, extensions: true, ...(staticKey && { staticKey }) };
  }

  announce(staticKey: Uint8Array): void {
    this.staticKey = staticKey;
    if (!this.isCut) this.#broker.keys.set(this.number, staticKey);
  }

  send(to: bigint, subprotocol: number, frame: Uint8Array): void {
    if (this.isCut) return;
    this.#require(to);
    this.#network.send(this.number, Number(to), subprotocol, frame);
  }

  stream(to: bigint, subprotocol: number, frames: FrameProducer): void {
    if (this.isCut) return;
    this.#require(to);
    this.#network.stream(this.number, Number(to), subprotocol, frames);
  }

  ready(to: bigint): MaybePromise<void> {
    return this.isCut ? undefined : this.#network.ready(this.number, Number(to));
  }

  listen(subprotocol: number, listener: BatchListener, { keepsBatches = true }: ListenOptions = {}): void {
    this.#listeners.set(subprotocol, (from, batch) => {
      const received = listener(from, batch);
      // What a listener does not keep is written over: whoever kept a view of it sees that.
      return keepsBatches ? received : whenReady(received, () => void batch.fill(0xee));
    });
  }

  receive(from: number, subprotocol: number, batch: Uint8Array): MaybePromise<void> {
    const received = this.#listeners.get(subprotocol)?.(BigInt(from), batch);
    return isPromise(received) ? received.catch(() => {}) : received;
  }

  publish(channel: string, epoch: bigint, events: readonly CausalEvent[]): MaybePromise<void> {
    return this.isCut ? undefined : this.#broker.publish(this, channel, epoch, events);
  }

  subscribe(channel: string, options: SubscribeOptions, listener: ChannelListener): MaybePromise<ChannelSubscription> {
    return this.#broker.subscribe(this, channel, options, listener);
  }

  forget(originHash: bigint): void {
    if (!this.isCut) this.#broker.forget(originHash);
  }

  onPeerGone(listener: (nodeId: bigint) => void): void {
    this.#goneListeners.push(listener);
  }

  /** That node is gone for certain, and this one hears it. */
  peerGone(number: number): void {
    this.#gone.add(number);
    for (const listener of this.#goneListeners) listener(BigInt(number));
  }

  /** A node of that number has joined. */
  peerBack(number: number): void {
    this.#gone.delete(number);
  }

  close(): void {
    this.#network.leave(this);
  }

  #require(to: bigint): void {
    if (this.peer(to)) return;
    throw new MigrationError('target-unavailable', `node ${to} is not in the mesh`, { details: { node: to } });
  }
}
