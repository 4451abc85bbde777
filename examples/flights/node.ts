// A node of the demo: a worker thread with a runtime of its own, told by the main thread what to do.
import { parentPort, workerData } from 'node:worker_threads';
import { DaemonRuntime, EntityKeypair, joinWorkerMesh } from '../../lib/index.js';
import { type FlightsConfig, FlightsDaemon } from './flights-daemon.js';
import type { NodeAnswer, NodeCommand, NodeData } from './node-protocol.js';

const { engine, orchestrator, config } = workerData as NodeData;
const runtime = new DaemonRuntime({
  mesh: joinWorkerMesh(),
  orchestrators: [orchestrator],
  ...(engine && { engine }),
});
runtime.registerFactory('flights', () => new FlightsDaemon(config satisfies FlightsConfig));
runtime.start();

async function run(command: NodeCommand): Promise<unknown> {
  switch (command.do) {
    case 'ready':
      return runtime.isReady;
    case 'spawn':
      return runtime.spawn('flights', EntityKeypair.generate());
    case 'state':
      return runtime.state(command.origin);
    case 'has':
      return runtime.has(command.origin);
  }
}

parentPort!.on('message', ({ id, command }: { id: number; command: NodeCommand }) => {
  run(command).then(
    (value) => parentPort!.postMessage({ id, value } satisfies NodeAnswer),
    (error) => parentPort!.postMessage({ id, error: (error as Error).message } satisfies NodeAnswer),
  );
});
