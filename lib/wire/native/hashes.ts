import { MigrationError } from '../../errors.js';
import { checkBytes, checkBytesOfLength } from '../arguments.js';
import type { Blake3Hasher, MigrationCodec } from '../codec.js';
import { blake2sMac, hashXxh3 } from '../typescript/hashes.js';
import type { Addon } from './addon.js';
import type { NativeBlake3 } from './binding.js';

const ENTITY_ID_BYTES = 32;
const HASH_BYTES = 32;
const MAX_MAC_KEY_BYTES = 32;

/** Below so many bytes a crossing costs more than XXH3 in TypeScript. Of the other hashes native always wins. */
const XXH3_BYTES_MIN = 17;

type HashFunctions = Pick<MigrationCodec, 'originHash' | 'nodeId' | 'blake2sMac' | 'xxh3' | 'blake3' | 'createBlake3'>;

export function hashFunctions(addon: Addon): HashFunctions {
  return {
    originHash(entityId) {
      checkBytesOfLength(entityId, 'entityId', ENTITY_ID_BYTES);
      return addon.originHash(entityId);
    },

    nodeId(entityId) {
      checkBytesOfLength(entityId, 'entityId', ENTITY_ID_BYTES);
      return addon.nodeId(entityId);
    },

    blake2sMac(key, message) {
      checkBytes(key, 'key');
      if (key.length === 0 || key.length > MAX_MAC_KEY_BYTES) return blake2sMac(key, message);
      checkBytes(message, 'message');
      const mac = new Uint8Array(HASH_BYTES);
      addon.blake2sMac(key, message, mac);
      return mac;
    },

    xxh3(bytes) {
      checkBytes(bytes, 'bytes');
      return bytes.length < XXH3_BYTES_MIN ? hashXxh3(bytes) : addon.xxh3(bytes);
    },

    blake3(bytes) {
      checkBytes(bytes, 'bytes');
      const hash = new Uint8Array(HASH_BYTES);
      addon.blake3(bytes, hash);
      return hash;
    },

    createBlake3: () => new HasherOverAddon(addon),
  };
}

class HasherOverAddon implements Blake3Hasher {
  #native: NativeBlake3 | undefined;

  constructor(addon: Addon) {
    this.#native = new addon.NativeBlake3();
  }

  update(bytes: Uint8Array): void {
    checkBytes(bytes, 'bytes');
    this.#alive().update(bytes);
  }

  digest(): Uint8Array {
    const hash = new Uint8Array(HASH_BYTES);
    this.#alive().digest(hash);
    this.#native = undefined;
    return hash;
  }

  #alive(): NativeBlake3 {
    if (this.#native === undefined) {
      throw new MigrationError('disposed', 'this hasher has given its digest: make a new one');
    }
    return this.#native;
  }
}
