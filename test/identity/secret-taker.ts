import { parentPort, workerData } from 'node:worker_threads';
import { EntityKeypair, MigrationError, secureMemoryStatus } from '../../lib/index.js';

// A thread that takes as many secrets as it is told to, says how far it came, and holds them until it is told to end.

/** Exported, so that the module holds them: what nobody can reach any more is collected, and given back. */
export const keypairs: EntityKeypair[] = [];
let refusal: string | undefined;
try {
  while (keypairs.length < (workerData as number)) keypairs.push(EntityKeypair.generate());
} catch (error) {
  refusal = error instanceof MigrationError ? error.kind : String(error);
}
const sign = keypairs.every((keypair) => keypair.sign(new Uint8Array(1)).length === 64);
parentPort!.postMessage({ made: keypairs.length, refusal, sign, status: secureMemoryStatus() });
parentPort!.once('message', () => process.exit(0));
