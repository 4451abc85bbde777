import { once } from 'node:events';
import { DaemonRuntime, type MigrationMode, WorkerMesh, type WorkerNode } from '../lib/index.js';
import { mustBe } from './harness/check.js';
import type { BenchDefinition, BenchOptions, BenchReport, Measurement } from './harness/definition.js';
import { atMost } from './harness/goals.js';
import { isolated } from './harness/isolated.js';
import { entryOf, quantile } from './harness/statistics.js';

export const definition: BenchDefinition = {
  name: 'pause',
  order: 130,
  title: 'The pause that a publisher sees while a daemon moves between threads',
  method:
    'Two nodes in threads of their own and a publisher in a third, which sends 20 events every millisecond. The daemon goes to and fro; its snapshot is its own memory, so ' +
    'that taking it costs nothing, and restoring it is a copy on the target. The figure of a migration is the longest that a batch waited from its sending until some copy ' +
    'answered for it; the same without a migration stands beside it: what lies in that is the machine. Native engine, one process per mode and size. At the end the copy’s count is compared with what was accepted.',
  quoted: [],
};

const BATCH = 20;
const MIB = 2 ** 20;
/** Of every event: twenty arrays of its own per millisecond would measure the publisher's own collector. */
const PAYLOAD = new Uint8Array(100);

async function ask<T>({ worker }: WorkerNode, command: string): Promise<T> {
  worker.postMessage(command);
  const [answer] = (await once(worker, 'message')) as [T];
  return answer;
}

function eventsFrom(first: number) {
  return Array.from({ length: BATCH }, (_, i) => ({
    link: { originHash: 77n, horizon: 0n, sequence: BigInt(first + i), parentHash: 0n },
    payload: PAYLOAD,
    receivedAt: 0n,
  }));
}

export interface Pauses {
  readonly moving: readonly number[];
  readonly still: readonly number[];
}

/** In a process of its own: the longest wait in each of so many migrations, and in as many times of rest. */
export async function pausesOf(mode: MigrationMode, stateBytes: number, migrations: number): Promise<Pauses> {
  const mesh = new WorkerMesh();
  const runtime = new DaemonRuntime({ mesh: mesh.local });
  runtime.start();
  const script = new URL('./harness/runtime-node.js', import.meta.url);
  const nodes = [0, 1].map(() => mesh.spawn(script, { workerData: { stateBytes } }));
  await ask(nodes[1]!, 'count');
  const origin = await ask<bigint>(nodes[0]!, 'spawn');
  const result = { moving: [] as number[], still: [] as number[] };
  let sent = 0;
  /** Publishes until `done`; gives the longest wait. */
  const publishWhile = async (node: bigint, done: Promise<unknown>) => {
    const publisher = runtime.publisher(origin, node);
    let isDone = false;
    void done.then(() => {
      isDone = true;
    });
    while (!isDone) {
      await publisher.send(eventsFrom(sent + 1));
      sent += BATCH;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await publisher.flush();
    return publisher.longestWaitMs;
  };
  for (let leg = 0; leg < migrations; leg++) {
    const [from, to] = leg % 2 === 0 ? nodes : [nodes[1]!, nodes[0]!];
    const began = performance.now();
    const handle = runtime.startMigration(origin, from!.nodeId, to!.nodeId, { mode });
    result.moving.push(await publishWhile(from!.nodeId, handle.wait()));
    const took = performance.now() - began;
    result.still.push(await publishWhile(to!.nodeId, new Promise((resolve) => setTimeout(resolve, took))));
  }
  const home = nodes[migrations % 2]!;
  mustBe(await ask<bigint>(home, 'count'), BigInt(sent), 'events that the last copy has counted');
  await runtime.shutdown();
  return result;
}

export async function run({ quick }: BenchOptions): Promise<BenchReport> {
  const sizes = quick ? [1] : [1, 64, 512];
  const migrations = quick ? 4 : 40;
  const measurements: Measurement[] = [];
  const lives: Array<readonly [number, readonly number[]]> = [];
  for (const mode of ['live', 'pause'] as const) {
    for (const mib of sizes) {
      const legs = mib > 64 ? Math.ceil(migrations / 4) : migrations;
      const { moving, still } = await isolated<Pauses>({
        module: import.meta.url,
        name: 'pausesOf',
        args: [mode, mib * MIB, legs],
      });
      if (mode === 'live') lives.push([mib, moving]);
      measurements.push({
        subject: `${mode} mode, state of ${mib} MiB: longest wait in a migration`,
        unit: 'ms',
        entries: [entryOf('while it moves', moving), entryOf('while it does not', still)],
      });
    }
  }
  const goals = lives.flatMap(([mib, moving]) =>
    atMost(10, {
      goal: `live mode, ${mib} MiB: under 10 ms p99, without the daemon's own snapshot`,
      measured: quantile(moving, 0.99),
      unit: 'ms',
      how: `p99 of the longest waits in ${moving.length} migrations`,
    }),
  );
  return { measurements, goals, notes: [], checked: measurements.length, unavailable: [] };
}
