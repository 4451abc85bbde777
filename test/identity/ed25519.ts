import { createHash } from 'node:crypto';
import { sodium } from '../../lib/identity/sodium.js';

/** The order of the curve's prime-order group. */
export const GROUP_ORDER = (1n << 252n) + 27_742_317_777_372_353_535_851_937_790_883_648_493n;

/** All points of small order in their canonical encodings, and those that have a second one (RFC 8032 forbids it). */
export const SMALL_ORDER_POINTS = [
  '0100000000000000000000000000000000000000000000000000000000000000',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0000000000000000000000000000000000000000000000000000000000000080',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85',
  '0100000000000000000000000000000000000000000000000000000000000080',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',
].map((hex) => Uint8Array.from(Buffer.from(hex, 'hex')));

/** A point of order 8. */
export const ORDER_EIGHT = SMALL_ORDER_POINTS[6]!;

export function toNumber(bytes: Uint8Array): bigint {
  return bytes.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
}

export function toBytes(number: bigint): Uint8Array {
  return Uint8Array.from({ length: 32 }, (_, i) => Number((number >> BigInt(8 * i)) & 0xffn));
}

export function multiplyBase(scalar: bigint): Uint8Array {
  const point = new Uint8Array(32);
  sodium.crypto_scalarmult_ed25519_base_noclamp(point, toBytes(scalar));
  return point;
}

export function addPoints(left: Uint8Array, right: Uint8Array): Uint8Array {
  const sum = new Uint8Array(32);
  sodium.crypto_core_ed25519_add(sum, left, right);
  return sum;
}

/** The secret scalar of a seed (RFC 8032 §5.1.5). */
export function secretScalar(seed: Uint8Array): bigint {
  const half = createHash('sha512').update(seed).digest().subarray(0, 32);
  half[0]! &= 248;
  half[31] = (half[31]! & 127) | 64;
  return toNumber(half);
}

/** `R ‖ S` with `S = nonce + H(R ‖ A ‖ M) · scalar`, whatever `R` and `A` are: what an honest signer never makes. */
export function signWith(
  scalar: bigint,
  nonce: bigint,
  commitment: Uint8Array,
  publicKey: Uint8Array,
  message: Uint8Array,
): Uint8Array {
  const challenge = toNumber(createHash('sha512').update(commitment).update(publicKey).update(message).digest());
  const signature = new Uint8Array(64);
  signature.set(commitment);
  signature.set(toBytes((nonce + challenge * scalar) % GROUP_ORDER), 32);
  return signature;
}
