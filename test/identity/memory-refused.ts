import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { sodium } from '../../lib/identity/sodium.js';
import { EntityKeypair, MigrationError, secureMemoryStatus } from '../../lib/index.js';

/*
 * What becomes of key pairs where the system refuses memory, in a process that may be spoiled for it. Tells it on its
 * standard output.
 *
 *   mappings  others have taken nearly all memory mappings
 *   access    RLIMIT_DATA lets no page become writable any more
 */

const MESSAGE = new Uint8Array(9);

function outcome(run: () => unknown): string {
  try {
    run();
    return 'done';
  } catch (error) {
    return error instanceof MigrationError ? error.kind : String(error);
  }
}

const takenMappings = () => readFileSync('/proc/self/maps', 'latin1').split('\n').length - 1;

/** Pages with guards, as another user of libsodium takes them: four mappings each, or a little less. */
function fillMappings(upTo: number): unknown[] {
  const others: unknown[] = [];
  for (let missing = upTo - takenMappings(); missing > 0; missing = upTo - takenMappings()) {
    for (let i = 0; i < Math.ceil(missing / 5); i++) others.push(sodium.sodium_malloc(16));
  }
  return others;
}

function withoutMappings(): unknown {
  const most = Number(readFileSync('/proc/sys/vm/max_map_count', 'latin1'));
  const others = fillMappings((most * 7) / 8 - 200);
  const keypairs: EntityKeypair[] = [];
  const refusal = outcome(() => {
    while (keypairs.length < 100_000) keypairs.push(EntityKeypair.generate());
  });
  const signed = keypairs.every((keypair) => keypair.sign(MESSAGE).length === 64);
  const made = keypairs.length;
  const counted = secureMemoryStatus().secrets;
  const free = most - takenMappings();
  keypairs.pop()!.dispose();
  const afterwards = outcome(() => keypairs.push(EntityKeypair.generate()));
  return { made, counted, refusal, signed, free, most, afterwards, others: others.length };
}

/** Lets no page of this process become writable, until `allow`. Another process does it: this one's own could not start. */
async function forbidAccess(): Promise<{ allow: () => Promise<void> }> {
  const limit = (bytes: string) => `prlimit --pid ${process.pid} --data=${bytes}: && echo done`;
  const helper = spawn('sh', ['-c', `${limit('1')}; read line; ${limit('unlimited')}`], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await once(helper.stdout, 'data');
  return {
    allow: async () => {
      helper.stdin.end('\n');
      await once(helper.stdout, 'data');
    },
  };
}

async function refusedAccess(): Promise<unknown> {
  const daemon = EntityKeypair.generate();
  const signature = daemon.sign(MESSAGE);
  const before = JSON.stringify(secureMemoryStatus());
  const { allow } = await forbidAccess();
  const refused = {
    generate: outcome(() => EntityKeypair.generate()),
    sign: outcome(() => daemon.sign(MESSAGE)),
    wipeSecret: outcome(() => daemon.wipeSecret()),
    dispose: outcome(() => daemon.dispose()),
  };
  const kept = { canSign: daemon.canSign, isDisposed: daemon.isDisposed };
  await allow();
  const unchanged = JSON.stringify(secureMemoryStatus()) === before;
  const sameSignature = Buffer.compare(daemon.sign(MESSAGE), signature) === 0;
  daemon.dispose();
  return { refused, kept, unchanged, sameSignature, secrets: secureMemoryStatus().secrets };
}

const tell: Record<string, () => unknown> = { mappings: withoutMappings, access: refusedAccess };
console.log(JSON.stringify(await tell[process.argv[2]!]!()));
