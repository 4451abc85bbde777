import { parseArgs } from 'node:util';
import { OPERATOR_PHASES, OWN_PHASES, phasesOf, ROLES, type Role } from './phases.js';

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
  readonly mode: 'pause' | 'live';
  /** The daemon goes there and back again. */
  readonly back: boolean;
  /** Which node's thread is ended in its first migration, and in which phase. */
  readonly kill: { readonly role: Role; readonly phase: string } | undefined;
  /** The probability of each: that a frame is dropped, doubled, delayed. */
  readonly loss: number;
  /** What is dropped, doubled and delayed follows from it. */
  readonly seed: number;
}

/** At more than that, the tries of a phase may be used up. */
const MAX_LOSS = 0.2;

export const USAGE = `usage: npm run demo -- [options]

  --records N          how many of the ${ALL_RECORDS.toLocaleString('en')} flights to stream (default: all)
  --state-mib N        pad the daemon's state by N MiB, for larger snapshots (default: 0)
  --engine NAME        native or typescript (default: native, where it is built)
  --data FILE          the flights as a parquet file (default: that of the npm package vega-datasets)
  --fail CALL          make the daemon throw in its snapshot or its restore
  --mode MODE          pause (default): the daemon's flights wait while it moves; live: it goes on until it stops
  --back               move the daemon there and back again
  --kill NODE          end the thread of the source, the target or the orchestrator, and start it again
  --at PHASE           in this phase of the first migration:
                       ${OPERATOR_PHASES.join(', ')} (as the orchestrator sees it); or, of the node itself,
                       source: ${OWN_PHASES.source.join(', ')};
                       target: ${OWN_PHASES.target.join(', ')}.
                       The daemon is lost, and the exit code is 1, where it lives on the node that ends: the source
                       before offering (Snapshot to Replay, mostly Cutover); mostly the target at Complete. Else it survives
  --loss P             drop, double and delay frames between the nodes, each with probability P (0 to ${MAX_LOSS})
  --seed N             which frames these are (default: 1)
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
    mode: oneOf('--mode', values.mode, ['pause', 'live'] as const) ?? 'pause',
    back: values.back ?? false,
    kill: killOf(values.kill, values.at),
    loss: probability('--loss', values.loss, MAX_LOSS) ?? 0,
    seed: integer('--seed', values.seed, 0, 2 ** 31 - 1) ?? 1,
  };
}

function killOf(node: string | undefined, at: string | undefined): DemoOptions['kill'] {
  const role = oneOf('--kill', node, ROLES);
  if (!role) {
    if (at === undefined) return undefined;
    throw new UsageError('--at says when a node is ended, and needs --kill source, target or orchestrator');
  }
  if (at === undefined) throw new UsageError(`--kill ${role} needs --at PHASE: ${phasesOf(role).join(', ')}`);
  return { role, phase: oneOf(`--at, with --kill ${role},`, at, phasesOf(role))! };
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
        mode: { type: 'string' },
        back: { type: 'boolean' },
        kill: { type: 'string' },
        at: { type: 'string' },
        loss: { type: 'string' },
        seed: { type: 'string' },
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

function probability(name: string, text: string | undefined, max: number): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!/^\d*\.?\d+$/.test(text) || value > max)
    throw new UsageError(`${name} takes a probability from 0 to ${max}, not "${text}"`);
  return value;
}

function oneOf<T extends string>(name: string, text: string | undefined, known: readonly T[]): T | undefined {
  if (text === undefined) return undefined;
  const found = known.find((value) => value === text);
  if (!found) throw new UsageError(`${name} takes ${listOf(known)}, not "${text}"`);
  return found;
}

function listOf(names: readonly string[]): string {
  return names.length < 3 ? names.join(' or ') : `${names.slice(0, -1).join(', ')} or ${names.at(-1)}`;
}
