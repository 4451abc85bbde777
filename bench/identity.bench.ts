import { EntityKeypair, IdentityEnvelope, StaticKeypair, secureMemoryStatus } from '../lib/identity/index.js';
import { sodium } from '../lib/identity/sodium.js';
import { mustBe, mustBeBytes } from './harness/check.js';
import type { BenchDefinition, BenchOptions, BenchReport, Goal, Measurement } from './harness/definition.js';
import { atMost } from './harness/goals.js';
import { isolated } from './harness/isolated.js';
import {
  type Contender,
  checksMade,
  interleave,
  type Measured,
  nanosecondsPer,
  type Plan,
  timed,
} from './harness/measure.js';
import { entryOf } from './harness/statistics.js';

export const definition: BenchDefinition = {
  name: 'identity',
  order: 100,
  title: 'Keys and sealed envelopes',
  method:
    'Seal: a daemon’s key pair into an envelope of 209 bytes for a node. Open: all checks and the key pair out of it, disposed of afterwards. ' +
    'Key pair: from a seed of 32 bytes, with origin hash and node id, disposed of afterwards. No engine has a part in it. The limit is libsodium’s operations on ' +
    'the curve that each cannot do without, on ordinary memory: seal X25519 twice and a signature, open a verification, X25519 and a key pair, key pair a key pair; what ' +
    'lies above it is guarded memory (two changes of a page’s protection per secret touched, wiping), hashing and copying. Opened key pairs sign, and the ' +
    'signature is compared. Many: 100,000 key pairs in a process of its own, all alive.',
  quoted: [
    { what: 'identity envelope, seal / open', value: '103–144 / 159–215 µs' },
    { what: 'key pair from a seed, with its hashes', value: '20–27 µs' },
  ],
};

const OURS = 'daemon-migration';
const LIMIT = 'limit: libsodium’s curve operations';
const SEED = Uint8Array.from({ length: 32 }, (_, i) => (i * 37) & 0xff);
const LINK = Uint8Array.from({ length: 32 }, (_, i) => i);
const MESSAGE = new Uint8Array(64).fill(5);

const daemon = EntityKeypair.fromSeed(SEED);
const signature = daemon.sign(MESSAGE);
const target = StaticKeypair.generate();
const targetPublic = target.publicKey;

/** Keys in ordinary memory, for the limits. */
const plain = (() => {
  const [publicKey, secretKey] = [new Uint8Array(32), new Uint8Array(64)];
  sodium.crypto_sign_seed_keypair(publicKey, secretKey, SEED);
  return { publicKey, secretKey, signature: new Uint8Array(64), shared: new Uint8Array(32) };
})();

function signsAsTheDaemon(keypair: EntityKeypair, what: string): void {
  mustBeBytes(keypair.sign(MESSAGE), signature, `${what}: signature`);
}

function seals(): Contender {
  let envelope: IdentityEnvelope | undefined;
  return {
    name: OURS,
    run() {
      envelope = IdentityEnvelope.seal(daemon, targetPublic, LINK);
      return undefined;
    },
    check() {
      using opened = envelope!.open(target, LINK, daemon.id);
      signsAsTheDaemon(opened, 'sealed');
    },
  };
}

function opens(): Contender {
  const envelope = IdentityEnvelope.seal(daemon, targetPublic, LINK);
  return {
    name: OURS,
    run() {
      envelope.open(target, LINK, daemon.id).dispose();
      return undefined;
    },
    check() {
      using opened = envelope.open(target, LINK, daemon.id);
      signsAsTheDaemon(opened, 'opened');
      mustBe(secureMemoryStatus().secrets, 3, 'secrets: the daemon’s, the target’s, the opened one');
    },
  };
}

function makesKeypairs(): Contender {
  let hashes = 0n;
  return {
    name: OURS,
    run() {
      using keypair = EntityKeypair.fromSeed(SEED);
      hashes = keypair.originHash ^ keypair.nodeId;
      return undefined;
    },
    check: () => mustBe(hashes, daemon.originHash ^ daemon.nodeId, 'hashes'),
  };
}

function limit(run: () => void): Contender {
  return {
    name: LIMIT,
    run() {
      run();
      return undefined;
    },
    check: () => mustBeBytes(plain.publicKey, daemon.entityId, 'public key'),
  };
}

function signPlain(): void {
  sodium.crypto_sign_detached(plain.signature, MESSAGE, plain.secretKey);
}

function makePlain(): void {
  sodium.crypto_sign_seed_keypair(plain.publicKey, plain.secretKey, SEED);
}

function multiplyPlain(): void {
  sodium.crypto_scalarmult(plain.shared, SEED, targetPublic);
}

function multiplyBasePlain(): void {
  sodium.crypto_scalarmult_base(plain.shared, SEED);
}

function verifyPlain(): void {
  mustBe(sodium.crypto_sign_verify_detached(signature, MESSAGE, plain.publicKey), true, 'verified');
}

/** In a process of its own: what `count` key pairs take. */
export function manyKeypairs(count: number): { seconds: number; rssMiB: number; guardedMiB: number } {
  EntityKeypair.generate().dispose();
  globalThis.gc?.();
  const before = { rss: process.memoryUsage.rss(), secrets: secureMemoryStatus().secrets };
  const keypairs: EntityKeypair[] = [];
  const ms = timed(() => {
    while (keypairs.length < count) keypairs.push(EntityKeypair.generate());
  });
  globalThis.gc?.();
  const rssMiB = (process.memoryUsage.rss() - before.rss) / 2 ** 20;
  mustBe(secureMemoryStatus().secrets - before.secrets, count, 'secrets alive');
  const last = keypairs.at(-1)!;
  mustBe(last.id.verify(MESSAGE, last.sign(MESSAGE)), true, 'the last one signs');
  return { seconds: ms / 1000, rssMiB, guardedMiB: secureMemoryStatus().bytes / 2 ** 20 };
}

async function measureMany(quick: boolean): Promise<{ measurement: Measurement; note: string; checked: number }> {
  const count = quick ? 2_000 : 100_000;
  const runs: Awaited<ReturnType<typeof manyKeypairs>>[] = [];
  for (let round = 0; round < (quick ? 1 : 3); round++) {
    runs.push(await isolated({ module: import.meta.url, name: 'manyKeypairs', args: [count] }));
  }
  const many = count.toLocaleString('en-US');
  return {
    measurement: {
      subject: `resident memory of ${many} key pairs alive`,
      unit: 'MiB',
      entries: [
        entryOf(
          OURS,
          runs.map(({ rssMiB }) => Math.max(0, rssMiB)),
        ),
        entryOf(
          'of it guarded memory',
          runs.map(({ guardedMiB }) => guardedMiB),
        ),
      ],
    },
    note: `Making ${many} key pairs took ${runs.map(({ seconds }) => seconds.toFixed(1)).join(', ')} s.`,
    checked: 2 * runs.length,
  };
}

export async function run({ quick }: BenchOptions): Promise<BenchReport> {
  const plan = (subject: string): Plan => ({
    subject,
    unit: 'ns per call',
    convert: nanosecondsPer(1),
    rounds: quick ? 2 : 15,
    sliceMs: quick ? 0 : 200,
  });
  const sealed = await interleave(plan('seal'), [
    seals(),
    limit(() => {
      multiplyBasePlain();
      multiplyPlain();
      signPlain();
    }),
  ]);
  const opened = await interleave(plan('open'), [
    opens(),
    limit(() => {
      verifyPlain();
      multiplyPlain();
      makePlain();
    }),
  ]);
  const made = await interleave(plan('key pair from a seed, with its hashes'), [makesKeypairs(), limit(makePlain)]);
  const many = await measureMany(quick);
  return {
    measurements: [sealed, opened, made, many.measurement],
    goals: [...under('seal', 144_000, sealed), ...under('open', 215_000, opened)],
    notes: [many.note],
    checked: checksMade() + many.checked,
    unavailable: [],
  };
}

/** The reference's machine is another one: a goal that a slower machine may miss. */
function under(what: string, nanoseconds: number, measured: Measured): Goal[] {
  return atMost(nanoseconds, {
    goal: `${what}: not slower than the reference’s slowest run (another machine)`,
    measured: measured.median(OURS),
    unit: 'ns',
    how: 'median',
  });
}
