// A node of the demo: a worker thread with a runtime of its own, told by the main thread what to do.
import { parentPort, workerData } from 'node:worker_threads';
import { DaemonRuntime, EntityKeypair, joinWorkerMesh, NodeKeys } from '../../lib/index.js';
import { type FlightsConfig, FlightsDaemon } from './flights-daemon.js';
import { Halt } from './halt.js';
import { makeLossy } from './lossy.js';
import type { Look, NodeAnswer, NodeCommand, NodeData, NodeEvent } from './node-protocol.js';

const { engine, orchestrator, config, paths, halt: haltData, loss } = workerData as NodeData;
const port = parentPort!;
const mesh = joinWorkerMesh();
if (loss) makeLossy(mesh, loss);
const halt = haltData && new Halt(haltData, port);
const runtime = new DaemonRuntime({
  mesh,
  orchestrators: [orchestrator],
  nodeKeys: NodeKeys.load(paths.keyFile),
  spool: paths.spool,
  ...(engine && { engine }),
  // Where frames are lost, whoever leads asks for all of them each second; by default for the end of a restore every 10 s.
  ...(loss && { policy: { orchestrator: { phases: { Restore: { tries: 300 } } } } }),
});
runtime.registerFactory('flights', () => new FlightsDaemon(config satisfies FlightsConfig, () => halt?.look()));
const started = runtime.start();
halt?.watch(mesh, runtime);

async function run(command: NodeCommand): Promise<unknown> {
  switch (command.do) {
    case 'ready':
      return started;
    case 'spawn':
      return runtime.spawn('flights', EntityKeypair.generate());
    case 'state':
      return runtime.state(command.origin);
    case 'look':
      return look(command.origin);
    case 'migrate':
      return migrate(command);
  }
}

function look(daemon: bigint): Look {
  const isMigrating = runtime.migrations().some(({ origin }) => origin === daemon);
  return { isLive: runtime.has(daemon), isMigrating };
}

function migrate({ origin, source, target, mode }: NodeCommand & { do: 'migrate' }): Promise<void> {
  const handle = runtime.startMigration(origin, source, target, {
    mode,
    onProgress: (progress) => {
      port.postMessage({ progress } satisfies NodeEvent);
      halt?.reached(progress.phase);
    },
  });
  return handle.wait();
}

port.on('message', ({ id, command }: { id: number; command: NodeCommand }) => {
  run(command).then(
    (value) => port.postMessage({ id, value } satisfies NodeAnswer),
    (error) => port.postMessage({ id, error: (error as Error).message } satisfies NodeAnswer),
  );
});
