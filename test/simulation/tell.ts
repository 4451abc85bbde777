import { planOf } from './plan.js';
import { lineOf, type RangeReport, reportOf, unvisited } from './range.js';
import { simulatePlan } from './run.js';
import { shrink } from './shrink.js';
import type { Outcome } from './world.js';

/** Takes a line of what is told. */
export type Say = (line: string) => void;

/** Runs a seed, and tells what came of it. @returns whether every promise held */
export async function tellSeed(seed: number, isTraced: boolean, say: Say): Promise<boolean> {
  const first = await simulatePlan(planOf(seed), { keepsLines: isTraced });
  if (isTraced) for (const line of first.lines) say(line);
  const { profile, violation, steps, ms, completed, rolledBack, hash } = first;
  if (violation) {
    say(`seed ${seed} (${profile}) breaks ${violation.promise}: ${violation.text}`);
    await tellShrunk(first, say);
    return false;
  }
  const cases = reportOf(first).visits.map(([name, count]) => `${name} ${count}`);
  say(
    `seed ${seed} (${profile}): ${steps} steps in ${Math.round(ms)} ms, ${completed} migrations completed, ${rolledBack} rolled back; ${cases.join(', ') || 'no hard case'}; hash ${hash}`,
  );
  return true;
}

async function tellShrunk(first: Outcome, say: Say): Promise<void> {
  const { outcome, runs, isMinimal } = await shrink(planOf(first.seed), first);
  const what = isMinimal ? 'with the fewest faults' : 'with fewer faults (there was no time to find the fewest)';
  say(`${what}, found in ${runs} runs: ${outcome.taken.join(', ') || 'none'}`);
  for (const line of outcome.lines) say(line);
}

/**
 * Tells what came of a range: the trace of its first violation, what is missing, and last the sum.
 *
 * @param expected seeds that were to be run
 * @returns whether every seed was run, every promise held, and every hard case came up
 */
export async function tellRange(report: RangeReport, expected: number, isJson: boolean, say: Say): Promise<boolean> {
  const missing = unvisited(report);
  const unrun = expected - report.seeds;
  const [broken] = report.violations;
  if (isJson) say(JSON.stringify({ ...report, missing, unrun }));
  else {
    if (broken) {
      const first = await simulatePlan(planOf(broken.seed));
      say(`seed ${broken.seed}, the first of them, breaks ${broken.promise}`);
      if (first.violation) await tellShrunk(first, say);
      else say('but not when it is run once more: something else than its seed decides it');
    }
    if (unrun > 0) say(`${unrun} of ${expected} seeds were not run: the threads that had them ended`);
    if (missing.length > 0) say(`hard cases that never came up: ${missing.join(', ')}`);
    say(lineOf(report));
  }
  return !broken && missing.length === 0 && unrun === 0;
}
