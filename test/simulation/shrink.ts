import type { Plan } from './plan.js';
import { simulatePlan } from './run.js';
import type { Outcome } from './world.js';

/** What is left of a run that breaks a promise when everything is switched off that it does not need for that. */
export interface Shrunk {
  readonly outcome: Outcome;
  /** Runs that it took. */
  readonly runs: number;
  /** Each of what is left is needed; false where time ran out before that was known. */
  readonly isMinimal: boolean;
}

/**
 * Looks for the fewest faults and deeds with which a plan still breaks the same promise, by leaving out ever smaller parts of
 * them (delta debugging: Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002).
 *
 * @param first a run of the plan that broke a promise
 * @param forMs how long to look, of the wall clock
 */
export async function shrink(plan: Plan, first: Outcome, forMs = 30_000): Promise<Shrunk> {
  const until = performance.now() + forMs;
  const promise = first.violation!.promise;
  let names: readonly string[] = [...new Set(first.taken)];
  let runs = 0;
  const fails = async (candidate: readonly string[]): Promise<Outcome | undefined> => {
    runs++;
    const outcome = await simulatePlan(plan, { allowed: new Set(candidate) });
    return outcome.violation?.promise === promise ? outcome : undefined;
  };
  let parts = 2;
  while (names.length > 0 && performance.now() < until) {
    const size = Math.ceil(names.length / parts);
    let smaller: readonly string[] | undefined;
    for (let from = 0; from < names.length && !smaller && performance.now() < until; from += size) {
      const candidate = [...names.slice(0, from), ...names.slice(from + size)];
      const outcome = await fails(candidate);
      // What did not come to pass in it any more is not needed either.
      if (outcome) smaller = candidate.filter((name) => outcome.taken.includes(name));
    }
    if (smaller) {
      names = smaller;
      parts = Math.max(2, Math.min(parts - 1, names.length));
    } else if (size === 1) break;
    else parts = Math.min(names.length, parts * 2);
  }
  const outcome = await simulatePlan(plan, { allowed: new Set(names), keepsLines: true });
  return { outcome, runs: runs + 1, isMinimal: performance.now() < until };
}
