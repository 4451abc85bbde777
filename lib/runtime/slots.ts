import { wholeFromOne } from '../limits.js';

/** So many may go at once; the others wait for their turn, in order. */
export class Slots {
  readonly #limit: number;
  readonly #waiting = new Set<() => void>();
  #taken = 0;

  constructor(limit: number) {
    this.#limit = wholeFromOne(limit, 'maxConcurrentMigrations');
  }

  /** Takes a slot, where one is free. */
  tryTake(): boolean {
    if (this.#taken === this.#limit) return false;
    this.#taken++;
    return true;
  }

  /** Calls `begin`, with a slot taken for it, when its turn has come. @returns takes it out of the queue */
  queue(begin: () => void): () => void {
    this.#waiting.add(begin);
    return () => void this.#waiting.delete(begin);
  }

  /** Gives a slot back. */
  release(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#taken--;
      return;
    }
    this.#waiting.delete(next);
    next();
  }
}
