import { MigrationError } from '../../errors.js';
import { checkBytes, checkInteger, checkU64 } from '../arguments.js';
import { checkColumns, type FrameColumns } from '../columns.js';
import { MAX_SNAPSHOT_CHUNK_SIZE, MAX_TOTAL_CHUNKS, SNAPSHOT_READY_HEADER_SIZE } from '../message.js';
import { copyU64, putU64, readU32, writeU32 } from './bytes.js';
import { writeChunkHeader } from './frame.js';
import { found, scanFrame } from './scan.js';

/** Bytes of the length before each frame of a batch. */
const PREFIX_SIZE = 4;
/** Bytes of the fixed-size messages by type; 0 where a message is not of one size, or holds more than two u64. */
const FIXED_SIZE = [17, 0, 17, 0, 17, 9, 0, 0, 9, 17];
/** Whether a message has a second u64 at byte 9. */
const HAS_WORD = [true, true, true, true, true, false, false, false, false, true];

/** The two u64 columns as one array of u32, so that filling them makes no bigint. */
function wideColumns(columns: FrameColumns): Uint32Array {
  return new Uint32Array(columns.buffer.buffer, columns.buffer.byteOffset, columns.capacity * 4);
}

export function decodeBatch(batch: Uint8Array, columns: FrameColumns, start = 0): number {
  checkBytes(batch, 'batch');
  checkColumns(columns);
  checkInteger(start, 'start', 0, batch.length);
  const { capacity } = columns;
  const wide = wideColumns(columns);
  const end = batch.length;
  let at = start;
  let row = 0;
  while (row < capacity && end - at >= PREFIX_SIZE) {
    const frameAt = at + PREFIX_SIZE;
    const frameEnd = frameAt + readU32(batch, at);
    if (frameEnd > end) break;
    decodeRow(batch, frameAt, frameEnd, columns, wide, row);
    row++;
    at = frameEnd;
  }
  columns.count = row;
  return at;
}

function decodeRow(
  batch: Uint8Array,
  at: number,
  end: number,
  columns: FrameColumns,
  wide: Uint32Array,
  row: number,
): void {
  const status = scanFrame(batch, at, end);
  columns.status[row] = status;
  columns.frameOffset[row] = at;
  columns.frameLength[row] = end - at;
  if (status !== 0) {
    clearRow(columns, wide, row);
    columns.type[row] = at < end ? batch[at]! : 0;
    return;
  }
  const type = batch[at]!;
  const wordElement = 2 * (columns.capacity + row);
  columns.type[row] = type;
  copyU64(batch, at + 1, wide, row);
  if (HAS_WORD[type]) {
    copyU64(batch, at + 9, wide, columns.capacity + row);
  } else {
    wide[wordElement] = 0;
    wide[wordElement + 1] = 0;
  }
  columns.baseLength[row] = found.baseLength;
  columns.index[row] = found.index;
  columns.total[row] = found.total;
  columns.payloadOffset[row] = found.payloadOffset;
  columns.payloadLength[row] = found.payloadLength;
}

/** A refused row holds nothing of the frame that stood there in an earlier batch. */
function clearRow(columns: FrameColumns, wide: Uint32Array, row: number): void {
  const word = 2 * (columns.capacity + row);
  wide[2 * row] = 0;
  wide[2 * row + 1] = 0;
  wide[word] = 0;
  wide[word + 1] = 0;
  columns.baseLength[row] = 0;
  columns.index[row] = 0;
  columns.total[row] = 0;
  columns.payloadOffset[row] = 0;
  columns.payloadLength[row] = 0;
}

/** Bytes that rows `0 .. count` take; refuses a row whose type is not of a fixed size. */
function measureRows(columns: FrameColumns): number {
  const { count, type } = columns;
  let length = 0;
  for (let row = 0; row < count; row++) {
    const size = FIXED_SIZE[type[row]!] ?? 0;
    if (size === 0) {
      throw new MigrationError(
        'unknown-type',
        `columns row ${row} has type ${type[row]}, which is no message of a fixed size: encode it on its own`,
        { details: { row, type: type[row] } },
      );
    }
    length += PREFIX_SIZE + size;
  }
  return length;
}

export function encodeBatch(columns: FrameColumns, target: Uint8Array): number {
  checkColumns(columns);
  checkInteger(columns.count, 'columns.count', 0, columns.capacity);
  checkBytes(target, 'target');
  const length = measureRows(columns);
  if (target.length < length) {
    throw new TypeError(`target must have at least ${length} bytes for ${columns.count} rows, got ${target.length}`);
  }
  const { capacity, count, type } = columns;
  const wide = wideColumns(columns);
  let at = 0;
  for (let row = 0; row < count; row++) {
    const size = FIXED_SIZE[type[row]!]!;
    writeU32(target, at, size);
    at += PREFIX_SIZE;
    target[at] = type[row]!;
    putU64(target, at + 1, wide, row);
    if (size === 17) putU64(target, at + 9, wide, capacity + row);
    at += size;
  }
  return length;
}

export function writeChunkHeaders(
  headers: Uint8Array,
  daemonOrigin: bigint,
  seqThrough: bigint,
  snapshotLength: number,
  firstIndex: number,
  count: number,
): void {
  checkBytes(headers, 'headers');
  checkU64(daemonOrigin, 'daemonOrigin');
  checkU64(seqThrough, 'seqThrough');
  checkInteger(snapshotLength, 'snapshotLength', 0, Number.MAX_SAFE_INTEGER);
  checkInteger(firstIndex, 'firstIndex', 0, 0xffff_ffff);
  checkInteger(count, 'count', 0, 0xffff_ffff);
  const total = chunkCount(snapshotLength);
  if (firstIndex + count > total) {
    throw new MigrationError(
      'chunk-index-out-of-range',
      `chunks ${firstIndex} to ${firstIndex + count} asked for, but a snapshot of ${snapshotLength} bytes has ${total}`,
      { details: { firstIndex, count, totalChunks: total } },
    );
  }
  if (headers.length < count * SNAPSHOT_READY_HEADER_SIZE) {
    throw new TypeError(
      `headers must have at least ${count * SNAPSHOT_READY_HEADER_SIZE} bytes for ${count} chunks, got ${headers.length}`,
    );
  }
  for (let i = 0; i < count; i++) {
    const index = firstIndex + i;
    const length = Math.min(MAX_SNAPSHOT_CHUNK_SIZE, snapshotLength - index * MAX_SNAPSHOT_CHUNK_SIZE);
    writeChunkHeader(headers, i * SNAPSHOT_READY_HEADER_SIZE, daemonOrigin, seqThrough, index, total, length);
  }
}

/** How many chunks a snapshot is cut into; an empty one is a single empty chunk. */
function chunkCount(snapshotLength: number): number {
  const total = Math.max(1, Math.ceil(snapshotLength / MAX_SNAPSHOT_CHUNK_SIZE));
  if (total > MAX_TOTAL_CHUNKS) {
    throw new MigrationError(
      'total-chunks-too-large',
      `a snapshot of ${snapshotLength} bytes is ${total} chunks, at most ${MAX_TOTAL_CHUNKS} are taken`,
      { details: { size: snapshotLength, totalChunks: total, max: MAX_TOTAL_CHUNKS } },
    );
  }
  return total;
}
