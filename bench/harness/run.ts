import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { type BenchDefinition, type BenchOptions, type BenchReport, WrongResult } from './definition.js';
import { isolated } from './isolated.js';
import { type Machine, machineFacts } from './machine.js';

/** A bench, and what it gave; or why it gave nothing. */
export interface Outcome extends BenchDefinition {
  readonly report?: BenchReport;
  /** What was wrong with a result, or kept the bench from running. */
  readonly failure?: string;
  readonly isWrongResult?: boolean;
  readonly seconds: number;
  /** The day of its figures. */
  readonly date: string;
}

/** Everything of one run, as `--json` prints it and the report reads it. */
export interface Run {
  readonly ok: boolean;
  readonly command: string;
  readonly quick: boolean;
  readonly machine: Machine;
  readonly benches: readonly Outcome[];
}

interface BenchFile {
  readonly module: string;
  readonly definition: BenchDefinition;
}

const BENCHES = fileURLToPath(new URL('..', import.meta.url));

/** Every `*.bench.ts` of the folder: a new bench is one new file. */
export async function benchFiles(folder = BENCHES): Promise<BenchFile[]> {
  const files: BenchFile[] = [];
  for (const file of readdirSync(folder).filter((name) => name.endsWith('.bench.js'))) {
    const module = pathToFileURL(join(folder, file)).href;
    const { definition } = (await import(module)) as { definition: BenchDefinition };
    files.push({ module, definition });
  }
  return files.sort((a, b) => a.definition.order - b.definition.order);
}

export interface RunOptions extends BenchOptions {
  /** Names of benches; undefined: all. */
  readonly only: readonly string[] | undefined;
  readonly command: string;
  /** Where the benches are, when it is not `bench/`. */
  readonly folder?: string;
  /** Told of each bench as it begins and ends. */
  readonly onStart: (definition: BenchDefinition) => void;
  readonly onEnd: (outcome: Outcome) => void;
}

/** Runs benches one after another, each in a process of its own. */
export async function runBenches(options: RunOptions): Promise<Run> {
  const benches: Outcome[] = [];
  for (const { module, definition } of await benchFiles(options.folder)) {
    if (options.only !== undefined && !options.only.includes(definition.name)) continue;
    options.onStart(definition);
    const outcome = await runBench(module, definition, { quick: options.quick, engines: options.engines });
    options.onEnd(outcome);
    benches.push(outcome);
  }
  return {
    ok: benches.every((bench) => bench.failure === undefined),
    command: options.command,
    quick: options.quick,
    machine: machineFacts(),
    benches,
  };
}

async function runBench(module: string, definition: BenchDefinition, options: BenchOptions): Promise<Outcome> {
  const start = performance.now();
  const date = new Date().toISOString().slice(0, 10);
  const taken = () => ({ date, seconds: Math.round((performance.now() - start) / 100) / 10 });
  try {
    const report = await isolated<BenchReport>({ module, name: 'run', args: [options] }, definition.execArgv);
    if (report.checked === 0 && report.measurements.length > 0) throw new WrongResult('no result was checked');
    return { ...definition, report, ...taken() };
  } catch (error) {
    const failure = error instanceof Error ? error.message : String(error);
    return { ...definition, failure, isWrongResult: error instanceof WrongResult, ...taken() };
  }
}
