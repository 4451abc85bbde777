import { inspect } from 'node:util';
import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads';
import * as assert from 'uvu/assert';
import { EntityKeypair, NodeKeys, StaticKeypair } from '../../lib/identity/index.js';
import { refusal, suite } from '../support.js';
import { wrongType } from './wrong-type.js';

const SEED = Uint8Array.from({ length: 32 }, (_, i) => 0xc0 ^ (i * 7));
const MESSAGE = Buffer.from('sequence 42');

const full = suite('a full key pair');

full('generates another one each time, which signs', () => {
  const [a, b] = [EntityKeypair.generate(), EntityKeypair.generate()];
  assert.not.ok(a.id.equals(b.id));
  assert.ok(a.canSign);
  assert.ok(a.id.verify(MESSAGE, a.sign(MESSAGE)));
});

full('is the same from the same seed, and leaves the seed to its owner', () => {
  const seed = Uint8Array.from(SEED);
  const keypair = EntityKeypair.fromSeed(seed);
  assert.equal(seed, SEED);
  assert.equal(keypair.sign(MESSAGE), EntityKeypair.fromSeed(seed).sign(MESSAGE));
  seed.fill(0);
  assert.equal(keypair.sign(MESSAGE), EntityKeypair.fromSeed(SEED).sign(MESSAGE));
});

full('wipes the seed it was given where asked to', () => {
  const seed = Uint8Array.from(SEED);
  const keypair = EntityKeypair.fromSeed(seed, { wipeInput: true });
  assert.equal(seed, new Uint8Array(32));
  assert.ok(keypair.id.equals(EntityKeypair.fromSeed(SEED).id));
  const secret = Uint8Array.from(SEED);
  StaticKeypair.fromPrivate(secret, { wipeInput: true });
  assert.equal(secret, new Uint8Array(32));
});

full('wipes what it was given where asked to, though it has the wrong length', () => {
  for (const length of [0, 31, 33, 64]) {
    for (const [argument, make] of [
      ['seed', EntityKeypair.fromSeed],
      ['seed', NodeKeys.fromSeed],
      ['bytes', StaticKeypair.fromPrivate],
    ] as const) {
      const input = new Uint8Array(length).fill(7);
      wrongType(argument, () => make(input));
      assert.equal(input, new Uint8Array(length).fill(7), 'not without being asked');
      wrongType(argument, () => make(input, { wipeInput: true }));
      assert.equal(input, new Uint8Array(length));
    }
  }
});

full('refuses options of the wrong type with a TypeError', () => {
  for (const make of [EntityKeypair.fromSeed, NodeKeys.fromSeed, StaticKeypair.fromPrivate]) {
    for (const wipeInput of [1, 'yes', null]) wrongType('wipeInput', () => make(SEED, { wipeInput } as never));
    for (const options of [null, true, 'wipeInput']) wrongType('options', () => make(SEED, options as never));
  }
});

full('refuses seeds of the wrong type or size with a TypeError', () => {
  for (const wrong of [new Uint8Array(31), new Uint8Array(64), 'seed', null]) {
    wrongType('seed', () => EntityKeypair.fromSeed(wrong as Uint8Array));
    wrongType('bytes', () => StaticKeypair.fromPrivate(wrong as Uint8Array));
  }
  wrongType('message', () => EntityKeypair.generate().sign(7 as never));
});

const publicOnly = suite('a public-only key pair');

publicOnly('has an id, an origin hash and a node id, and refuses to sign', async () => {
  const keypair = EntityKeypair.fromSeed(SEED);
  for (const half of [
    keypair.publicOnly(),
    EntityKeypair.fromEntityId(keypair.id),
    EntityKeypair.fromEntityId(keypair.entityId),
  ]) {
    assert.not.ok(half.canSign);
    assert.ok(half.id.equals(keypair.id));
    assert.is(half.originHash, keypair.originHash);
    assert.is(half.nodeId, keypair.nodeId);
    await refusal('public-only', () => half.sign(MESSAGE));
    await refusal('public-only', () => half.toStaticKeypair());
  }
  assert.ok(keypair.canSign);
});

publicOnly('is what wipeSecret leaves behind, in place, whoever holds the object', async () => {
  const keypair = EntityKeypair.fromSeed(SEED);
  const holders = [keypair, { keypair }.keypair];
  keypair.wipeSecret();
  keypair.wipeSecret();
  for (const held of holders) {
    assert.not.ok(held.canSign);
    assert.not.ok(held.isDisposed);
    const error = await refusal('public-only', () => held.sign(MESSAGE));
    assert.match(error.message, held.id.hex);
    assert.is(error.retriable, false);
  }
});

const disposed = suite('a disposed key pair');

disposed('still says who it was, and does nothing that needs the private half', async () => {
  const keypair = EntityKeypair.fromSeed(SEED);
  keypair.dispose();
  keypair[Symbol.dispose]();
  assert.ok(keypair.isDisposed);
  assert.ok(keypair.id.equals(EntityKeypair.fromSeed(SEED).id));
  await refusal('disposed', () => keypair.sign(MESSAGE));
  await refusal('disposed', () => keypair.toStaticKeypair());
});

disposed('takes its own secret with it and no other', () => {
  const [a, b] = [EntityKeypair.generate(), EntityKeypair.generate()];
  const signature = b.sign(MESSAGE);
  a.dispose();
  const c = EntityKeypair.generate();
  assert.equal(b.sign(MESSAGE), signature);
  assert.ok(c.id.verify(MESSAGE, c.sign(MESSAGE)));
});

const shown = suite('what is shown of key pairs');

/** The seed as anybody might print it: pieces of hex, base64 and numbers, so that a part shows too. */
function spellings(secret: Uint8Array): string[] {
  const buffer = Buffer.from(secret);
  const pieces = [0, 8, 16, 24].map((at) => buffer.subarray(at, at + 8));
  return [
    ...pieces.map((piece) => piece.toString('hex')),
    ...pieces.map((piece) => [...piece].join(',')),
    ...pieces.map((piece) => [...piece].join(', ')),
    ...pieces.map((piece) => [...piece].map((byte) => byte.toString(16).padStart(2, '0')).join(' ')),
    buffer.toString('base64').slice(0, 40),
    buffer.subarray(1).toString('base64').slice(0, 40),
    buffer.subarray(2).toString('base64').slice(0, 40),
  ];
}

function viaPort(value: unknown): unknown {
  const { port1, port2 } = new MessageChannel();
  port1.postMessage(value);
  const received = receiveMessageOnPort(port2)!.message;
  port1.close();
  return received;
}

shown('is public, in every way there is to print, copy or send one', () => {
  const node = NodeKeys.fromSeed(SEED);
  const holders = [EntityKeypair.fromSeed(SEED), StaticKeypair.fromPrivate(SEED), node, { nested: [node] }];
  const everything = holders.flatMap((holder) => [
    inspect(holder, { showHidden: true, depth: 20, getters: true, showProxy: true }),
    inspect(holder, { showHidden: true, depth: 20, customInspect: false, getters: true }),
    JSON.stringify(holder),
    String(holder),
    `${Object.entries(holder)} ${Reflect.ownKeys(holder).map(String)}`,
    inspect(structuredClone(holder), { showHidden: true, depth: 20 }),
    inspect(viaPort(holder), { showHidden: true, depth: 20 }),
    inspect({ ...holder }, { showHidden: true, depth: 20, customInspect: false }),
  ]);
  for (const text of everything) {
    for (const spelling of spellings(SEED)) assert.not.ok(text.includes(spelling), text.slice(0, 200));
  }
});

shown('would be found, were it there', () => {
  const leaks = [
    inspect({ SEED }),
    JSON.stringify([...SEED]),
    Buffer.from(SEED).toString('hex'),
    inspect(Buffer.from(SEED)),
  ];
  leaks.push(Buffer.from(SEED).toString('base64'));
  const found = (text: string) => spellings(SEED).some((spelling) => text.replaceAll(/\s+/g, ' ').includes(spelling));
  for (const leak of leaks) assert.ok(found(leak), leak);
});

shown('clones to an object without anything', () => {
  assert.equal(structuredClone(EntityKeypair.generate()), {} as never);
  assert.equal(structuredClone(StaticKeypair.generate()), {} as never);
  assert.equal(viaPort(EntityKeypair.generate()), {});
});

shown('names the entity and whether it can sign', () => {
  const keypair = EntityKeypair.fromSeed(SEED);
  const { hex } = keypair.id;
  assert.is(inspect(keypair), `EntityKeypair(${hex}, full)`);
  assert.equal(JSON.parse(JSON.stringify(keypair)), { entityId: hex, canSign: true });
  assert.is(String(keypair.publicOnly()), `EntityKeypair(${hex}, public-only)`);
  keypair.dispose();
  assert.is(String(keypair), `EntityKeypair(${hex}, disposed)`);
});

shown('holds no secret in errors', async () => {
  const keypair = EntityKeypair.fromSeed(SEED);
  keypair.wipeSecret();
  const error = await refusal('public-only', () => keypair.sign(MESSAGE));
  const text = `${inspect(error, { showHidden: true, depth: 20 })} ${error.stack} ${JSON.stringify(error)}`;
  for (const spelling of spellings(SEED)) assert.not.ok(text.includes(spelling));
});
