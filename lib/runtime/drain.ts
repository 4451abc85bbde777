import type { MaybePromise } from '../maybe-promise.js';

/** Events that are acknowledged before the target has replayed any: it may be busy with the first of a long log. */
const FIRST_ALLOWANCE = 1_000;

interface Drain {
  /** Events that may be accepted now. */
  allowance: number;
  readonly waiting: Array<{ readonly count: number; readonly resolve: () => void }>;
}

/**
 * Slows the publishers of a daemon that is about to move: for two events that the target has replayed, one new one is
 * acknowledged. So the gap shrinks however fast they are, and nobody waits for the whole of it at once.
 */
export class DrainThrottle {
  readonly #drains = new Map<bigint, Drain>();

  begin(origin: bigint): void {
    if (!this.#drains.has(origin)) this.#drains.set(origin, { allowance: FIRST_ALLOWANCE, waiting: [] });
  }

  /** The target has replayed so many more. */
  replayed(origin: bigint, count: number): void {
    const drain = this.#drains.get(origin);
    if (!drain) return;
    drain.allowance += count / 2;
    while (drain.waiting[0] && drain.allowance > 0) {
      const { count: taken, resolve } = drain.waiting.shift()!;
      drain.allowance -= taken;
      resolve();
    }
  }

  /** The daemon has stopped, or goes on: nobody is to wait any more. */
  end(origin: bigint): void {
    const drain = this.#drains.get(origin);
    this.#drains.delete(origin);
    for (const { resolve } of drain?.waiting ?? []) resolve();
  }

  /** When so many accepted events may be acknowledged. */
  admit(origin: bigint, count: number): MaybePromise<void> {
    const drain = this.#drains.get(origin);
    if (!drain) return;
    return new Promise((resolve) => {
      drain.waiting.push({ count, resolve });
      this.replayed(origin, 0);
    });
  }
}
