import { EntityKeypair } from '../lib/index.js';
import { OutgoingSnapshot } from '../lib/migration/outgoing-snapshot.js';
import { SnapshotParts } from '../lib/migration/snapshot-bytes.js';
import type { MigrationCodec } from '../lib/wire/codec.js';
import { encodeMigrationFrame } from '../lib/wire/extension.js';
import { bareNode, HERE, KIND, ORCHESTRATOR, SOURCE, StateDaemon, TARGET } from './harness/bare-node.js';
import { mustBe } from './harness/check.js';
import type { BenchDefinition, BenchOptions, BenchReport, Goal, Measurement } from './harness/definition.js';
import { loadEngines } from './harness/engines.js';
import { atMost } from './harness/goals.js';
import { isolated } from './harness/isolated.js';
import { entryOf, median } from './harness/statistics.js';

export const definition: BenchDefinition = {
  name: 'dispatch',
  order: 110,
  title: 'Many migrations in flight on one dispatcher',
  method:
    'One dispatcher in a process of its own takes part in as many migrations, none of which moves on: as orchestrator (TakeSnapshot is out), as source (the snapshot ' +
    'is out) or as target (the first of two chunks is in). Memory is the JavaScript heap after a collection, less what it was before the first migration (of a source with ' +
    'all its daemons there already), per migration. A message is a SourceStatus with new figures, which the orchestrator takes up and reports: for each migration in a scattered order, ' +
    'timed over all; the figure for few in flight sends the same number of messages. A tick is one with nothing due. What arrived is counted and compared with what `list()` says.',
  quoted: [{ what: 'whole migration of 1 KiB, three nodes', value: '7–12 µs' }],
};

type Role = 'orchestrator' | 'source' | 'target';

const REQUEST_ID = new Uint8Array(16).fill(3);
const KIB = 1024;

/** Frames go nowhere; they are counted. */
class Sink {
  frames = 0;
  send(): void {
    this.frames++;
  }
  stream(): void {
    this.frames++;
  }
}

function entity(index: number): Uint8Array {
  const id = new Uint8Array(32);
  new DataView(id.buffer).setUint32(0, index);
  return id;
}

function firstChunk(codec: MigrationCodec, entityId: Uint8Array): Uint8Array {
  const origin = codec.originHash(entityId);
  const chainLink = { originHash: origin, horizon: 0n, sequence: 0n, parentHash: 0n };
  const fields = { entityId, throughSeq: 0n, chainLink, createdAt: 0n, bindings: new Uint8Array(0) };
  const snapshot = codec.encodeSnapshot({ ...fields, state: new Uint8Array(10_000), identityEnvelope: undefined });
  const trailer = { try: 1n, requestId: REQUEST_ID, source: SOURCE, daemonKind: KIND };
  const outgoing = new OutgoingSnapshot(codec, {
    origin,
    seqThrough: 0n,
    bytes: new SnapshotParts([snapshot]),
    trailer,
    target: HERE,
    sign: () => undefined,
  });
  const frame = new Uint8Array(outgoing.maxFrameLength);
  return frame.slice(0, outgoing.writeNext(frame, 0));
}

/** Begins one migration in a role; what must be there before is made by the returned function's maker. */
function beginner(role: Role, codec: MigrationCodec, node: ReturnType<typeof bareNode>, count: number) {
  const { handler } = node;
  if (role === 'orchestrator')
    return (i: number) => void handler.startMigration(codec.originHash(entity(i)), SOURCE, TARGET);
  if (role === 'target') return (i: number) => void handler.handleMessage(firstChunk(codec, entity(i)), ORCHESTRATOR);
  const state = new Uint8Array(100);
  const origins = Array.from({ length: count }, (_, i) =>
    node.own(new StateDaemon(state), EntityKeypair.fromEntityId(entity(i))),
  );
  return (i: number) => {
    const message = { kind: 'TakeSnapshot', daemonOrigin: origins[i]!, targetNode: TARGET } as const;
    const trailer = { requestId: REQUEST_ID, transportIdentity: 0n };
    handler.handleMessage(encodeMigrationFrame(codec, message, trailer), ORCHESTRATOR);
  };
}

/** In a process of its own: heap bytes per idle migration. */
export function heapPerMigration(engine: 'native' | 'typescript', role: Role, count: number): number {
  const codec = loadEngines([engine]).full[0]!;
  const sink = new Sink();
  const node = bareNode(codec, sink, () => new StateDaemon(new Uint8Array(0)));
  node.handler.tick(1);
  const begin = beginner(role, codec, node, count);
  globalThis.gc?.();
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < count; i++) begin(i);
  globalThis.gc?.();
  const bytes = (process.memoryUsage().heapUsed - before) / count;
  const listed = node.handler.list();
  mustBe(listed.length, count, `${role}, migrations in flight`);
  mustBe(new Set(listed.map(({ origin }) => origin)).size, count, `${role}, daemons`);
  for (const status of listed) mustBe(status.role, role, 'role');
  return bytes;
}

export interface MessageCosts {
  readonly nsPerMessage: number;
  readonly msPerTick: number;
}

/** In a process of its own: what a message and an idle tick cost with so many in flight. */
export function messageCosts(engine: 'native' | 'typescript', count: number, messages: number): MessageCosts {
  const codec = loadEngines([engine]).full[0]!;
  const node = bareNode(codec, new Sink(), () => new StateDaemon(new Uint8Array(0)));
  node.handler.tick(1);
  const origins = Array.from({ length: count }, (_, i) => codec.originHash(entity(i)));
  for (const origin of origins) node.handler.startMigration(origin, SOURCE, TARGET, { requestId: REQUEST_ID });
  const frames = Array.from({ length: messages }, (_, i) => {
    const daemonOrigin = origins[(i * 7_919) % count]!;
    const trailer = { try: 1n, requestId: REQUEST_ID, logCount: BigInt(i + 1), ackThrough: 0n, snapshotLength: 1n };
    return encodeMigrationFrame(codec, { kind: 'SourceStatus', daemonOrigin }, { ...trailer, snapshotSent: 0n });
  });
  const rounds: number[] = [];
  for (let round = 0; round < 3; round++) {
    const start = performance.now();
    for (const frame of frames) node.handler.handleMessage(frame, SOURCE);
    rounds.push(((performance.now() - start) * 1e6) / messages);
  }
  const waiting = node.handler.list().reduce((sum, { eventsWaiting }) => sum + eventsWaiting, 0);
  mustBe(waiting, lastCounts(count, messages), 'events waiting, over all');
  const start = performance.now();
  for (let i = 0; i < 100; i++) node.handler.tick(2);
  return { nsPerMessage: median(rounds), msPerTick: (performance.now() - start) / 100 };
}

/** The sum of the last count that each migration was told. */
function lastCounts(count: number, messages: number): number {
  const last = new Map<number, number>();
  for (let i = 0; i < messages; i++) last.set((i * 7_919) % count, i + 1);
  return [...last.values()].reduce((sum, value) => sum + value, 0);
}

const ROLES: readonly Role[] = ['orchestrator', 'source', 'target'];

export async function run({ quick, engines }: BenchOptions): Promise<BenchReport> {
  const { full, unavailable } = loadEngines(engines);
  const many = quick ? 2_000 : 100_000;
  const few = quick ? 100 : 1_000;
  const rounds = quick ? 1 : 3;
  const measurements: Measurement[] = [];
  const goals: Goal[] = [];
  let checked = 0;
  const call = <T>(name: string, args: readonly unknown[]) => {
    checked++;
    return isolated<T>({ module: import.meta.url, name, args });
  };
  for (const { engine } of full) {
    const heap = new Map<Role, number[]>(ROLES.map((role) => [role, []]));
    const costs: Array<readonly [MessageCosts, MessageCosts]> = [];
    for (let round = 0; round < rounds; round++) {
      if (round === 0)
        for (const role of ROLES) heap.get(role)!.push(await call<number>('heapPerMigration', [engine, role, many]));
      const [little, much] = [
        await call<MessageCosts>('messageCosts', [engine, few, many]),
        await call<MessageCosts>('messageCosts', [engine, many, many]),
      ];
      costs.push([little, much]);
    }
    measurements.push({
      subject: `${engine}: JavaScript heap per idle migration, ${many.toLocaleString('en')} in flight`,
      unit: 'bytes per migration',
      entries: ROLES.map((role) => entryOf(role, heap.get(role)!)),
    });
    const messages = (pick: (cost: MessageCosts) => number) => [
      entryOf(
        `${few.toLocaleString('en')} in flight`,
        costs.map(([little]) => pick(little)),
      ),
      entryOf(
        `${many.toLocaleString('en')} in flight`,
        costs.map(([, much]) => pick(much)),
      ),
    ];
    measurements.push({
      subject: `${engine}: a message`,
      unit: 'ns per message',
      entries: messages((cost) => cost.nsPerMessage),
    });
    measurements.push({
      subject: `${engine}: a tick with nothing due`,
      unit: 'ms',
      entries: messages((cost) => cost.msPerTick),
    });
    // The fallback's books of half a snapshot stand on the heap, and are larger: shown, and no goal.
    if (engine !== 'native') continue;
    for (const role of ROLES) {
      goals.push(
        ...atMost(2 * KIB, {
          goal: `${engine}, ${role}: under 2 KiB of JavaScript heap per idle migration`,
          measured: median(heap.get(role)!),
          unit: 'bytes',
          how: 'one process: what is allocated does not vary',
        }),
      );
    }
    goals.push(
      ...atMost(2, {
        goal: `${engine}: a message costs the same however many are in flight (twice, where its record is no longer in the cache)`,
        measured: median(costs.map(([little, much]) => much.nsPerMessage / little.nsPerMessage)),
        unit: '×',
        how: `${many.toLocaleString('en')} in flight against ${few.toLocaleString('en')}, median of ${rounds} ratios`,
      }),
    );
  }
  return {
    measurements,
    goals,
    notes: [`Node ${HERE} is measured; what it sends is counted and goes nowhere.`],
    checked,
    unavailable,
  };
}
