import type { MessagePort } from 'node:worker_threads';
import { MigrationError, type MigrationErrorDetails, type MigrationErrorKind } from '../errors.js';
import type { CausalEvent } from '../wire/link.js';
import type { Batch } from './link.js';
import type { LinkedMesh, PeerPort } from './linked-mesh.js';
import type { SubscribeOptions } from './mesh.js';
import type { OwnershipEntry, RegisteredOwnership } from './register.js';

/** Between two nodes: a batch, room for more, or the sender's X25519 public key. */
export type LinkMessage = Batch | { readonly credit: number } | { readonly staticKey: Uint8Array };

/** What a worker asks of the parent, which holds the register and the channels. */
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

/** What the parent tells a worker. */
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
  /** So many bytes of what the worker has published are in their channels. */
  | { readonly op: 'published'; readonly bytes: number }
  | { readonly op: 'joined'; readonly nodeId: bigint; readonly port: MessagePort }
  | { readonly op: 'gone'; readonly nodeId: bigint };

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

/** What a worker is started with. */
export interface WorkerSeat {
  readonly nodeId: bigint;
  readonly hub: MessagePort;
  readonly peers: ReadonlyArray<{ readonly nodeId: bigint; readonly port: MessagePort }>;
}

/** The key in `workerData` under which the seat stands, beside the user's own data. */
export const SEAT = '__daemonMigrationSeat';

/** Joins a message port to a mesh as the way to one peer. */
export function connectPort(mesh: LinkedMesh, nodeId: bigint, port: MessagePort): void {
  const peerPort: PeerPort = {
    post: (batch) => port.postMessage(batch satisfies LinkMessage, [batch.bytes.buffer as ArrayBuffer]),
    credit: (bytes) => port.postMessage({ credit: bytes } satisfies LinkMessage),
    announce: (staticKey) => port.postMessage({ staticKey } satisfies LinkMessage),
    close: () => port.close(),
  };
  mesh.addPeer({ nodeId, extensions: true }, peerPort);
  port.on('message', (message: LinkMessage) => {
    if ('credit' in message) mesh.credited(nodeId, message.credit);
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
      credit: (bytes) => void setImmediate(() => mesh.credited(mesh.nodeId, bytes)),
      announce: (staticKey) => mesh.announced(mesh.nodeId, staticKey),
      close: () => {},
    },
  );
}
