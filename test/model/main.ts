// Checks the models in docs/model: with all rules they hold in every setting, and without any one of them they do not.
//
//   npm run models                     what CI runs, two at once
//   npm run models -- --long           the large settings too, one after another
//   npm run models -- channels SPOOL   only what bears one of these words
//
// A line for each, and at the end `N passed, N failed`.
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { COVERS, LOCKS, type ModelName, RULES, SETTINGS } from './settings.js';
import { missingTool, type Search, search } from './spin.js';

const FOLDER = fileURLToPath(new URL('../../../docs/model', import.meta.url));

interface Check {
  readonly model: ModelName;
  readonly flags: readonly string[];
  /** What must be violated; undefined: nothing may be. */
  readonly violates: string | undefined;
}

function checks(long: boolean): Check[] {
  const holds = (model: ModelName, flags: readonly string[]): Check => ({ model, flags, violates: undefined });
  return [
    ...SETTINGS.filter((setting) => long || !setting.long).map(({ model, flags }) => holds(model, flags)),
    ...RULES.map(({ model, flags, without, breaks }) => ({ model, flags: [...flags, without], violates: breaks })),
    ...LOCKS.flatMap(({ model, flags, without, breaks, alone = flags }) => [
      ...without.map((one) => holds(model, [...alone, one])),
      { model, flags: [...flags, ...without], violates: breaks },
    ]),
    ...COVERS.map(({ model, flags, cover }) => ({ model, flags: [...flags, `COVER=${cover}`], violates: 'covered' })),
  ];
}

function sizeOf({ states, depth, mebibytes, seconds }: Search): string {
  return `${states.toLocaleString('en')} states, depth ${depth}, ${mebibytes} MiB, ${seconds.toFixed(1)} s`;
}

/** An assertion bears the name of its promise. */
function isAsExpected({ violated }: Search, expected: string | undefined): boolean {
  if (expected === undefined || violated === undefined) return violated === expected;
  return new RegExp(`\\b${expected}\\b`).test(violated);
}

function labelOf({ model, flags }: Check): string {
  return [model, ...flags].join(' ');
}

async function passes(check: Check): Promise<boolean> {
  const { model, flags, violates } = check;
  const label = labelOf(check);
  try {
    const found = await search(join(FOLDER, `${model}.pml`), flags);
    const isOk = isAsExpected(found, violates);
    const wanted = violates === undefined ? 'holds' : `breaks ${violates}`;
    const verdict = isOk ? wanted : `should be: ${wanted}; ${found.violated ?? 'holds'}`;
    console.log(`${isOk ? 'ok  ' : 'FAIL'} ${label}: ${verdict} (${sizeOf(found)})`);
    return isOk;
  } catch (error) {
    console.log(`FAIL ${label}: ${error instanceof Error ? error.message : String(error)}`);
    return false;
  }
}

/** @returns how many passed */
async function run(wanted: readonly Check[], jobs: number): Promise<number> {
  const queue = wanted.values();
  let passed = 0;
  const work = async () => {
    for (const check of queue) if (await passes(check)) passed++;
  };
  await Promise.all(Array.from({ length: jobs }, work));
  return passed;
}

const args = process.argv.slice(2);
const long = args.includes('--long');
const words = args.filter((arg) => arg !== '--long');
const missing = await missingTool();
if (missing !== undefined) console.log(`FAIL ${missing}`);
const named = checks(long).filter(
  ({ model, flags }) => words.length === 0 || words.some((word) => word === model || flags.includes(word)),
);
// A rule may be one of several groups.
const wanted = [...new Map(named.map((check) => [labelOf(check), check])).values()];
// A large search takes gigabytes.
const jobs = long ? 1 : Math.min(2, availableParallelism());
const passed = missing === undefined ? await run(wanted, jobs) : 0;
const failed = missing === undefined && wanted.length > 0 ? wanted.length - passed : 1;
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
