import type { Blake3Hasher, MigrationCodec } from '../wire/codec.js';
import { MAX_SNAPSHOT_CHUNK_SIZE, SNAPSHOT_READY_HEADER_SIZE } from '../wire/message.js';
import { encodeTrailer, type Trailer } from '../wire/trailer.js';

/**
 * A snapshot on its way out, as the frames of its chunks: each is written straight into the transport's batch when that
 * has room, so that nothing of the snapshot is held twice.
 */
export class OutgoingSnapshot {
  readonly daemonOrigin: bigint;
  readonly seqThrough: bigint;
  /** Bytes of the whole snapshot. */
  readonly byteLength: number;
  readonly totalChunks: number;

  readonly #codec: MigrationCodec;
  readonly #parts: readonly Uint8Array[];
  readonly #trailer: Trailer | undefined;
  readonly #trailerBytes: Uint8Array;
  readonly #hasher: Blake3Hasher;
  readonly #header = new Uint8Array(SNAPSHOT_READY_HEADER_SIZE);
  #digest: Uint8Array | undefined;
  #nextChunk = 0;
  #part = 0;
  #partOffset = 0;

  /**
   * @param parts the snapshot, in pieces that stand one after another and do not change
   * @param trailer what goes on each chunk; undefined towards a peer without extensions. The last chunk's has the digest too
   */
  constructor(
    codec: MigrationCodec,
    daemonOrigin: bigint,
    seqThrough: bigint,
    parts: readonly Uint8Array[],
    trailer: Trailer | undefined,
  ) {
    this.#codec = codec;
    this.daemonOrigin = daemonOrigin;
    this.seqThrough = seqThrough;
    this.#parts = parts;
    this.byteLength = parts.reduce((sum, part) => sum + part.length, 0);
    this.totalChunks = Math.max(1, Math.ceil(this.byteLength / MAX_SNAPSHOT_CHUNK_SIZE));
    this.#trailer = trailer && { ...trailer, snapshotLength: BigInt(this.byteLength) };
    this.#trailerBytes = this.#trailer ? encodeTrailer(this.#trailer) : new Uint8Array(0);
    this.#hasher = codec.createBlake3();
  }

  get done(): boolean {
    return this.#nextChunk === this.totalChunks;
  }

  /** No more chunks are to go out. */
  cancel(): void {
    this.#nextChunk = this.totalChunks;
  }

  /** Bytes of the snapshot that have been written into frames. */
  get bytesWritten(): number {
    return Math.min(this.#nextChunk * MAX_SNAPSHOT_CHUNK_SIZE, this.byteLength);
  }

  /** BLAKE3-256 of the whole snapshot; undefined before the last chunk has been written. */
  get digest(): Uint8Array | undefined {
    return this.#digest;
  }

  /** The most bytes that `writeNext` needs. */
  get maxFrameLength(): number {
    // The digest's field: tag, length, 32 bytes.
    return SNAPSHOT_READY_HEADER_SIZE + MAX_SNAPSHOT_CHUNK_SIZE + this.#trailerBytes.length + 37;
  }

  /**
   * Writes the next chunk's frame at `at`, where at least `maxFrameLength` bytes must be free.
   *
   * @returns bytes written; 0 when all chunks have been
   */
  writeNext(target: Uint8Array, at: number): number {
    if (this.done) return 0;
    const index = this.#nextChunk++;
    this.#codec.writeChunkHeaders(this.#header, this.daemonOrigin, this.seqThrough, this.byteLength, index, 1);
    target.set(this.#header, at);
    const payloadAt = at + SNAPSHOT_READY_HEADER_SIZE;
    const payloadLength = Math.min(MAX_SNAPSHOT_CHUNK_SIZE, this.byteLength - index * MAX_SNAPSHOT_CHUNK_SIZE);
    this.#gather(target, payloadAt, payloadLength);
    this.#hasher.update(target.subarray(payloadAt, payloadAt + payloadLength));
    if (this.done) this.#digest = this.#hasher.digest();
    const trailer =
      this.#digest && this.#trailer
        ? encodeTrailer({ ...this.#trailer, snapshotDigest: this.#digest })
        : this.#trailerBytes;
    target.set(trailer, payloadAt + payloadLength);
    return SNAPSHOT_READY_HEADER_SIZE + payloadLength + trailer.length;
  }

  #gather(target: Uint8Array, at: number, length: number): void {
    while (length > 0) {
      const part = this.#parts[this.#part]!;
      const slice = part.subarray(this.#partOffset, this.#partOffset + length);
      target.set(slice, at);
      at += slice.length;
      length -= slice.length;
      this.#partOffset += slice.length;
      if (this.#partOffset === part.length) {
        this.#part++;
        this.#partOffset = 0;
      }
    }
  }
}
