import { readFileSync } from 'node:fs';
import { PerformanceObserver } from 'node:perf_hooks';
import { setTimeout } from 'node:timers/promises';
import { DaemonRuntime, EntityKeypair, InProcessMesh, type MeshDaemon } from '../lib/index.js';
import type { EngineName } from '../lib/wire/codec.js';
import { mustBe } from './harness/check.js';
import type { BenchDefinition, BenchOptions, BenchReport, Measurement, Unit } from './harness/definition.js';
import { atMost } from './harness/goals.js';
import { isolated } from './harness/isolated.js';
import { entryOf, median } from './harness/statistics.js';

export const definition: BenchDefinition = {
  name: 'rebind',
  order: 150,
  title: 'Turns of the event loop while a daemon with many subscriptions moves',
  method:
    'Two runtimes in one process and thread, so that what both sides do falls on one loop and one heap. A daemon that is subscribed to so many channels goes to and fro, and a chain of `setImmediate` ' +
    'tells how long each turn of the loop took, from the start of a migration until the node that it left reads nothing more. The figure of a migration is its longest turn: as the clock has it; and what the thread itself ran in it (on Linux, as ' +
    'the kernel counts; elsewhere the clock), less the time that the garbage collector took, as it tells itself. Each channel has been published on once, so that the horizon knows as many origins. The report is compared with the number of subscriptions.',
  quoted: [],
};

type Engine = Exclude<EngineName, 'baseline'>;

const PUBLISHER = 9n;
const REST_MS = 200;

class Reader implements MeshDaemon {
  readonly name = 'reader';
  count = 0;

  process(): undefined {
    this.count++;
  }

  snapshot(): Uint8Array {
    return new Uint8Array(Float64Array.of(this.count).buffer);
  }

  restore(state: Uint8Array): void {
    this.count = new Float64Array(state.slice().buffer)[0]!;
  }
}

/** The longest turn of the event loop, in ms: as the clock has it, and what was run in it beside the garbage collector. */
class Turns {
  #runs = true;
  /** From, to, and how much of that the thread was running; in ms. */
  readonly #turns: Array<readonly [number, number, number]> = [];
  readonly #collections: Array<readonly [number, number]> = [];
  readonly #observer = new PerformanceObserver((list) => this.#note(list.getEntries()));

  constructor() {
    this.#observer.observe({ entryTypes: ['gc'] });
    let last = performance.now();
    let ranLast = ranMs();
    const next = () => {
      const now = performance.now();
      const ran = ranMs();
      // Short ones tell nothing, and there are many.
      if (now - last > 1) this.#turns.push([last, now, ran === undefined ? now - last : ran - ranLast!]);
      last = performance.now();
      ranLast = ran;
      if (this.#runs) setImmediate(next);
    };
    setImmediate(next);
  }

  #note(entries: readonly { readonly startTime: number; readonly duration: number }[]): void {
    for (const { startTime, duration } of entries) this.#collections.push([startTime, startTime + duration]);
  }

  async stop(): Promise<{ readonly longest: number; readonly ours: number }> {
    this.#runs = false;
    // What the observer has not been told yet comes in a later turn.
    await setTimeout(REST_MS);
    this.#note(this.#observer.takeRecords());
    this.#observer.disconnect();
    let longest = 0;
    let ours = 0;
    for (const [from, to, ran] of this.#turns) {
      const collected = this.#collections.reduce((sum, [begin, end]) => sum + overlap(from, to, begin, end), 0);
      longest = Math.max(longest, to - from);
      ours = Math.max(ours, ran - collected);
    }
    return { longest, ours };
  }
}

/** For how long this thread has been running, in ms; undefined where the system does not tell. */
function ranMs(): number | undefined {
  try {
    return Number(readFileSync('/proc/thread-self/schedstat', 'latin1').split(' ')[0]) / 1e6;
  } catch {
    return undefined;
  }
}

function overlap(from: number, to: number, begin: number, end: number): number {
  return Math.max(0, Math.min(to, end) - Math.max(from, begin));
}

export interface RebindTurns {
  readonly longest: readonly number[];
  readonly ours: readonly number[];
  readonly ms: readonly number[];
}

/** In a process of its own: the longest turn in each of so many migrations. */
export async function rebindTurns(engine: Engine, subscriptions: number, migrations: number): Promise<RebindTurns> {
  const mesh = new InProcessMesh();
  const press = mesh.join(PUBLISHER);
  const reading = { 1: 0, 2: 0 };
  const nodes = ([1, 2] as const).map((id) => {
    const seat = mesh.join(BigInt(id));
    const subscribe = seat.subscribe.bind(seat);
    seat.subscribe = async (...args) => {
      const { position, unsubscribe } = await subscribe(...args);
      reading[id]++;
      const leave = () => {
        reading[id]--;
        unsubscribe();
      };
      return { position, unsubscribe: leave };
    };
    const runtime = new DaemonRuntime({ mesh: seat, orchestrators: [1n], engine });
    runtime.registerFactory('reader', () => new Reader());
    runtime.start();
    return runtime;
  }) as [DaemonRuntime, DaemonRuntime];
  const origin = await nodes[0].spawn('reader', EntityKeypair.generate());
  for (let n = 0; n < subscriptions; n++) await nodes[0].subscribeChannel(origin, PUBLISHER, `feed/${n}`);
  for (let n = 0; n < subscriptions; n++) {
    const link = { originHash: BigInt(1_000 + n), horizon: 0n, sequence: 1n, parentHash: 0n };
    press.publish(`feed/${n}`, 1n, [{ link, payload: new Uint8Array(8), receivedAt: 0n }]);
  }
  while (nodes[0].counts(origin).processed < subscriptions) await setTimeout(10);
  const result = { longest: [] as number[], ours: [] as number[], ms: [] as number[] };
  for (let leg = 0; leg < migrations; leg++) {
    const [from, to] = leg % 2 === 0 ? ([1, 2] as const) : ([2, 1] as const);
    // What stands behind from before belongs to no migration.
    await setTimeout(REST_MS);
    const turns = new Turns();
    const began = performance.now();
    const handle = nodes[0].startMigration(origin, BigInt(from), BigInt(to));
    await handle.wait();
    result.ms.push(performance.now() - began);
    while (reading[from] > 0) await setTimeout(5);
    const { longest, ours } = await turns.stop();
    result.longest.push(longest);
    result.ours.push(ours);
    mustBe(handle.rebind?.done, subscriptions, 'subscriptions made again');
    mustBe(reading[to], subscriptions, 'subscriptions on the target');
  }
  await Promise.all(nodes.map((node) => node.shutdown()));
  return result;
}

export async function run({ quick, engines }: BenchOptions): Promise<BenchReport> {
  const sizes = quick ? [1_000] : [10_000, 100_000];
  const migrations = quick ? 2 : 6;
  const names = engines.filter((name): name is Engine => name !== 'baseline');
  const measurements: Measurement[] = [];
  const goals = [];
  let checked = 0;
  for (const size of sizes) {
    const turns = new Map<Engine, RebindTurns>();
    for (const name of names) {
      const args = [name, size, migrations];
      turns.set(name, await isolated<RebindTurns>({ module: import.meta.url, name: 'rebindTurns', args }));
      checked += 2 * migrations;
    }
    const row = (what: string, unit: Unit, pick: (of: RebindTurns) => readonly number[]): Measurement => ({
      subject: `${size.toLocaleString('en')} subscriptions: ${what}`,
      unit,
      entries: [...turns].map(([name, seen]) => entryOf(name, [...pick(seen)])),
    });
    measurements.push(
      row('longest turn', 'ms', ({ longest }) => longest),
      row('longest turn, run without the garbage collector', 'ms', ({ ours }) => ours),
      row('until the daemon is live', 'ms', ({ ms }) => ms),
    );
    const native = turns.get('native');
    goals.push(
      ...atMost(10, {
        goal: `native, ${size.toLocaleString('en')} subscriptions: no turn over 10 ms, without the garbage collector`,
        measured: native && median([...native.ours]),
        unit: 'ms',
        how: `median of ${migrations} migrations`,
      }),
    );
  }
  return { measurements, goals, notes: [], checked, unavailable: [] };
}
