import { totalmem } from 'node:os';
import { blake3 } from '@noble/hashes/blake3.js';
import { wrongType } from '../arguments.js';
import { checkColumns, type FrameColumns } from '../columns.js';
import type { AssembledSnapshot, ReassemblerOptions, ReassemblyProgress, SnapshotReassembler } from '../reassembler.js';
import type { AddonReassembler, BaselineAddon } from './addon.js';

const MAX_SNAPSHOT_BYTES = 2 ** 32;
const DEFAULT_MAX_IDLE_MS = 300_000;
const NOTHING = new Uint8Array(0);

class BaselineSnapshot implements AssembledSnapshot {
  readonly daemonOrigin: bigint;
  readonly seqThrough: bigint;
  readonly digest: Uint8Array | undefined;
  readonly #addon: BaselineAddon;
  #bytes: Uint8Array<ArrayBuffer>;

  constructor(
    addon: BaselineAddon,
    daemonOrigin: bigint,
    seqThrough: bigint,
    bytes: Uint8Array<ArrayBuffer>,
    digest: boolean,
  ) {
    this.#addon = addon;
    this.daemonOrigin = daemonOrigin;
    this.seqThrough = seqThrough;
    this.#bytes = bytes;
    this.digest = digest ? blake3(bytes) : undefined;
  }

  get bytes(): Uint8Array {
    return this.#bytes;
  }

  dispose(): void {
    if (this.#bytes === NOTHING) return;
    this.#addon.detach(this.#bytes.buffer);
    this.#bytes = NOTHING;
  }
}

/** The addon's reassembler in the shape of the contract. `pendingBytes` counts the chunks' bytes, not pages. */
class BaselineReassembler implements SnapshotReassembler {
  readonly #addon: BaselineAddon;
  readonly #native: AddonReassembler;
  readonly #digest: boolean;

  constructor(addon: BaselineAddon, options: ReassemblerOptions) {
    const { maxSnapshotBytes = MAX_SNAPSHOT_BYTES, digest = false } = options;
    const maxPendingBytes = options.maxPendingBytes ?? Math.floor(totalmem() / 2);
    if (typeof digest !== 'boolean') throw wrongType('options.digest', 'a boolean', digest);
    this.#addon = addon;
    this.#native = new addon.Reassembler(maxSnapshotBytes, maxPendingBytes);
    this.#digest = digest;
  }

  get pendingCount(): number {
    return this.#native.pendingCount();
  }

  get pendingBytes(): number {
    return this.#native.pendingBytes();
  }

  feed(
    daemonOrigin: bigint,
    seqThrough: bigint,
    chunkIndex: number,
    totalChunks: number,
    chunk: Uint8Array,
    nowMs: number = Date.now(),
  ): AssembledSnapshot | undefined {
    const bytes = this.#native.feed(daemonOrigin, seqThrough, chunkIndex, totalChunks, chunk, nowMs);
    if (bytes === undefined) return undefined;
    return new BaselineSnapshot(this.#addon, daemonOrigin, seqThrough, bytes, this.#digest);
  }

  feedBatch(
    batch: Uint8Array,
    columns: FrameColumns,
    from: number,
    to: number,
    nowMs: number = Date.now(),
  ): { readonly next: number; readonly snapshot?: AssembledSnapshot; readonly error?: Error } {
    checkColumns(columns);
    const { capacity, buffer, count } = columns;
    const fed = this.#native.feedBatch(batch, capacity, buffer, count, from, to, nowMs);
    if (fed.error !== undefined) return { next: fed.next, error: fed.error };
    if (fed.bytes === undefined) return { next: fed.next };
    const snapshot = new BaselineSnapshot(this.#addon, fed.daemonOrigin!, fed.seqThrough!, fed.bytes, this.#digest);
    return { next: fed.next, snapshot };
  }

  progress(daemonOrigin: bigint): ReassemblyProgress | undefined {
    return this.#native.progress(daemonOrigin);
  }

  missing(daemonOrigin: bigint, limit: number): Uint32Array {
    return this.#native.missing(daemonOrigin, limit);
  }

  cancel(daemonOrigin: bigint): boolean {
    return this.#native.cancel(daemonOrigin);
  }

  forget(daemonOrigin: bigint): boolean {
    return this.#native.forget(daemonOrigin);
  }

  sweep(nowMs: number, maxIdleMs: number = DEFAULT_MAX_IDLE_MS): number {
    return this.#native.sweep(nowMs, maxIdleMs);
  }

  dispose(): void {
    this.#native.dispose();
  }
}

export function createReassembler(addon: BaselineAddon, options: ReassemblerOptions = {}): SnapshotReassembler {
  if (typeof options !== 'object' || options === null) throw wrongType('options', 'an object', options);
  return new BaselineReassembler(addon, options);
}
