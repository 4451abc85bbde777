import { totalmem } from 'node:os';
import { MigrationError } from '../../errors.js';
import { checkBytes, checkFinite, checkInteger, checkU32, checkU64, wrongType } from '../arguments.js';
import { checkColumns, type FrameColumns } from '../columns.js';
import { MAX_SNAPSHOT_CHUNK_SIZE, MessageType } from '../message.js';
import {
  type AssembledSnapshot,
  MAX_SNAPSHOT_BYTES,
  type ReassemblerOptions,
  type ReassemblyProgress,
  type SnapshotReassembler,
} from '../reassembler.js';
import { checkChunkNumbers } from './frame.js';
import { PendingSnapshot, TypescriptSnapshot } from './pending-snapshot.js';

const DEFAULT_MAX_IDLE_MS = 300_000;
/**
 * Of how many origins without a pending snapshot the newest seqThrough is remembered. Beyond it the oldest are forgotten: an
 * old snapshot of theirs would be assembled again, and refused by the ownership register.
 */
const REMEMBERED_ORIGINS = 65_536;

/** Snapshots from their chunks in plain TypeScript: one lazily committed buffer per pending snapshot. */
class TypescriptReassembler implements SnapshotReassembler {
  readonly #maxSnapshotBytes: number;
  readonly #maxPendingBytes: number;
  readonly #digest: boolean;
  readonly #pending = new Map<bigint, PendingSnapshot>();
  /** The newest seqThrough accepted, by origin that has nothing pending, the one longest untouched first. */
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
    checkColumns(columns);
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
    this.#checkSize(current, index, total, chunk.length);
    if (total === 1) {
      const whole = new TypescriptSnapshot(origin, seqThrough, new Uint8Array(chunk), this.#digest);
      this.#drop(origin);
      this.#remember(origin, seqThrough);
      return whole;
    }
    const pending = current ?? new PendingSnapshot(origin, seqThrough, total, this.#maxSnapshotBytes, this.#digest);
    this.#checkPendingBytes(current === undefined ? known : undefined, pending, index, chunk.length);
    const before = current?.committed ?? 0;
    const whole = pending.put(index, chunk, nowMs);
    this.#pendingBytes += pending.committed - before;
    if (current === undefined) {
      this.#drop(origin);
      this.#latest.delete(origin);
      this.#pending.set(origin, pending);
    }
    if (whole !== undefined) this.#drop(origin);
    return whole;
  }

  #checkSize(current: PendingSnapshot | undefined, index: number, total: number, incoming: number): void {
    const buffered = current === undefined ? 0 : current.bytes - current.lengthOf(index);
    const max = this.#maxSnapshotBytes;
    if (buffered + incoming > max) throw snapshotTooLarge(buffered, incoming, max);
    if (current === undefined && total > max) throw snapshotTooLarge(0, total, max);
  }

  #checkPendingBytes(
    evicted: PendingSnapshot | undefined,
    pending: PendingSnapshot,
    index: number,
    length: number,
  ): void {
    const books = pending.received === 0 ? pending.committed : 0;
    const incoming = books + pending.wouldCommit(index, length);
    const buffered = this.#pendingBytes - (evicted?.committed ?? 0);
    const max = this.#maxPendingBytes;
    if (incoming > 0 && buffered + incoming > max) throw tooManyPendingBytes(buffered, incoming, max);
  }

  #checkFresh(origin: bigint, seqThrough: bigint): void {
    const latest = this.#pending.get(origin)?.seqThrough ?? this.#latest.get(origin);
    if (latest === undefined || seqThrough >= latest) return;
    throw new MigrationError(
      'stale-seq-through',
      `chunk of a snapshot through ${seqThrough} refused: one through ${latest} is here already`,
      { details: { got: seqThrough, latest } },
    );
  }

  /** Drops what is pending for an origin, if anything is; of what it was stays remembered. */
  #drop(origin: bigint): boolean {
    const pending = this.#pending.get(origin);
    if (pending === undefined) return false;
    this.#pendingBytes -= pending.committed;
    this.#pending.delete(origin);
    this.#remember(origin, pending.seqThrough);
    return true;
  }

  #remember(origin: bigint, seqThrough: bigint): void {
    this.#latest.delete(origin);
    this.#latest.set(origin, seqThrough);
    if (this.#latest.size <= REMEMBERED_ORIGINS) return;
    for (const oldest of this.#latest.keys()) {
      this.#latest.delete(oldest);
      return;
    }
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

function snapshotTooLarge(buffered: number, incoming: number, max: number): MigrationError {
  return new MigrationError(
    'snapshot-too-large',
    `${buffered} bytes of the snapshot are here, at least ${incoming} more are over the ${max} taken: raise maxSnapshotBytes`,
    { details: { buffered, incoming, max } },
  );
}

function tooManyPendingBytes(buffered: number, incoming: number, max: number): MigrationError {
  return new MigrationError(
    'too-many-pending-bytes',
    `${buffered} bytes are committed, ${incoming} more are over the ${max} taken: raise maxPendingBytes or try later`,
    { details: { buffered, incoming, max } },
  );
}

export function createReassembler(options: ReassemblerOptions = {}): SnapshotReassembler {
  if (typeof options !== 'object' || options === null) throw wrongType('options', 'an object', options);
  return new TypescriptReassembler(options);
}
