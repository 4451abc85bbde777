import type { MigrationError } from '../errors.js';
import type { Blake3Hasher, MigrationCodec } from '../wire/codec.js';
import type { FrameProducer } from '../wire/frame-producer.js';
import { MAX_SNAPSHOT_CHUNK_SIZE, SNAPSHOT_READY_HEADER_SIZE } from '../wire/message.js';
import { encodeTrailer, type Trailer } from '../wire/trailer.js';
import { attestedBytes } from './attestation.js';
import { asMigrationError } from './failure.js';
import { type SnapshotBytes, SnapshotParts, type SnapshotReader } from './snapshot-bytes.js';

export interface OutgoingSnapshotFields {
  readonly origin: bigint;
  readonly seqThrough: bigint;
  readonly bytes: SnapshotBytes;
  /** What goes on each chunk; undefined towards a peer without extensions. The last chunk's has digest and signature too. */
  readonly trailer?: Trailer | undefined;
  /** Node id of the target: part of what is signed. */
  readonly target: bigint;
  /** The daemon's own signature (64 bytes), or nothing. */
  readonly sign: (message: Uint8Array) => Uint8Array | undefined;
  /** Its bytes cannot be read: no more chunks go out. Called once, by the call that finds it. */
  readonly onFailed?: ((snapshot: OutgoingSnapshot, error: MigrationError) => void) | undefined;
}

/** Made when the first chunk goes out: until then a migration costs little. */
interface Leaving {
  readonly reader: SnapshotReader;
  /** What stands behind each chunk but the last. */
  readonly trailer: Uint8Array;
  lastTrailer: Uint8Array;
  hasher: Blake3Hasher | undefined;
  /** Of a snapshot that is streamed, the last chunk's bytes: asked for again whenever the target is silent. */
  lastPayload: Uint8Array | undefined;
  isReadAgain: boolean;
}

const NOTHING = new Uint8Array(0);
/** Written and copied within one call. */
const HEADER = new Uint8Array(SNAPSHOT_READY_HEADER_SIZE);

/** Bytes that digest and signature take in a trailer: each behind tag and length. */
const LAST_FIELDS_SIZE = 5 + 32 + 5 + 64;

/**
 * A snapshot on its way out, as the frames of its chunks: each is written straight into the transport's batch when that
 * has room, so that nothing of the snapshot is held twice; of a streamed one no more than is read ahead.
 */
export class OutgoingSnapshot implements FrameProducer {
  /** Bytes of the whole snapshot. */
  readonly byteLength: number;

  readonly #codec: MigrationCodec;
  readonly #fields: OutgoingSnapshotFields;
  #leaving: Leaving | undefined;
  #digest: Uint8Array | undefined;
  #nextChunk = 0;
  #cancelled = false;

  constructor(codec: MigrationCodec, fields: OutgoingSnapshotFields) {
    this.#codec = codec;
    this.#fields = fields;
    this.byteLength = fields.bytes.byteLength;
  }

  get totalChunks(): number {
    return Math.max(1, Math.ceil(this.byteLength / MAX_SNAPSHOT_CHUNK_SIZE));
  }

  get seqThrough(): bigint {
    return this.#fields.seqThrough;
  }

  get done(): boolean {
    return this.#cancelled || this.#nextChunk === this.totalChunks;
  }

  get origin(): bigint {
    return this.#fields.origin;
  }

  get isCancelled(): boolean {
    return this.#cancelled;
  }

  get chunksWritten(): number {
    return this.#nextChunk;
  }

  /** No more chunks are to go out, none again either: the target has all, or will get no more. Idempotent. */
  cancel(): void {
    this.#cancelled = true;
    this.#leaving = undefined;
    this.#fields.bytes.close();
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
    return SNAPSHOT_READY_HEADER_SIZE + MAX_SNAPSHOT_CHUNK_SIZE + this.#started().trailer.length + LAST_FIELDS_SIZE;
  }

  /** Undefined where all bytes are in memory. */
  get onReady(): FrameProducer['onReady'] {
    return this.#started().reader.onReady;
  }

  /**
   * Writes the next chunk's frame at `at`, where at least `maxFrameLength` bytes must be free.
   *
   * @returns bytes written; 0 when all chunks have been, or the next one's bytes are not here yet (`onReady`)
   */
  writeNext(target: Uint8Array, at: number): number {
    if (this.done) return 0;
    const { reader, hasher } = this.#started();
    const index = this.#nextChunk;
    const payloadAt = at + SNAPSHOT_READY_HEADER_SIZE;
    const payloadLength = this.#writePayload(reader, target, payloadAt, index);
    if (payloadLength === undefined) return 0;
    this.#nextChunk++;
    const payload = target.subarray(payloadAt, payloadAt + payloadLength);
    hasher!.update(payload);
    if (this.#nextChunk === this.totalChunks) this.#finish(payload);
    return this.#frame(target, at, index, payloadLength);
  }

  /**
   * Chunks that have been written before, once more: those of each [first, end) pair in `runs`, in ascending order. A peer
   * names them, so each goes out once at the most, whatever the pairs say. Of a streamed snapshot only when all have been
   * written: it is read again, once for all of them.
   *
   * @returns undefined while it is read again for others
   */
  again(runs: Uint32Array): FrameProducer | undefined {
    const leaving = this.#started();
    if (leaving.isReadAgain || this.#cancelled) return undefined;
    const reader = this.#fields.bytes.read();
    leaving.isReadAgain = reader.onReady !== undefined;
    const ended = () => {
      leaving.isReadAgain = false;
      reader.end?.();
    };
    const write = (target: Uint8Array, at: number, index: number) => this.#rewrite(reader, target, at, index);
    return new Chunks(this, runs, reader.onReady, write, ended);
  }

  /** The last chunk once more: it makes a target that has all of them answer. */
  lastAgain(): FrameProducer {
    const last = this.totalChunks - 1;
    const kept = this.#leaving?.lastPayload;
    const reader = kept ? new SnapshotParts([kept]).read() : this.#fields.bytes.read();
    const from = kept ? last * MAX_SNAPSHOT_CHUNK_SIZE : 0;
    const write = (target: Uint8Array, at: number, index: number) => this.#rewrite(reader, target, at, index, from);
    return new Chunks(this, Uint32Array.of(last, last + 1), undefined, write, () => {});
  }

  /** @param from the byte of the snapshot at which the reader begins */
  #rewrite(reader: SnapshotReader, target: Uint8Array, at: number, index: number, from = 0): number {
    const length = this.#writePayload(reader, target, at + SNAPSHOT_READY_HEADER_SIZE, index, from);
    return length === undefined ? 0 : this.#frame(target, at, index, length);
  }

  #started(): Leaving {
    this.#leaving ??= {
      reader: this.#fields.bytes.read(),
      trailer: this.#fields.trailer ? encodeTrailer(this.#trailer()) : NOTHING,
      lastTrailer: NOTHING,
      hasher: this.#codec.createBlake3(),
      lastPayload: undefined,
      isReadAgain: false,
    };
    return this.#leaving;
  }

  #finish(lastPayload: Uint8Array): void {
    const leaving = this.#started();
    if (leaving.reader.onReady) leaving.lastPayload = lastPayload.slice();
    this.#digest = leaving.hasher!.digest();
    leaving.hasher = undefined;
    const { origin, target, trailer, sign } = this.#fields;
    if (trailer?.try === undefined || trailer.source === undefined) return;
    const { try: attempt, source } = trailer;
    const signature = sign(attestedBytes({ origin, try: attempt, source, target, snapshotDigest: this.#digest }));
    const signed = signature ? { snapshotSignature: signature } : {};
    leaving.lastTrailer = encodeTrailer({ ...this.#trailer(), snapshotDigest: this.#digest, ...signed });
  }

  #trailer(): Trailer {
    return { ...this.#fields.trailer, snapshotLength: BigInt(this.byteLength) };
  }

  /** Header and trailer around a payload that is there already. */
  #frame(target: Uint8Array, at: number, index: number, payloadLength: number): number {
    const { origin, seqThrough } = this.#fields;
    const payloadAt = at + SNAPSHOT_READY_HEADER_SIZE;
    this.#codec.writeChunkHeaders(HEADER, origin, seqThrough, this.byteLength, index, 1);
    target.set(HEADER, at);
    const leaving = this.#started();
    const trailer = index === this.totalChunks - 1 ? leaving.lastTrailer : leaving.trailer;
    target.set(trailer, payloadAt + payloadLength);
    return SNAPSHOT_READY_HEADER_SIZE + payloadLength + trailer.length;
  }

  /** @returns its length; undefined where its bytes are not here */
  #writePayload(
    reader: SnapshotReader,
    target: Uint8Array,
    at: number,
    index: number,
    readFrom = 0,
  ): number | undefined {
    const from = index * MAX_SNAPSHOT_CHUNK_SIZE;
    const length = Math.min(MAX_SNAPSHOT_CHUNK_SIZE, this.byteLength - from);
    try {
      return reader.write(target, at, from - readFrom, length) ? length : undefined;
    } catch (error) {
      this.cancel();
      this.#fields.onFailed?.(this, asMigrationError(error));
      return undefined;
    }
  }
}

/** Single chunks, pulled like a whole snapshot. */
class Chunks implements FrameProducer {
  readonly maxFrameLength: number;
  readonly #end: number;
  #run = 0;
  #next = 0;
  #isOver = false;

  constructor(
    private readonly snapshot: OutgoingSnapshot,
    private readonly runs: Uint32Array,
    readonly onReady: FrameProducer['onReady'],
    private readonly write: (target: Uint8Array, at: number, index: number) => number,
    private readonly ended: () => void,
  ) {
    this.maxFrameLength = snapshot.maxFrameLength;
    this.#end = snapshot.chunksWritten;
    this.#seek(0);
  }

  get done(): boolean {
    return this.#isOver || this.snapshot.isCancelled;
  }

  writeNext(target: Uint8Array, at: number): number {
    if (this.done) return 0;
    const length = this.write(target, at, this.#next);
    if (length > 0) this.#seek(this.#next + 1);
    return length;
  }

  /** To the first chunk from there on that a run names. */
  #seek(from: number): void {
    for (; this.#run + 1 < this.runs.length; this.#run += 2) {
      const first = Math.max(from, this.runs[this.#run]!);
      if (first >= Math.min(this.runs[this.#run + 1]!, this.#end)) continue;
      this.#next = first;
      return;
    }
    this.#isOver = true;
    this.ended();
  }
}
