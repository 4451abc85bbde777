import { totalmem } from 'node:os';
import { MigrationError } from '../../errors.js';
import { checkBytes, checkFinite, checkInteger, checkU32, checkU64, wrongType } from '../arguments.js';
import { FrameColumns } from '../columns.js';
import { MAX_SNAPSHOT_CHUNK_SIZE, MessageType } from '../message.js';
import type { AssembledSnapshot, ReassemblerOptions, ReassemblyProgress, SnapshotReassembler } from '../reassembler.js';
import { checkChunkNumbers } from './frame.js';
import { PendingSnapshot, TypescriptSnapshot } from './pending-snapshot.js';

const MAX_SNAPSHOT_BYTES = 2 ** 32;
const DEFAULT_MAX_IDLE_MS = 300_000;

/** Snapshots from their chunks in plain TypeScript: one lazily committed buffer per pending snapshot. */
class TypescriptReassembler implements SnapshotReassembler {
  readonly #maxSnapshotBytes: number;
  readonly #maxPendingBytes: number;
  readonly #digest: boolean;
  readonly #pending = new Map<bigint, PendingSnapshot>();
  /** The newest seqThrough accepted, by origin. */
  readonly #latest = new Map<bigint, bigint>();
  #pendingBytes = 0;
  #disposed = false;

  constructor(options: ReassemblerOptions) {
    const { maxSnapshotBytes = MAX_SNAPSHOT_BYTES, digest = false } = options;
    const maxPendingBytes = options.maxPendingBytes ?? Math.floor(totalmem() / 2);
    checkInteger(maxSnapshotBytes, 'options.maxSnapshotBytes', 1, MAX_SNAPSHOT_BYTES);
    checkInteger(maxPendingBytes, 'options.maxPendingBytes', 0, Number.MAX_SAFE_INTEGER);
    if (typeof digest !== 'boolean') throw wrongType('options.digest', 'a boolean', digest);
    this.#maxSnapshotBytes = maxSnapshotBytes;
    this.#maxPendingBytes = maxPendingBytes;
    this.#digest = digest;
  }

  get pendingCount(): number {
    return this.#pending.size;
  }

  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  feed(
    daemonOrigin: bigint,
    seqThrough: bigint,
    chunkIndex: number,
    totalChunks: number,
    chunk: Uint8Array,
    nowMs: number = Date.now(),
  ): AssembledSnapshot | undefined {
    this.#checkAlive();
    checkU64(daemonOrigin, 'daemonOrigin');
    checkU64(seqThrough, 'seqThrough');
    checkU32(chunkIndex, 'chunkIndex');
    checkU32(totalChunks, 'totalChunks');
    checkBytes(chunk, 'chunk');
    checkFinite(nowMs, 'nowMs');
    return this.#accept(daemonOrigin, seqThrough, chunkIndex, totalChunks, chunk, nowMs);
  }

  feedBatch(
    batch: Uint8Array,
    columns: FrameColumns,
    from: number,
    to: number,
    nowMs: number = Date.now(),
  ): { readonly next: number; readonly snapshot?: AssembledSnapshot; readonly error?: Error } {
    this.#checkAlive();
    checkBytes(batch, 'batch');
    if (!(columns instanceof FrameColumns)) throw wrongType('columns', 'a FrameColumns', columns);
    checkInteger(columns.count, 'columns.count', 0, columns.capacity);
    checkInteger(to, 'to', 0, columns.count);
    checkInteger(from, 'from', 0, to);
    checkFinite(nowMs, 'nowMs');
    const { origin, word, index, total, payloadOffset, payloadLength, status, type } = columns;
    const first = from < to ? origin[from]! : 0n;
    for (let row = from; row < to; row++) {
      if (status[row] !== 0 || type[row] !== MessageType.SnapshotReady || origin[row] !== first) return { next: row };
      const at = payloadOffset[row]!;
      const end = at + payloadLength[row]!;
      if (end > batch.length) {
        throw new TypeError(`columns must belong to batch: row ${row} ends at byte ${end}, batch has ${batch.length}`);
      }
      try {
        const snapshot = this.#accept(first, word[row]!, index[row]!, total[row]!, batch.subarray(at, end), nowMs);
        if (snapshot !== undefined) return { next: row + 1, snapshot };
      } catch (error) {
        return { next: row, error: error as Error };
      }
    }
    return { next: to };
  }

  /** One chunk of the right types: refusals in the order of the contract, then its place. */
  #accept(
    origin: bigint,
    seqThrough: bigint,
    index: number,
    total: number,
    chunk: Uint8Array,
    nowMs: number,
  ): AssembledSnapshot | undefined {
    checkChunkNumbers(index, total);
    checkChunkLength(chunk.length);
    const known = this.#pending.get(origin);
    if (known === undefined || known.seqThrough !== seqThrough) this.#checkFresh(origin, seqThrough);
    const current = known?.seqThrough === seqThrough ? known : undefined;
    if (current !== undefined && current.total !== total) throw totalMismatch(total, current.total);
    const replaced = current === undefined ? 0 : current.lengthOf(index);
    const missing = total - (current?.received ?? 0) - (replaced === 0 ? 1 : 0);
    const size = (current?.bytes ?? 0) - replaced + chunk.length;
    if (size + missing > this.#maxSnapshotBytes) throw snapshotTooLarge(size + missing, this.#maxSnapshotBytes);
    if (total === 1) {
      const whole = new TypescriptSnapshot(origin, seqThrough, new Uint8Array(chunk), this.#digest);
      this.#startAt(origin, seqThrough);
      return whole;
    }
    const evicted = current === undefined ? (known?.bytes ?? 0) : replaced;
    const buffered = this.#pendingBytes - evicted;
    if (buffered + chunk.length > this.#maxPendingBytes) {
      throw tooManyPendingBytes(buffered, chunk.length, this.#maxPendingBytes);
    }
    const pending = current ?? new PendingSnapshot(origin, seqThrough, total, this.#maxSnapshotBytes, this.#digest);
    const whole = pending.put(index, chunk, nowMs);
    this.#pendingBytes = buffered + chunk.length;
    if (current === undefined) {
      this.#pending.set(origin, pending);
      this.#latest.set(origin, seqThrough);
    }
    if (whole !== undefined) {
      this.#pending.delete(origin);
      this.#pendingBytes -= pending.bytes;
    }
    return whole;
  }

  #checkFresh(origin: bigint, seqThrough: bigint): void {
    const latest = this.#latest.get(origin);
    if (latest === undefined || seqThrough >= latest) return;
    throw new MigrationError(
      'stale-seq-through',
      `chunk of a snapshot through ${seqThrough} refused: one through ${latest} is here already`,
      { details: { got: seqThrough, latest } },
    );
  }

  /** A newer snapshot of this origin has come: what was pending is dropped. */
  #startAt(origin: bigint, seqThrough: bigint): void {
    this.#drop(origin);
    this.#latest.set(origin, seqThrough);
  }

  #drop(origin: bigint): boolean {
    const pending = this.#pending.get(origin);
    if (pending === undefined) return false;
    this.#pendingBytes -= pending.bytes;
    return this.#pending.delete(origin);
  }

  progress(daemonOrigin: bigint): ReassemblyProgress | undefined {
    const pending = this.#find(daemonOrigin);
    if (pending === undefined) return undefined;
    const { seqThrough, total, received, bytes } = pending;
    return { seqThrough, totalChunks: total, receivedChunks: received, receivedBytes: bytes };
  }

  missing(daemonOrigin: bigint, limit: number): Uint32Array {
    checkU32(limit, 'limit');
    return this.#find(daemonOrigin)?.missing(limit) ?? new Uint32Array(0);
  }

  #find(daemonOrigin: bigint): PendingSnapshot | undefined {
    this.#checkAlive();
    checkU64(daemonOrigin, 'daemonOrigin');
    return this.#pending.get(daemonOrigin);
  }

  cancel(daemonOrigin: bigint): boolean {
    this.#checkAlive();
    checkU64(daemonOrigin, 'daemonOrigin');
    return this.#drop(daemonOrigin);
  }

  forget(daemonOrigin: bigint): boolean {
    this.#checkAlive();
    checkU64(daemonOrigin, 'daemonOrigin');
    this.#drop(daemonOrigin);
    return this.#latest.delete(daemonOrigin);
  }

  sweep(nowMs: number, maxIdleMs: number = DEFAULT_MAX_IDLE_MS): number {
    this.#checkAlive();
    checkFinite(nowMs, 'nowMs');
    checkFinite(maxIdleMs, 'maxIdleMs');
    let dropped = 0;
    for (const [origin, pending] of this.#pending) {
      if (nowMs - pending.lastProgressMs >= maxIdleMs && this.#drop(origin)) dropped++;
    }
    return dropped;
  }

  dispose(): void {
    this.#disposed = true;
    this.#pending.clear();
    this.#latest.clear();
    this.#pendingBytes = 0;
  }

  #checkAlive(): void {
    if (this.#disposed) throw new MigrationError('disposed', 'this reassembler was disposed of: make a new one');
  }
}

function checkChunkLength(length: number): void {
  if (length === 0) {
    throw new MigrationError('empty-chunk', 'chunk has 0 bytes, at least 1 was expected', { details: { length } });
  }
  if (length > MAX_SNAPSHOT_CHUNK_SIZE) {
    throw new MigrationError(
      'chunk-too-large',
      `chunk has ${length} bytes, at most ${MAX_SNAPSHOT_CHUNK_SIZE} are taken`,
      {
        details: { length, max: MAX_SNAPSHOT_CHUNK_SIZE },
      },
    );
  }
}

function totalMismatch(got: number, expected: number): MigrationError {
  return new MigrationError(
    'total-chunks-mismatch',
    `totalChunks is ${got}, but the snapshot's first chunk said ${expected}`,
    { details: { got, expected } },
  );
}

function snapshotTooLarge(size: number, max: number): MigrationError {
  return new MigrationError(
    'snapshot-too-large',
    `the snapshot has at least ${size} bytes, at most ${max} are taken: raise maxSnapshotBytes to take it`,
    { details: { size, max } },
  );
}

function tooManyPendingBytes(buffered: number, incoming: number, cap: number): MigrationError {
  return new MigrationError(
    'too-many-pending-bytes',
    `${buffered} bytes are pending, ${incoming} more are over the cap of ${cap}: raise maxPendingBytes or try later`,
    { details: { buffered, incoming, cap } },
  );
}

export function createReassembler(options: ReassemblerOptions = {}): SnapshotReassembler {
  if (typeof options !== 'object' || options === null) throw wrongType('options', 'an object', options);
  return new TypescriptReassembler(options);
}
