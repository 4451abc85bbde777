import { isMainThread, type MessagePort, workerData } from 'node:worker_threads';
import { MigrationError } from '../errors.js';
import type { CausalEvent } from '../wire/link.js';
import { type ChannelService, LinkedMesh } from './linked-mesh.js';
import type { ChannelListener, Mesh } from './mesh.js';
import type { OwnershipEntry, OwnershipRegister, RegisteredOwnership } from './register.js';
import {
  connectLoopback,
  connectPort,
  type HubMessage,
  type HubRequest,
  SEAT,
  type WorkerSeat,
} from './worker-protocol.js';

/**
 * This thread's node in the mesh of its parent.
 *
 * @throws MigrationError `target-unavailable` where the thread was not started by `WorkerMesh.spawn`
 */
export function joinWorkerMesh(): Mesh {
  const seat = isMainThread ? undefined : (workerData as { [SEAT]?: WorkerSeat } | undefined)?.[SEAT];
  if (!seat) {
    throw new MigrationError(
      'target-unavailable',
      'this thread has no seat in a mesh: start it by WorkerMesh.spawn(script)',
    );
  }
  const hub = new Hub(seat.hub);
  const mesh = new LinkedMesh(seat.nodeId, hub, hub, () => seat.hub.close());
  connectLoopback(mesh);
  for (const { nodeId, port } of seat.peers) connectPort(mesh, nodeId, port);
  hub.onPeer = (nodeId, port) => (port ? connectPort(mesh, nodeId, port) : mesh.removePeer(nodeId));
  return mesh;
}

/** The parent's register and channels, asked over a port. */
class Hub implements OwnershipRegister, ChannelService {
  /** A peer has joined, or (without a port) is gone. */
  onPeer: (nodeId: bigint, port: MessagePort | undefined) => void = () => {};
  readonly #port: MessagePort;
  readonly #waiting = new Map<number, (value: never) => void>();
  readonly #listeners = new Map<number, ChannelListener>();
  #nextId = 1;

  constructor(port: MessagePort) {
    this.#port = port;
    port.on('message', (message: HubMessage) => this.#receive(message));
  }

  read(origin: bigint): Promise<RegisteredOwnership | undefined> {
    return this.#ask((id) => ({ op: 'read', id, origin }));
  }

  compareAndSet(origin: bigint, expected: bigint, entry: OwnershipEntry | undefined): Promise<boolean> {
    return this.#ask((id) => ({ op: 'compareAndSet', id, origin, expected, entry }));
  }

  publish(channel: string, epoch: bigint, events: readonly CausalEvent[]): void {
    this.#tell({ op: 'publish', channel, epoch, events });
  }

  subscribe(channel: string, listener: ChannelListener) {
    const id = this.#nextId++;
    this.#listeners.set(id, listener);
    this.#tell({ op: 'subscribe', id, channel });
    return {
      unsubscribe: () => {
        this.#listeners.delete(id);
        this.#tell({ op: 'unsubscribe', id });
      },
    };
  }

  forget(originHash: bigint): void {
    this.#tell({ op: 'forget', originHash });
  }

  #ask<T>(request: (id: number) => HubRequest): Promise<T> {
    const id = this.#nextId++;
    return new Promise<T>((resolve) => {
      this.#waiting.set(id, resolve);
      this.#tell(request(id));
    });
  }

  #tell(request: HubRequest): void {
    this.#port.postMessage(request);
  }

  #receive(message: HubMessage): void {
    switch (message.op) {
      case 'answer':
        this.#waiting.get(message.id)?.(message.value as never);
        this.#waiting.delete(message.id);
        break;
      case 'events':
        this.#listeners.get(message.id)?.(message.channel, message.events as CausalEvent[]);
        break;
      case 'joined':
        this.onPeer(message.nodeId, message.port);
        break;
      case 'gone':
        this.onPeer(message.nodeId, undefined);
    }
  }
}
