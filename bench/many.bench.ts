import { type CausalEvent, DaemonRuntime, EntityKeypair, InProcessMesh, type MeshDaemon } from '../lib/index.js';
import type { EngineName } from '../lib/wire/codec.js';
import { mustBe } from './harness/check.js';
import type { BenchDefinition, BenchOptions, BenchReport, Measurement } from './harness/definition.js';
import { isolated } from './harness/isolated.js';
import { entryOf } from './harness/statistics.js';

export const definition: BenchDefinition = {
  name: 'many',
  order: 140,
  title: 'Many daemons at once, and many events during a migration',
  method:
    'Two runtimes in one process and thread, so that both sides share one core. Many: small daemons (a counter each), all of whose migrations are begun at once, keys included; the time until all are ' +
    'live on the other node, and the resident memory at its peak over what it was before. Events: one daemon in pause mode whose target waits in restore while events of 100 bytes are logged; then all are replayed. ' +
    'Memory is the process’s resident memory with all of them in the log, less what it was before, per event. Every daemon’s count is compared with what was sent.',
  quoted: [
    { what: 'whole migration of 1 KiB, three nodes in one thread, no runtime', value: '7–12 µs' },
    { what: 'its Node binding, 1 KiB, time to restored', value: '2–5 ms' },
  ],
};

type Engine = Exclude<EngineName, 'baseline'>;

const MIB = 2 ** 20;
const BATCH = 1_000;

class Counter implements MeshDaemon {
  readonly name = 'counter';
  count = 0;
  /** Awaited before a restore. */
  constructor(private readonly hold: Promise<void> | undefined) {}

  process(): undefined {
    this.count++;
  }

  snapshot(): Uint8Array {
    return new Uint8Array(Float64Array.of(this.count).buffer);
  }

  restore(state: Uint8Array): Promise<void> | undefined {
    this.count = new Float64Array(state.slice().buffer)[0]!;
    return this.hold;
  }
}

function pair(engine: Engine, hold?: Promise<void>) {
  const mesh = new InProcessMesh();
  const counters: Counter[] = [];
  const nodes = [1n, 2n].map((id) => {
    const runtime = new DaemonRuntime({
      mesh: mesh.join(id),
      orchestrators: [1n],
      engine,
      eventLog: { maxBytes: 2 ** 30 },
    });
    runtime.registerFactory('counter', () => {
      counters.push(new Counter(counters.length > 0 ? hold : undefined));
      return counters.at(-1)!;
    });
    runtime.start();
    return runtime;
  }) as [DaemonRuntime, DaemonRuntime];
  return { nodes, counters };
}

function event(sequence: number): CausalEvent {
  const link = { originHash: 77n, horizon: 0n, sequence: BigInt(sequence), parentHash: 0n };
  return { link, payload: new Uint8Array(100), receivedAt: 0n };
}

export interface ManyDaemons {
  readonly ms: number;
  readonly peakMiB: number;
}

/** In a process of its own. */
export async function manyDaemons(engine: Engine, count: number): Promise<ManyDaemons> {
  const { nodes, counters } = pair(engine);
  const [a, b] = nodes;
  const origins: bigint[] = [];
  for (let i = 0; i < count; i++) {
    const origin = await a.spawn('counter', EntityKeypair.generate());
    await a.deliver(origin, [event(1), event(2)]);
    origins.push(origin);
  }
  globalThis.gc?.();
  const before = process.memoryUsage.rss();
  const began = performance.now();
  await Promise.all(origins.map((origin) => a.startMigration(origin, 1n, 2n).wait()));
  const ms = performance.now() - began;
  const peakMiB = (process.resourceUsage().maxRSS * 1024 - before) / MIB;
  for (const origin of origins) mustBe(b.has(origin) && !a.has(origin), true, `daemon ${origin} lives on the target`);
  mustBe(counters.length, 2 * count, 'copies made');
  for (const { count: counted } of counters) mustBe(counted, 2, 'events of each copy');
  await Promise.all(nodes.map((node) => node.shutdown()));
  return { ms, peakMiB };
}

export interface LoggedEvents {
  readonly logNs: number;
  readonly replayNs: number;
  readonly bytesPerEvent: number;
}

/** In a process of its own. */
export async function loggedEvents(engine: Engine, count: number): Promise<LoggedEvents> {
  let release = () => {};
  const hold = new Promise<void>((resolve) => {
    release = resolve;
  });
  const { nodes, counters } = pair(engine, hold);
  const [a] = nodes;
  const origin = await a.spawn('counter', EntityKeypair.generate());
  const handle = a.startMigration(origin, 1n, 2n);
  while (counters.length < 2) await new Promise((resolve) => setImmediate(resolve));
  globalThis.gc?.();
  const before = process.memoryUsage.rss();
  let loggingMs = 0;
  for (let first = 1; first <= count; first += BATCH) {
    const batch = Array.from({ length: Math.min(BATCH, count - first + 1) }, (_, i) => event(first + i));
    const began = performance.now();
    const { accepted } = await a.deliver(origin, batch);
    loggingMs += performance.now() - began;
    mustBe(accepted, batch.length, 'accepted');
  }
  globalThis.gc?.();
  const bytesPerEvent = (process.memoryUsage.rss() - before) / count;
  const began = performance.now();
  release();
  await handle.wait();
  const replayMs = performance.now() - began;
  mustBe(counters[1]!.count, count, 'events replayed');
  await Promise.all(nodes.map((node) => node.shutdown()));
  return { logNs: (loggingMs * 1e6) / count, replayNs: (replayMs * 1e6) / count, bytesPerEvent };
}

export async function run({ quick, engines }: BenchOptions): Promise<BenchReport> {
  const daemons = quick ? 100 : 10_000;
  const events = quick ? 10_000 : 1_000_000;
  const rounds = quick ? 1 : 3;
  const names = engines.filter((name): name is Engine => name !== 'baseline');
  const many = new Map<Engine, ManyDaemons[]>(names.map((name) => [name, []]));
  const logged = new Map<Engine, LoggedEvents[]>(names.map((name) => [name, []]));
  const module = import.meta.url;
  for (let round = 0; round < rounds; round++) {
    for (const name of names) {
      many.get(name)!.push(await isolated({ module, name: 'manyDaemons', args: [name, daemons] }));
      logged.get(name)!.push(await isolated({ module, name: 'loggedEvents', args: [name, events] }));
    }
  }
  const of = <Row>(rows: ReadonlyMap<Engine, Row[]>, pick: (row: Row) => number) =>
    [...rows].map(([name, results]) => entryOf(name, results.map(pick)));
  const [daemonCount, eventCount] = [daemons.toLocaleString('en'), events.toLocaleString('en')];
  const measurements: Measurement[] = [
    { subject: `${daemonCount} daemons: until all are live`, unit: 'ms', entries: of(many, ({ ms }) => ms) },
    { subject: `${daemonCount} daemons: peak over before`, unit: 'MiB', entries: of(many, ({ peakMiB }) => peakMiB) },
    { subject: `${eventCount} events: logged`, unit: 'ns per event', entries: of(logged, ({ logNs }) => logNs) },
    {
      subject: `${eventCount} events: replayed`,
      unit: 'ns per event',
      entries: of(logged, ({ replayNs }) => replayNs),
    },
    {
      subject: `${eventCount} events of 100 bytes: memory in the log`,
      unit: 'bytes per event',
      entries: of(logged, ({ bytesPerEvent }) => bytesPerEvent),
    },
  ];
  return { measurements, goals: [], notes: [], checked: 2 * rounds * names.length, unavailable: [] };
}
