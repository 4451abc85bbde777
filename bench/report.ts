import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { checkoutRoot } from '../lib/wire/baseline/addon.js';
import { chart } from './harness/chart.js';
import { benchPage, indexPage } from './harness/markdown.js';
import { BadOption, parseBenchOptions, withUsage } from './harness/options.js';
import { type Run, runBenches } from './harness/run.js';

const USAGE =
  'usage: npm run bench:report -- [--only frames,…] [--engine …] [--quick] [--from results.json] [--out folder]';

/** Figures from an earlier run, where they may stand beside those of this one: from the same machine. */
function earlier(file: string, run: Run): Run['benches'] {
  if (!existsSync(file)) return [];
  const before = JSON.parse(readFileSync(file, 'utf8')) as Run;
  const isComparable = JSON.stringify(before.machine) === JSON.stringify(run.machine) && before.quick === run.quick;
  return isComparable ? before.benches.filter(({ name }) => run.benches.every((bench) => bench.name !== name)) : [];
}

/** Runs the benches and writes their pages and charts; a wrong result ends it with 1 and writes nothing. */
async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      engine: { type: 'string' },
      quick: { type: 'boolean', default: false },
      from: { type: 'string' },
      out: { type: 'string' },
    },
  });
  const folder = values.out ?? join(checkoutRoot(), 'docs/benchmarks');
  const results = join(folder, 'results.json');
  if (values.from !== undefined) {
    if (!existsSync(values.from)) throw new BadOption(`--from: there is no ${values.from}`);
    write(folder, JSON.parse(readFileSync(values.from, 'utf8')) as Run);
    return 0;
  }
  const options = await parseBenchOptions(values);
  const run = await runBenches({
    ...options,
    onStart: ({ name, title }) => console.log(`${name}: ${title}`),
    onEnd: ({ failure, seconds }) => console.log(failure ?? `  ${seconds} s`),
  });
  if (!run.ok) return 1;
  const benches = [...run.benches, ...earlier(results, run)].sort((a, b) => a.order - b.order);
  write(folder, { ...run, benches });
  return 0;
}

function write(folder: string, run: Run): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'results.json'), `${JSON.stringify(run, undefined, 1)}\n`);
  writeFileSync(join(folder, 'README.md'), indexPage(run, existsSync(join(folder, 'findings.md'))));
  for (const bench of run.benches) {
    if (bench.report === undefined || bench.report.measurements.length === 0) continue;
    writeFileSync(join(folder, `${bench.name}.md`), benchPage(bench, run));
    writeFileSync(join(folder, `${bench.name}.svg`), chart(bench.title, bench.report.measurements));
  }
  console.log(`written to ${folder}`);
}

process.exitCode = await withUsage(USAGE, main);
