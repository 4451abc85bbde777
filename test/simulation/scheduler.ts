import { scatter } from './chance.js';
import type { Trace } from './trace.js';

/** Something that will happen at its time, unless it is called off. */
export interface Scheduled {
  readonly at: number;
  readonly rank: number;
  readonly order: number;
  /** Undefined once it is called off. */
  run: (() => void) | undefined;
  /** Whose step it is: a node's number, or 0 for the world's. */
  readonly node: number;
}

/** Steps without which the event loop gets no turn, for what memory waits to be freed there. */
const STEPS_PER_TURN = 512;

/**
 * Owns time. Whatever happens in the simulated world is a step of its own, at its time; between two of them everything that
 * promises have begun comes to its end, so that a run depends on nothing but its seed.
 */
export class Scheduler {
  now = 0;
  steps = 0;
  /** Called behind each step, when nothing is left to do for now. */
  afterStep: (node: number) => void = () => {};
  readonly #heap: Scheduled[] = [];
  readonly #seed: number;
  readonly #trace: Trace;
  #order = 0;

  constructor(seed: number, trace: Trace) {
    this.#seed = seed;
    this.#trace = trace;
  }

  /** How much is still to come. */
  get waiting(): number {
    return this.#heap.length;
  }

  /** @param delay milliseconds from now; what falls on the same moment comes in an order that the seed decides */
  in(delay: number, node: number, run: () => void): Scheduled {
    return this.at(this.now + delay, node, run);
  }

  at(at: number, node: number, run: () => void): Scheduled {
    const order = ++this.#order;
    const entry: Scheduled = { at: Math.max(at, this.now), rank: scatter(this.#seed, order), order, run, node };
    this.#push(entry);
    return entry;
  }

  /** Runs steps until `isDone` says so, or none is left. What a step throws ends it. */
  run(isDone: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      let node = 0;
      const step = () => {
        try {
          this.afterStep(node);
          const next = isDone() ? undefined : this.#next();
          if (!next) {
            resolve();
            return;
          }
          node = next.node;
          this.now = next.at;
          this.steps++;
          this.#trace.digest(next.node, next.at);
          next.run!();
          next.run = undefined;
        } catch (error) {
          reject(error);
          return;
        }
        if (this.steps % STEPS_PER_TURN === 0) setImmediate(step);
        // Ticks come behind all promises, and what those promise.
        else queueMicrotask(() => process.nextTick(step));
      };
      setImmediate(step);
    });
  }

  #next(): Scheduled | undefined {
    for (let next = this.#pop(); next; next = this.#pop()) if (next.run) return next;
    return undefined;
  }

  #push(entry: Scheduled): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(entry);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(entry, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = entry;
  }

  #pop(): Scheduled | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (heap.length === 0 || !last) return first;
    let at = 0;
    for (let child = 1; child < heap.length; child = 2 * at + 1) {
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!isBefore(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

function isBefore(a: Scheduled, b: Scheduled): boolean {
  if (a.at !== b.at) return a.at < b.at;
  return a.rank !== b.rank ? a.rank < b.rank : a.order < b.order;
}
