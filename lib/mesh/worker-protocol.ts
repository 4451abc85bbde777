import { MigrationError, type MigrationErrorDetails, type MigrationErrorKind } from '../errors.js';
import type { CausalEvent } from '../wire/link.js';
import type { Batch } from './link.js';
import type { LinkedMesh, PeerPort } from './linked-mesh.js';
import type { SubscribeOptions } from './mesh.js';
import type { OwnershipEntry, RegisteredOwnership } from './register.js';

/** One end of a way for messages, in order: a message port, or what does the same between processes. */
export interface Port<Sent, Received> {
  /** @param transfer memory that is given away, where the way can take it */
  postMessage(message: Sent, transfer?: readonly ArrayBuffer[]): void;
  on(event: 'message', listener: (message: Received) => void): unknown;
  close(): void;
}

/** Between two nodes: a batch, room for more (and memory that is given back), or the sender's X25519 public key. */
export type LinkMessage =
  | Batch
  | { readonly credit: number; readonly memory?: Uint8Array | undefined }
  | { readonly staticKey: Uint8Array };

export type LinkPort = Port<LinkMessage, LinkMessage>;

/** What a node asks of its hub, which holds the register and the channels: of the parent, where the nodes are threads. */
export type HubRequest =
  | { readonly op: 'read'; readonly id: number; readonly origin: bigint }
  | {
      readonly op: 'compareAndSet';
      readonly id: number;
      readonly origin: bigint;
      readonly expected: bigint;
      readonly entry: OwnershipEntry | undefined;
    }
  | {
      readonly op: 'publish';
      readonly channel: string;
      readonly epoch: bigint;
      readonly events: readonly CausalEvent[];
      readonly bytes: number;
    }
  | {
      readonly op: 'subscribe';
      readonly id: number;
      readonly channel: string;
      readonly options: Omit<SubscribeOptions, 'onExpired'>;
    }
  /** The last delivery of that subscription. */
  | { readonly op: 'taken'; readonly id: number }
  | { readonly op: 'unsubscribe'; readonly id: number }
  | { readonly op: 'forget'; readonly originHash: bigint };

/** What a hub tells a node. */
export type HubMessage =
  | {
      readonly op: 'answer';
      readonly id: number;
      readonly value: RegisteredOwnership | Uint8Array | boolean | undefined;
    }
  | { readonly op: 'refused'; readonly id: number; readonly error: HubRefusal }
  | {
      readonly op: 'events';
      readonly id: number;
      readonly channel: string;
      readonly events: readonly CausalEvent[];
      readonly position: Uint8Array;
    }
  /** That subscription has ended. */
  | { readonly op: 'expired'; readonly id: number; readonly error: HubRefusal }
  /** So many bytes of what the node has published are in their channels. */
  | { readonly op: 'published'; readonly bytes: number }
  | { readonly op: 'joined'; readonly nodeId: bigint; readonly port: LinkPort }
  | { readonly op: 'gone'; readonly nodeId: bigint };

export type HubPort = Port<HubRequest, HubMessage>;

/** A MigrationError between threads, where a clone would lose its class. */
export interface HubRefusal {
  readonly kind: MigrationErrorKind;
  readonly message: string;
  readonly details: MigrationErrorDetails;
}

export function refusalOf(error: unknown): HubRefusal {
  if (error instanceof MigrationError) return { kind: error.kind, message: error.message, details: error.details };
  return { kind: 'state-failed', message: error instanceof Error ? error.message : String(error), details: {} };
}

export function errorOfRefusal({ kind, message, details }: HubRefusal): MigrationError {
  return new MigrationError(kind, message, { details });
}

/** What a node is started with. */
export interface NodeSeat {
  readonly nodeId: bigint;
  readonly hub: HubPort;
  readonly peers: ReadonlyArray<{ readonly nodeId: bigint; readonly port: LinkPort }>;
}

/** The key in `workerData` under which the seat stands, beside the user's own data. */
export const SEAT = '__daemonMigrationSeat';

/** Joins a port to a mesh as the way to one peer. */
export function connectPort(mesh: LinkedMesh, nodeId: bigint, port: LinkPort): void {
  const peerPort: PeerPort = {
    post: (batch) => port.postMessage(batch, [batch.bytes.buffer as ArrayBuffer]),
    credit: (credit, memory) => port.postMessage({ credit, memory }, memory && [memory.buffer as ArrayBuffer]),
    announce: (staticKey) => port.postMessage({ staticKey }),
    close: () => port.close(),
  };
  mesh.addPeer({ nodeId, extensions: true }, peerPort);
  port.on('message', (message) => {
    if ('credit' in message) mesh.credited(nodeId, message.credit, message.memory);
    else if ('staticKey' in message) mesh.announced(nodeId, message.staticKey);
    else mesh.receive(nodeId, message);
  });
}

/** The way from a node to itself. */
export function connectLoopback(mesh: LinkedMesh): void {
  mesh.addPeer(
    { nodeId: mesh.nodeId, extensions: true },
    {
      post: (batch) => void setImmediate(() => mesh.receive(mesh.nodeId, batch)),
      credit: (bytes, memory) => void setImmediate(() => mesh.credited(mesh.nodeId, bytes, memory)),
      announce: (staticKey) => mesh.announced(mesh.nodeId, staticKey),
      close: () => {},
    },
  );
}
