import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import {
  EntityKeypair,
  EnvelopeError,
  IdentityEnvelope,
  StaticKeypair,
  secureMemoryStatus,
} from '../../lib/identity/index.js';
import { refusal, suite } from '../support.js';
import { addPoints, ORDER_EIGHT, SMALL_ORDER_POINTS } from './ed25519.js';
import { wrongType } from './wrong-type.js';

const LINK = Uint8Array.from({ length: 32 }, (_, i) => 3 * i);
const MESSAGE = Buffer.from('the same daemon');

/** X25519 public keys of small order, and second encodings of them. */
const LOW_ORDER_KEYS = [
  '00'.repeat(32),
  `01${'00'.repeat(31)}`,
  'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
  '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
  `ec${'ff'.repeat(30)}7f`,
  `ed${'ff'.repeat(30)}7f`,
  `ee${'ff'.repeat(30)}7f`,
].map((hex) => Uint8Array.from(Buffer.from(hex, 'hex')));

const daemon = EntityKeypair.generate();
const target = StaticKeypair.generate();

const sealed = suite('a sealed envelope');

sealed('opens at its target, and gives a key pair that signs as the daemon', () => {
  const envelope = IdentityEnvelope.fromBytes(IdentityEnvelope.seal(daemon, target.publicKey, LINK).toBytes());
  const opened = envelope.open(target, LINK, daemon.id);
  assert.ok(opened.canSign);
  assert.equal(opened.sign(MESSAGE), daemon.sign(MESSAGE));
  assert.ok(envelope.signer.equals(daemon.id));
  assert.equal(envelope.targetPublic, target.publicKey);
});

sealed('is another one each time', () => {
  const [a, b] = [0, 1].map(() => IdentityEnvelope.seal(daemon, target.publicKey, LINK).toBytes());
  assert.not.equal(a!.slice(33, 113), b!.slice(33, 113));
  assert.equal(a!.slice(113), b!.slice(113));
});

sealed('opens nowhere once any bit of it is changed', () => {
  const good = IdentityEnvelope.seal(daemon, target.publicKey, LINK).toBytes();
  const before = secureMemoryStatus().secrets;
  for (let at = 0; at < good.length; at++) {
    for (const bit of [1, 128]) {
      const bad = Uint8Array.from(good);
      bad[at]! ^= bit;
      assert.throws(
        () => IdentityEnvelope.fromBytes(bad).open(target, LINK, daemon.id),
        (error: unknown) => {
          const expected =
            at === 0
              ? 'unsupported-version'
              : at >= 113 && at < 145
                ? 'invalid-signer-key'
                : at >= 33 && at < 113
                  ? 'seal-open-failed'
                  : 'invalid-attestation';
          // The highest bit of an X25519 key does not count for the product, but it does for the nonce.
          return error instanceof EnvelopeError && error.kind === expected && !error.retriable;
        },
        `byte ${at}`,
      );
    }
  }
  assert.is(secureMemoryStatus().secrets, before);
});

sealed('opens with no other link, key or entity', async () => {
  const envelope = IdentityEnvelope.seal(daemon, target.publicKey, LINK);
  const otherLink = Uint8Array.from(LINK);
  otherLink[31]! ^= 1;
  await refusal('invalid-attestation', () => envelope.open(target, otherLink, daemon.id));
  await refusal('seal-open-failed', () => envelope.open(StaticKeypair.generate(), LINK, daemon.id));
  await refusal('invalid-signer-key', () => envelope.open(target, LINK, EntityKeypair.generate().id));
});

sealed("by one daemon around another's seed is refused, and the opened seed is given back", async () => {
  const other = EntityKeypair.generate();
  const bytes = IdentityEnvelope.seal(daemon, target.publicKey, LINK).toBytes();
  bytes.set(IdentityEnvelope.seal(other, target.publicKey, LINK).toBytes().subarray(33, 113), 33);
  const before = secureMemoryStatus().secrets;
  await refusal('invalid-attestation', () => IdentityEnvelope.fromBytes(bytes).open(target, LINK, daemon.id));
  assert.is(secureMemoryStatus().secrets, before);
});

sealed('with an ephemeral key of low order is refused', async () => {
  const good = IdentityEnvelope.seal(daemon, target.publicKey, LINK).toBytes();
  for (const key of LOW_ORDER_KEYS) {
    good.set(key, 33);
    await refusal('seal-open-failed', () => IdentityEnvelope.fromBytes(good).open(target, LINK, daemon.id));
  }
});

sealed('with a signer that is no point, or of small order, says which', async () => {
  const good = IdentityEnvelope.seal(daemon, target.publicKey, LINK).toBytes();
  const open = () => IdentityEnvelope.fromBytes(good).open(target, LINK);
  good.set(Uint8Array.of(2, ...new Uint8Array(31)), 113);
  await refusal('invalid-signer-key', open);
  for (const point of [...SMALL_ORDER_POINTS, addPoints(daemon.entityId, ORDER_EIGHT)]) {
    good.set(point, 113);
    await refusal('invalid-attestation', open);
  }
});

const refused = suite('what is not sealed');

refused('is anything for a key of low order', async () => {
  for (const key of LOW_ORDER_KEYS) {
    await refusal('low-order-target', () => IdentityEnvelope.seal(daemon, key, LINK));
  }
});

refused('is a key pair without its private half', async () => {
  const wiped = EntityKeypair.generate();
  wiped.wipeSecret();
  const disposed = EntityKeypair.generate();
  disposed.dispose();
  for (const keypair of [daemon.publicOnly(), wiped, disposed]) {
    await refusal('source-read-only', () => IdentityEnvelope.seal(keypair, target.publicKey, LINK));
  }
});

refused('is anything of the wrong type or size', () => {
  wrongType('keypair', () => IdentityEnvelope.seal({ canSign: true } as never, target.publicKey, LINK));
  wrongType('targetPublic', () => IdentityEnvelope.seal(daemon, new Uint8Array(31), LINK));
  wrongType('chainLink', () => IdentityEnvelope.seal(daemon, target.publicKey, new Uint8Array(33)));
  const envelope = IdentityEnvelope.seal(daemon, target.publicKey, LINK);
  wrongType('keys', () => envelope.open({} as never, LINK));
  wrongType('expectedSigner', () => envelope.open(target, LINK, daemon.entityId as never));
  wrongType('chainLink', () => envelope.open(target, 'link' as never));
  wrongType('bytes', () => IdentityEnvelope.fromBytes('x' as never));
});

const read = suite('bytes of an envelope');

read('are refused unless they are 209 of version 1, and are copied', async () => {
  for (const length of [0, 1, 208, 210, 1000]) {
    const error = await refusal('invalid-length', () => IdentityEnvelope.fromBytes(new Uint8Array(length)));
    assert.is(error.details.actual, length);
  }
  await refusal('unsupported-version', () => IdentityEnvelope.fromBytes(new Uint8Array(209).fill(2)));
  const bytes = IdentityEnvelope.seal(daemon, target.publicKey, LINK).toBytes();
  const envelope = IdentityEnvelope.fromBytes(bytes);
  bytes.fill(0);
  envelope.toBytes().fill(0);
  assert.ok(envelope.open(target, LINK).id.equals(daemon.id));
});

read('never open, and never throw anything but an EnvelopeError, when they are random', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 209, maxLength: 209 }), fc.boolean(), (bytes, sealedToUs) => {
      bytes[0] = 1;
      if (sealedToUs) bytes.set(target.publicKey, 1);
      assert.throws(
        () => IdentityEnvelope.fromBytes(bytes).open(target, LINK),
        (error: unknown) => error instanceof EnvelopeError,
      );
    }),
    { numRuns: 500 },
  );
});

const disposed = suite('a disposed target');

disposed('opens nothing', async () => {
  const keys = StaticKeypair.generate();
  const envelope = IdentityEnvelope.seal(daemon, keys.publicKey, LINK);
  keys.dispose();
  await refusal('disposed', () => envelope.open(keys, LINK, daemon.id));
});
