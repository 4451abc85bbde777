import { parseArgs } from 'node:util';

/** All flights of the data set. */
export const ALL_RECORDS = 3_000_000;

export interface DemoOptions {
  /** How many flights to stream. */
  readonly records: number;
  /** MiB that pad the daemon's state. */
  readonly stateMib: number;
  readonly engine: 'native' | 'typescript' | undefined;
  readonly json: boolean;
  /** Where the flights are; undefined: in the npm package vega-datasets. */
  readonly data: string | undefined;
  /** The daemon throws there. */
  readonly fail: 'snapshot' | 'restore' | undefined;
}

export const USAGE = `usage: npm run demo -- [options]

  --records N          how many of the ${ALL_RECORDS.toLocaleString('en')} flights to stream (default: all)
  --state-mib N        pad the daemon's state by N MiB, for larger snapshots (default: 0)
  --engine NAME        native or typescript (default: native, where it is built)
  --data FILE          the flights as a parquet file (default: that of the npm package vega-datasets)
  --fail CALL          make the daemon throw in its snapshot or its restore
  --json               one JSON object at the end instead of text
  --help               this text`;

/** What was wrong with an option: one line for the user. */
export class UsageError extends Error {}

/** @throws UsageError */
export function parseOptions(args: readonly string[]): DemoOptions | 'help' {
  const values = parse(args);
  if (values.help) return 'help';
  return {
    records: integer('--records', values.records, 2, ALL_RECORDS) ?? ALL_RECORDS,
    stateMib: integer('--state-mib', values['state-mib'], 0, 3_500) ?? 0,
    engine: oneOf('--engine', values.engine, ['native', 'typescript'] as const),
    json: values.json ?? false,
    data: values.data,
    fail: oneOf('--fail', values.fail, ['snapshot', 'restore'] as const),
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: {
        records: { type: 'string' },
        'state-mib': { type: 'string' },
        engine: { type: 'string' },
        data: { type: 'string' },
        fail: { type: 'string' },
        json: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    }).values;
  } catch (error) {
    throw new UsageError((error as Error).message.split('\n')[0]);
  }
}

function integer(name: string, text: string | undefined, min: number, max: number): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < min || value > max) {
    throw new UsageError(`${name} takes a whole number from ${min} to ${max}, not "${text}"`);
  }
  return value;
}

function oneOf<T extends string>(name: string, text: string | undefined, known: readonly T[]): T | undefined {
  if (text === undefined) return undefined;
  const found = known.find((value) => value === text);
  if (!found) throw new UsageError(`${name} takes ${known.join(' or ')}, not "${text}"`);
  return found;
}
