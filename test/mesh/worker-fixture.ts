// A node in a thread, for tests: hosts recorders, and does what the test asks over the thread's own port.
import { parentPort, workerData } from 'node:worker_threads';
import { DaemonRuntime, EntityKeypair, joinWorkerMesh } from '../../lib/index.js';
import { Recorder } from '../support.js';

const { hang } = workerData as { hang?: 'restore' };
const runtime = new DaemonRuntime({ mesh: joinWorkerMesh(), orchestrators: [1n] });
let daemon: Recorder | undefined;
runtime.registerFactory('recorder', () => {
  daemon = new Recorder();
  daemon.before = (call) => (call === hang ? new Promise<void>(() => {}) : undefined);
  return daemon;
});
runtime.start();

const commands: Record<string, () => unknown> = {
  spawn: () => runtime.spawn('recorder', EntityKeypair.generate()),
  spawnSubscribed: async () => {
    const origin = await runtime.spawn('recorder', EntityKeypair.generate());
    await runtime.subscribeChannel(origin, 1n, 'feed');
    return origin;
  },
  made: () => daemon !== undefined,
  seen: () => daemon?.seen,
};
parentPort!.on('message', async (command: string) => parentPort!.postMessage(await commands[command]!()));
