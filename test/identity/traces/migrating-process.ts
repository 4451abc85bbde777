import { once } from 'node:events';
import process from 'node:process';
import { writeHeapSnapshot } from 'node:v8';
import { DaemonRuntime, WorkerMesh, type WorkerNode } from '../../../lib/index.js';
import { events } from '../../support.js';
import type { NodeCommand } from './migrating-node.js';

/** What the process is told. Its main thread leads migrations; nodes 2 and 3 are threads. */
export type ProcessCommand =
  | { readonly do: 'begin'; readonly nodeSeeds: readonly (readonly number[])[] }
  | { readonly do: 'spawn' | 'leak'; readonly masked: readonly number[] }
  | { readonly do: 'move' | 'end' }
  | { readonly do: 'snapshots'; readonly folder: string };

const mesh = new WorkerMesh();
const runtime = new DaemonRuntime({ mesh: mesh.local });
runtime.start();
let nodes: WorkerNode[] = [];
let origin = 0n;
let at = 0;

async function tell(node: number, command: NodeCommand): Promise<unknown> {
  const { worker } = nodes[node]!;
  worker.postMessage(command);
  return (await once(worker, 'message'))[0];
}

/** From the node that it is on to the other, with events on its way. */
async function move(): Promise<unknown> {
  const [from, to] = [nodes[at]!, nodes[1 - at]!];
  const publisher = runtime.publisher(origin, from.nodeId);
  const handle = runtime.startMigration(origin, from.nodeId, to.nodeId);
  await publisher.send(events(77n + BigInt(at), 1, 50));
  await handle.wait({ timeout: 20_000 });
  await publisher.flush();
  await tell(at, { do: 'await-release', origin });
  at = 1 - at;
  return tell(at, { do: 'sign', origin });
}

async function obey(command: ProcessCommand): Promise<unknown> {
  switch (command.do) {
    case 'begin': {
      const script = new URL('migrating-node.js', import.meta.url);
      nodes = command.nodeSeeds.map((nodeSeed) => mesh.spawn(script, { workerData: { nodeSeed } }));
      return (await Promise.all([tell(0, { do: 'ready' }), tell(1, { do: 'ready' })])).every(Boolean);
    }
    case 'spawn':
      origin = (await tell(0, { do: 'spawn', masked: command.masked })) as bigint;
      return tell(0, { do: 'sign', origin });
    case 'leak':
      return tell(1, { do: 'leak', masked: command.masked });
    case 'move':
      return move();
    case 'snapshots': {
      const paths = [0, 1, 2].map((thread) => `${command.folder}/${thread}.heapsnapshot`);
      for (const node of [0, 1]) await tell(node, { do: 'snapshot', path: paths[node]! });
      writeHeapSnapshot(paths[2]!, { exposeInternals: true, exposeNumericValues: true } as never);
      return paths;
    }
    case 'end':
      return [await tell(0, { do: 'shutdown' }), await tell(1, { do: 'shutdown' })];
  }
}

process.on('message', async (command: ProcessCommand) => {
  const answer = await obey(command).catch((error: unknown) => String(error));
  process.send!({ answer });
});
process.send!('ready');
