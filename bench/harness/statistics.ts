import type { Entry } from './definition.js';

/** The value below which the share `q` of the values lies, interpolated. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (sorted.length - 1) * q;
  const below = sorted[Math.floor(at)]!;
  const above = sorted[Math.ceil(at)]!;
  return below + (above - below) * (at - Math.floor(at));
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** One contender's value in each round. */
export type Rounds = readonly number[];

export function entryOf(contender: string, rounds: Rounds): Entry {
  return {
    contender,
    median: median(rounds),
    low: quantile(rounds, 0.25),
    high: quantile(rounds, 0.75),
    rounds: rounds.length,
  };
}

/**
 * How many times `a` is `b`: the median over the rounds of the ratio within each, so that what slows a whole round does not
 * count.
 */
export function ratio(a: Rounds, b: Rounds): number {
  return median(a.map((value, round) => value / b[round]!));
}
