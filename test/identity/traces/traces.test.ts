import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { blake2s } from '@noble/hashes/blake2.js';
import * as assert from 'uvu/assert';
import { EntityKeypair, IdentityEnvelope, NodeKeys, StaticKeypair } from '../../../lib/identity/index.js';
import { sodium } from '../../../lib/identity/sodium.js';
import { suite } from '../../support.js';
import { type Command, LEAKS } from './leaks.js';
import { masked } from './masking.js';
import { SecretSearch } from './patterns.js';
import { assertGuarded, canSearch, SearchedProcess, summary } from './searched-process.js';

type Holder = SearchedProcess<Command>;

const HOLDER = fileURLToPath(new URL('holder.js', import.meta.url));
const LINK = Uint8Array.from({ length: 32 }, (_, i) => 200 - i);

const newSecret = () => Uint8Array.from(randomBytes(32));

/** The two secrets that sealing and opening derive: X25519's product, and the key made of it. */
function derived(targetPrivate: Uint8Array, envelope: Uint8Array): { shared: Uint8Array; key: Uint8Array } {
  const shared = new Uint8Array(32);
  sodium.crypto_scalarmult(shared, targetPrivate, envelope.subarray(33, 65));
  return { shared, key: blake2s(shared, { key: Buffer.from('net-identity-envelope'), dkLen: 32 }) };
}

/** What signing derives of a seed: the scalar and the prefix of the nonce. */
function expanded(seed: Uint8Array): { scalar: Uint8Array; prefix: Uint8Array } {
  const hash = createHash('sha512').update(seed).digest();
  hash[0]! &= 248;
  hash[31] = (hash[31]! & 127) | 64;
  return { scalar: hash.subarray(0, 32), prefix: hash.subarray(32) };
}

interface Scene {
  readonly holder: Holder;
  readonly folder: string;
  /** Secrets that the holder holds, by name. */
  readonly held: ReadonlyMap<string, Uint8Array>;
  /** Secrets that nothing may keep, by name. */
  readonly passing: ReadonlyMap<string, Uint8Array>;
}

/** A holder that has sealed, opened, failed to open in three ways, signed, and read a key file. */
async function play(holder: Holder, folder: string): Promise<Scene> {
  const [daemonSeed, targetPrivate, openedSeed, mismatchedSeed] = [newSecret(), newSecret(), newSecret(), newSecret()];
  const nodeSeed = newSecret();
  const passing = new Map<string, Uint8Array>();
  NodeKeys.fromSeed(nodeSeed).save(join(folder, 'node.key'));
  const target = StaticKeypair.fromPrivate(targetPrivate);
  await holder.ask({ do: 'hold-daemon', masked: masked(daemonSeed) });
  await holder.ask({ do: 'hold-target', masked: masked(targetPrivate) });
  assert.is(await holder.ask({ do: 'load-node', path: join(folder, 'node.key') }), 'done');

  const remember = (name: string, secrets: Record<string, Uint8Array>) => {
    for (const [kind, secret] of Object.entries(secrets)) passing.set(`${kind} of ${name}`, secret);
  };
  const seal = { do: 'seal', targetPublic: [...target.publicKey], link: [...LINK] } as const;
  const sealed = Uint8Array.from((await holder.ask(seal)) as number[]);
  assert.ok(IdentityEnvelope.fromBytes(sealed).open(target, LINK).id.equals(EntityKeypair.fromSeed(daemonSeed).id));
  remember('the seal', derived(targetPrivate, sealed));

  const open = async (name: string, envelope: Uint8Array, expected: string) => {
    assert.is(await holder.ask({ do: 'open', envelope: [...envelope], link: [...LINK] }), expected, name);
    remember(name, derived(targetPrivate, envelope));
  };
  const sealedFor = (seed: Uint8Array) =>
    IdentityEnvelope.seal(EntityKeypair.fromSeed(seed), target.publicKey, LINK).toBytes();
  await open('the open', sealedFor(openedSeed), 'opened');
  const changed = sealedFor(newSecret());
  changed[80]! ^= 1;
  await open('the failed open', changed, 'seal-open-failed');
  const spliced = sealedFor(newSecret());
  spliced.set(sealedFor(mismatchedSeed).subarray(33, 113), 33);
  await open('the mismatched open', spliced, 'invalid-attestation');
  passing.set('the mismatched seed', mismatchedSeed);

  await holder.ask({ do: 'sign' });
  for (const [name, seed] of Object.entries({ daemonSeed, openedSeed })) remember(name, expanded(seed));
  passing.set('prefix of nodeSeed', expanded(nodeSeed).prefix);
  // A node's X25519 secret is the scalar of its Ed25519 one.
  const nodePrivate = expanded(nodeSeed).scalar;
  const held = new Map(Object.entries({ daemonSeed, targetPrivate, nodeSeed, nodePrivate, openedSeed }));
  return { holder, folder, held, passing };
}

async function inScene(body: (scene: Scene) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'traces-'));
  const holder = await SearchedProcess.start<Command>(HOLDER);
  try {
    await body(await play(holder, folder));
  } finally {
    holder.end();
    rmSync(folder, { recursive: true, force: true });
  }
}

const snapshots = suite('a heap snapshot after a seal, an open and failed opens');

snapshots('holds no secret in any spelling, and would show one', () =>
  inScene(async ({ holder, folder, held, passing }) => {
    const leaked = newSecret();
    await holder.ask({ do: 'leak', masked: masked(leaked), as: 'hex' });
    const path = join(folder, 'holder.heapsnapshot');
    assert.is(await holder.ask({ do: 'snapshot', path }), path);
    const search = new SecretSearch(new Map([...held, ...passing, ['leaked', leaked]]));
    const found = new Set(search.in(readFileSync(path)).map(({ secret }) => secret));
    assert.equal([...found], ['leaked']);
  }),
);

const memory = suite('all memory of the process');

memory('shows live secrets in guarded pages only, once each, and none that has passed', async () => {
  if (!canSearch()) return;
  await inScene(async ({ holder, held, passing }) => {
    assertGuarded(holder.search(new SecretSearch(new Map([...held, ...passing]))), held.keys());
  });
});

memory("shows no daemon's seed once it was wiped, nor any secret once all are disposed of", async () => {
  if (!canSearch()) return;
  await inScene(async ({ holder, held }) => {
    assert.is(await holder.ask({ do: 'wipe-daemon' }), false);
    const left = new Set(holder.search(new SecretSearch(held)).map(({ secret }) => secret));
    assert.equal(
      [...left].sort(),
      ['nodePrivate', 'nodeSeed', 'openedSeed', 'targetPrivate'],
      'the daemon that has moved is gone',
    );
    await holder.ask({ do: 'dispose' });
    assert.equal(summary(holder.search(new SecretSearch(held))), []);
  });
});

memory('would show a secret that was left anywhere', async () => {
  if (!canSearch()) return;
  const holder = await SearchedProcess.start<Command>(HOLDER);
  try {
    const secrets = new Map(LEAKS.map((as) => [as, newSecret()]));
    assert.equal(summary(holder.search(new SecretSearch(secrets))), []);
    for (const [as, secret] of secrets) await holder.ask({ do: 'leak', masked: masked(secret), as });
    const found = holder.search(new SecretSearch(secrets)).map(({ secret, spelling }) => `${secret}: ${spelling}`);
    for (const as of LEAKS)
      assert.ok(
        found.some((line) => line.startsWith(`${as}: ${as}`)),
        `${as}: ${found}`,
      );
  } finally {
    holder.end();
  }
});
