import { configureSecureMemory, EntityKeypair, MigrationError, secureMemoryStatus } from '../../lib/index.js';

// Run with a small RLIMIT_MEMLOCK: tells on its standard output what became of key pairs.

const count = Number(process.argv[2]);
configureSecureMemory({ requireLocked: process.argv[3] === 'required' });
const keypairs: EntityKeypair[] = [];
let refusal: string | undefined;
try {
  while (keypairs.length < count) keypairs.push(EntityKeypair.generate());
} catch (error) {
  if (!(error instanceof MigrationError)) throw error;
  refusal = error.kind;
}
const work = keypairs.every((keypair) => keypair.sign(new Uint8Array(1)).length === 64);
console.log(JSON.stringify({ made: keypairs.length, refusal, work, ...secureMemoryStatus() }));
