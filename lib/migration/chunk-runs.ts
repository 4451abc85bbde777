import type { MigrationCodec } from '../wire/codec.js';
import { FrameColumns } from '../wire/columns.js';

const SNAPSHOT_READY = 1;
const PREFIX_SIZE = 4;
/** Below this, what a run saves is less than what finding it costs. */
const MIN_BATCH_BYTES = 32 * 1024;
const ROWS = 256;

export interface ChunkRunListener {
  /** A frame by itself. @returns whether it was taken, and not refused */
  each(frame: Uint8Array): boolean;
  /**
   * Rows `from .. to`: chunks of one daemon whose trailers are that of the frame before them.
   *
   * @returns the row at which it stopped
   */
  run(origin: bigint, columns: FrameColumns, from: number, to: number): number;
}

/**
 * Finds, in a batch, the chunks that follow one another with the same trailer: all but the first of them need no object and
 * no decoding of their own.
 */
export class ChunkRuns {
  readonly #codec: MigrationCodec;
  #columns: FrameColumns | undefined;

  constructor(codec: MigrationCodec) {
    this.#codec = codec;
  }

  /** Whether a batch begins with a chunk, and has room for many. */
  isWorthWhile(batch: Uint8Array): boolean {
    return batch.length >= MIN_BATCH_BYTES && batch[PREFIX_SIZE] === SNAPSHOT_READY;
  }

  forEach(batch: Uint8Array, listener: ChunkRunListener): void {
    this.#columns ??= new FrameColumns(ROWS);
    const columns = this.#columns;
    const bytes = Buffer.from(batch.buffer, batch.byteOffset, batch.byteLength);
    for (let at = 0, next = 0; ; at = next) {
      next = this.#codec.decodeBatch(batch, columns, at);
      if (next === at) return;
      this.#rows(bytes, columns, listener);
    }
  }

  #rows(batch: Buffer, columns: FrameColumns, listener: ChunkRunListener): void {
    // A listener may hand in another batch before this one is through.
    this.#columns = undefined;
    const { count, frameOffset, frameLength, origin } = columns;
    for (let row = 0; row < count; ) {
      const start = frameOffset[row]!;
      const isTaken = listener.each(batch.subarray(start, start + frameLength[row]!));
      // What a peer may not send, or of another try, is refused row by row.
      const end = isTaken ? this.#runEnd(batch, columns, row) : row + 1;
      row++;
      if (end > row) row = listener.run(origin[row]!, columns, row, end);
    }
    this.#columns = columns;
  }

  /** The first row after `row` that is not the same daemon's chunk with the same trailer. */
  #runEnd(batch: Buffer, columns: FrameColumns, row: number): number {
    const { count, type, status, origin } = columns;
    let end = row + 1;
    if (type[row] !== SNAPSHOT_READY || status[row] !== 0) return end;
    while (
      end < count &&
      type[end] === SNAPSHOT_READY &&
      status[end] === 0 &&
      origin[end] === origin[row] &&
      sameTrailer(batch, columns, row, end)
    ) {
      end++;
    }
    return end;
  }
}

function sameTrailer(batch: Buffer, columns: FrameColumns, a: number, b: number): boolean {
  const { frameOffset, frameLength, baseLength } = columns;
  const aStart = frameOffset[a]! + baseLength[a]!;
  const bStart = frameOffset[b]! + baseLength[b]!;
  const aEnd = frameOffset[a]! + frameLength[a]!;
  const bEnd = frameOffset[b]! + frameLength[b]!;
  return aEnd - aStart === bEnd - bStart && batch.compare(batch, bStart, bEnd, aStart, aEnd) === 0;
}
