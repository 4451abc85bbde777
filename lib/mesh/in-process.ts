import type { ChannelLimits } from './channel-history.js';
import { Channels } from './channels.js';
import { LinkedMesh, type PeerPort } from './linked-mesh.js';
import type { Mesh } from './mesh.js';
import { OwnershipTable } from './register.js';

/** Several nodes in one event loop: for tests, for trying out, and for moving a daemon between parts of one process. */
export class InProcessMesh {
  readonly #register = new OwnershipTable();
  readonly #channels: Channels;
  readonly #nodes = new Map<bigint, LinkedMesh>();
  #lastNodeId = 0n;

  /** @param limits how much each channel keeps */
  constructor(limits: ChannelLimits = {}) {
    this.#channels = new Channels(limits);
  }

  /** Adds a node that sees all others. @param nodeId u64, unique in this mesh; one more than the highest so far by default */
  join(nodeId: bigint = this.#nextNodeId()): Mesh {
    if (nodeId > this.#lastNodeId) this.#lastNodeId = nodeId;
    if (this.#nodes.has(nodeId)) throw new TypeError(`node ${nodeId} is in this mesh already`);
    const node = new LinkedMesh(nodeId, this.#register, this.#channels, () => this.#leave(nodeId));
    this.#nodes.set(nodeId, node);
    for (const [otherId, other] of this.#nodes) {
      node.addPeer({ nodeId: otherId, extensions: true }, this.#port(node, otherId));
      // After this node knows the other, so that what the other has announced finds its place.
      if (other !== node) other.addPeer({ nodeId, extensions: true }, this.#port(other, nodeId));
    }
    return node;
  }

  #nextNodeId(): bigint {
    return ++this.#lastNodeId;
  }

  #leave(nodeId: bigint): void {
    this.#nodes.delete(nodeId);
    for (const other of this.#nodes.values()) other.removePeer(nodeId);
  }

  #port(from: LinkedMesh, to: bigint): PeerPort {
    // In a turn of its own, as on a network: the sender's stack is never the receiver's.
    const later = (deliver: (node: LinkedMesh) => void) =>
      void setImmediate(() => {
        const node = this.#nodes.get(to);
        if (node) deliver(node);
      });
    return {
      post: (batch) => later((node) => node.receive(from.nodeId, batch)),
      credit: (bytes, memory) => later((node) => node.credited(from.nodeId, bytes, memory)),
      announce: (staticKey) => this.#nodes.get(to)?.announced(from.nodeId, staticKey),
      close: () => {},
    };
  }
}
