import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CODEC_ERROR_KINDS, type CodecErrorKind, MigrationError, type MigrationErrorDetails } from '../../errors.js';
import type { MigrationMessage } from '../message.js';
import type { ReassemblyProgress } from '../reassembler.js';

/** What native/baseline/reassembler_object.cc exports as a class. */
export interface AddonReassembler {
  feed(
    daemonOrigin: bigint,
    seqThrough: bigint,
    chunkIndex: number,
    totalChunks: number,
    chunk: Uint8Array,
    nowMs: number,
  ): Uint8Array<ArrayBuffer> | undefined;
  feedBatch(
    batch: Uint8Array,
    capacity: number,
    columns: Uint8Array,
    count: number,
    from: number,
    to: number,
    nowMs: number,
  ): {
    readonly next: number;
    readonly error?: Error;
    readonly bytes?: Uint8Array<ArrayBuffer>;
    readonly daemonOrigin?: bigint;
    readonly seqThrough?: bigint;
  };
  progress(daemonOrigin: bigint): ReassemblyProgress | undefined;
  missing(daemonOrigin: bigint, limit: number): Uint32Array;
  cancel(daemonOrigin: bigint): boolean;
  forget(daemonOrigin: bigint): boolean;
  sweep(nowMs: number, maxIdleMs: number): number;
  pendingCount(): number;
  pendingBytes(): number;
  dispose(): void;
}

/** What native/baseline/baseline.cc exports. */
export interface BaselineAddon {
  setup(
    kinds: readonly string[],
    makeError: (kind: CodecErrorKind, message: string, details: MigrationErrorDetails) => MigrationError,
  ): void;
  /** A call that does nothing. */
  empty(): void;
  /** A call that looks at bytes. @returns how many they are */
  touch(bytes: Uint8Array): number;
  /** One memcpy of as many bytes as both hold. @returns how many they are */
  copy(target: Uint8Array, source: Uint8Array): number;
  encode(message: MigrationMessage): Uint8Array;
  decode(frame: Uint8Array): MigrationMessage;
  /** Fills `result` with the rows filled and the offset at which the next call goes on. */
  decodeBatch(batch: Uint8Array, start: number, capacity: number, columns: Uint8Array, result: Uint32Array): void;
  encodeBatch(capacity: number, columns: Uint8Array, count: number, target: Uint8Array): number;
  writeChunkHeaders(
    headers: Uint8Array,
    daemonOrigin: bigint,
    seqThrough: bigint,
    snapshotLength: number,
    firstIndex: number,
    count: number,
  ): void;
  /** Takes an assembled snapshot's memory away from its views, which frees it. */
  detach(memory: ArrayBuffer): void;
  readonly Reassembler: new (maxSnapshotBytes: number, maxPendingBytes: number) => AddonReassembler;
}

/** The folder of a checkout; the published package has no baseline. */
export function checkoutRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'binding.gyp'))) {
    const parent = dirname(folder);
    if (parent === folder) throw new MigrationError('engine-unavailable', 'the baseline engine is in a checkout only');
    folder = parent;
  }
  return folder;
}

/** Where `npm run build:baseline` puts the addon. */
export function baselineAddonPath(): string {
  return join(checkoutRoot(), 'build/Release/baseline.addon');
}

let addon: BaselineAddon | undefined;

/** The addon, loaded once per thread. @throws MigrationError `engine-unavailable` where it was not built */
export function loadBaselineAddon(): BaselineAddon {
  if (addon !== undefined) return addon;
  const path = baselineAddonPath();
  if (!existsSync(path)) {
    throw new MigrationError('engine-unavailable', 'the baseline engine is not built: npm run build:baseline');
  }
  // Not require: it takes the extension .node only, and the first .node in build/Release must be the shipped engine.
  const loaded = { exports: {} as BaselineAddon };
  process.dlopen(loaded, path);
  loaded.exports.setup(CODEC_ERROR_KINDS, (kind, message, details) => new MigrationError(kind, message, { details }));
  addon = loaded.exports;
  return addon;
}
