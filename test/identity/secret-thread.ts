import { parentPort, workerData } from 'node:worker_threads';
import { EntityKeypair } from '../../lib/identity/index.js';

// A thread that holds key pairs and goes on signing with them until it is ended.

const keypairs = Array.from({ length: workerData as number }, () => EntityKeypair.generate());
parentPort!.postMessage(keypairs.at(-1)!.sign(new Uint8Array(1)));
setInterval(() => {
  for (const keypair of keypairs) keypair.sign(new Uint8Array(9));
}, 0);
