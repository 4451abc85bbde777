import type { Blake3Hasher, MigrationCodec } from '../wire/codec.js';
import type { FrameProducer } from '../wire/frame-producer.js';
import { MAX_SNAPSHOT_CHUNK_SIZE, SNAPSHOT_READY_HEADER_SIZE } from '../wire/message.js';
import { encodeTrailer, type Trailer } from '../wire/trailer.js';
import { attestedBytes } from './attestation.js';

export interface OutgoingSnapshotFields {
  readonly origin: bigint;
  readonly seqThrough: bigint;
  /** The snapshot, in pieces that stand one after another and do not change. */
  readonly parts: readonly Uint8Array[];
  /** What goes on each chunk; undefined towards a peer without extensions. The last chunk's has digest and signature too. */
  readonly trailer?: Trailer | undefined;
  /** Node id of the target: part of what is signed. */
  readonly target: bigint;
  /** The daemon's own signature (64 bytes), or nothing. */
  readonly sign: (message: Uint8Array) => Uint8Array | undefined;
}

interface Layout {
  /** Where each part begins in the snapshot. */
  readonly starts: readonly number[];
  /** What stands behind each chunk but the last. */
  readonly trailer: Uint8Array;
}

const NOTHING = new Uint8Array(0);
/** Written and copied within one call. */
const HEADER = new Uint8Array(SNAPSHOT_READY_HEADER_SIZE);

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
  /** Made when the first chunk goes out: until then a migration costs little. */
  #layout: Layout | undefined;
  #lastTrailer: Uint8Array = NOTHING;
  #hasher: Blake3Hasher | undefined;
  #digest: Uint8Array | undefined;
  #nextChunk = 0;
  #cancelled = false;

  constructor(codec: MigrationCodec, fields: OutgoingSnapshotFields) {
    this.#codec = codec;
    this.#fields = fields;
    this.byteLength = fields.parts.reduce((sum, part) => sum + part.length, 0);
    this.totalChunks = Math.max(1, Math.ceil(this.byteLength / MAX_SNAPSHOT_CHUNK_SIZE));
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
    const trailer = this.#laidOut().trailer.length;
    return SNAPSHOT_READY_HEADER_SIZE + MAX_SNAPSHOT_CHUNK_SIZE + trailer + LAST_FIELDS_SIZE;
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

  /**
   * Chunks that have been written before, once more: those of each [first, end) pair in `runs`, in ascending order. A peer
   * names them, so each goes out once at the most, whatever the pairs say.
   */
  again(runs: Uint32Array): FrameProducer {
    return new Chunks(this.maxFrameLength, runs, this.#nextChunk, (target, at, index) =>
      this.#rewrite(target, at, index),
    );
  }

  #rewrite(target: Uint8Array, at: number, index: number): number {
    if (this.#cancelled) return 0;
    const length = this.#writePayload(target, at + SNAPSHOT_READY_HEADER_SIZE, index);
    return this.#frame(target, at, index, length);
  }

  #finish(): void {
    this.#digest = this.#hasher!.digest();
    this.#hasher = undefined;
    const { origin, target, trailer, sign } = this.#fields;
    if (trailer?.try === undefined || trailer.source === undefined) return;
    const { try: attempt, source } = trailer;
    const signature = sign(attestedBytes({ origin, try: attempt, source, target, snapshotDigest: this.#digest }));
    const signed = signature ? { snapshotSignature: signature } : {};
    this.#lastTrailer = encodeTrailer({ ...this.#trailer(), snapshotDigest: this.#digest, ...signed });
  }

  #trailer(): Trailer {
    return { ...this.#fields.trailer, snapshotLength: BigInt(this.byteLength) };
  }

  #laidOut(): Layout {
    if (this.#layout) return this.#layout;
    let at = 0;
    const starts = this.#fields.parts.map((part) => {
      const start = at;
      at += part.length;
      return start;
    });
    this.#layout = { starts, trailer: this.#fields.trailer ? encodeTrailer(this.#trailer()) : NOTHING };
    return this.#layout;
  }

  /** Header and trailer around a payload that is there already. */
  #frame(target: Uint8Array, at: number, index: number, payloadLength: number): number {
    const { origin, seqThrough } = this.#fields;
    const payloadAt = at + SNAPSHOT_READY_HEADER_SIZE;
    this.#codec.writeChunkHeaders(HEADER, origin, seqThrough, this.byteLength, index, 1);
    target.set(HEADER, at);
    const trailer = index === this.totalChunks - 1 ? this.#lastTrailer : this.#laidOut().trailer;
    target.set(trailer, payloadAt + payloadLength);
    return SNAPSHOT_READY_HEADER_SIZE + payloadLength + trailer.length;
  }

  #writePayload(target: Uint8Array, at: number, index: number): number {
    const from = index * MAX_SNAPSHOT_CHUNK_SIZE;
    const length = Math.min(MAX_SNAPSHOT_CHUNK_SIZE, this.byteLength - from);
    const { starts } = this.#laidOut();
    let part = lastAtOrBefore(starts, from);
    for (let done = 0; done < length; part++) {
      const offset = from + done - starts[part]!;
      const slice = this.#fields.parts[part]!.subarray(offset, offset + length - done);
      target.set(slice, at + done);
      done += slice.length;
    }
    return length;
  }
}

/** The index of the last of some ascending numbers, of which the first is 0, that is not over a value. */
function lastAtOrBefore(starts: readonly number[], value: number): number {
  let low = 0;
  for (let high = starts.length - 1; low < high; ) {
    const middle = (low + high + 1) >> 1;
    if (starts[middle]! <= value) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Single chunks, pulled like a whole snapshot. */
class Chunks implements FrameProducer {
  #run = 0;
  #next = 0;

  constructor(
    readonly maxFrameLength: number,
    private readonly runs: Uint32Array,
    private readonly end: number,
    private readonly write: (target: Uint8Array, at: number, index: number) => number,
  ) {
    this.#seek();
  }

  get done(): boolean {
    return this.#run + 1 >= this.runs.length;
  }

  writeNext(target: Uint8Array, at: number): number {
    if (this.done) return 0;
    const index = this.#next++;
    this.#seek();
    return this.write(target, at, index);
  }

  /** To the first chunk from here on that a run names. */
  #seek(): void {
    for (; !this.done; this.#run += 2) {
      const first = Math.max(this.#next, this.runs[this.#run]!);
      if (first >= Math.min(this.runs[this.#run + 1]!, this.end)) continue;
      this.#next = first;
      return;
    }
  }
}
