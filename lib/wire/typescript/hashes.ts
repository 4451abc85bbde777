import { blake2s } from '@noble/hashes/blake2.js';
import { blake3 as nobleBlake3 } from '@noble/hashes/blake3.js';
import { MigrationError } from '../../errors.js';
import { checkBytes, checkBytesOfLength } from '../arguments.js';
import type { Blake3Hasher } from '../codec.js';
import type { CausalLink } from '../link.js';
import { readU64 } from './bytes.js';
import { writeLink } from './frame.js';
import { xxh3 } from './xxh3.js';

const ORIGIN_KEY = Buffer.from('net-origin-v1');
const NODE_ID_KEY = Buffer.from('net-node-id-v1');
const MAX_MAC_KEY_BYTES = 32;
const ENTITY_ID_BYTES = 32;

export function blake2sMac(key: Uint8Array, message: Uint8Array): Uint8Array {
  checkBytes(key, 'key');
  if (key.length === 0 || key.length > MAX_MAC_KEY_BYTES) {
    throw new TypeError(`key must be a Uint8Array of 1 to ${MAX_MAC_KEY_BYTES} bytes, got ${key.length}`);
  }
  checkBytes(message, 'message');
  return blake2s(message, { key, dkLen: 32 });
}

export function originHash(entityId: Uint8Array): bigint {
  checkBytesOfLength(entityId, 'entityId', ENTITY_ID_BYTES);
  return readU64(blake2s(entityId, { key: ORIGIN_KEY, dkLen: 32 }), 0);
}

export function nodeId(entityId: Uint8Array): bigint {
  checkBytesOfLength(entityId, 'entityId', ENTITY_ID_BYTES);
  return readU64(blake2s(entityId, { key: NODE_ID_KEY, dkLen: 32 }), 0);
}

export function hashXxh3(bytes: Uint8Array): bigint {
  checkBytes(bytes, 'bytes');
  return xxh3(bytes, bytes.length);
}

export function blake3(bytes: Uint8Array): Uint8Array {
  checkBytes(bytes, 'bytes');
  return nobleBlake3(bytes);
}

export function createBlake3(): Blake3Hasher {
  let hasher: ReturnType<typeof nobleBlake3.create> | undefined = nobleBlake3.create();
  const alive = () => {
    if (hasher === undefined) throw new MigrationError('disposed', 'this hasher has given its digest: make a new one');
    return hasher;
  };
  return {
    update(bytes) {
      checkBytes(bytes, 'bytes');
      alive().update(bytes);
    },
    digest() {
      const digest = alive().digest();
      hasher = undefined;
      return digest;
    },
  };
}

/** Room for a link and the largest payload of a frame; larger ones get memory of their own. */
const SCRATCH_BYTES = 8192;
const scratch = new Uint8Array(SCRATCH_BYTES);

/** `xxh3_64(link ‖ payload)`, the payload being `bytes[at .. at + length)`. */
export function hashAfter(link: CausalLink, bytes: Uint8Array, at: number, length: number): bigint {
  const total = 32 + length;
  const joined = total <= SCRATCH_BYTES ? scratch : new Uint8Array(total);
  writeLink(joined, 0, link);
  joined.set(length === bytes.length ? bytes : bytes.subarray(at, at + length), 32);
  return xxh3(joined, total);
}

/** The same where the link's 32 bytes stand in `bytes` at `linkAt`. */
export function hashAfterBytes(bytes: Uint8Array, linkAt: number, at: number, length: number): bigint {
  const total = 32 + length;
  const joined = total <= SCRATCH_BYTES ? scratch : new Uint8Array(total);
  for (let i = 0; i < 32; i++) joined[i] = bytes[linkAt + i]!;
  joined.set(bytes.subarray(at, at + length), 32);
  return xxh3(joined, total);
}
