import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { execPath, getuid, platform } from 'node:process';
import { setImmediate } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import * as assert from 'uvu/assert';
import {
  configureSecureMemory,
  DEFAULT_MAX_SECRETS,
  EntityKeypair,
  IdentityEnvelope,
  MAX_SECRETS_CEILING,
  NodeKeys,
  StaticKeypair,
  secureMemoryStatus,
} from '../../lib/identity/index.js';
import { type SecureBuffer, sodium } from '../../lib/identity/sodium.js';
import { eventually, refusal, suite } from '../support.js';
import { wrongType } from './wrong-type.js';

const MESSAGE = Buffer.from('still here');

const isTypeError = (message: RegExp) => (error: Error) => error instanceof TypeError && message.test(error.message);

const limit = suite('the limit of secrets');

limit('is a typed error before anything breaks, and a disposed key pair makes room', async () => {
  const held = secureMemoryStatus().secrets;
  configureSecureMemory({ maxSecrets: held + 3 });
  const three = [EntityKeypair.generate(), EntityKeypair.generate(), StaticKeypair.generate()];
  const seed = new Uint8Array(32).fill(1);
  for (const make of [
    () => EntityKeypair.generate(),
    () => StaticKeypair.generate(),
    () => NodeKeys.generate(),
    () => EntityKeypair.fromSeed(seed, { wipeInput: true }),
  ]) {
    const error = await refusal('secure-memory-exhausted', make);
    assert.equal(error.details, { secrets: held + 3, maxSecrets: held + 3 });
  }
  assert.equal(seed, new Uint8Array(32), 'the input is wiped on failure too');
  three.pop()!.dispose();
  const again = EntityKeypair.generate();
  assert.ok(again.id.verify(MESSAGE, again.sign(MESSAGE)));
  again.dispose();
  for (const keypair of three) keypair.dispose();
  configureSecureMemory({ maxSecrets: DEFAULT_MAX_SECRETS });
});

limit('met in the middle leaves nothing behind', async () => {
  using daemon = EntityKeypair.generate();
  using target = StaticKeypair.generate();
  const link = new Uint8Array(32);
  const envelope = IdentityEnvelope.seal(daemon, target.publicKey, link);
  const held = secureMemoryStatus().secrets;
  configureSecureMemory({ maxSecrets: held });
  await refusal('secure-memory-exhausted', () => envelope.open(target, link));
  configureSecureMemory({ maxSecrets: held + 1 });
  await refusal('secure-memory-exhausted', () => NodeKeys.generate());
  assert.is(secureMemoryStatus().secrets, held);
  envelope.open(target, link).dispose();
  configureSecureMemory({ maxSecrets: DEFAULT_MAX_SECRETS });
});

limit('is refused with a TypeError where an option has the wrong type or is none, and then nothing is set', () => {
  const before = secureMemoryStatus();
  for (const requireLocked of [1, 'true', null, {}]) {
    wrongType('requireLocked', () => configureSecureMemory({ maxSecrets: 5, requireLocked } as never));
  }
  for (const options of [undefined, null, 5, 'maxSecrets', [5]]) {
    wrongType('options', () => configureSecureMemory(options as never));
  }
  assert.throws(
    () => configureSecureMemory({ maxSecrets: 5, maxSecret: 5 } as never),
    isTypeError(/^options.*"maxSecret"$/),
  );
  assert.equal(secureMemoryStatus(), before);
  configureSecureMemory({});
  assert.equal(secureMemoryStatus(), before);
});

limit('is a whole number within what mappings allow', () => {
  for (const maxSecrets of [0, -1, 1.5, Number.NaN, MAX_SECRETS_CEILING + 1, '5']) {
    wrongType('maxSecrets', () => configureSecureMemory({ maxSecrets: maxSecrets as number }));
  }
  assert.is(secureMemoryStatus().maxSecrets, DEFAULT_MAX_SECRETS);
});

const places = suite('places of secrets');

places('are used again: 20,000 key pairs one after another take no more memory', () => {
  EntityKeypair.generate().dispose();
  const { bytes } = secureMemoryStatus();
  for (let i = 0; i < 20_000; i++) EntityKeypair.generate().dispose();
  assert.is(secureMemoryStatus().bytes, bytes);
});

places('of key pairs that nobody holds any more come back, wiped', async () => {
  const gc = globalThis.gc;
  assert.type(gc, 'function', 'the tests run with --expose-gc');
  await collect(gc!);
  const before = secureMemoryStatus().secrets;
  (() => {
    for (let i = 0; i < 1_000; i++) EntityKeypair.generate();
  })();
  await eventually('all leaked places are back', () => {
    gc!();
    return secureMemoryStatus().secrets <= before;
  });
});

places('come back once, though a key pair is wiped, disposed and collected', async () => {
  await collect(globalThis.gc!);
  const before = secureMemoryStatus().secrets;
  (() => {
    const keypair = EntityKeypair.generate();
    keypair.wipeSecret();
    keypair.dispose();
  })();
  await collect(globalThis.gc!);
  assert.is(secureMemoryStatus().secrets, before);
  const two = [EntityKeypair.generate(), EntityKeypair.generate()];
  assert.not.equal(two[0]!.sign(MESSAGE), two[1]!.sign(MESSAGE));
  for (const keypair of two) {
    assert.ok(keypair.id.verify(MESSAGE, keypair.sign(MESSAGE)));
    keypair.dispose();
  }
});

/** Finalizers run in a turn of their own. */
async function collect(gc: () => void): Promise<void> {
  for (let i = 0; i < 4; i++) {
    gc();
    await setImmediate();
  }
}

const threads = suite('threads that hold secrets');

/** Locked memory of the whole process, in KiB; nothing elsewhere than on Linux. */
function lockedKiB(): number {
  return platform === 'linux' ? Number(/VmLck:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'latin1'))![1]) : 0;
}

threads('end in the middle of signing, and their pages go with them', async () => {
  using keypair = EntityKeypair.generate();
  const before = { locked: lockedKiB(), status: secureMemoryStatus() };
  for (let i = 0; i < 8; i++) {
    const thread = new Worker(new URL('secret-thread.js', import.meta.url), { workerData: 2_000 });
    const [signature] = await once(thread, 'message');
    assert.is(signature.length, 64);
    await thread.terminate();
  }
  assert.equal(secureMemoryStatus(), before.status, 'what it held is no longer counted');
  assert.ok(keypair.id.verify(MESSAGE, keypair.sign(MESSAGE)));
  assert.is(lockedKiB(), before.locked);
});

const locking = suite('locking into RAM');

/** Runs memory-lock.js where 64 KiB may be locked; as root, without the capability that lifts the limit. */
function underLimit(requirement: 'required' | 'preferred') {
  const program = fileURLToPath(new URL('memory-lock.js', import.meta.url));
  const drop = getuid!() === 0 ? 'exec setpriv --bounding-set -ipc_lock --inh-caps -ipc_lock' : 'exec';
  const { stdout, stderr } = spawnSync(
    'sh',
    ['-c', `ulimit -l 64 && ${drop} "$0" "$@"`, execPath, program, '3000', requirement],
    { encoding: 'utf8' },
  );
  assert.ok(stdout.startsWith('{'), stderr);
  return JSON.parse(stdout);
}

locking('that the system refuses is counted and done without, or is a typed error where it is required', () => {
  if (platform !== 'linux') {
    assert.is.not(platform, 'linux', 'only Linux counts locked memory per process the way that this test limits it');
    return;
  }
  const preferred = underLimit('preferred');
  assert.is(preferred.made, 3000);
  assert.is(preferred.refusal, undefined);
  assert.ok(preferred.work);
  assert.ok(preferred.lockedBytes > 0 && preferred.lockedBytes < preferred.bytes, JSON.stringify(preferred));

  const required = underLimit('required');
  assert.is(required.refusal, 'secure-memory-not-locked');
  assert.ok(required.made > 0 && required.made < 3000);
  assert.ok(required.work);
  assert.is(required.lockedBytes, required.bytes);
});

const refused = suite('what the system refuses');

/** Some systems allow so many mappings that filling them takes gigabytes. */
const MOST_FILLED = 262_144;

/** Runs memory-refused.js, which spoils its own process. */
function whereRefused(what: 'mappings' | 'access') {
  const program = fileURLToPath(new URL('memory-refused.js', import.meta.url));
  const { status, stdout, stderr } = spawnSync(execPath, [program, what], { encoding: 'utf8' });
  assert.is(status, 0, stderr);
  return JSON.parse(stdout);
}

function isLinux(): boolean {
  if (platform === 'linux') return true;
  assert.is.not(platform, 'linux', 'only Linux limits mappings by number, and the size of writable memory');
  return false;
}

refused('is told before it happens where mappings are short, and what is held goes on working', () => {
  if (!isLinux()) return;
  const allowed = Number(readFileSync('/proc/sys/vm/max_map_count', 'latin1'));
  if (allowed > MOST_FILLED) {
    console.log(
      `  not run: ${allowed} mappings are allowed, too many to fill in a test; set vm.max_map_count to 65530`,
    );
    assert.ok(allowed > MOST_FILLED);
    return;
  }
  const { made, counted, refusal, signed, free, most, afterwards, others } = whereRefused('mappings');
  assert.is(refusal, 'secure-memory-exhausted');
  assert.ok(others > 10_000 && made > 5_000, `${others} of others, ${made} of ours`);
  assert.is(counted, made);
  assert.ok(signed);
  assert.ok(free > most / 10, `${free} of ${most} mappings are left for everybody else`);
  assert.is(afterwards, 'done', 'a place that was given back can be taken');
});

refused('leaves a key pair as it was: neither half wiped nor half counted', () => {
  if (!isLinux()) return;
  const { refused: errors, kept, unchanged, sameSignature, secrets } = whereRefused('access');
  assert.equal(new Set(Object.values(errors)), new Set(['secure-memory-exhausted']));
  assert.equal(kept, { canSign: true, isDisposed: false });
  assert.ok(unchanged && sameSignature);
  assert.is(secrets, 0);
});

/** While `run` runs, that function of libsodium fails where `when` says so: no limit of the system's makes it fail by itself. */
async function failing<N extends 'sodium_mprotect_noaccess' | 'sodium_mprotect_readwrite'>(
  name: N,
  when: (memory: SecureBuffer) => boolean,
  run: () => unknown,
): Promise<void> {
  const real = sodium[name];
  sodium[name] = (memory) => {
    if (when(memory)) throw new Error('failed on purpose');
    real(memory);
  };
  try {
    await run();
  } finally {
    sodium[name] = real;
  }
}

const isSlab = (memory: SecureBuffer) => memory.length === 16_384;

refused('leaves no new block behind that could not be closed', async () => {
  const [malloc, fresh, held] = [sodium.sodium_malloc, new Set<SecureBuffer>(), [] as EntityKeypair[]];
  sodium.sodium_malloc = (size) => {
    const memory = malloc(size);
    fresh.add(memory);
    return memory;
  };
  let before = secureMemoryStatus();
  try {
    await failing(
      'sodium_mprotect_noaccess',
      (memory) => fresh.has(memory),
      () =>
        refusal('secure-memory-exhausted', () => {
          for (;;) {
            before = secureMemoryStatus();
            held.push(EntityKeypair.generate());
          }
        }),
    );
  } finally {
    sodium.sodium_malloc = malloc;
  }
  assert.is(fresh.size, 1);
  assert.equal(secureMemoryStatus(), before);
  const next = EntityKeypair.generate();
  assert.is(secureMemoryStatus().bytes, before.bytes + 16_384);
  for (const keypair of [next, ...held]) {
    assert.ok(keypair.id.verify(MESSAGE, keypair.sign(MESSAGE)));
    keypair.dispose();
  }
});

refused('takes no place for a secret whose page cannot be opened, or not be closed again', async () => {
  EntityKeypair.generate().dispose();
  const before = secureMemoryStatus();
  for (const name of ['sodium_mprotect_readwrite', 'sodium_mprotect_noaccess'] as const) {
    await failing(name, isSlab, () => refusal('secure-memory-exhausted', () => EntityKeypair.generate()));
    assert.equal(secureMemoryStatus(), before, name);
    const [one, two] = [EntityKeypair.generate(), EntityKeypair.generate()];
    assert.ok(one.id.verify(MESSAGE, one.sign(MESSAGE)));
    assert.ok(two.id.verify(MESSAGE, two.sign(MESSAGE)));
    one.dispose();
    two.dispose();
  }
});

refused('wipes what nobody holds any more as soon as it can be wiped', async () => {
  await collect(globalThis.gc!);
  const before = secureMemoryStatus().secrets;
  let refusals = 0;
  const count = (memory: SecureBuffer) => isSlab(memory) && ++refusals > 0;
  (() => {
    for (let i = 0; i < 100; i++) EntityKeypair.generate();
  })();
  await failing('sodium_mprotect_readwrite', count, async () => {
    await eventually('they are collected', () => {
      globalThis.gc!();
      return refusals > 50;
    });
  });
  assert.ok(secureMemoryStatus().secrets > before + 50);
  await eventually('their places are back', () => {
    globalThis.gc!();
    EntityKeypair.generate().dispose();
    return secureMemoryStatus().secrets === before;
  });
});
