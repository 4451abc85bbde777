import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Longest path that is searched, in steps; a longer one is an error here. */
const MAX_DEPTH = 2_000_000;
const MEMORY_MIB = 8_000;

/** What a search through all states of a model found. */
export interface Search {
  readonly states: number;
  /** Steps of the longest path. */
  readonly depth: number;
  readonly mebibytes: number;
  readonly seconds: number;
  /** The assertion that was violated first; undefined where none was, and every state was seen. */
  readonly violated: string | undefined;
}

/** Says what is missing, and where to get it; undefined where all is here. */
export async function missingTool(): Promise<string | undefined> {
  const tools = { spin: '-V', gcc: '--version' };
  for (const [tool, version] of Object.entries(tools)) {
    try {
      await run(tool, [version]);
    } catch {
      return `${tool} is missing: the models are checked by SPIN (https://spinroot.com), which makes a C program of each; on Debian: apt-get install spin gcc`;
    }
  }
  return undefined;
}

/**
 * Searches all states of a model.
 *
 * @param file of the model
 * @param flags as for `spin -D…`
 * @throws Error where the model does not compile, or not all of its states were seen
 */
export async function search(file: string, flags: readonly string[]): Promise<Search> {
  const cwd = await mkdtemp(join(tmpdir(), 'model-'));
  try {
    await run('spin', ['-a', ...flags.map((flag) => `-D${flag}`), file], { cwd });
    // A formula of linear time is no property of single states.
    const isFormula = flags.includes('TERM');
    const options = ['-DNOREDUCE', '-DCOLLAPSE', '-DVECTORSZ=2048', `-DMEMLIM=${MEMORY_MIB}`];
    if (!isFormula) options.push('-DSAFETY');
    await run('gcc', ['-w', '-O1', ...options, '-o', 'pan', 'pan.c'], { cwd });
    const began = performance.now();
    const args = [...(isFormula ? ['-a'] : []), `-m${MAX_DEPTH}`, '-w20'];
    const { stdout } = await run('./pan', args, { cwd, maxBuffer: 1 << 26 });
    return { ...outcome(stdout), seconds: (performance.now() - began) / 1_000 };
  } finally {
    await rm(cwd, { recursive: true, force: true });
  }
}

function outcome(output: string): Omit<Search, 'seconds'> {
  const number = (pattern: RegExp) => Number(pattern.exec(output)?.[1] ?? Number.NaN);
  const violated = /^pan:1: (.*?)(?: \(at depth \d+\))?$/m.exec(output)?.[1];
  const isWhole = number(/errors: (\d+)/) === 0 && !/not completed|depth too small|out of memory/.test(output);
  if (violated === undefined && !isWhole) throw new Error(`not all states were seen:\n${output}`);
  return {
    states: number(/(\d+) states, stored/),
    depth: number(/depth reached (\d+)/),
    mebibytes: Math.round(number(/([\d.]+)\s+total actual memory usage/)),
    violated,
  };
}
