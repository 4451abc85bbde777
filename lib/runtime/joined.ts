import { lengthOf } from '../parts.js';
import { COPIED_PER_TURN } from '../slices.js';

/** Parts that do not change, as one array; others get their turn however large it is. */
export async function joined(parts: readonly Uint8Array[], turn: () => Promise<void>): Promise<Uint8Array> {
  const whole = new Uint8Array(lengthOf(parts));
  let at = 0;
  for (const part of parts) {
    for (let from = 0; from < part.length; from += COPIED_PER_TURN) {
      const slice = part.subarray(from, from + COPIED_PER_TURN);
      whole.set(slice, at);
      at += slice.length;
      if (slice.length === COPIED_PER_TURN) await turn();
    }
  }
  return whole;
}
