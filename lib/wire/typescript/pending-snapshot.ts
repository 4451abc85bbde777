import { blake3 } from '@noble/hashes/blake3.js';
import { MigrationError } from '../../errors.js';
import { MAX_SNAPSHOT_CHUNK_SIZE } from '../message.js';
import type { AssembledSnapshot } from '../reassembler.js';
import { ShortChunks } from './short-chunks.js';

/** How many chunks one call takes into the digest at most before the last: it must not hold the event loop. */
const DIGEST_CHUNKS_PER_CALL = 8;
const PAGE_BYTES = 4096;
/** What a snapshot takes beside its bytes: its objects, and the first array of packed chunks (measured: 6 KiB). */
const OBJECTS_BYTES = 6 * 1024;
/** What the tables of packed chunks hold of each. */
const SHORT_BOOKS_BYTES = 10;
const NOTHING = new Uint8Array(0);

export class TypescriptSnapshot implements AssembledSnapshot {
  readonly daemonOrigin: bigint;
  readonly seqThrough: bigint;
  readonly digest: Uint8Array | undefined;
  #bytes: Uint8Array;

  /** @param digest made already, or whether to make it now */
  constructor(daemonOrigin: bigint, seqThrough: bigint, bytes: Uint8Array, digest: Uint8Array | boolean) {
    this.daemonOrigin = daemonOrigin;
    this.seqThrough = seqThrough;
    this.#bytes = bytes;
    this.digest = digest === true ? blake3(bytes) : digest === false ? undefined : digest;
  }

  get bytes(): Uint8Array {
    return this.#bytes;
  }

  /** The memory goes with the last view of it: JavaScript gives no other way on every Node supported. */
  dispose(): void {
    this.#bytes = NOTHING;
  }
}

/**
 * One snapshot on its way. Chunk i of 7,000 bytes, and the last one, lie at i × 7,000 of one buffer, which is reserved whole
 * and zeroed by the system page by page as chunks land. What the base protocol allows beside it (shorter chunks in the
 * middle, places beyond the largest snapshot) is kept packed, so that many small chunks commit no page each, and joined
 * at the end.
 */
export class PendingSnapshot {
  readonly origin: bigint;
  readonly seqThrough: bigint;
  readonly total: number;
  /** Chunks and bytes here. */
  received = 0;
  bytes = 0;
  lastProgressMs = 0;
  /** Bytes of memory committed: pages of the buffer that were written, packed chunks, and the books. */
  committed: number;
  readonly #reserved: number;
  /** One bit per chunk that is here. */
  readonly #here: Uint8Array;
  #memory: Uint8Array = NOTHING;
  #lastLength = 0;
  #short: ShortChunks | undefined;
  #hasher: ReturnType<typeof blake3.create> | undefined;
  /** Chunks in the digest, from the first. */
  #hashed = 0;

  constructor(origin: bigint, seqThrough: bigint, total: number, maxSnapshotBytes: number, digest: boolean) {
    this.origin = origin;
    this.seqThrough = seqThrough;
    this.total = total;
    this.#reserved = Math.min(total * MAX_SNAPSHOT_CHUNK_SIZE, maxSnapshotBytes);
    this.#here = new Uint8Array((total + 7) >>> 3);
    this.committed = OBJECTS_BYTES + this.#here.length;
    this.#hasher = digest ? blake3.create() : undefined;
  }

  #isHere(index: number): boolean {
    return (this.#here[index >>> 3]! & (1 << (index & 7))) !== 0;
  }

  /** Bytes of a chunk that is here, else 0. */
  lengthOf(index: number): number {
    if (!this.#isHere(index)) return 0;
    const short = this.#short?.lengthOf(index) ?? 0;
    if (short > 0) return short;
    return index === this.total - 1 ? this.#lastLength : MAX_SNAPSHOT_CHUNK_SIZE;
  }

  #chunk(index: number): Uint8Array {
    const short = this.#short?.get(index);
    if (short !== undefined) return short;
    const at = index * MAX_SNAPSHOT_CHUNK_SIZE;
    return this.#memory.subarray(at, at + this.lengthOf(index));
  }

  /** Whether a chunk of that length has its fixed place in the buffer. */
  #fits(index: number, length: number): boolean {
    const fixed = length === MAX_SNAPSHOT_CHUNK_SIZE || index === this.total - 1;
    return fixed && index * MAX_SNAPSHOT_CHUNK_SIZE + length <= this.#reserved;
  }

  /** What a chunk would commit over what is committed. A page of the buffer is shared with a neighbour at most. */
  wouldCommit(index: number, length: number): number {
    if (!this.#fits(index, length)) {
      const before = this.#short?.lengthOf(index) ?? 0;
      return before === 0 ? length + SHORT_BOOKS_BYTES : Math.max(0, length - before);
    }
    if (this.#isPlaced(index)) return 0;
    const at = index * MAX_SNAPSHOT_CHUNK_SIZE;
    const last = Math.floor((at + length - 1) / PAGE_BYTES);
    let first = Math.floor(at / PAGE_BYTES);
    if (at % PAGE_BYTES !== 0 && index > 0 && this.#isPlaced(index - 1)) first++;
    const shared = index + 1 < this.total && this.#isPlaced(index + 1);
    const nextPage = Math.floor((at + MAX_SNAPSHOT_CHUNK_SIZE) / PAGE_BYTES);
    return Math.max(0, (shared && nextPage === last ? last : last + 1) - first) * PAGE_BYTES;
  }

  /** Whether a chunk lies at its fixed place. */
  #isPlaced(index: number): boolean {
    return this.#isHere(index) && (this.#short?.lengthOf(index) ?? 0) === 0;
  }

  /**
   * Takes a chunk; nothing has changed when memory runs out.
   *
   * @returns the snapshot when none is missing
   */
  put(index: number, chunk: Uint8Array, nowMs: number): TypescriptSnapshot | undefined {
    const { length } = chunk;
    const before = this.lengthOf(index);
    const isLastMissing = before === 0 && this.received + 1 === this.total;
    const allShort = isLastMissing && this.#memory.length === 0;
    const fits = !allShort && this.#fits(index, length);
    const commits = this.wouldCommit(index, length);
    if (fits) this.#reserve(this.#reserved);
    else if (allShort) this.#reserve(this.bytes + length);
    if (!fits) this.#short ??= reserving(this.total, () => new ShortChunks(this.total));
    if (before > 0) this.#forgetDigestOf(index, chunk);
    if (fits) {
      this.#short?.delete(index);
      this.#memory.set(chunk, index * MAX_SNAPSHOT_CHUNK_SIZE);
      if (index === this.total - 1) this.#lastLength = length;
    } else {
      reserving(length, () => this.#short!.put(index, chunk));
    }
    this.bytes += length - before;
    this.committed += commits;
    if (before === 0) {
      this.#here[index >>> 3]! |= 1 << (index & 7);
      this.received++;
      this.lastProgressMs = nowMs;
    }
    if (this.received === this.total) return this.#finish();
    this.#digestUpTo(this.#hashed + DIGEST_CHUNKS_PER_CALL);
    return undefined;
  }

  #reserve(length: number): void {
    if (this.#memory.length > 0) return;
    this.#memory = reserving(length, () => new Uint8Array(length));
  }

  /** A chunk in the digest is about to be replaced: unless it is the same, the digest begins again. */
  #forgetDigestOf(index: number, chunk: Uint8Array): void {
    if (this.#hasher === undefined || index >= this.#hashed) return;
    if (Buffer.compare(this.#chunk(index), chunk) === 0) return;
    this.#hasher = blake3.create();
    this.#hashed = 0;
  }

  /** Takes chunks into the digest, in order, while they are here. */
  #digestUpTo(end: number): void {
    if (this.#hasher === undefined) return;
    const stop = Math.min(end, this.total);
    while (this.#hashed < stop && this.#isHere(this.#hashed)) this.#hasher.update(this.#chunk(this.#hashed++));
  }

  #finish(): TypescriptSnapshot {
    this.#digestUpTo(this.total);
    if ((this.#short?.count ?? 0) > 0) this.#join();
    const bytes = this.#memory.subarray(0, this.bytes);
    return new TypescriptSnapshot(this.origin, this.seqThrough, bytes, this.#hasher?.digest() ?? false);
  }

  /** Closes the gaps that short chunks leave. A chunk's final place is never behind its fixed one, so one pass does. */
  #join(): void {
    let at = 0;
    for (let index = 0; index < this.total; index++) {
      const length = this.lengthOf(index);
      const short = this.#short!.get(index);
      const from = index * MAX_SNAPSHOT_CHUNK_SIZE;
      if (short !== undefined) this.#memory.set(short, at);
      else if (from !== at) this.#memory.copyWithin(at, from, from + length);
      at += length;
    }
    this.#short = undefined;
  }

  /** Up to `limit` runs of chunks not here, as [first, end) pairs. */
  missing(limit: number): Uint32Array {
    const runs: number[] = [];
    let index = 0;
    while (index < this.total && runs.length < 2 * limit) {
      if (this.#here[index >>> 3] === 0xff) {
        index = (index | 7) + 1;
      } else if (this.#isHere(index)) {
        index++;
      } else {
        const first = index;
        while (index < this.total && !this.#isHere(index)) index += this.#here[index >>> 3] === 0 ? 8 - (index & 7) : 1;
        runs.push(first, Math.min(index, this.total));
      }
    }
    return Uint32Array.from(runs);
  }
}

/** Runs what takes memory; where the machine has none, that is an error of ours. */
function reserving<T>(length: number, take: () => T): T {
  try {
    return take();
  } catch (cause) {
    throw new MigrationError('out-of-memory', `no memory for a snapshot's ${length} bytes: try later`, {
      details: { length },
      cause,
    });
  }
}
