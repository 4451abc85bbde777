import { existsSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { ENGINES, type LoadedEngine, loadEngine } from './engines.js';
import { type FileResult, isGood, runSuite, vectorFiles } from './suite.js';

const USAGE =
  'usage: npm run conformance -- [--vectors <folder>] [--only messages,snapshots,…] ' +
  '[--engine native|typescript|baseline|all] [--json]';

/** How many failures of one file and engine are printed. */
const FAILURES_SHOWN = 5;

class BadOption extends Error {}

/** The folder of package.json, from dist/test/conformance. */
function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return folder;
}

function parse() {
  try {
    const { values } = parseArgs({
      options: {
        vectors: { type: 'string' },
        only: { type: 'string' },
        engine: { type: 'string' },
        json: { type: 'boolean', default: false },
      },
    });
    return values;
  } catch (error) {
    throw new BadOption((error as Error).message.split('\n')[0]);
  }
}

function folderOf(vectors: string | undefined): string {
  const folder = vectors === undefined ? join(packageRoot(), 'test', 'vectors') : resolve(vectors);
  if (!existsSync(folder) || !statSync(folder).isDirectory()) throw new BadOption(`--vectors: ${folder} is no folder`);
  if (vectorFiles(folder).length === 0) throw new BadOption(`--vectors: ${folder} holds no .json file`);
  return folder;
}

function filesOf(only: string | undefined, folder: string): string[] | undefined {
  if (only === undefined) return undefined;
  const there = vectorFiles(folder);
  const files = only.split(',').map((name) => name.trim().replace(/\.json$/, ''));
  for (const file of files) {
    if (!there.includes(file)) throw new BadOption(`--only: ${folder} has no ${file}.json, it has ${there.join(', ')}`);
  }
  return files;
}

/** Engines asked for by name must be there; without a name, what is there is run. */
async function enginesOf(engine: string | undefined): Promise<LoadedEngine[]> {
  const names = engine === undefined || engine === 'all' ? ENGINES : ENGINES.filter((name) => name === engine);
  if (names.length === 0) throw new BadOption(`--engine: ${engine} is none of ${ENGINES.join(', ')}, all`);
  return Promise.all(names.map(loadEngine));
}

function line(result: FileResult): string {
  const head = `${result.file.padEnd(26)} ${(result.engine ?? '–').padEnd(11)}`;
  if (result.notRun !== undefined) return `${head} not run: ${result.notRun}`;
  const counts = `${String(result.run).padStart(5)} run ${String(result.passed).padStart(5)} passed ${String(result.failed).padStart(5)} failed`;
  return result.notUnderstood === undefined
    ? head + counts
    : `${head}${counts}  not understood: ${result.notUnderstood}`;
}

function print(results: readonly FileResult[]): void {
  for (const result of results) {
    console.log(line(result));
    for (const { vector, message } of result.failures.slice(0, FAILURES_SHOWN)) {
      console.log(`    ${vector}: ${message.replaceAll('\n', ' ')}`);
    }
    const more = result.failures.length - FAILURES_SHOWN;
    if (more > 0) console.log(`    and ${more} more`);
    for (const note of result.notes ?? []) console.log(`    ${note.replaceAll('\n', ' ')}`);
  }
  const sum = (pick: (result: FileResult) => number) => results.reduce((total, result) => total + pick(result), 0);
  console.log(`${sum((r) => r.run)} run, ${sum((r) => r.passed)} passed, ${sum((r) => r.failed)} failed`);
}

async function main(): Promise<number> {
  const options = parse();
  const folder = folderOf(options.vectors);
  const only = filesOf(options.only, folder);
  const engines = await enginesOf(options.engine);
  const results = await runSuite({ folder, engines, isComplete: options.vectors === undefined, ...(only && { only }) });
  const missing = engines.flatMap((one) => ('unavailable' in one ? [one] : []));
  const ok = isGood(results) && (options.engine === undefined || missing.length === 0);
  if (options.json) {
    const loaded = engines.map((one) =>
      'unavailable' in one ? { engine: one.name, unavailable: one.unavailable } : { engine: one.name },
    );
    console.log(JSON.stringify({ ok, vectors: folder, engines: loaded, results }));
  } else {
    print(results);
    for (const { name, unavailable } of missing)
      console.log(`engine ${name} was not run, it is not available: ${unavailable}`);
  }
  return ok ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof BadOption)) throw error;
  console.error(`${error.message} (${USAGE})`);
  process.exitCode = 1;
}
