/** A node in a thread: hosts a daemon whose snapshot is its own memory, and tells how long that took. */
import { parentPort, workerData } from 'node:worker_threads';
import { type CausalEvent, DaemonRuntime, EntityKeypair, joinWorkerMesh, type MeshDaemon } from '../../lib/index.js';

const { stateBytes } = workerData as { stateBytes: number };

/** Counts events; the count stands in front of a state that never changes otherwise. */
class Counter implements MeshDaemon {
  readonly name = 'counter';
  count = 0n;
  #state = new Uint8Array(stateBytes);

  process(_: CausalEvent): undefined {
    this.count++;
  }

  snapshot(): Uint8Array {
    new DataView(this.#state.buffer, this.#state.byteOffset).setBigUint64(0, this.count, true);
    return this.#state;
  }

  restore(state: Uint8Array): void {
    this.#state = state.slice();
    this.count = new DataView(state.buffer, state.byteOffset).getBigUint64(0, true);
  }
}

const runtime = new DaemonRuntime({ mesh: joinWorkerMesh(), orchestrators: [1n] });
let daemon: Counter | undefined;
runtime.registerFactory('counter', () => {
  daemon = new Counter();
  return daemon;
});
runtime.start();

const commands: Record<string, () => unknown> = {
  spawn: () => runtime.spawn('counter', EntityKeypair.generate()),
  count: () => daemon?.count,
};
parentPort?.on('message', async (command: string) => parentPort?.postMessage(await commands[command]!()));
