import { getEnvironmentData, setEnvironmentData, Worker } from 'node:worker_threads';
import { SECRET_LEDGER } from '../../lib/identity/secret-ledger.js';
import type { Violation } from './checkers.js';
import { HARD_CASES, type HardCase } from './watcher.js';
import type { Outcome } from './world.js';

/** What one seed comes to, as it travels between threads. */
export interface SeedReport extends Pick<Outcome, 'seed' | 'profile' | 'steps' | 'completed' | 'rolledBack' | 'hash'> {
  readonly violation: Violation | undefined;
  readonly visits: ReadonlyArray<readonly [HardCase, number]>;
}

/** What a range of seeds comes to. */
export interface RangeReport {
  readonly seeds: number;
  readonly steps: number;
  /** Migrations. */
  readonly completed: number;
  readonly rolledBack: number;
  /** How often each hard case was visited. */
  readonly visits: Readonly<Record<HardCase, number>>;
  readonly violations: ReadonlyArray<Violation & { readonly seed: number }>;
}

/** Seeds that a worker runs before it tells of them. */
const PORTION = 20;
/** In so many seeds every hard case comes up: where one does not, the simulation has lost sight of it. */
export const ENOUGH_FOR_ALL_CASES = 1_000;

export function reportOf(outcome: Outcome): SeedReport {
  const { seed, profile, steps, completed, rolledBack, hash, violation, visits } = outcome;
  return { seed, profile, steps, completed, rolledBack, hash, violation, visits: [...visits] };
}

export function sumOf(reports: Iterable<SeedReport>): RangeReport {
  const visits = Object.fromEntries(Object.keys(HARD_CASES).map((name) => [name, 0])) as Record<HardCase, number>;
  const sum = { seeds: 0, steps: 0, completed: 0, rolledBack: 0 };
  const violations: Array<Violation & { readonly seed: number }> = [];
  for (const { seed, steps, completed, rolledBack, violation, visits: visited } of reports) {
    sum.seeds++;
    sum.steps += steps;
    sum.completed += completed;
    sum.rolledBack += rolledBack;
    for (const [name, count] of visited) visits[name] += count;
    if (violation) violations.push({ seed, ...violation });
  }
  return { ...sum, visits, violations: violations.sort((a, b) => a.seed - b.seed) };
}

/** Hard cases that should have come up in so many seeds, and did not. */
export function unvisited({ seeds, visits }: RangeReport): HardCase[] {
  if (seeds < ENOUGH_FOR_ALL_CASES) return [];
  return (Object.keys(visits) as HardCase[]).filter((name) => visits[name] === 0);
}

/** Counts its own secrets, and not those of other threads. */
function workerOfItsOwn(url: URL): Worker {
  const ledger = getEnvironmentData(SECRET_LEDGER);
  setEnvironmentData(SECRET_LEDGER, undefined as never);
  try {
    return new Worker(url);
  } finally {
    setEnvironmentData(SECRET_LEDGER, ledger as never);
  }
}

/**
 * Runs the seeds from one to another, in some threads; what each comes to does not depend on how many. Where a thread ends by
 * itself, the report is of fewer seeds.
 */
export async function runRange(
  from: number,
  to: number,
  threads: number,
  onReport: (report: SeedReport) => void = () => {},
  workerUrl: URL = new URL('./range-worker.js', import.meta.url),
): Promise<RangeReport> {
  const reports: SeedReport[] = [];
  let next = from;
  const portion = (): readonly [number, number] | undefined => {
    if (next > to) return undefined;
    const first = next;
    next = Math.min(to + 1, next + PORTION);
    return [first, next - 1];
  };
  const work = () =>
    new Promise<void>((resolve, reject) => {
      const worker = workerOfItsOwn(workerUrl);
      const give = () => worker.postMessage(portion());
      worker.on('message', (done: readonly SeedReport[]) => {
        for (const report of done) {
          reports.push(report);
          onReport(report);
        }
        give();
      });
      worker.on('error', reject);
      worker.on('exit', () => resolve());
      give();
    });
  await Promise.all(Array.from({ length: threads }, work));
  return sumOf(reports);
}

/** What a range comes to, in one line. */
export function lineOf(report: RangeReport): string {
  const { seeds, steps, completed, rolledBack, visits, violations } = report;
  const cases = Object.entries(visits).map(([name, count]) => `${name} ${count}`);
  return `${seeds} seeds, ${steps} steps, ${completed} migrations completed, ${rolledBack} rolled back; ${cases.join(', ')}; ${violations.length} violations`;
}
