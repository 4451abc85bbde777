import { type Environment, systemEnvironment } from '../../lib/runtime/environment.js';

interface Timer {
  at: number;
  readonly every: number | undefined;
  readonly run: () => void;
}

/** An environment whose clock the test moves; everything else is the system's. */
export class ManualEnvironment implements Environment {
  #now = 0;
  readonly #timers = new Set<Timer>();

  nowMs(): number {
    return this.#now;
  }

  wallNs(): bigint {
    return BigInt(Math.round(this.#now)) * 1_000_000n;
  }

  randomBytes(length: number): Uint8Array {
    return systemEnvironment.randomBytes(length);
  }

  every(ms: number, run: () => void): () => void {
    return this.#add({ at: this.#now + ms, every: ms, run });
  }

  after(ms: number, run: () => void): () => void {
    return this.#add({ at: this.#now + ms, every: undefined, run });
  }

  turn(): Promise<void> {
    return systemEnvironment.turn();
  }

  /** How many timers are set. */
  get timers(): number {
    return this.#timers.size;
  }

  /** Moves the clock on, timer by timer, and lets what they began go on. */
  async advance(ms: number): Promise<void> {
    const until = this.#now + ms;
    for (let next = this.#next(until); next; next = this.#next(until)) {
      this.#now = next.at;
      if (next.every === undefined) this.#timers.delete(next);
      else next.at += next.every;
      next.run();
      await settled();
    }
    this.#now = until;
    await settled();
  }

  #next(until: number): Timer | undefined {
    let first: Timer | undefined;
    for (const timer of this.#timers) if (timer.at <= until && (!first || timer.at < first.at)) first = timer;
    return first;
  }

  #add(timer: Timer): () => void {
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }
}

/** Lets everything that is under way, and takes some turns of the event loop, go on. */
export async function settled(turns = 6): Promise<void> {
  for (let i = 0; i < turns; i++) await systemEnvironment.turn();
}
