import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { EngineName } from '../../lib/wire/codec.js';
import { type Failure, Tally } from './check.js';
import type { AvailableEngine, LoadedEngine } from './engines.js';
import { isMigrationCodec, type Runner } from './runner.js';
import { RUNNERS } from './runners/index.js';

/** One file over one engine; `engine` is absent where the file needs none, or was not run at all. */
export interface FileResult {
  readonly file: string;
  readonly engine?: EngineName;
  readonly run: number;
  readonly passed: number;
  readonly failed: number;
  readonly failures: readonly Failure[];
  /** What a reader should know of vectors that passed. */
  readonly notes?: readonly string[];
  /** The vectors could not be read as what they are: whatever was counted, the file counts as failed. */
  readonly notUnderstood?: string;
  /** Why nothing was run: the engine lacks what the file needs. That is no failure. */
  readonly notRun?: string;
}

export interface SuiteOptions {
  readonly folder: string;
  readonly engines: readonly LoadedEngine[];
  /** Names of files without `.json`; all where absent. */
  readonly only?: readonly string[];
  /** Whether the vectors are the suite's own: then nothing in the suite may be there for no vector. Default: they are not. */
  readonly isComplete?: boolean;
}

/** The names of the vector files in a folder, without `.json`. */
export function vectorFiles(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .map((name) => name.slice(0, -'.json'.length))
    .sort();
}

/** Runs every file over every engine that is available and has what it needs. */
export async function runSuite({ folder, engines, only, isComplete = false }: SuiteOptions): Promise<FileResult[]> {
  const results: FileResult[] = [];
  for (const file of only ?? vectorFiles(folder)) results.push(...(await runFile(folder, file, engines, isComplete)));
  return results;
}

const NOTHING = { run: 0, passed: 0, failed: 0, failures: [] } as const;

async function runFile(
  folder: string,
  file: string,
  engines: readonly LoadedEngine[],
  isComplete: boolean,
): Promise<FileResult[]> {
  const runner = RUNNERS.find((candidate) => candidate.file === file);
  if (runner === undefined) return [{ file, ...NOTHING, notUnderstood: 'no runner knows it' }];
  let vectors: unknown;
  try {
    vectors = JSON.parse(readFileSync(join(folder, `${file}.json`), 'utf8'));
  } catch (error) {
    return [{ file, ...NOTHING, notUnderstood: (error as Error).message }];
  }
  if (runner.level === 'package')
    return [await count(file, new Tally(isComplete), (tally) => runner.run(vectors, tally))];
  const results: FileResult[] = [];
  for (const engine of engines) {
    if ('codec' in engine) results.push(await runOver(runner, vectors, engine, new Tally(isComplete)));
  }
  return results;
}

async function runOver(
  runner: Exclude<Runner, { level: 'package' }>,
  vectors: unknown,
  engine: AvailableEngine,
  tally: Tally,
): Promise<FileResult> {
  const { file } = runner;
  const { name, codec } = engine;
  if (runner.level === 'frames')
    return { ...(await count(file, tally, () => runner.run(vectors, codec, tally))), engine: name };
  if (!isMigrationCodec(codec)) {
    return { file, engine: name, ...NOTHING, notRun: 'this engine has frames, chunking and reassembly only' };
  }
  return { ...(await count(file, tally, () => runner.run(vectors, codec, tally))), engine: name };
}

async function count(file: string, tally: Tally, body: (tally: Tally) => void | Promise<void>): Promise<FileResult> {
  let notUnderstood: string | undefined;
  try {
    await body(tally);
  } catch (error) {
    notUnderstood = error instanceof Error ? error.message : String(error);
  }
  const { run, passed, failures, notes } = tally;
  if (notUnderstood === undefined && run === 0) notUnderstood = 'it holds no vector';
  const result = { file, run, passed, failed: failures.length, failures, ...(notes.length > 0 && { notes }) };
  return notUnderstood === undefined ? result : { ...result, notUnderstood };
}

/** Whether nothing failed, all files were understood, and something was run. */
export function isGood(results: readonly FileResult[]): boolean {
  const isBad = (result: FileResult) => result.failed > 0 || result.notUnderstood !== undefined;
  return !results.some(isBad) && results.some((result) => result.run > 0);
}
