import type { FrameColumns } from './columns.js';

/** The largest snapshot that any configuration takes: what one buffer holds. */
export const MAX_SNAPSHOT_BYTES = 2 ** 32;

export interface ReassemblerOptions {
  /** The largest snapshot taken, in bytes; at most 2^32. Default: 2^32. */
  readonly maxSnapshotBytes?: number;
  /** The most committed bytes over all pending snapshots. Default: half of the machine's memory. */
  readonly maxPendingBytes?: number;
  /** Whether a BLAKE3-256 digest of each assembled snapshot is made while its chunks arrive. Default: false. */
  readonly digest?: boolean;
}

/**
 * Files in which snapshots are received instead of memory: what has landed outlives the process. Mapped, with disk space reserved
 * before anything is written, so that a full disk is an error (`spool-full`) and not the end of the process.
 */
export interface SnapshotFiles {
  /**
   * @param path where no file is yet; in a folder that is this process's alone
   * @returns a new file (mode 0600), of which nothing takes disk space yet
   * @throws MigrationError `spool-full`; `spool-failed` with the system's own reason; `out-of-memory`
   */
  create(path: string, totalChunks: number): SnapshotFile;
  /**
   * A file of an earlier life of this node. Its chunks are read and hashed off the main thread.
   *
   * @param received which chunks stand in it, as {@link SnapshotReassembler.received} told when it had been synced
   * @throws MigrationError as `create`; `spool-failed` also where it is not that of such a snapshot
   */
  takeUp(path: string, totalChunks: number, received: Uint8Array): Promise<SnapshotFile>;
}

/** A file that a reassembler can go on in, once. */
export interface SnapshotFile {
  /** How many chunks stand in it. */
  readonly receivedChunks: number;
  /** Lets it go unused; the file stays. Idempotent. */
  dispose(): void;
}

/** A whole snapshot, outside the JavaScript heap. */
export interface AssembledSnapshot {
  readonly daemonOrigin: bigint;
  readonly seqThrough: bigint;
  /** A view without a copy; empty after {@link dispose}. Freed by `dispose`, else when collected. */
  readonly bytes: Uint8Array;
  /** BLAKE3-256 of `bytes`, where the reassembler was asked to make it. */
  readonly digest: Uint8Array | undefined;
  dispose(): void;
}

export interface ReassemblyProgress {
  readonly seqThrough: bigint;
  readonly totalChunks: number;
  readonly receivedChunks: number;
  readonly receivedBytes: number;
}

/**
 * Puts snapshots together from their chunks (PROTOCOL.md §4): at most one pending per origin, any order, O(1) per chunk,
 * one copy per chunk into memory that was reserved at the first chunk and is committed as chunks land.
 *
 * A refused chunk changes nothing. Refusals, in the order in which they are looked for:
 *
 * 1. `disposed`
 * 2. `zero-total-chunks`, `total-chunks-too-large`, `chunk-index-out-of-range`
 * 3. `empty-chunk`, `chunk-too-large`
 * 4. `stale-seq-through` (`got`, `latest`): older than the newest one accepted for this origin, pending or completed; a
 *    snapshot of the same seqThrough may come again
 * 5. `total-chunks-mismatch` (`got`, `expected`): against the pending one of the same seqThrough
 * 6. `snapshot-too-large` (`buffered`, `incoming`, `max`): the bytes here (without the chunk that this one replaces) with
 *    this chunk are over `maxSnapshotBytes`; or, at the first chunk, the total is, since each chunk has a byte at least
 * 7. `too-many-pending-bytes` (`buffered`, `incoming`, `max`): the bytes committed for all pending snapshots (without one that
 *    is about to be evicted), with what this chunk would commit, are over `maxPendingBytes`; a snapshot of one chunk is
 *    never pending, so it is not counted
 * 8. `out-of-memory`; with the native engine also where the process holds 8,192 snapshots over 256 KiB, pending or handed over: each
 *    takes a memory mapping, of which Linux gives a process 65,530
 *
 * What is remembered of origins with nothing pending, for `stale-seq-through`, is bounded: of the 65,536 last touched the newest
 * seqThrough; an older one's snapshot would be assembled again, and refused by the ownership register.
 *
 * A chunk that is here already replaces the earlier one's bytes. Only a chunk that was missing is progress for
 * {@link SnapshotReassembler.sweep}.
 */
export interface SnapshotReassembler {
  /** How many snapshots are pending. */
  readonly pendingCount: number;
  /** Bytes committed for them: whole pages (of 2 MiB where the system has them, once 4 MiB of a snapshot came in), and the books kept. */
  readonly pendingBytes: number;

  /**
   * @param chunk copied before the call returns
   * @param nowMs the caller's clock, for {@link sweep}; default: `Date.now()`
   * @returns the snapshot when this was its last missing chunk
   */
  feed(
    daemonOrigin: bigint,
    seqThrough: bigint,
    chunkIndex: number,
    totalChunks: number,
    chunk: Uint8Array,
    nowMs?: number,
  ): AssembledSnapshot | undefined;

  /**
   * Feeds the SnapshotReady rows `from .. to` of a decoded batch; other rows, and rows with another `origin` than the
   * first's, end the run. Stops behind the chunk that completes a snapshot, and at one that is refused.
   *
   * @returns the row at which it stopped (`to` when all were taken), the snapshot that was completed, or the error with
   * which that row was refused
   */
  feedBatch(
    batch: Uint8Array,
    columns: FrameColumns,
    from: number,
    to: number,
    nowMs?: number,
  ): { readonly next: number; readonly snapshot?: AssembledSnapshot; readonly error?: Error };

  progress(daemonOrigin: bigint): ReassemblyProgress | undefined;
  /** Up to `limit` runs of chunks not yet here, as [first, end) pairs in one array; empty where nothing is pending. */
  missing(daemonOrigin: bigint, limit: number): Uint32Array;

  /**
   * Goes on in a file with the snapshot that is pending for an origin: what stands there counts as received, what is here is
   * copied there, and so should be little. Only with an engine that has `snapshotFiles`. Refused, nothing changes, but for the
   * file, which can be used once. Where nothing is pending, or chunks were short, nothing happens.
   *
   * @returns the snapshot, where with what stood in the file it is whole
   * @throws MigrationError `total-chunks-mismatch`, `snapshot-too-large`, `too-many-pending-bytes`, `spool-full`, `spool-failed`
   */
  keep?(daemonOrigin: bigint, file: SnapshotFile): AssembledSnapshot | undefined;
  /**
   * Which chunks of a snapshot in a file are here: a bit each, from the first byte's lowest on, in whole u64. All but the last
   * chunk, whose frame bears what a restarted node has to hear again. Undefined where none is pending in a file.
   */
  received?(daemonOrigin: bigint): Uint8Array | undefined;

  /** Drops what is pending for an origin; what was remembered of completed ones stays. */
  cancel(daemonOrigin: bigint): boolean;
  /** Forgets an origin wholly, so that any seqThrough is taken again. */
  forget(daemonOrigin: bigint): boolean;
  /** Drops what made no progress for `maxIdleMs` or longer (default 300,000). @returns how many were dropped */
  sweep(nowMs: number, maxIdleMs?: number): number;
  /** Frees all. Later calls throw `disposed`. Idempotent. */
  dispose(): void;
}
