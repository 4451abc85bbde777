import { checkBytes, wrongType } from './arguments.js';

/**
 * Many decoded frames as columns: what one call of {@link MigrationCodec.decodeBatch} fills. The caller owns the memory
 * and reuses it, so that decoding makes no object per frame. Row `i` is the i-th frame of the batch.
 *
 * One ArrayBuffer holds all columns, the 8-byte ones first; the native engine writes at the offsets that
 * {@link FrameColumns.layout} gives.
 */
export class FrameColumns {
  readonly capacity: number;
  /** All columns, for engines. */
  readonly buffer: Uint8Array;
  /** How many rows the last decode filled. */
  count = 0;
  /** The daemon's origin hash. */
  readonly origin: BigUint64Array;
  /** The second u64: target node, seq_through, restored_seq or replayed_seq; 0 where a message has none. */
  readonly word: BigUint64Array;
  /** Where the frame begins in the batch, after its length prefix, in bytes. */
  readonly frameOffset: Uint32Array;
  /** Bytes of the whole frame, with its trailer. */
  readonly frameLength: Uint32Array;
  /** Bytes of the base fields; the rest of the frame is its trailer. 0 in a refused row. */
  readonly baseLength: Uint32Array;
  /** SnapshotReady: chunk index. BufferedEvents: event count. MigrationFailed: failure code. Else 0. */
  readonly index: Uint32Array;
  /** SnapshotReady: total chunks. MigrationFailed code 6: attempts. Else 0. */
  readonly total: Uint32Array;
  /** Where the variable part begins in the batch: chunk, failure text, first event, target head. Else 0. */
  readonly payloadOffset: Uint32Array;
  /** Bytes of the variable part. */
  readonly payloadLength: Uint32Array;
  /**
   * 0: decoded. Else 1 + the index of the refusal in `CODEC_ERROR_KINDS`; only the frame columns and the type hold then, the
   * others are 0.
   */
  readonly status: Uint8Array;
  /** Byte 0 of the frame; 0 of an empty one. */
  readonly type: Uint8Array;

  /** @param capacity rows, 1 to 65,536 */
  constructor(capacity: number) {
    if (!Number.isInteger(capacity) || capacity < 1 || capacity > 65_536) {
      throw new TypeError(`capacity must be an integer from 1 to 65,536, got ${String(capacity)}`);
    }
    this.capacity = capacity;
    const memory = new ArrayBuffer(capacity * FrameColumns.ROW_SIZE);
    const at = FrameColumns.layout(capacity);
    this.buffer = new Uint8Array(memory);
    this.origin = new BigUint64Array(memory, at.origin, capacity);
    this.word = new BigUint64Array(memory, at.word, capacity);
    this.frameOffset = new Uint32Array(memory, at.frameOffset, capacity);
    this.frameLength = new Uint32Array(memory, at.frameLength, capacity);
    this.baseLength = new Uint32Array(memory, at.baseLength, capacity);
    this.index = new Uint32Array(memory, at.index, capacity);
    this.total = new Uint32Array(memory, at.total, capacity);
    this.payloadOffset = new Uint32Array(memory, at.payloadOffset, capacity);
    this.payloadLength = new Uint32Array(memory, at.payloadLength, capacity);
    this.status = new Uint8Array(memory, at.status, capacity);
    this.type = new Uint8Array(memory, at.type, capacity);
  }

  /** Bytes per row over all columns. */
  static readonly ROW_SIZE = 2 * 8 + 7 * 4 + 2;

  /** The byte offset of each column in {@link buffer}, in this order. */
  static layout(capacity: number) {
    return {
      origin: 0,
      word: 8 * capacity,
      frameOffset: 16 * capacity,
      frameLength: 20 * capacity,
      baseLength: 24 * capacity,
      index: 28 * capacity,
      total: 32 * capacity,
      payloadOffset: 36 * capacity,
      payloadLength: 40 * capacity,
      status: 44 * capacity,
      type: 45 * capacity,
    } as const;
  }
}

/**
 * The events of one BufferedEvents as columns: links stay in the frame, as 32 bytes at `linkOffset`. Grown by the engine
 * to the number of events that were found (each of at least 44 bytes in the frame, so a count cannot lie).
 */
export interface EventColumns {
  readonly count: number;
  readonly originHash: BigUint64Array;
  readonly horizon: BigUint64Array;
  readonly sequence: BigUint64Array;
  readonly parentHash: BigUint64Array;
  readonly receivedAt: BigUint64Array;
  /** Where the payload begins, in the bytes that were decoded. */
  readonly payloadOffset: Uint32Array;
  readonly payloadLength: Uint32Array;
}

/** That `columns` are columns whose memory is there and this thread's own. */
export function checkColumns(columns: FrameColumns): void {
  if (!(columns instanceof FrameColumns)) throw wrongType('columns', 'a FrameColumns', columns);
  checkBytes(columns.buffer, 'columns.buffer');
}
