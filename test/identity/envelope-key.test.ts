import { randomBytes } from 'node:crypto';
import { blake2s } from '@noble/hashes/blake2.js';
import * as assert from 'uvu/assert';
import { deriveEnvelopeKey, envelopeNonce } from '../../lib/identity/envelope-key.js';
import { withSecureScratch } from '../../lib/identity/secure-scratch.js';
import { suite } from '../support.js';

const text = (words: string) => new TextEncoder().encode(words);

const key = suite('the envelope key');

function derive(shared: Uint8Array): Uint8Array {
  return withSecureScratch((scratch) => {
    scratch.shared.set(shared);
    deriveEnvelopeKey(scratch);
    return Uint8Array.from(scratch.key);
  });
}

key('is the keyed BLAKE2s of a library, for every kind of input', () => {
  const expected = (shared: Uint8Array) => blake2s(shared, { key: text('net-identity-envelope'), dkLen: 32 });
  const edges = [0x00, 0xff, 0x80, 0x7f, 0x01].map((byte) => new Uint8Array(32).fill(byte));
  const random = Array.from({ length: 5_000 }, () => Uint8Array.from(randomBytes(32)));
  for (const shared of [...edges, ...random]) assert.equal(derive(shared), expected(shared));
});

key('does not depend on what was derived before', () => {
  const shared = new Uint8Array(32).fill(9);
  const first = derive(shared);
  derive(new Uint8Array(32).fill(10));
  assert.equal(derive(shared), first);
});

key('has a nonce from both public keys', () => {
  const [left, right] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
  const expected = blake2s(Uint8Array.from([...left, ...right]), { key: text('net-identity-nonce'), dkLen: 32 });
  assert.equal(envelopeNonce(left, right), expected.subarray(0, 24));
});

const scratch = suite('the scratch page');

scratch('is wiped between uses, also after an error', () => {
  const dirty = (fail: boolean) =>
    withSecureScratch((page) => {
      for (const view of [page.seed, page.signKey, page.agreement, page.shared, page.key, page.text]) view.fill(0xaa);
      page.message.fill(-1);
      page.work.fill(-1);
      if (fail) throw new Error('on purpose');
    });
  const isClean = () =>
    withSecureScratch((page) => Object.values(page).every((view) => (view as Uint8Array).every((byte) => byte === 0)));
  dirty(false);
  assert.ok(isClean());
  assert.throws(() => dirty(true), /on purpose/);
  assert.ok(isClean());
});

scratch('has views that share no bytes, apart from the words of shared and key', () => {
  withSecureScratch((page) => {
    const { sharedWords, keyWords, ...views } = page;
    const ranges = Object.values<Uint8Array | Int32Array>(views)
      .map((view) => [view.byteOffset, view.byteOffset + view.byteLength] as const)
      .sort((a, b) => a[0] - b[0]);
    for (let i = 1; i < ranges.length; i++) assert.ok(ranges[i]![0] >= ranges[i - 1]![1]);
    assert.is(sharedWords.byteOffset, page.shared.byteOffset);
    assert.is(keyWords.byteOffset, page.key.byteOffset);
  });
});

scratch('does not nest', () => {
  assert.throws(() => withSecureScratch(() => withSecureScratch(() => {})), /does not nest/);
  withSecureScratch(() => {});
});
