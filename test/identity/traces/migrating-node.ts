import { writeHeapSnapshot } from 'node:v8';
import { parentPort, workerData } from 'node:worker_threads';
import { DaemonRuntime, EntityKeypair, joinWorkerMesh, NodeKeys } from '../../../lib/index.js';
import { eventually, Recorder } from '../../support.js';
import { unmasked } from './masking.js';

/** What a node in a thread is told; it answers each. */
export type NodeCommand =
  | { readonly do: 'spawn'; readonly masked: readonly number[] }
  | { readonly do: 'leak'; readonly masked: readonly number[] }
  | { readonly do: 'sign' | 'await-release'; readonly origin: bigint }
  | { readonly do: 'snapshot'; readonly path: string }
  | { readonly do: 'ready' | 'shutdown' };

/*
 * A node of a searched process. It keeps the key pair that it spawned a daemon with, as a careless owner does.
 */

const wiping = { wipeInput: true } as const;
const nodeKeys = unmasked((workerData as { nodeSeed: number[] }).nodeSeed, (seed) => NodeKeys.fromSeed(seed, wiping));
const runtime = new DaemonRuntime({ mesh: joinWorkerMesh(), orchestrators: [1n], nodeKeys });
runtime.registerFactory('recorder', () => new Recorder());
runtime.start();

let kept: EntityKeypair | undefined;
let leaked: string | undefined;

function isHere(origin: bigint): boolean {
  try {
    return runtime.keypair(origin) !== undefined;
  } catch {
    return false;
  }
}

async function obey(command: NodeCommand): Promise<unknown> {
  switch (command.do) {
    case 'ready':
      return runtime.isReady;
    case 'spawn':
      kept = unmasked(command.masked, (seed) => EntityKeypair.fromSeed(seed, wiping));
      return runtime.spawn('recorder', kept);
    case 'sign':
      return runtime.keypair(command.origin).sign(new Uint8Array(100)).length;
    case 'await-release':
      // A copy that is kept as a backup has its key still.
      return eventually('the copy here is let go', () => !isHere(command.origin)).then(() => 'released');
    case 'leak':
      leaked = unmasked(command.masked, (secret) => Buffer.from(secret).toString('hex'));
      return leaked.length;
    case 'snapshot':
      return writeHeapSnapshot(command.path, { exposeInternals: true, exposeNumericValues: true } as never);
    case 'shutdown':
      await runtime.shutdown();
      nodeKeys.dispose();
      return kept?.canSign ?? false;
  }
}

parentPort!.on('message', async (command: NodeCommand) => {
  const answer = await obey(command).catch((error: unknown) => String(error));
  parentPort!.postMessage(answer);
});
