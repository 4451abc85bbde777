/**
 * What a ChunkStatus says is missing: runs of chunks as [first, end) pairs, u32 LE each, ascending (PROTOCOL.md §8).
 */

export function encodeMissingChunks(runs: Uint32Array): Uint8Array {
  const bytes = new Uint8Array(4 * runs.length);
  const view = new DataView(bytes.buffer);
  runs.forEach((value, i) => {
    view.setUint32(4 * i, value, true);
  });
  return bytes;
}

/** Nothing where nothing came; what is no whole number at the end is left out. */
export function decodeMissingChunks(bytes: Uint8Array | undefined): Uint32Array {
  const runs = new Uint32Array(bytes ? bytes.length >> 2 : 0);
  if (!bytes) return runs;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return runs.map((_, i) => view.getUint32(4 * i, true));
}

/** How many chunks the runs name. */
export function countChunks(runs: Uint32Array): number {
  let count = 0;
  for (let i = 0; i + 1 < runs.length; i += 2) count += Math.max(0, runs[i + 1]! - runs[i]!);
  return count;
}
