import { MessageChannel, type MessagePort, Worker, type WorkerOptions } from 'node:worker_threads';
import type { MigrationError } from '../errors.js';
import type { ChannelLimits } from './channel-history.js';
import { Channels } from './channels.js';
import { LinkedMesh } from './linked-mesh.js';
import type { ChannelSubscription, Mesh } from './mesh.js';
import { OwnershipTable } from './register.js';
import {
  connectLoopback,
  connectPort,
  type HubMessage,
  type HubRequest,
  refusalOf,
  SEAT,
  type WorkerSeat,
} from './worker-protocol.js';

interface Seat {
  readonly worker: Worker;
  readonly hub: MessagePort;
  readonly subscriptions: Map<number, ChannelSubscription>;
  /** Per subscription that has been given something: to be called when the worker has taken it. */
  readonly taken: Map<number, () => void>;
}

/** A node in a thread of its own. */
export interface WorkerNode {
  readonly nodeId: bigint;
  readonly worker: Worker;
}

/**
 * Nodes as worker threads, joined by message ports: the embedded default. The parent holds the ownership register and the
 * channels, is a node itself, and knows for certain when a thread is gone.
 */
export class WorkerMesh {
  /** The parent's own node. */
  readonly local: Mesh;
  readonly #local: LinkedMesh;
  readonly #register = new OwnershipTable();
  readonly #channels: Channels;
  readonly #seats = new Map<bigint, Seat>();

  /**
   * @param nodeId the parent's node id, u64
   * @param limits how much each channel keeps
   */
  constructor(nodeId = 1n, limits: ChannelLimits = {}) {
    this.#channels = new Channels(limits);
    this.#local = new LinkedMesh(nodeId, this.#register, this.#channels, () => this.close());
    this.local = this.#local;
    connectLoopback(this.#local);
  }

  /**
   * Starts a thread and joins it to all others. Its script calls `joinWorkerMesh()`.
   *
   * @param nodeId u64, unique in this mesh; the next free number by default
   */
  spawn(script: URL | string, options: WorkerOptions = {}, nodeId = this.#nextNodeId()): WorkerNode {
    if (nodeId === this.local.nodeId || this.#seats.has(nodeId))
      throw new TypeError(`node ${nodeId} is in this mesh already`);
    const hub = new MessageChannel();
    const peers: Array<{ nodeId: bigint; port: MessagePort }> = [];
    const join = (otherId: bigint, give: (port: MessagePort) => void) => {
      const { port1, port2 } = new MessageChannel();
      give(port1);
      peers.push({ nodeId: otherId, port: port2 });
    };
    join(this.local.nodeId, (port) => connectPort(this.#local, nodeId, port));
    for (const [otherId, seat] of this.#seats) {
      join(otherId, (port) => tell(seat.hub, { op: 'joined', nodeId, port }, [port]));
    }
    const seat: WorkerSeat = { nodeId, hub: hub.port2, peers };
    const worker = new Worker(script, {
      ...options,
      workerData: { ...options.workerData, [SEAT]: seat },
      transferList: [...(options.transferList ?? []), hub.port2, ...peers.map(({ port }) => port)],
    });
    this.#seats.set(nodeId, { worker, hub: hub.port1, subscriptions: new Map(), taken: new Map() });
    hub.port1.on('message', (request: HubRequest) => this.#serve(nodeId, request));
    // Its end follows as `exit`; without a listener the error would be the parent's.
    worker.on('error', (error) =>
      process.emitWarning(`node ${nodeId} of the mesh ended by an error: ${error.message}`),
    );
    worker.once('exit', () => this.#gone(nodeId));
    return { nodeId, worker };
  }

  /** Ends all threads. Idempotent. */
  async close(): Promise<void> {
    const seats = [...this.#seats.values()];
    for (const nodeId of [...this.#seats.keys()]) this.#gone(nodeId);
    await Promise.all(seats.map(({ worker }) => worker.terminate()));
  }

  #nextNodeId(): bigint {
    let highest = this.local.nodeId;
    for (const nodeId of this.#seats.keys()) if (nodeId > highest) highest = nodeId;
    return highest + 1n;
  }

  #gone(nodeId: bigint): void {
    const seat = this.#seats.get(nodeId);
    if (!seat) return;
    this.#seats.delete(nodeId);
    for (const subscription of seat.subscriptions.values()) subscription.unsubscribe();
    seat.hub.close();
    this.#local.removePeer(nodeId);
    for (const other of this.#seats.values()) tell(other.hub, { op: 'gone', nodeId });
  }

  #serve(nodeId: bigint, request: HubRequest): void {
    const seat = this.#seats.get(nodeId);
    if (!seat) return;
    switch (request.op) {
      case 'read':
        tell(seat.hub, { op: 'answer', id: request.id, value: this.#register.read(request.origin) });
        break;
      case 'compareAndSet': {
        const { id, origin, expected, entry } = request;
        tell(seat.hub, { op: 'answer', id, value: this.#register.compareAndSet(origin, expected, entry) });
        break;
      }
      case 'publish':
        this.#channels.publish(request.channel, request.epoch, request.events);
        tell(seat.hub, { op: 'published', bytes: request.bytes });
        break;
      case 'subscribe':
        this.#subscribe(seat, request);
        break;
      case 'taken':
        seat.taken.get(request.id)?.();
        break;
      case 'unsubscribe':
        seat.subscriptions.get(request.id)?.unsubscribe();
        seat.subscriptions.delete(request.id);
        seat.taken.delete(request.id);
        break;
      case 'forget':
        this.#channels.forget(request.originHash);
    }
  }

  /** One delivery is on its way at a time: the next one follows when the worker has taken it. */
  #subscribe({ hub, subscriptions, taken }: Seat, { id, channel, options }: HubRequest & { op: 'subscribe' }): void {
    const onExpired = (error: MigrationError) => tell(hub, { op: 'expired', id, error: refusalOf(error) });
    try {
      const subscription = this.#channels.subscribe(channel, { ...options, onExpired }, (name, events, position) => {
        tell(hub, { op: 'events', id, channel: name, events, position });
        return new Promise((resolve) => taken.set(id, resolve));
      });
      subscriptions.set(id, subscription);
      tell(hub, { op: 'answer', id, value: subscription.position });
    } catch (error) {
      tell(hub, { op: 'refused', id, error: refusalOf(error) });
    }
  }
}

function tell(hub: MessagePort, message: HubMessage, transfer: MessagePort[] = []): void {
  hub.postMessage(message, transfer);
}
