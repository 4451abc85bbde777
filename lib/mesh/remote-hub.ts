import type { MigrationError } from '../errors.js';
import { isPromise, type MaybePromise } from '../maybe-promise.js';
import type { CausalEvent } from '../wire/link.js';
import { EVENT_OVERHEAD } from './channel-history.js';
import { type ChannelService, LinkedMesh } from './linked-mesh.js';
import type { ChannelListener, ChannelSubscription, Mesh, SubscribeOptions } from './mesh.js';
import type { OwnershipEntry, OwnershipRegister, RegisteredOwnership } from './register.js';
import {
  connectLoopback,
  connectPort,
  errorOfRefusal,
  type HubMessage,
  type HubPort,
  type HubRequest,
  type LinkPort,
  type NodeSeat,
} from './worker-protocol.js';

/** Bytes that are published and not in their channels yet: above that, `publish` asks to wait. */
const PUBLISH_WINDOW_BYTES = 1024 * 1024;

interface HubReader {
  readonly listener: ChannelListener;
  readonly options: SubscribeOptions;
}

interface Question {
  readonly resolve: (value: never) => void;
  readonly reject: (error: MigrationError) => void;
}

/** Takes a seat in the mesh of a hub. */
export function takeSeat(seat: NodeSeat): Mesh {
  const hub = new RemoteHub(seat.hub);
  const mesh = new LinkedMesh(seat.nodeId, hub, hub, () => seat.hub.close());
  connectLoopback(mesh);
  for (const { nodeId, port } of seat.peers) connectPort(mesh, nodeId, port);
  hub.onPeer = (nodeId, port) => (port ? connectPort(mesh, nodeId, port) : mesh.removePeer(nodeId));
  return mesh;
}

/** A hub's register and channels, asked over a port. */
class RemoteHub implements OwnershipRegister, ChannelService {
  /** A peer has joined, or (without a port) is gone. */
  onPeer: (nodeId: bigint, port: LinkPort | undefined) => void = () => {};
  readonly #port: HubPort;
  readonly #waiting = new Map<number, Question>();
  readonly #readers = new Map<number, HubReader>();
  #nextId = 1;
  #publishing = 0;
  #room: Array<() => void> = [];

  constructor(port: HubPort) {
    this.#port = port;
    port.on('message', (message) => this.#receive(message));
  }

  read(origin: bigint): Promise<RegisteredOwnership | undefined> {
    return this.#ask((id) => ({ op: 'read', id, origin }));
  }

  compareAndSet(origin: bigint, expected: bigint, entry: OwnershipEntry | undefined): Promise<boolean> {
    return this.#ask((id) => ({ op: 'compareAndSet', id, origin, expected, entry }));
  }

  publish(channel: string, epoch: bigint, events: readonly CausalEvent[]): MaybePromise<void> {
    // Cloning a view would clone all of the memory that it is a view of.
    const owned = events.map((event) => ({ ...event, payload: new Uint8Array(event.payload) }));
    const bytes = owned.reduce((sum, { payload }) => sum + payload.length + EVENT_OVERHEAD, 0);
    this.#publishing += bytes;
    this.#tell({ op: 'publish', channel, epoch, events: owned, bytes });
    if (this.#publishing <= PUBLISH_WINDOW_BYTES) return;
    return new Promise((resolve) => this.#room.push(resolve));
  }

  async subscribe(channel: string, options: SubscribeOptions, listener: ChannelListener): Promise<ChannelSubscription> {
    const { onExpired: _, ...rest } = options;
    let reader = 0;
    const asked = this.#ask<Uint8Array>((id) => {
      reader = id;
      this.#readers.set(id, { listener, options });
      return { op: 'subscribe', id, channel, options: rest };
    });
    try {
      return { position: await asked, unsubscribe: () => this.#unsubscribe(reader) };
    } catch (error) {
      this.#readers.delete(reader);
      throw error;
    }
  }

  #unsubscribe(id: number): void {
    if (this.#readers.delete(id)) this.#tell({ op: 'unsubscribe', id });
  }

  forget(originHash: bigint): void {
    this.#tell({ op: 'forget', originHash });
  }

  #ask<T>(request: (id: number) => HubRequest): Promise<T> {
    const id = this.#nextId++;
    return new Promise<T>((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#tell(request(id));
    });
  }

  #tell(request: HubRequest): void {
    this.#port.postMessage(request);
  }

  #receive(message: HubMessage): void {
    switch (message.op) {
      case 'answer':
        this.#waiting.get(message.id)?.resolve(message.value as never);
        this.#waiting.delete(message.id);
        break;
      case 'refused':
        this.#waiting.get(message.id)?.reject(errorOfRefusal(message.error));
        this.#waiting.delete(message.id);
        break;
      case 'events':
        this.#read(message);
        break;
      case 'expired':
        this.#expired(message);
        break;
      case 'published':
        this.#published(message.bytes);
        break;
      case 'joined':
        this.onPeer(message.nodeId, message.port);
        break;
      case 'gone':
        this.onPeer(message.nodeId, undefined);
    }
  }

  #read({ id, channel, events, position }: HubMessage & { op: 'events' }): void {
    const taken = () => this.#tell({ op: 'taken', id });
    const failed = (error: unknown) =>
      process.emitWarning(
        `a listener of channel "${channel}" threw: ${error instanceof Error ? error.message : String(error)}`,
      );
    try {
      const pending = this.#readers.get(id)?.listener(channel, events, position);
      if (isPromise(pending)) void pending.catch(failed).then(taken);
      else taken();
    } catch (error) {
      failed(error);
      taken();
    }
  }

  #expired({ id, error }: HubMessage & { op: 'expired' }): void {
    const reader = this.#readers.get(id);
    this.#readers.delete(id);
    const expired = errorOfRefusal(error);
    if (reader?.options.onExpired) reader.options.onExpired(expired);
    else if (reader) process.emitWarning(expired.message, { code: expired.kind });
  }

  #published(bytes: number): void {
    this.#publishing -= bytes;
    if (this.#publishing > PUBLISH_WINDOW_BYTES) return;
    const waiting = this.#room;
    this.#room = [];
    for (const resolve of waiting) resolve();
  }
}
