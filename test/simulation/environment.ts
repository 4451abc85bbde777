import type { Environment } from '../../lib/runtime/environment.js';
import { Random } from './chance.js';
import type { Scheduled, Scheduler } from './scheduler.js';

/** 2023-11-14, when every simulated world begins. */
const BEGINNING_NS = 1_700_000_000_000_000_000n;
const TURN_MS = 0.5;

/** Time and chance of one run of a node: from its crash on neither goes on for it. */
export class SimulatedEnvironment implements Environment {
  readonly #scheduler: Scheduler;
  readonly #node: number;
  readonly #random: Random;
  /** Its timers are so many times as slow as it wants them: a busy node's are. */
  readonly #stretch: number;
  readonly #timers = new Set<Scheduled>();
  isOver = false;

  constructor(scheduler: Scheduler, node: number, seed: number, stretch: number) {
    this.#scheduler = scheduler;
    this.#node = node;
    this.#random = new Random(seed, node);
    this.#stretch = stretch;
  }

  /** How many timers are set. */
  get timers(): number {
    return this.#timers.size;
  }

  nowMs(): number {
    return this.#scheduler.now;
  }

  wallNs(): bigint {
    return BEGINNING_NS + BigInt(Math.round(this.#scheduler.now * 1_000_000));
  }

  randomBytes(length: number): Uint8Array {
    return this.#random.bytes(length);
  }

  every(ms: number, run: () => void): () => void {
    let stop = () => {};
    const again = () => {
      stop = this.after(ms * this.#stretch, () => {
        again();
        run();
      });
    };
    again();
    return () => stop();
  }

  after(ms: number, run: () => void): () => void {
    if (this.isOver) return () => {};
    const timer = this.#scheduler.in(ms, this.#node, () => {
      this.#timers.delete(timer);
      run();
    });
    this.#timers.add(timer);
    return () => {
      timer.run = undefined;
      this.#timers.delete(timer);
    };
  }

  turn(): Promise<void> {
    return new Promise((resolve) => this.after(this.#random.fraction() * TURN_MS, resolve));
  }

  /** The node has crashed. */
  end(): void {
    this.isOver = true;
    for (const timer of this.#timers) timer.run = undefined;
    this.#timers.clear();
  }
}
