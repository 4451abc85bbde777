import { rmSync } from 'node:fs';
import type { FrameCodec, MigrationCodec } from '../../lib/wire/codec.js';
import { FrameColumns } from '../../lib/wire/columns.js';
import { MAX_SNAPSHOT_CHUNK_SIZE, SNAPSHOT_READY_HEADER_SIZE } from '../../lib/wire/message.js';
import type {
  AssembledSnapshot,
  ReassemblerOptions,
  SnapshotFiles,
  SnapshotReassembler,
} from '../../lib/wire/reassembler.js';
import { typescriptCodec } from '../../lib/wire/typescript/index.js';

/** What a socket gives at once, at most. */
export const READ_BYTES = 65_536;
export const ORIGIN = 0x0123_4567_89ab_cdefn;
export const SEQ_THROUGH = 77n;

const PREFIX_SIZE = 4;
const MAX_FRAME_SIZE = SNAPSHOT_READY_HEADER_SIZE + MAX_SNAPSHOT_CHUNK_SIZE;

export function chunksOf(snapshotLength: number): number {
  return Math.ceil(snapshotLength / MAX_SNAPSHOT_CHUNK_SIZE);
}

/** Bytes of a snapshot as frames, each behind its length. */
export function wireLength(snapshotLength: number): number {
  return snapshotLength + chunksOf(snapshotLength) * (PREFIX_SIZE + SNAPSHOT_READY_HEADER_SIZE);
}

/** Writes a snapshot's frames one after another into memory that it is given piece by piece. */
export class FrameWriter {
  readonly #snapshotLength: number;
  readonly #payload: (from: number, to: number) => Uint8Array;
  readonly #frame = new Uint8Array(PREFIX_SIZE + MAX_FRAME_SIZE);
  #chunk = 0;
  #at = 0;
  #end = 0;

  /** @param payload the snapshot's bytes `from .. to` */
  constructor(snapshotLength: number, payload: (from: number, to: number) => Uint8Array) {
    this.#snapshotLength = snapshotLength;
    this.#payload = payload;
  }

  /** Fills `target`, cutting frames where it ends. @returns bytes written; fewer than fit at the end of the stream */
  write(target: Uint8Array): number {
    let written = 0;
    while (written < target.length) {
      if (this.#at === this.#end && !this.#nextFrame()) return written;
      const length = Math.min(this.#end - this.#at, target.length - written);
      target.set(this.#frame.subarray(this.#at, this.#at + length), written);
      this.#at += length;
      written += length;
    }
    return written;
  }

  #nextFrame(): boolean {
    const from = this.#chunk * MAX_SNAPSHOT_CHUNK_SIZE;
    if (from >= this.#snapshotLength) return false;
    const to = Math.min(from + MAX_SNAPSHOT_CHUNK_SIZE, this.#snapshotLength);
    const header = this.#frame.subarray(PREFIX_SIZE, PREFIX_SIZE + SNAPSHOT_READY_HEADER_SIZE);
    typescriptCodec.writeChunkHeaders(header, ORIGIN, SEQ_THROUGH, this.#snapshotLength, this.#chunk, 1);
    this.#frame.set(this.#payload(from, to), PREFIX_SIZE + SNAPSHOT_READY_HEADER_SIZE);
    const length = SNAPSHOT_READY_HEADER_SIZE + to - from;
    new DataView(this.#frame.buffer).setUint32(0, length, true);
    this.#chunk++;
    this.#at = 0;
    this.#end = PREFIX_SIZE + length;
    return true;
  }
}

/** A snapshot's frames as what a socket would give: reads of 64 KiB that cut frames wherever they end. */
export function readsOf(snapshot: Uint8Array): Uint8Array[] {
  const wire = new Uint8Array(wireLength(snapshot.length));
  new FrameWriter(snapshot.length, (from, to) => snapshot.subarray(from, to)).write(wire);
  const reads: Uint8Array[] = [];
  for (let at = 0; at < wire.length; at += READ_BYTES) reads.push(wire.subarray(at, at + READ_BYTES));
  return reads;
}

/** Something that takes reads until a snapshot is whole. */
export interface Assembler {
  push(read: Uint8Array): AssembledSnapshot | undefined;
  dispose(): void;
}

/**
 * Decodes the whole frames of each read in place, by batch, and hands their rows on. Only a frame that lies across two reads
 * is put together first.
 */
export class FrameReader {
  readonly #codec: FrameCodec;
  readonly #columns = new FrameColumns(32);
  readonly #carry = new Uint8Array(PREFIX_SIZE + MAX_FRAME_SIZE);
  #carried = 0;

  constructor(codec: FrameCodec) {
    this.#codec = codec;
  }

  /** @param rows called with each decoded batch and its columns */
  push(read: Uint8Array, rows: (batch: Uint8Array, columns: FrameColumns) => void): void {
    let at = this.#carried > 0 ? this.#completeCarried(read, rows) : 0;
    for (;;) {
      const next = this.#codec.decodeBatch(read, this.#columns, at);
      if (next === at) break;
      at = next;
      rows(read, this.#columns);
    }
    this.#carry.set(read.subarray(at), this.#carried);
    this.#carried += read.length - at;
  }

  /** Takes the rest of a frame that began in an earlier read. @returns where the next frame begins in this one */
  #completeCarried(read: Uint8Array, rows: (batch: Uint8Array, columns: FrameColumns) => void): number {
    const prefix = Math.min(read.length, Math.max(0, PREFIX_SIZE - this.#carried));
    this.#carry.set(read.subarray(0, prefix), this.#carried);
    this.#carried += prefix;
    if (this.#carried < PREFIX_SIZE) return read.length;
    const frame = PREFIX_SIZE + new DataView(this.#carry.buffer).getUint32(0, true);
    const rest = Math.min(read.length - prefix, frame - this.#carried);
    this.#carry.set(read.subarray(prefix, prefix + rest), this.#carried);
    this.#carried += rest;
    if (this.#carried < frame) return read.length;
    const batch = this.#carry.subarray(0, frame);
    this.#codec.decodeBatch(batch, this.#columns);
    this.#carried = 0;
    rows(batch, this.#columns);
    return prefix + rest;
  }
}

/** An engine's way: frames decoded by batch, chunks put into their places by its reassembler. */
export class EngineAssembler implements Assembler {
  readonly #reader: FrameReader;
  readonly #reassembler: SnapshotReassembler;
  #whole: AssembledSnapshot | undefined;

  constructor(codec: FrameCodec, options?: ReassemblerOptions) {
    this.#reader = new FrameReader(codec);
    this.#reassembler = codec.createReassembler(options);
  }

  push(read: Uint8Array): AssembledSnapshot | undefined {
    this.#reader.push(read, (batch, columns) => {
      const { error, snapshot } = this.#reassembler.feedBatch(batch, columns, 0, columns.count, 0);
      if (error !== undefined) throw error;
      this.#whole ??= snapshot;
    });
    return this.#whole;
  }

  dispose(): void {
    this.#reassembler.dispose();
  }
}

/** The same, but into a new mapped file of a folder; what is written there is synced by nobody. */
export class FileAssembler implements Assembler {
  readonly #files: SnapshotFiles;
  readonly #reader: FrameReader;
  readonly #reassembler: SnapshotReassembler;
  readonly #path: string;
  #isInFile = false;
  #whole: AssembledSnapshot | undefined;

  constructor(codec: MigrationCodec, files: SnapshotFiles, path: string, options?: ReassemblerOptions) {
    this.#files = files;
    this.#reader = new FrameReader(codec);
    this.#reassembler = codec.createReassembler(options);
    this.#path = path;
  }

  push(read: Uint8Array): AssembledSnapshot | undefined {
    this.#reader.push(read, (batch, columns) => {
      const { error, snapshot } = this.#reassembler.feedBatch(batch, columns, 0, columns.count, 0);
      if (error !== undefined) throw error;
      this.#whole ??= snapshot;
      if (!this.#isInFile && columns.count > 0) this.#keep(columns.total[0]!);
    });
    return this.#whole;
  }

  #keep(totalChunks: number): void {
    this.#isInFile = true;
    this.#reassembler.keep!(ORIGIN, this.#files.create(this.#path, totalChunks));
  }

  dispose(): void {
    this.#reassembler.dispose();
    // Mapped still, where the snapshot is.
    rmSync(this.#path, { force: true });
  }
}

/** What one writes first: keep every chunk, join them at the end. Chunks in order only, nothing refused. */
export class NaiveAssembler implements Assembler {
  readonly #reader = new FrameReader(typescriptCodec);
  #chunks: Uint8Array[] = [];

  push(read: Uint8Array): AssembledSnapshot | undefined {
    let total = 0;
    this.#reader.push(read, (batch, columns) => {
      for (let row = 0; row < columns.count; row++) {
        const at = columns.payloadOffset[row]!;
        // A copy: the read's memory belongs to the socket.
        this.#chunks.push(Uint8Array.prototype.slice.call(batch, at, at + columns.payloadLength[row]!));
        total = columns.total[row]!;
      }
    });
    if (this.#chunks.length < total || total === 0) return undefined;
    const bytes = Buffer.concat(this.#chunks);
    this.#chunks = [];
    return { daemonOrigin: ORIGIN, seqThrough: SEQ_THROUGH, bytes, digest: undefined, dispose: () => {} };
  }

  dispose(): void {
    this.#chunks = [];
  }
}
