import { setImmediate as turn } from 'node:timers/promises';
import { Bench } from 'tinybench';
import type { Entry, Measurement, Unit } from './definition.js';
import { backMemory } from './fresh-memory.js';
import { entryOf, type Rounds, ratio } from './statistics.js';

/** One way to do the thing that is measured. */
export interface Contender {
  readonly name: string;
  /** Does it once, synchronously; gives its milliseconds where only a part of the call counts. */
  readonly run: () => number | undefined;
  /** Compares what the calls since the last check gave with what they had to give. @throws WrongResult */
  readonly check: () => void;
}

export interface Plan {
  readonly subject: string;
  readonly unit: Unit;
  /** How a call's milliseconds become the unit. */
  readonly convert: (ms: number) => number;
  readonly rounds: number;
  /** For how long each contender runs in a round; 0: once. */
  readonly sliceMs: number;
  /** The most fresh memory that a contender's turn takes, where taking it is a part of what is measured; in bytes. */
  readonly freshBytes?: number;
}

/** A measurement with its rounds, so that ratios can be taken within each. */
export class Measured implements Measurement {
  readonly subject: string;
  readonly unit: Unit;
  readonly entries: readonly Entry[];
  readonly #rounds: ReadonlyMap<string, Rounds>;

  constructor(subject: string, unit: Unit, rounds: ReadonlyMap<string, Rounds>) {
    this.subject = subject;
    this.unit = unit;
    this.#rounds = rounds;
    this.entries = [...rounds].map(([contender, values]) => entryOf(contender, values));
  }

  /** A contender's rounds; undefined where it took no part. */
  of(contender: string): Rounds | undefined {
    return this.#rounds.get(contender);
  }

  /** How many times `a`'s value is `b`'s; undefined where one of them took no part. */
  ratio(a: string, b: string): number | undefined {
    const [left, right] = [this.of(a), this.of(b)];
    return left && right && ratio(left, right);
  }

  median(contender: string): number | undefined {
    return this.entries.find((entry) => entry.contender === contender)?.median;
  }

  toJSON(): Measurement {
    return { subject: this.subject, unit: this.unit, entries: this.entries };
  }
}

/** How often contenders checked their results since the process began. */
let checks = 0;

export function checksMade(): number {
  return checks;
}

/**
 * Runs the contenders by turns, `rounds` times after one round that does not count, every second round the other way round:
 * what disturbs the machine disturbs all alike. In each round tinybench takes samples for `sliceMs`; the round's value is
 * their median. Results are checked after each slice.
 */
export async function interleave(plan: Plan, contenders: readonly Contender[]): Promise<Measured> {
  const rounds = new Map<string, number[]>(contenders.map(({ name }) => [name, []]));
  for (let round = 0; round <= plan.rounds; round++) {
    const order = round % 2 === 0 ? contenders : [...contenders].reverse();
    for (const contender of order) {
      await cleanUp();
      if (plan.freshBytes !== undefined) await backMemory(plan.freshBytes);
      const ms = slice(contender, plan.sliceMs);
      contender.check();
      checks++;
      if (round > 0) rounds.get(contender.name)!.push(plan.convert(ms));
    }
  }
  return new Measured(plan.subject, plan.unit, rounds);
}

/** What a contender left behind is not the next one's to collect. Memory outside the heap is freed in a turn of the loop. */
async function cleanUp(): Promise<void> {
  globalThis.gc?.();
  await turn();
}

/** The median milliseconds of a call in one slice. */
function slice({ name, run }: Contender, sliceMs: number): number {
  const bench = new Bench({ time: sliceMs, iterations: 1, warmup: false, throws: true });
  bench.add(name, () => {
    const ms = run();
    // A sample of 0 ms could never use up the slice.
    return ms === undefined ? undefined : { overriddenDuration: ms, overriddenIterationCost: Math.max(ms, 0.001) };
  });
  const [task] = bench.runSync();
  const result = task!.result;
  if (!('latency' in result)) throw new Error(`${name} gave no figures: it is ${result.state}`);
  return result.latency.p50;
}

/** Milliseconds of a call to nanoseconds per item of it. */
export const nanosecondsPer = (items: number) => (ms: number) => (ms * 1e6) / items;
/** Milliseconds of a call to 10^9 bytes per second. */
export const gigabytesPerSecond = (bytes: number) => (ms: number) => bytes / ms / 1e6;

/** The milliseconds of a call. */
export function timed(body: () => void): number {
  const start = performance.now();
  body();
  return performance.now() - start;
}
