import { totalmem } from 'node:os';
import { MigrationError } from '../../errors.js';
import { checkBytes, checkFinite, checkInteger, checkU32, checkU64, wrongType } from '../arguments.js';
import { checkColumns, type FrameColumns } from '../columns.js';
import type {
  AssembledSnapshot,
  ReassemblerOptions,
  ReassemblyProgress,
  SnapshotFile,
  SnapshotReassembler,
} from '../reassembler.js';
import type { Addon } from './addon.js';
import type { NativeReassembler, WholeSnapshot } from './binding.js';
import { checkApart } from './frames.js';
import { refusal } from './refusal.js';
import { nativeOf } from './snapshot-files.js';

const MAX_SNAPSHOT_BYTES = 2 ** 32;
const DEFAULT_MAX_IDLE_MS = 300_000;

/** How `feedBatch` of the addon ended, in the low two bits of what it returns. */
const ENDED = 0;
const COMPLETED = 1;
const REFUSED = 2;

/** A snapshot in memory that Rust reserved: its ArrayBuffer stands over the very pages into which the chunks were copied. */
class AssembledNatively implements AssembledSnapshot {
  readonly daemonOrigin: bigint;
  readonly seqThrough: bigint;
  readonly bytes: Uint8Array;
  readonly digest: Uint8Array | undefined;
  readonly #addon: Addon;

  constructor(addon: Addon, whole: WholeSnapshot) {
    this.#addon = addon;
    this.daemonOrigin = whole.origin;
    this.seqThrough = whole.seqThrough;
    this.bytes = new Uint8Array(whole.memory);
    this.digest = whole.digest ?? undefined;
  }

  /** The memory goes when nothing in flight (a write to a file, a hash off the main thread) uses it any more. */
  dispose(): void {
    const memory = this.bytes.buffer as ArrayBuffer;
    if (memory.byteLength > 0) this.#addon.releaseMemory(memory);
  }
}

/** {@link SnapshotReassembler} over the addon. */
class ReassemblerOverAddon implements SnapshotReassembler {
  readonly #addon: Addon;
  #native: NativeReassembler | undefined;

  constructor(addon: Addon, options: ReassemblerOptions) {
    const { maxSnapshotBytes = MAX_SNAPSHOT_BYTES, digest = false } = options;
    const maxPendingBytes = options.maxPendingBytes ?? Math.floor(totalmem() / 2);
    checkInteger(maxSnapshotBytes, 'options.maxSnapshotBytes', 1, MAX_SNAPSHOT_BYTES);
    checkInteger(maxPendingBytes, 'options.maxPendingBytes', 0, Number.MAX_SAFE_INTEGER);
    if (typeof digest !== 'boolean') throw wrongType('options.digest', 'a boolean', digest);
    this.#addon = addon;
    this.#native = new addon.NativeReassembler(maxSnapshotBytes, maxPendingBytes, digest);
  }

  get pendingCount(): number {
    return this.#native?.pendingCount ?? 0;
  }

  get pendingBytes(): number {
    return this.#native?.pendingBytes ?? 0;
  }

  feed(
    daemonOrigin: bigint,
    seqThrough: bigint,
    chunkIndex: number,
    totalChunks: number,
    chunk: Uint8Array,
    nowMs: number = Date.now(),
  ): AssembledSnapshot | undefined {
    const native = this.#alive();
    checkU64(daemonOrigin, 'daemonOrigin');
    checkU64(seqThrough, 'seqThrough');
    checkU32(chunkIndex, 'chunkIndex');
    checkU32(totalChunks, 'totalChunks');
    checkBytes(chunk, 'chunk');
    checkFinite(nowMs, 'nowMs');
    try {
      if (!native.feed(daemonOrigin, seqThrough, chunkIndex, totalChunks, chunk, nowMs)) return undefined;
      return new AssembledNatively(this.#addon, native.takeCompleted());
    } catch (error) {
      throw refusal(error);
    }
  }

  feedBatch(
    batch: Uint8Array,
    columns: FrameColumns,
    from: number,
    to: number,
    nowMs: number = Date.now(),
  ): { readonly next: number; readonly snapshot?: AssembledSnapshot; readonly error?: Error } {
    const native = this.#alive();
    checkBytes(batch, 'batch');
    checkColumns(columns);
    checkInteger(columns.count, 'columns.count', 0, columns.capacity);
    checkInteger(to, 'to', 0, columns.count);
    checkInteger(from, 'from', 0, to);
    checkFinite(nowMs, 'nowMs');
    checkApart(batch, 'batch', columns);
    const end = native.feedBatch(batch, columns.buffer, from, to, nowMs);
    const next = end >>> 2;
    switch (end & 3) {
      case ENDED:
        return { next };
      case COMPLETED:
        return { next, snapshot: new AssembledNatively(this.#addon, native.takeCompleted()) };
      case REFUSED:
        return { next, error: takeRefusal(native) };
      default:
        throw new TypeError(`columns must belong to batch: row ${next} ends beyond its ${batch.length} bytes`);
    }
  }

  progress(daemonOrigin: bigint): ReassemblyProgress | undefined {
    const native = this.#alive();
    checkU64(daemonOrigin, 'daemonOrigin');
    return native.progress(daemonOrigin) ?? undefined;
  }

  missing(daemonOrigin: bigint, limit: number): Uint32Array {
    checkU32(limit, 'limit');
    const native = this.#alive();
    checkU64(daemonOrigin, 'daemonOrigin');
    return native.missing(daemonOrigin, limit);
  }

  keep(daemonOrigin: bigint, file: SnapshotFile): AssembledSnapshot | undefined {
    const native = this.#alive();
    checkU64(daemonOrigin, 'daemonOrigin');
    try {
      if (!native.keep(daemonOrigin, nativeOf(file))) return undefined;
      return new AssembledNatively(this.#addon, native.takeCompleted());
    } catch (error) {
      throw refusal(error);
    }
  }

  received(daemonOrigin: bigint): Uint8Array | undefined {
    const native = this.#alive();
    checkU64(daemonOrigin, 'daemonOrigin');
    return native.received(daemonOrigin) ?? undefined;
  }

  cancel(daemonOrigin: bigint): boolean {
    const native = this.#alive();
    checkU64(daemonOrigin, 'daemonOrigin');
    return native.cancel(daemonOrigin);
  }

  forget(daemonOrigin: bigint): boolean {
    const native = this.#alive();
    checkU64(daemonOrigin, 'daemonOrigin');
    return native.forget(daemonOrigin);
  }

  sweep(nowMs: number, maxIdleMs: number = DEFAULT_MAX_IDLE_MS): number {
    const native = this.#alive();
    checkFinite(nowMs, 'nowMs');
    checkFinite(maxIdleMs, 'maxIdleMs');
    return native.sweep(nowMs, maxIdleMs);
  }

  dispose(): void {
    this.#native?.dispose();
    this.#native = undefined;
  }

  #alive(): NativeReassembler {
    if (this.#native === undefined) {
      throw new MigrationError('disposed', 'this reassembler was disposed of: make a new one');
    }
    return this.#native;
  }
}

function takeRefusal(native: NativeReassembler): Error {
  try {
    native.takeRefusal();
  } catch (error) {
    return refusal(error) as Error;
  }
  throw new Error('the addon refused a row and did not say why');
}

export function reassemblerFactory(addon: Addon): (options?: ReassemblerOptions) => SnapshotReassembler {
  return (options = {}) => {
    if (typeof options !== 'object' || options === null) throw wrongType('options', 'an object', options);
    return new ReassemblerOverAddon(addon, options);
  };
}
