import * as assert from 'uvu/assert';
import {
  createMigrationIdentityContext,
  EntityKeypair,
  NodeKeys,
  StaticKeypair,
  transportPrerequisites,
} from '../../lib/identity/index.js';
import { type CausalLink, genesisLink } from '../../lib/wire/link.js';
import type { StateSnapshot } from '../../lib/wire/snapshot.js';
import { refusal, suite } from '../support.js';
import { wrongType } from './wrong-type.js';

const MESSAGE = Buffer.from('who am I');

function snapshotOf(daemon: EntityKeypair, identityEnvelope?: Uint8Array, link?: Partial<CausalLink>): StateSnapshot {
  return {
    entityId: daemon.entityId,
    throughSeq: 7n,
    chainLink: { ...genesisLink(daemon.originHash), sequence: 7n, parentHash: 99n, ...link },
    createdAt: 1n,
    state: new Uint8Array(8),
    bindings: new Uint8Array(0),
    identityEnvelope,
  };
}

const [source, target] = [NodeKeys.generate(), NodeKeys.generate()];
const lookup = (nodeId: bigint) => (nodeId === target.nodeId ? target.staticPublic : undefined);
const atSource = createMigrationIdentityContext({ nodeKeys: source, peerStaticLookup: lookup });
const atTarget = createMigrationIdentityContext({ nodeKeys: target, peerStaticLookup: () => undefined });

const context = suite('the identity context');

context('takes a key pair from the source to the target', () => {
  const daemon = EntityKeypair.generate();
  const targetPublic = atSource.peerStaticLookup(target.nodeId)!;
  const snapshot = snapshotOf(daemon);
  const envelope = atSource.sealSnapshot(snapshot, daemon, targetPublic);
  assert.is(envelope.length, 209);
  const arrived = atTarget.unsealSnapshot({ ...snapshot, identityEnvelope: envelope })!;
  assert.equal(arrived.sign(MESSAGE), daemon.sign(MESSAGE));

  daemon.wipeSecret();
  assert.not.ok(daemon.canSign);
  assert.ok(arrived.canSign);
});

context('needs the entity and the link alone to seal, before there is a state', () => {
  const daemon = EntityKeypair.generate();
  const { entityId, chainLink } = snapshotOf(daemon);
  const envelope = atSource.sealSnapshot({ entityId, chainLink }, daemon, target.staticPublic);
  assert.ok(atTarget.unsealSnapshot(snapshotOf(daemon, envelope))!.id.equals(daemon.id));
});

context(
  'gives nothing where there is no envelope, and nothing less than an error where one does not open',
  async () => {
    const daemon = EntityKeypair.generate();
    assert.is(atTarget.unsealSnapshot(snapshotOf(daemon)), undefined);
    const envelope = atSource.sealSnapshot(snapshotOf(daemon), daemon, target.staticPublic);
    const other = EntityKeypair.generate();
    await refusal('seal-open-failed', () => atSource.unsealSnapshot(snapshotOf(daemon, envelope)));
    await refusal('invalid-signer-key', () => atTarget.unsealSnapshot(snapshotOf(other, envelope)));
    for (const change of [{ sequence: 8n }, { horizon: 1n }, { parentHash: 0n }, { originHash: other.originHash }]) {
      await refusal('invalid-attestation', () => atTarget.unsealSnapshot(snapshotOf(daemon, envelope, change)));
    }
    await refusal('invalid-length', () => atTarget.unsealSnapshot(snapshotOf(daemon, envelope.subarray(1))));
  },
);

context("refuses a link of another origin, though the daemon's own key attests it", async () => {
  const daemon = EntityKeypair.generate();
  const forged = snapshotOf(daemon, undefined, { originHash: 5n });
  const envelope = atSource.sealSnapshot(forged, daemon, target.staticPublic);
  const error = await refusal('origin-hash-mismatch', () =>
    atTarget.unsealSnapshot({ ...forged, identityEnvelope: envelope }),
  );
  assert.equal(error.details, { expected: 5n, actual: daemon.originHash });
});

context("does not seal another daemon's key into a snapshot, nor one that is not here", async () => {
  const daemon = EntityKeypair.generate();
  const seal = (keypair: EntityKeypair) => atSource.sealSnapshot(snapshotOf(daemon), keypair, target.staticPublic);
  await refusal('origin-hash-mismatch', () => seal(EntityKeypair.generate()));
  await refusal('source-read-only', () => seal(daemon.publicOnly()));
});

context('needs keys and a look-up of the right type', () => {
  const nodeKeys = NodeKeys.generate();
  const peerStaticLookup = () => undefined;
  const create = createMigrationIdentityContext as (options: unknown) => unknown;
  for (const options of [undefined, null, 'keys', [nodeKeys]]) wrongType('options', () => create(options));
  for (const wrong of [undefined, null, {}, 'key', nodeKeys.identity, { staticKeypair: nodeKeys.staticKeypair }]) {
    wrongType('nodeKeys', () => create({ nodeKeys: wrong, peerStaticLookup }));
  }
  for (const wrong of [undefined, null, new Map(), 'key']) {
    wrongType('peerStaticLookup', () => create({ nodeKeys, peerStaticLookup: wrong }));
  }
});

context('needs a snapshot, a key pair and a target key of the right type', () => {
  const daemon = EntityKeypair.generate();
  for (const wrong of [undefined, null, 'snapshot', []] as never[]) {
    wrongType('snapshot', () => atSource.sealSnapshot(wrong, daemon, target.staticPublic));
    wrongType('snapshot', () => atTarget.unsealSnapshot(wrong));
  }
  for (const wrong of [undefined, null, 'key', {}, daemon.id] as never[]) {
    wrongType('daemon', () => atSource.sealSnapshot(snapshotOf(daemon), wrong, target.staticPublic));
  }
  for (const wrong of [undefined, null, 'key', new Uint8Array(31)] as never[]) {
    wrongType('targetPublic', () => atSource.sealSnapshot(snapshotOf(daemon), daemon, wrong));
  }
});

context("says when the mesh's look-up gives something else than a key", () => {
  const nodeKeys = NodeKeys.generate();
  const broken = createMigrationIdentityContext({ nodeKeys, peerStaticLookup: () => new Uint8Array(31) });
  wrongType('what peerStaticLookup returned', () => broken.peerStaticLookup(1n));
  assert.is(atSource.peerStaticLookup(1n), undefined);
});

context('works with an X25519 key pair alone, and holds nothing but functions', () => {
  const keys = StaticKeypair.generate();
  const alone = createMigrationIdentityContext({ nodeKeys: keys, peerStaticLookup: () => undefined });
  const daemon = EntityKeypair.generate();
  const envelope = atSource.sealSnapshot(snapshotOf(daemon), daemon, keys.publicKey);
  assert.ok(alone.unsealSnapshot(snapshotOf(daemon, envelope))!.canSign);
  assert.equal(Reflect.ownKeys(alone).sort(), ['peerStaticLookup', 'sealSnapshot', 'unsealSnapshot']);
  assert.ok(Object.values(alone).every((value) => typeof value === 'function'));
});

const prerequisites = suite('what identity transport needs');

const all = { context: atSource, daemon: EntityKeypair.generate(), targetPublic: target.staticPublic, target: 77n };
const missing = (change: Partial<Parameters<typeof transportPrerequisites>[0]>) =>
  transportPrerequisites({ ...all, ...change });

prerequisites('is nothing more where all is there, and then sealing works', () => {
  assert.equal(missing({}), []);
  assert.is(atSource.sealSnapshot(snapshotOf(all.daemon), all.daemon, all.targetPublic).length, 209);
});

prerequisites('is named one by one, in words that say what to do', () => {
  const disposed = EntityKeypair.generate();
  disposed.dispose();
  for (const [change, kind, words] of [
    [{ context: undefined }, 'identity-context', /identity context/],
    [{ daemon: undefined }, 'daemon-keypair', /no key pair/],
    [{ daemon: all.daemon.publicOnly() }, 'daemon-private-key', /public-only/],
    [{ daemon: disposed }, 'daemon-private-key', /disposed/],
    [{ targetPublic: undefined }, 'target-public-key', /node 77 is unknown/],
    [{ targetPublic: new Uint8Array(32) }, 'usable-target-public-key', /node 77 is of low order/],
    [{ targetPublic: new Uint8Array(31) }, 'usable-target-public-key', /31 bytes/],
  ] as const) {
    const found = missing(change);
    assert.equal(
      found.map((one) => one.kind),
      [kind],
    );
    assert.match(found[0]!.message, words);
  }
});

prerequisites('is asked for with the right types', () => {
  for (const wrong of [undefined, null, 'input'] as never[]) wrongType('input', () => transportPrerequisites(wrong));
  for (const daemon of [null, {}, 'daemon'] as never[]) wrongType('input.daemon', () => missing({ daemon }));
  for (const targetPublic of [null, 'key', 7] as never[]) {
    wrongType('input.targetPublic', () => missing({ targetPublic }));
  }
});

prerequisites('is named all at once', () => {
  const found = missing({ context: undefined, daemon: undefined, targetPublic: undefined });
  assert.equal(
    found.map((one) => one.kind),
    ['identity-context', 'daemon-keypair', 'target-public-key'],
  );
});
