// Simulates clusters, seed by seed:
//
//   npm run simulate -- --seed N [--trace]                       one run, again as it was; shrunk where it breaks a promise
//   npm run simulate -- --seeds A..B [--json] [--threads N]      a range; the last line sums it up
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { runRange } from './range.js';
import { tellRange, tellSeed } from './tell.js';

const USAGE = 'give --seed N [--trace], or --seeds A..B [--json] [--threads N]; docs/simulation.md says more';

function wholeNumber(text: string | undefined, name: string): number {
  if (text !== undefined && /^\d{1,9}$/.test(text)) return Number(text);
  throw new RangeError(`${name} must be a whole number below 1,000,000,000, got ${String(text)}; ${USAGE}`);
}

/** @returns whether every seed was run, every promise held, and every hard case came up */
async function range(text: string, isJson: boolean, threads: number): Promise<boolean> {
  const [, a, b] = /^(\d+)\.\.(\d+)$/.exec(text) ?? [];
  const [from, to] = [wholeNumber(a, 'A in --seeds A..B'), wholeNumber(b, 'B in --seeds A..B')];
  if (from > to) throw new RangeError(`--seeds ${text} names no seed: A must be no higher than B`);
  const report = await runRange(from, to, threads, ({ seed, profile, violation }) => {
    if (violation && !isJson) console.log(`seed ${seed} (${profile}) breaks ${violation.promise}: ${violation.text}`);
  });
  return tellRange(report, to - from + 1, isJson, console.log);
}

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    seeds: { type: 'string' },
    trace: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    threads: { type: 'string', default: String(availableParallelism()) },
  },
});
try {
  let isGood: boolean;
  if (values.seed !== undefined) isGood = await tellSeed(wholeNumber(values.seed, '--seed'), values.trace, console.log);
  else if (values.seeds !== undefined)
    isGood = await range(values.seeds, values.json, Math.max(1, wholeNumber(values.threads, '--threads')));
  else throw new RangeError(USAGE);
  process.exitCode = isGood ? 0 : 1;
} catch (error) {
  if (!(error instanceof RangeError)) throw error;
  console.error(error.message);
  process.exitCode = 2;
}
