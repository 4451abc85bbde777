import type { MaybePromise } from './maybe-promise.js';

/** Bytes copied before the event loop gets its turn. */
export const COPIED_PER_TURN = 4 * 1024 * 1024;

/** Resolves in a later turn of the event loop. */
export type Turn = () => Promise<void>;

/**
 * Does something with each of many, so many in one turn of the event loop. What fits into one turn is done at once, and so
 * is all of it where no `turn` is given.
 *
 * @param size how much in one turn
 * @param weight how much an item was, asked when it is done; 1 by default
 */
export function inSlices<T>(
  items: Iterable<T>,
  size: number,
  turn: Turn | undefined,
  work: (item: T) => void,
  weight: (item: T) => number = () => 1,
): MaybePromise<void> {
  const iterator = items[Symbol.iterator]();
  const go = (): MaybePromise<void> => {
    for (let done = 0; !turn || done < size; ) {
      const next = iterator.next();
      if (next.done) return;
      work(next.value);
      done += weight(next.value);
    }
    return turn().then(go);
  };
  return go();
}

/** 0, 1, 2 … up to `count`, without it: so that so many times something can be done in slices. */
export function* numbersTo(count: number): Iterable<number> {
  for (let n = 0; n < count; n++) yield n;
}
