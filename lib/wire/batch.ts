/** Calls `each` with every frame of a batch: frames one behind the other, each behind its length (u32 LE). Views. */
export function forEachFrame(batch: Uint8Array, each: (frame: Uint8Array) => void): void {
  const view = new DataView(batch.buffer, batch.byteOffset, batch.byteLength);
  for (let at = 0; batch.length - at >= 4; ) {
    const end = at + 4 + view.getUint32(at, true);
    if (end > batch.length) return;
    each(batch.subarray(at + 4, end));
    at = end;
  }
}
