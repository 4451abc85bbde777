import type { EngineName } from '../../lib/wire/codec.js';
import { ENGINES } from './engines.js';
import { benchFiles } from './run.js';

/** An option that cannot be obeyed; the message is for the person who gave it. */
export class BadOption extends Error {}

interface GivenOptions {
  readonly only?: string | undefined;
  readonly engine?: string | undefined;
  readonly quick: boolean;
}

export interface ParsedOptions {
  readonly only: readonly string[] | undefined;
  readonly engines: readonly EngineName[];
  readonly quick: boolean;
  /** The command that gives the same run. */
  readonly command: string;
}

function listOf<Name extends string>(option: string, given: string, known: readonly Name[]): Name[] {
  return given.split(',').map((text) => {
    const name = known.find((one) => one === text.trim());
    if (name === undefined) throw new BadOption(`--${option}: ${text} is none of ${known.join(', ')}`);
    return name;
  });
}

/** @throws BadOption */
export async function parseBenchOptions({ only, engine, quick }: GivenOptions): Promise<ParsedOptions> {
  const names = (await benchFiles()).map(({ definition }) => definition.name);
  const words = [
    ...(only === undefined ? [] : [`--only ${only}`]),
    ...(engine === undefined ? [] : [`--engine ${engine}`]),
    ...(quick ? ['--quick'] : []),
  ];
  return {
    only: only === undefined ? undefined : listOf('only', only, names),
    engines: engine === undefined ? ENGINES : listOf('engine', engine, ENGINES),
    quick,
    command: ['npm run bench', ...(words.length > 0 ? ['--', ...words] : [])].join(' '),
  };
}

/** Runs a command; for options that it cannot obey the person who gave them is told how it is used. @returns its exit code */
export async function withUsage(usage: string, main: () => Promise<number>): Promise<number> {
  try {
    return await main();
  } catch (error) {
    const isUsage = error instanceof BadOption || (error as { code?: string }).code?.startsWith('ERR_PARSE_ARGS');
    if (!isUsage) throw error;
    console.error(`${(error as Error).message} (${usage})`);
    return 1;
  }
}
