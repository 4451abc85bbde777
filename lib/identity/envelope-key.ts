import { blake2sMac } from '../wire/typescript/hashes.js';
import type { SecureScratch } from './secure-scratch.js';

/*
 * The envelope's key is BLAKE2s of a secret, and every hash on offer leaves traces of such a secret on the JavaScript
 * heap: @noble/hashes returns its state words, which are the key, in arrays and objects that nobody can wipe. So this one
 * hash of one block is done here, on words in secure memory. Its numbers stay within 32 signed bits, which V8 keeps in
 * registers and on the stack, never in heap objects; that is why sums are built from halves.
 */

const KEY_CONTEXT = new TextEncoder().encode('net-identity-envelope');
const NONCE_CONTEXT = new TextEncoder().encode('net-identity-nonce');
const NONCE_BYTES = 24;
const BLOCK_BYTES = 64;
const DIGEST_BYTES = 32;

const IV = Int32Array.of(
  0x6a09e667,
  0xbb67ae85 | 0,
  0x3c6ef372,
  0xa54ff53a | 0,
  0x510e527f,
  0x9b05688c | 0,
  0x1f83d9ab,
  0x5be0cd19,
);

/** RFC 7693 §2.7: which message word each step takes, ten rounds of sixteen. */
const SIGMA = Uint8Array.from(
  [
    '0123456789abcdef',
    'ea489fd61c02b753',
    'b8c052fdae367194',
    '7931dcbe265a40f8',
    '905724afe1bc683d',
    '2c6a0b834d75fe19',
    'c51fed4a0763928b',
    'db7ec13950f4862a',
    '6fe9b308c2d714a5',
    'a2847615fb9e3cd0',
  ].flatMap((round) => [...round].map((word) => Number.parseInt(word, 16))),
);

function add(left: number, right: number): number {
  const low = (left & 0xffff) + (right & 0xffff);
  const high = (left >>> 16) + (right >>> 16) + (low >>> 16);
  return (high << 16) | (low & 0xffff);
}

function rotateRight(word: number, bits: number): number {
  return (word >>> bits) | (word << (32 - bits));
}

function mix(v: Int32Array, a: number, b: number, c: number, d: number, x: number, y: number): void {
  v[a] = add(add(v[a]!, v[b]!), x);
  v[d] = rotateRight(v[d]! ^ v[a]!, 16);
  v[c] = add(v[c]!, v[d]!);
  v[b] = rotateRight(v[b]! ^ v[c]!, 12);
  v[a] = add(add(v[a]!, v[b]!), y);
  v[d] = rotateRight(v[d]! ^ v[a]!, 8);
  v[c] = add(v[c]!, v[d]!);
  v[b] = rotateRight(v[b]! ^ v[c]!, 7);
}

/** RFC 7693 §3.2: folds one block into `state`. `bytes` is the input's length up to and including this block. */
function compress(state: Int32Array, message: Int32Array, work: Int32Array, bytes: number, last: boolean): void {
  work.set(state);
  work.set(IV, 8);
  work[12] = work[12]! ^ bytes;
  if (last) work[14] = ~work[14]!;
  for (let step = 0; step < SIGMA.length; step += 16) {
    const m = (place: number) => message[SIGMA[step + place]!]!;
    mix(work, 0, 4, 8, 12, m(0), m(1));
    mix(work, 1, 5, 9, 13, m(2), m(3));
    mix(work, 2, 6, 10, 14, m(4), m(5));
    mix(work, 3, 7, 11, 15, m(6), m(7));
    mix(work, 0, 5, 10, 15, m(8), m(9));
    mix(work, 1, 6, 11, 12, m(10), m(11));
    mix(work, 2, 7, 8, 13, m(12), m(13));
    mix(work, 3, 4, 9, 14, m(14), m(15));
  }
  for (let word = 0; word < 8; word++) state[word] = state[word]! ^ work[word]! ^ work[word + 8]!;
}

/** The state after the key block, which is no secret: the block holds {@link KEY_CONTEXT} alone. */
const KEYED_STATE = (() => {
  const state = Int32Array.from(IV);
  state[0] = state[0]! ^ (0x01010000 | (KEY_CONTEXT.length << 8) | DIGEST_BYTES);
  const block = new Int32Array(BLOCK_BYTES / 4);
  new Uint8Array(block.buffer).set(KEY_CONTEXT);
  compress(state, block, new Int32Array(16), BLOCK_BYTES, false);
  return state;
})();

/** `scratch.key = BLAKE2s-256-MAC(key "net-identity-envelope", scratch.shared)` (PROTOCOL.md §6). */
export function deriveEnvelopeKey(scratch: SecureScratch): void {
  scratch.keyWords.set(KEYED_STATE);
  scratch.message.fill(0);
  scratch.message.set(scratch.sharedWords);
  compress(scratch.keyWords, scratch.message, scratch.work, BLOCK_BYTES + scratch.shared.length, true);
}

/** First 24 bytes of `BLAKE2s-256-MAC(key "net-identity-nonce", ephemeral public ‖ target public)`; nothing in it is secret. */
export function envelopeNonce(ephemeralPublic: Uint8Array, targetPublic: Uint8Array): Uint8Array {
  const publicKeys = new Uint8Array(64);
  publicKeys.set(ephemeralPublic);
  publicKeys.set(targetPublic, 32);
  return blake2sMac(NONCE_CONTEXT, publicKeys).subarray(0, NONCE_BYTES);
}
