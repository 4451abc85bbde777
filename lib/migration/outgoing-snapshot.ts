import type { Blake3Hasher, MigrationCodec } from '../wire/codec.js';
import type { FrameProducer } from '../wire/frame-producer.js';
import { MAX_SNAPSHOT_CHUNK_SIZE, SNAPSHOT_READY_HEADER_SIZE } from '../wire/message.js';
import { encodeTrailer, type Trailer } from '../wire/trailer.js';

export interface OutgoingSnapshotFields {
  readonly origin: bigint;
  readonly seqThrough: bigint;
  /** The snapshot, in pieces that stand one after another and do not change. */
  readonly parts: readonly Uint8Array[];
  /** What goes on each chunk; undefined towards a peer without extensions. The last chunk's has digest and signature too. */
  readonly trailer?: Trailer | undefined;
  /** Signs the whole snapshot's BLAKE3-256: 64 bytes, or nothing. */
  readonly sign?: (digest: Uint8Array) => Uint8Array | undefined;
}

/** Bytes that digest and signature take in a trailer: each behind tag and length. */
const LAST_FIELDS_SIZE = 5 + 32 + 5 + 64;

/**
 * A snapshot on its way out, as the frames of its chunks: each is written straight into the transport's batch when that
 * has room, so that nothing of the snapshot is held twice.
 */
export class OutgoingSnapshot implements FrameProducer {
  /** Bytes of the whole snapshot. */
  readonly byteLength: number;
  readonly totalChunks: number;

  readonly #codec: MigrationCodec;
  readonly #fields: OutgoingSnapshotFields;
  /** Where each part begins in the snapshot. */
  readonly #starts: readonly number[];
  readonly #trailer: Trailer | undefined;
  readonly #trailerBytes: Uint8Array;
  readonly #header = new Uint8Array(SNAPSHOT_READY_HEADER_SIZE);
  #lastTrailerBytes: Uint8Array = new Uint8Array(0);
  #hasher: Blake3Hasher | undefined;
  #digest: Uint8Array | undefined;
  #nextChunk = 0;
  #cancelled = false;

  constructor(codec: MigrationCodec, fields: OutgoingSnapshotFields) {
    this.#codec = codec;
    this.#fields = fields;
    let byteLength = 0;
    this.#starts = fields.parts.map((part) => {
      const start = byteLength;
      byteLength += part.length;
      return start;
    });
    this.byteLength = byteLength;
    this.totalChunks = Math.max(1, Math.ceil(byteLength / MAX_SNAPSHOT_CHUNK_SIZE));
    this.#trailer = fields.trailer && { ...fields.trailer, snapshotLength: BigInt(byteLength) };
    this.#trailerBytes = this.#trailer ? encodeTrailer(this.#trailer) : new Uint8Array(0);
  }

  get done(): boolean {
    return this.#cancelled || this.#nextChunk === this.totalChunks;
  }

  /** No more chunks are to go out. */
  cancel(): void {
    this.#cancelled = true;
  }

  /** Bytes of the snapshot that have been written into frames. */
  get bytesWritten(): number {
    return Math.min(this.#nextChunk * MAX_SNAPSHOT_CHUNK_SIZE, this.byteLength);
  }

  /** BLAKE3-256 of the whole snapshot; undefined before the last chunk has been written. */
  get digest(): Uint8Array | undefined {
    return this.#digest;
  }

  get maxFrameLength(): number {
    return SNAPSHOT_READY_HEADER_SIZE + MAX_SNAPSHOT_CHUNK_SIZE + this.#trailerBytes.length + LAST_FIELDS_SIZE;
  }

  /**
   * Writes the next chunk's frame at `at`, where at least `maxFrameLength` bytes must be free.
   *
   * @returns bytes written; 0 when all chunks have been
   */
  writeNext(target: Uint8Array, at: number): number {
    if (this.done) return 0;
    const index = this.#nextChunk++;
    const payloadAt = at + SNAPSHOT_READY_HEADER_SIZE;
    const payloadLength = this.#writePayload(target, payloadAt, index);
    this.#hasher ??= this.#codec.createBlake3();
    this.#hasher.update(target.subarray(payloadAt, payloadAt + payloadLength));
    if (this.#nextChunk === this.totalChunks) this.#finish();
    return this.#frame(target, at, index, payloadLength);
  }

  /** Chunks that have been written before, once more: those of each [first, end) pair in `runs`. */
  again(runs: Uint32Array): FrameProducer {
    return new Chunks(this.maxFrameLength, this.#written(runs), (target, at, index) =>
      this.#rewrite(target, at, index),
    );
  }

  #written(runs: Uint32Array): number[] {
    const indexes: number[] = [];
    for (let i = 0; i + 1 < runs.length; i += 2) {
      const end = Math.min(runs[i + 1]!, this.#nextChunk);
      for (let index = runs[i]!; index < end; index++) indexes.push(index);
    }
    return indexes;
  }

  #rewrite(target: Uint8Array, at: number, index: number): number {
    if (this.#cancelled) return 0;
    const length = this.#writePayload(target, at + SNAPSHOT_READY_HEADER_SIZE, index);
    return this.#frame(target, at, index, length);
  }

  #finish(): void {
    this.#digest = this.#hasher!.digest();
    this.#hasher = undefined;
    if (!this.#trailer) return;
    const signature = this.#fields.sign?.(this.#digest);
    const signed = signature ? { snapshotSignature: signature } : {};
    this.#lastTrailerBytes = encodeTrailer({ ...this.#trailer, snapshotDigest: this.#digest, ...signed });
  }

  /** Header and trailer around a payload that is there already. */
  #frame(target: Uint8Array, at: number, index: number, payloadLength: number): number {
    const { origin, seqThrough } = this.#fields;
    const payloadAt = at + SNAPSHOT_READY_HEADER_SIZE;
    this.#codec.writeChunkHeaders(this.#header, origin, seqThrough, this.byteLength, index, 1);
    target.set(this.#header, at);
    const trailer = index === this.totalChunks - 1 ? this.#lastTrailerBytes : this.#trailerBytes;
    target.set(trailer, payloadAt + payloadLength);
    return SNAPSHOT_READY_HEADER_SIZE + payloadLength + trailer.length;
  }

  #writePayload(target: Uint8Array, at: number, index: number): number {
    const from = index * MAX_SNAPSHOT_CHUNK_SIZE;
    const length = Math.min(MAX_SNAPSHOT_CHUNK_SIZE, this.byteLength - from);
    let part = this.#partAt(from);
    for (let done = 0; done < length; part++) {
      const offset = from + done - this.#starts[part]!;
      const slice = this.#fields.parts[part]!.subarray(offset, offset + length - done);
      target.set(slice, at + done);
      done += slice.length;
    }
    return length;
  }

  /** The last part that begins at or before an offset. */
  #partAt(offset: number): number {
    let low = 0;
    for (let high = this.#starts.length - 1; low < high; ) {
      const middle = (low + high + 1) >> 1;
      if (this.#starts[middle]! <= offset) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

/** Single chunks, pulled like a whole snapshot. */
class Chunks implements FrameProducer {
  #next = 0;

  constructor(
    readonly maxFrameLength: number,
    private readonly indexes: readonly number[],
    private readonly write: (target: Uint8Array, at: number, index: number) => number,
  ) {}

  get done(): boolean {
    return this.#next === this.indexes.length;
  }

  writeNext(target: Uint8Array, at: number): number {
    if (this.done) return 0;
    return this.write(target, at, this.indexes[this.#next++]!);
  }
}
