import { MigrationFailureReason } from './failure.js';
import type { CausalEvent, CausalLink } from './link.js';

/** The id of the migration subprotocol in a mesh's frame header (PROTOCOL.md, title). */
export const SUBPROTOCOL_MIGRATION = 0x0500;

/** Byte 0 of each message (PROTOCOL.md §3). */
export const MessageType = {
  TakeSnapshot: 0,
  SnapshotReady: 1,
  RestoreComplete: 2,
  ReplayComplete: 3,
  CutoverNotify: 4,
  CleanupComplete: 5,
  MigrationFailed: 6,
  BufferedEvents: 7,
  ActivateTarget: 8,
  ActivateAck: 9,
} as const;

export type MessageKind = keyof typeof MessageType;

/** The largest chunk of a snapshot, and the largest payload of a buffered event, in bytes. */
export const MAX_SNAPSHOT_CHUNK_SIZE = 7_000;
/** The largest `totalChunks` that a decoder takes. */
export const MAX_TOTAL_CHUNKS = 700_000;
/** The most events in one BufferedEvents. */
export const MAX_BUFFERED_EVENTS = 1_000_000;
/** The fewest bytes that a buffered event takes: link, payload length, receivedAt. */
export const MIN_EVENT_WIRE_SIZE = 44;
/** Bytes of SnapshotReady before the chunk itself. */
export const SNAPSHOT_READY_HEADER_SIZE = 29;

export interface TakeSnapshot {
  readonly kind: 'TakeSnapshot';
  readonly daemonOrigin: bigint;
  readonly targetNode: bigint;
}

export interface SnapshotReady {
  readonly kind: 'SnapshotReady';
  readonly daemonOrigin: bigint;
  readonly seqThrough: bigint;
  /** Below `totalChunks`. */
  readonly chunkIndex: number;
  /** 1 to {@link MAX_TOTAL_CHUNKS}. */
  readonly totalChunks: number;
  /** At most {@link MAX_SNAPSHOT_CHUNK_SIZE} bytes; after decoding, a view of the frame. */
  readonly snapshotBytes: Uint8Array;
}

export interface RestoreComplete {
  readonly kind: 'RestoreComplete';
  readonly daemonOrigin: bigint;
  readonly restoredSeq: bigint;
}

export interface ReplayComplete {
  readonly kind: 'ReplayComplete';
  readonly daemonOrigin: bigint;
  readonly replayedSeq: bigint;
  readonly targetHead: CausalLink;
}

export interface CutoverNotify {
  readonly kind: 'CutoverNotify';
  readonly daemonOrigin: bigint;
  readonly targetNode: bigint;
}

export interface CleanupComplete {
  readonly kind: 'CleanupComplete';
  readonly daemonOrigin: bigint;
}

export interface MigrationFailed {
  readonly kind: 'MigrationFailed';
  readonly daemonOrigin: bigint;
  readonly reason: MigrationFailureReason;
}

export interface BufferedEvents {
  readonly kind: 'BufferedEvents';
  readonly daemonOrigin: bigint;
  /** After decoding, payloads are views of the frame. */
  readonly events: readonly CausalEvent[];
}

export interface ActivateTarget {
  readonly kind: 'ActivateTarget';
  readonly daemonOrigin: bigint;
}

export interface ActivateAck {
  readonly kind: 'ActivateAck';
  readonly daemonOrigin: bigint;
  readonly replayedSeq: bigint;
}

/** One message of the migration subprotocol (PROTOCOL.md §3). u64 fields are `bigint`, smaller ones `number`. */
export type MigrationMessage =
  | TakeSnapshot
  | SnapshotReady
  | RestoreComplete
  | ReplayComplete
  | CutoverNotify
  | CleanupComplete
  | MigrationFailed
  | BufferedEvents
  | ActivateTarget
  | ActivateAck;

const FIXED_LENGTH = {
  TakeSnapshot: 17,
  RestoreComplete: 17,
  ReplayComplete: 49,
  CutoverNotify: 17,
  CleanupComplete: 9,
  ActivateTarget: 9,
  ActivateAck: 17,
} as const;

/**
 * The bytes that a message's base fields take. What a frame holds beyond them is its trailer (PROTOCOL.md §8).
 * Encoding is canonical, so this holds for decoded messages too.
 */
export function encodedLength(message: MigrationMessage): number {
  switch (message.kind) {
    case 'SnapshotReady':
      return SNAPSHOT_READY_HEADER_SIZE + message.snapshotBytes.length;
    case 'MigrationFailed':
      return 11 + MigrationFailureReason.payloadLength(message.reason);
    case 'BufferedEvents': {
      let length = 13;
      for (const { payload } of message.events) length += MIN_EVENT_WIRE_SIZE + payload.length;
      return length;
    }
    default:
      return FIXED_LENGTH[message.kind];
  }
}
