import { inspect } from 'node:util';
import * as assert from 'uvu/assert';
import { EntityId, EntityKeypair } from '../../lib/identity/index.js';
import { refusal, suite } from '../support.js';
import {
  addPoints,
  GROUP_ORDER,
  multiplyBase,
  ORDER_EIGHT,
  SMALL_ORDER_POINTS,
  secretScalar,
  signWith,
  toBytes,
  toNumber,
} from './ed25519.js';
import { wrongType } from './wrong-type.js';

const SEED = Uint8Array.from({ length: 32 }, (_, i) => i);
const MESSAGE = Buffer.from('which copy is live');

const value = suite('EntityId, a value');

value('is equal by bytes, and keeps its own copy of them', () => {
  const bytes = EntityKeypair.generate().entityId;
  const id = EntityId.fromBytes(bytes);
  assert.ok(id.equals(EntityId.fromHex(id.hex)));
  assert.ok(id.equals(bytes));
  bytes[0]! ^= 1;
  assert.not.ok(id.equals(bytes));
  id.toBytes()[0]! ^= 1;
  assert.ok(id.equals(EntityId.fromHex(id.hex)));
  assert.not.ok(id.equals(bytes.subarray(1)));
});

value('is compared with another one or with bytes, and nothing else', () => {
  const { id } = EntityKeypair.generate();
  for (const other of [null, undefined, id.hex, {}, 7]) wrongType('other', () => id.equals(other as never));
  assert.not.ok(id.equals(new Uint8Array(0)));
});

value('shows its hex everywhere', () => {
  const { id } = EntityKeypair.fromSeed(SEED);
  assert.is(id.hex, '03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8');
  assert.is(String(id), id.hex);
  assert.is(JSON.stringify({ id }), `{"id":"${id.hex}"}`);
  assert.is(inspect(id), `EntityId(${id.hex})`);
  assert.is(EntityId.fromHex(id.hex.toUpperCase()).hex, id.hex);
});

value('gives origin hash and node id', () => {
  const { id } = EntityKeypair.fromSeed(SEED);
  assert.is(id.originHash, 8658788451821909695n);
  assert.is(id.nodeId, 13655593967979566325n);
});

value('refuses what is no 32 bytes with a TypeError', () => {
  const detached = new Uint8Array(32);
  structuredClone(detached.buffer, { transfer: [detached.buffer] });
  for (const wrong of [new Uint8Array(31), new Uint8Array(33), 'a', undefined, [1], detached]) {
    wrongType('bytes', () => EntityId.fromBytes(wrong as Uint8Array));
  }
  assert.throws(() => EntityId.fromBytes(new Uint8Array(new SharedArrayBuffer(32))), /SharedArrayBuffer/);
  for (const wrong of ['', 'ab', 'g'.repeat(64), 7]) assert.throws(() => EntityId.fromHex(wrong as string), TypeError);
});

const strict = suite('strict verification');

strict('accepts what sign makes, of any length, and nothing else', () => {
  const keypair = EntityKeypair.fromSeed(SEED);
  for (const length of [0, 1, 64, 1000]) {
    const message = new Uint8Array(length).fill(length);
    const signature = keypair.sign(message);
    assert.ok(keypair.id.verify(message, signature));
    for (const at of [0, 31, 32, 63]) {
      const changed = Uint8Array.from(signature);
      changed[at]! ^= 1;
      assert.not.ok(keypair.id.verify(message, changed));
    }
    assert.not.ok(keypair.id.verify(Buffer.concat([message, Buffer.of(0)]), signature));
    assert.not.ok(EntityKeypair.generate().id.verify(message, signature));
  }
});

strict('the signatures made by hand here verify when nothing is wrong with them', () => {
  const keypair = EntityKeypair.fromSeed(SEED);
  const byHand = signWith(secretScalar(SEED), 77n, multiplyBase(77n), keypair.entityId, MESSAGE);
  assert.ok(keypair.id.verify(MESSAGE, byHand));
});

strict('refuses S + L, the second encoding of a valid signature', () => {
  const keypair = EntityKeypair.fromSeed(SEED);
  const signature = keypair.sign(MESSAGE);
  for (const times of [1n, 2n, 7n]) {
    const malleated = Uint8Array.from(signature);
    malleated.set(toBytes(toNumber(signature.subarray(32)) + times * GROUP_ORDER), 32);
    assert.not.ok(keypair.id.verify(MESSAGE, malleated));
  }
});

strict('refuses public keys of small order, in every encoding, under which anything verifies', () => {
  for (const publicKey of SMALL_ORDER_POINTS) {
    const id = EntityId.fromBytes(publicKey);
    assert.not.ok(id.verify(MESSAGE, signWith(0n, 5n, multiplyBase(5n), publicKey, MESSAGE)));
    for (const commitment of SMALL_ORDER_POINTS) {
      assert.not.ok(id.verify(MESSAGE, signWith(0n, 0n, commitment, publicKey, MESSAGE)));
    }
  }
});

strict('refuses commitments of small order, which the key holder alone could make', () => {
  const keypair = EntityKeypair.fromSeed(SEED);
  for (const commitment of SMALL_ORDER_POINTS) {
    const signature = signWith(secretScalar(SEED), 0n, commitment, keypair.entityId, MESSAGE);
    assert.not.ok(keypair.id.verify(MESSAGE, signature));
  }
});

strict('forgives no component of small order in the commitment (no cofactor)', () => {
  const keypair = EntityKeypair.fromSeed(SEED);
  const commitment = addPoints(multiplyBase(77n), ORDER_EIGHT);
  const signature = signWith(secretScalar(SEED), 77n, commitment, keypair.entityId, MESSAGE);
  assert.not.ok(keypair.id.verify(MESSAGE, signature));
});

strict('forgives none in the public key: only where the equation holds as it stands', () => {
  const mixed = EntityId.fromBytes(addPoints(EntityKeypair.fromSeed(SEED).entityId, ORDER_EIGHT));
  const scalar = secretScalar(SEED);
  const accepted = Array.from({ length: 64 }, (_, i) => BigInt(i + 1)).filter((nonce) =>
    mixed.verify(MESSAGE, signWith(scalar, nonce, multiplyBase(nonce), mixed.toBytes(), MESSAGE)),
  );
  // With the cofactor all 64 would be; without it those whose challenge is a multiple of 8.
  assert.ok(accepted.length > 0 && accepted.length < 32, `${accepted.length} of 64`);
});

strict('tells points from other bytes', () => {
  assert.ok(EntityKeypair.generate().id.isPoint());
  assert.ok(EntityId.fromBytes(ORDER_EIGHT).isPoint());
  assert.not.ok(EntityId.fromBytes(Uint8Array.of(2, ...new Uint8Array(31))).isPoint());
});

strict('refuses arguments of the wrong type or size with a TypeError', () => {
  const { id } = EntityKeypair.fromSeed(SEED);
  wrongType('message', () => id.verify('text' as never, new Uint8Array(64)));
  wrongType('signature', () => id.verify(MESSAGE, new Uint8Array(63)));
  wrongType('signature', () => id.verify(MESSAGE, new Uint8Array(65)));
});

const converted = suite('the X25519 key of an entity');

converted('is the public half of the converted key pair', () => {
  for (let i = 0; i < 20; i++) {
    const keypair = EntityKeypair.generate();
    assert.equal(keypair.id.toStaticPublic(), keypair.toStaticKeypair().publicKey);
  }
});

converted('does not exist for bytes that are no point or one of small order', async () => {
  for (const bytes of [...SMALL_ORDER_POINTS, Uint8Array.of(2, ...new Uint8Array(31))]) {
    const error = await refusal('invalid-public-key', () => EntityId.fromBytes(bytes).toStaticPublic());
    assert.match(error.message, EntityId.fromBytes(bytes).hex);
  }
});
