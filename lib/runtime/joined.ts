import { lengthOf } from '../migration/snapshot-bytes.js';

/** Copied before the event loop gets its turn. */
const SLICE_BYTES = 4 * 1024 * 1024;

/** Parts that do not change, as one array; others get their turn however large it is. */
export async function joined(parts: readonly Uint8Array[], turn: () => Promise<void>): Promise<Uint8Array> {
  const whole = new Uint8Array(lengthOf(parts));
  let at = 0;
  for (const part of parts) {
    for (let from = 0; from < part.length; from += SLICE_BYTES) {
      const slice = part.subarray(from, from + SLICE_BYTES);
      whole.set(slice, at);
      at += slice.length;
      if (slice.length === SLICE_BYTES) await turn();
    }
  }
  return whole;
}
