// A node in a thread, for tests: hosts recorders, and does what the test asks over the thread's own port.
import { parentPort, workerData } from 'node:worker_threads';
import { DaemonRuntime, EntityKeypair, joinWorkerMesh, type StreamedState } from '../../lib/index.js';
import { Recorder } from '../support.js';

const { hang, streams } = workerData as { hang?: 'restore'; streams?: boolean };
/** What a streamed state begins with, so that it is many chunks. */
const PADDING = 1_000_000;
const runtime = new DaemonRuntime({ mesh: joinWorkerMesh(), orchestrators: [1n] });
let daemon: Recorder | undefined;

/** Its state is read from its pieces only when these are sent. */
class Streaming extends Recorder {
  override state(bytes: Uint8Array): StreamedState {
    async function* chunks() {
      for (let at = 0; at < PADDING; at += 50_000) yield new Uint8Array(50_000);
      yield bytes;
    }
    return { byteLength: PADDING + bytes.length, chunks };
  }

  override restore(state: Uint8Array): void | Promise<void> {
    return super.restore(state.subarray(PADDING));
  }
}

runtime.registerFactory('recorder', () => {
  daemon = streams ? new Streaming() : new Recorder();
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
