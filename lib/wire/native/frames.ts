import { MigrationError } from '../../errors.js';
import { checkBytes, checkInteger, checkU64 } from '../arguments.js';
import type { FrameCodec } from '../codec.js';
import { checkColumns, type FrameColumns } from '../columns.js';
import { SNAPSHOT_READY_HEADER_SIZE } from '../message.js';
import { decodeBatch, encodeBatch, writeChunkHeaders } from '../typescript/batch.js';
import type { Addon } from './addon.js';
import { refusal } from './refusal.js';

/**
 * A crossing costs as much as these many bytes, rows or headers in TypeScript (measured: see docs/benchmarks). Smaller calls
 * stay on this side.
 */
const BATCH_BYTES_MIN = 200;
const ROWS_MIN = 32;
const HEADERS_MIN = 14;

const ROW_SHIFT = 2 ** 32;

/** Rust may not be given the same memory to read and to write. */
export function checkApart(bytes: Uint8Array, argument: string, columns: FrameColumns): void {
  if (bytes.buffer === columns.buffer.buffer) throw new TypeError(`${argument} must not lie in the memory of columns`);
}

type BatchFunctions = Pick<FrameCodec, 'decodeBatch' | 'encodeBatch' | 'writeChunkHeaders'>;

export function frameFunctions(addon: Addon): BatchFunctions {
  return {
    decodeBatch(batch, columns, start = 0) {
      checkBytes(batch, 'batch');
      checkColumns(columns);
      checkInteger(start, 'start', 0, batch.length);
      if (batch.length - start < BATCH_BYTES_MIN) return decodeBatch(batch, columns, start);
      checkApart(batch, 'batch', columns);
      const end = addon.decodeBatch(batch, columns.buffer, start);
      if (end < 0) throw new TypeError(`batch must have less than 2^32 bytes, got ${batch.length}`);
      columns.count = Math.floor(end / ROW_SHIFT);
      return end % ROW_SHIFT;
    },

    encodeBatch(columns, target) {
      checkColumns(columns);
      const { count } = columns;
      if (count < ROWS_MIN) return encodeBatch(columns, target);
      checkInteger(count, 'columns.count', 0, columns.capacity);
      checkBytes(target, 'target');
      checkApart(target, 'target', columns);
      const length = addon.measureBatch(columns.buffer, count);
      if (length < 0) throw noFixedSize(-1 - length, columns);
      if (target.length < length) {
        throw new TypeError(`target must have at least ${length} bytes for ${count} rows, got ${target.length}`);
      }
      addon.encodeBatch(columns.buffer, count, target);
      return length;
    },

    writeChunkHeaders(headers, daemonOrigin, seqThrough, snapshotLength, firstIndex, count) {
      const enough = typeof count === 'number' && headers?.length >= count * SNAPSHOT_READY_HEADER_SIZE;
      if (!enough || count < HEADERS_MIN) {
        writeChunkHeaders(headers, daemonOrigin, seqThrough, snapshotLength, firstIndex, count);
        return;
      }
      checkBytes(headers, 'headers');
      checkU64(daemonOrigin, 'daemonOrigin');
      checkU64(seqThrough, 'seqThrough');
      checkInteger(snapshotLength, 'snapshotLength', 0, Number.MAX_SAFE_INTEGER);
      checkInteger(firstIndex, 'firstIndex', 0, 0xffff_ffff);
      checkInteger(count, 'count', 0, 0xffff_ffff);
      try {
        addon.writeChunkHeaders(headers, daemonOrigin, seqThrough, snapshotLength, firstIndex, count);
      } catch (error) {
        throw refusal(error);
      }
    },
  };
}

function noFixedSize(row: number, columns: FrameColumns): MigrationError {
  const type = columns.type[row];
  return new MigrationError(
    'unknown-type',
    `columns row ${row} has type ${type}, which is no message of a fixed size: encode it on its own`,
    { details: { row, type } },
  );
}
