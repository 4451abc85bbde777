import type { EngineName } from '../../lib/wire/codec.js';

/** What a bench file exports as `definition`. Its `run` is called in a process of its own. */
export interface BenchDefinition {
  /** As in `--only`; also the name of its page and charts in docs/benchmarks. */
  readonly name: string;
  /** Benches are run and listed by this number. */
  readonly order: number;
  readonly title: string;
  /** What is measured and how, for the report: whole sentences. */
  readonly method: string;
  /** What the reference measured, on its own machine: never compared in absolute figures. */
  readonly quoted: readonly QuotedFigure[];
  /** Flags for Node beside `--expose-gc`. */
  readonly execArgv?: readonly string[];
}

/** A figure of BENCHMARKS.md, quoted. */
export interface QuotedFigure {
  readonly what: string;
  readonly value: string;
}

export interface BenchOptions {
  /** Small sizes and few rounds: shows that the results are right, and nothing about speed. */
  readonly quick: boolean;
  readonly engines: readonly EngineName[];
}

/** What `run` of a bench file gives. */
export interface BenchReport {
  readonly measurements: readonly Measurement[];
  readonly goals: readonly Goal[];
  /** Findings that no figure shows. */
  readonly notes: readonly string[];
  /** How many results were compared with what they had to be. */
  readonly checked: number;
  /** Engines that were asked for and are not here, with the reason. */
  readonly unavailable: readonly string[];
}

export type Unit =
  | 'ns per call'
  | 'ns per frame'
  | 'ns per chunk'
  | 'ns per event'
  | 'ns per subscription'
  | 'bytes per frame'
  | 'bytes per migration'
  | 'bytes per event'
  | 'ns per message'
  | 'GB/s'
  | 'MiB'
  | 'ms';

/** One thing, done by each contender in the same run. */
export interface Measurement {
  readonly subject: string;
  readonly unit: Unit;
  readonly entries: readonly Entry[];
}

/** What one contender took: an engine, the physical limit, or another way to do it. */
export interface Entry {
  readonly contender: string;
  /** Median over the rounds. */
  readonly median: number;
  /** First and third quartile over the rounds. */
  readonly low: number;
  readonly high: number;
  readonly rounds: number;
}

/** What must be reached, from the table of the issue that asked for it. */
export interface Goal {
  readonly goal: string;
  readonly measured: number;
  readonly unit: string;
  readonly limit: number;
  readonly reached: boolean;
  /** What stands behind `measured`. */
  readonly how: string;
}

/** A bench gave something else than it must: its figures are worth nothing, and the run fails. */
export class WrongResult extends Error {
  override readonly name = 'WrongResult';
}

/** More is better. */
export function isRate(unit: Unit): boolean {
  return unit === 'GB/s';
}
