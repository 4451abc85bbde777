import { parseArgs } from 'node:util';
import { parseBenchOptions, withUsage } from './harness/options.js';
import { runBenches } from './harness/run.js';
import { reportLines } from './harness/text.js';

const USAGE = 'usage: npm run bench -- [--only frames,boundary,…] [--engine native,typescript,…] [--json] [--quick]';

/** Exits with 1 when a result was wrong or a bench could not run; a goal that was missed is a finding, not a failure. */
async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      engine: { type: 'string' },
      json: { type: 'boolean', default: false },
      quick: { type: 'boolean', default: false },
    },
  });
  const options = await parseBenchOptions(values);
  const say = values.json ? () => {} : (line: string) => console.log(line);
  const run = await runBenches({
    ...options,
    onStart: ({ name, title }) => say(`${name}: ${title}`),
    onEnd: ({ report, failure, isWrongResult, seconds }) => {
      for (const line of report ? reportLines(report) : []) say(line);
      if (failure !== undefined) console.error(`  ${isWrongResult ? 'WRONG RESULT' : 'FAILED'}: ${failure}`);
      say(`  ${seconds} s\n`);
    },
  });
  if (values.json) console.log(JSON.stringify(run));
  return run.ok ? 0 : 1;
}

process.exitCode = await withUsage(USAGE, main);
