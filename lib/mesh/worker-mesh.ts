import { MessageChannel, type MessagePort, Worker, type WorkerOptions } from 'node:worker_threads';
import type { ChannelLimits } from './channel-history.js';
import { Channels } from './channels.js';
import { HubService } from './hub-service.js';
import { LinkedMesh } from './linked-mesh.js';
import type { Mesh } from './mesh.js';
import { OwnershipTable } from './register.js';
import {
  connectLoopback,
  connectPort,
  type HubMessage,
  type HubRequest,
  type NodeSeat,
  SEAT,
} from './worker-protocol.js';

interface Seat {
  readonly worker: Worker;
  readonly hub: MessagePort;
  readonly service: HubService;
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
    const peers: Array<{ readonly nodeId: bigint; readonly port: MessagePort }> = [];
    const join = (otherId: bigint, give: (port: MessagePort) => void) => {
      const { port1, port2 } = new MessageChannel();
      give(port1);
      peers.push({ nodeId: otherId, port: port2 });
    };
    join(this.local.nodeId, (port) => connectPort(this.#local, nodeId, port));
    for (const [otherId, seat] of this.#seats) {
      join(otherId, (port) => tell(seat.hub, { op: 'joined', nodeId, port }, [port]));
    }
    const seat: NodeSeat = { nodeId, hub: hub.port2, peers };
    const worker = new Worker(script, {
      ...options,
      workerData: { ...options.workerData, [SEAT]: seat },
      transferList: [...(options.transferList ?? []), hub.port2, ...peers.map(({ port }) => port)],
    });
    const service = new HubService(this.#register, this.#channels, (message) => tell(hub.port1, message));
    this.#seats.set(nodeId, { worker, hub: hub.port1, service });
    hub.port1.on('message', (request: HubRequest) => service.serve(request));
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
    seat.service.close();
    seat.hub.close();
    this.#local.removePeer(nodeId);
    for (const other of this.#seats.values()) tell(other.hub, { op: 'gone', nodeId });
  }
}

function tell(hub: MessagePort, message: HubMessage, transfer: MessagePort[] = []): void {
  hub.postMessage(message, transfer);
}
