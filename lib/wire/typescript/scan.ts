import { isUtf8 } from 'node:buffer';
import { CODEC_ERROR_KINDS, type CodecErrorKind, MigrationError } from '../../errors.js';
import {
  MAX_BUFFERED_EVENTS,
  MAX_SNAPSHOT_CHUNK_SIZE,
  MAX_TOTAL_CHUNKS,
  MIN_EVENT_WIRE_SIZE,
  SNAPSHOT_READY_HEADER_SIZE,
} from '../message.js';
import { readU16, readU32, view } from './bytes.js';

/** Bytes of BufferedEvents before its first event, and of MigrationFailed before what its code carries. */
export const EVENTS_HEADER_SIZE = 13;
export const FAILURE_HEADER_SIZE = 11;
/** Bytes of a buffered event before its payload: the link and the payload's length. */
export const EVENT_HEADER_SIZE = 36;

/** Bytes of the base fields up to the first variable one, by message type (PROTOCOL.md §3). */
const HEADER_SIZE = [17, SNAPSHOT_READY_HEADER_SIZE, 17, 49, 17, 9, FAILURE_HEADER_SIZE, EVENTS_HEADER_SIZE, 9, 17];
const TYPE_NAME = [
  'TakeSnapshot',
  'SnapshotReady',
  'RestoreComplete',
  'ReplayComplete',
  'CutoverNotify',
  'CleanupComplete',
  'MigrationFailed',
  'BufferedEvents',
  'ActivateTarget',
  'ActivateAck',
];

/**
 * What the last {@link scanFrame} found: the columns of an accepted frame, or where and why one was refused. One object
 * for all scans, so that a scan allocates nothing; it holds until the next scan.
 */
export const found = {
  baseLength: 0,
  index: 0,
  total: 0,
  payloadOffset: 0,
  payloadLength: 0,
  /** Refused: the byte at which, and the value met and the one wanted. */
  at: 0,
  value: 0,
  limit: 0,
};

function statusOf(kind: CodecErrorKind): number {
  return 1 + CODEC_ERROR_KINDS.indexOf(kind);
}

const EMPTY_FRAME = statusOf('empty-frame');
const UNKNOWN_TYPE = statusOf('unknown-type');
const UNKNOWN_FAILURE_CODE = statusOf('unknown-failure-code');
const TRUNCATED = statusOf('truncated');
const INVALID_UTF8 = statusOf('invalid-utf8');
const ZERO_TOTAL_CHUNKS = statusOf('zero-total-chunks');
const TOTAL_CHUNKS_TOO_LARGE = statusOf('total-chunks-too-large');
const CHUNK_INDEX_OUT_OF_RANGE = statusOf('chunk-index-out-of-range');
const CHUNK_TOO_LARGE = statusOf('chunk-too-large');
const EVENT_TOO_LARGE = statusOf('event-too-large');
const EVENT_COUNT_TOO_LARGE = statusOf('event-count-too-large');

/** Notes a refusal; `value` and `limit` mean what the kind's message says of them. */
function refused(status: number, at: number, value: number, limit: number): number {
  found.at = at;
  found.value = value;
  found.limit = limit;
  return status;
}

function accepted(base: number, index: number, total: number, payloadOffset: number, payloadLength: number): number {
  found.baseLength = base;
  found.index = index;
  found.total = total;
  found.payloadOffset = payloadOffset;
  found.payloadLength = payloadLength;
  return 0;
}

/**
 * Checks the frame in `bytes[start .. end)` by every rule of PROTOCOL.md §3, in the order in which its fields stand, the
 * fixed part as one: a frame too short for it is truncated whatever its fields hold.
 *
 * @returns 0 and the layout in {@link found}, or the refusal as a status of `FrameColumns` and its place in {@link found}
 */
export function scanFrame(bytes: Uint8Array, start: number, end: number): number {
  if (start >= end) return refused(EMPTY_FRAME, start, 0, 1);
  const type = bytes[start]!;
  if (type >= HEADER_SIZE.length) return refused(UNKNOWN_TYPE, start, type, HEADER_SIZE.length - 1);
  const header = HEADER_SIZE[type]!;
  if (end - start < header) return refused(TRUNCATED, start, end - start, header);
  switch (type) {
    case 1:
      return scanSnapshotReady(bytes, start, end);
    case 3:
      return accepted(header, 0, 0, start + 17, 32);
    case 6:
      return scanFailure(bytes, start, end);
    case 7:
      return scanEvents(bytes, start, end);
    default:
      return accepted(header, 0, 0, 0, 0);
  }
}

function scanSnapshotReady(bytes: Uint8Array, start: number, end: number): number {
  const index = readU32(bytes, start + 17);
  const total = readU32(bytes, start + 21);
  const length = readU32(bytes, start + 25);
  if (total === 0) return refused(ZERO_TOTAL_CHUNKS, start + 21, 0, 1);
  if (total > MAX_TOTAL_CHUNKS) return refused(TOTAL_CHUNKS_TOO_LARGE, start + 21, total, MAX_TOTAL_CHUNKS);
  if (index >= total) return refused(CHUNK_INDEX_OUT_OF_RANGE, start + 17, index, total);
  if (length > MAX_SNAPSHOT_CHUNK_SIZE) return refused(CHUNK_TOO_LARGE, start + 25, length, MAX_SNAPSHOT_CHUNK_SIZE);
  const base = SNAPSHOT_READY_HEADER_SIZE + length;
  if (end - start < base) return refused(TRUNCATED, start, end - start, base);
  return accepted(base, index, total, start + SNAPSHOT_READY_HEADER_SIZE, length);
}

function scanFailure(bytes: Uint8Array, start: number, end: number): number {
  const code = readU16(bytes, start + 9);
  if (code > 6) return refused(UNKNOWN_FAILURE_CODE, start + 9, code, 6);
  if (code === 6) {
    if (end - start < 12) return refused(TRUNCATED, start, end - start, 12);
    return accepted(12, code, bytes[start + 11]!, 0, 0);
  }
  if (code !== 3 && code !== 5) return accepted(FAILURE_HEADER_SIZE, code, 0, 0, 0);
  if (end - start < 13) return refused(TRUNCATED, start, end - start, 13);
  const length = readU16(bytes, start + 11);
  if (end - start < 13 + length) return refused(TRUNCATED, start, end - start, 13 + length);
  if (!isUtf8(view(bytes, start + 13, length))) return refused(INVALID_UTF8, start + 13, length, 0);
  return accepted(13 + length, code, 0, start + 13, length);
}

function scanEvents(bytes: Uint8Array, start: number, end: number): number {
  const count = readU32(bytes, start + 9);
  const first = start + EVENTS_HEADER_SIZE;
  const room = Math.min(MAX_BUFFERED_EVENTS, Math.floor((end - first) / MIN_EVENT_WIRE_SIZE));
  if (count > room) return refused(EVENT_COUNT_TOO_LARGE, start + 9, count, room);
  let at = first;
  for (let i = 0; i < count; i++) {
    if (end - at < MIN_EVENT_WIRE_SIZE) return refused(TRUNCATED, start, end - start, at + MIN_EVENT_WIRE_SIZE - start);
    const length = readU32(bytes, at + 32);
    if (length > MAX_SNAPSHOT_CHUNK_SIZE) return refused(EVENT_TOO_LARGE, at + 32, length, MAX_SNAPSHOT_CHUNK_SIZE);
    at += MIN_EVENT_WIRE_SIZE + length;
    if (at > end) return refused(TRUNCATED, start, end - start, at - start);
  }
  return accepted(at - start, count, 0, first, at - first);
}

/**
 * The error for what {@link scanFrame} has just refused. Offsets are counted from the start of the frame.
 */
export function scanError(bytes: Uint8Array, start: number, status: number): MigrationError {
  const kind = CODEC_ERROR_KINDS[status - 1]!;
  const { value, limit } = found;
  const name = TYPE_NAME[bytes[start] ?? -1] ?? 'frame';
  const at = found.at - start;
  const place = `${name} refused at byte ${at}`;
  switch (status) {
    case EMPTY_FRAME:
      return new MigrationError(kind, 'frame refused at byte 0: it is empty, and a message type was expected', {
        details: { offset: 0, length: 0 },
      });
    case UNKNOWN_TYPE:
      return new MigrationError(
        kind,
        `frame refused at byte 0: unknown message type ${value}, known are 0 to ${limit}`,
        {
          details: { offset: 0, type: value },
        },
      );
    case UNKNOWN_FAILURE_CODE:
      return new MigrationError(kind, `${place}: unknown failure code ${value}, known are 0 to ${limit}`, {
        details: { offset: at, code: value },
      });
    case TRUNCATED:
      return new MigrationError(
        kind,
        `${name} is truncated: it ends at byte ${value}, its fields need ${limit} bytes`,
        {
          details: { offset: value, length: value, needed: limit },
        },
      );
    case INVALID_UTF8:
      return new MigrationError(kind, `${place}: its ${value} bytes of text are not UTF-8`, {
        details: { offset: at, length: value },
      });
    case ZERO_TOTAL_CHUNKS:
      return new MigrationError(kind, `${place}: total_chunks is 0, at least 1 was expected`, {
        details: { offset: at, totalChunks: 0 },
      });
    case TOTAL_CHUNKS_TOO_LARGE:
      return new MigrationError(kind, `${place}: total_chunks is ${value}, at most ${limit} are taken`, {
        details: { offset: at, totalChunks: value, max: limit },
      });
    case CHUNK_INDEX_OUT_OF_RANGE:
      return new MigrationError(kind, `${place}: chunk_index is ${value}, but total_chunks is ${limit}`, {
        details: { offset: at, chunkIndex: value, totalChunks: limit },
      });
    case CHUNK_TOO_LARGE:
      return new MigrationError(kind, `${place}: the chunk has ${value} bytes, at most ${limit} are taken`, {
        details: { offset: at, length: value, max: limit },
      });
    case EVENT_TOO_LARGE:
      return new MigrationError(kind, `${place}: an event's payload has ${value} bytes, at most ${limit} are taken`, {
        details: { offset: at, length: value, max: limit },
      });
    default:
      return new MigrationError(kind, `${place}: ${value} events announced, at most ${limit} can be there`, {
        details: { offset: at, count: value, max: limit },
      });
  }
}
