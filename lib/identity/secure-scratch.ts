import { allocateGuarded, withAccess } from './guarded-pages.js';
import { type SecureBuffer, sodium } from './sodium.js';

/**
 * Where secrets are worked on: views of one page of sodium's guarded memory. `signKey` is `seed ‖ public key`, as sodium
 * wants it, and does not share bytes with `seed`: making a sign key overwrites it before the seed is read for the last
 * time. The words are for BLAKE2s.
 */
export interface SecureScratch {
  readonly signKey: Uint8Array;
  readonly seed: Uint8Array;
  /** An X25519 secret. */
  readonly agreement: Uint8Array;
  readonly shared: Uint8Array;
  readonly key: Uint8Array;
  /** `shared` and `key` as little-endian words. */
  readonly sharedWords: Int32Array;
  readonly keyWords: Int32Array;
  readonly message: Int32Array;
  readonly work: Int32Array;
  /** Text of a key file on its way in or out. */
  readonly text: Uint8Array;
}

const PAGE_BYTES = 4096;
const TEXT_BYTES = 512;

let page: SecureBuffer | undefined;
let scratch: SecureScratch | undefined;
let inUse = false;

function layOut(memory: SecureBuffer): SecureScratch {
  let end = memory.byteOffset;
  const bytes = (length: number) => {
    end += length;
    return new Uint8Array(memory.buffer, end - length, length);
  };
  const words = (view: Uint8Array) => new Int32Array(view.buffer, view.byteOffset, view.length / 4);
  const [signKey, seed, agreement, shared, key] = [bytes(64), bytes(32), bytes(32), bytes(32), bytes(32)];
  return {
    signKey,
    seed,
    agreement,
    shared,
    key,
    sharedWords: words(shared),
    keyWords: words(key),
    message: words(bytes(64)),
    work: words(bytes(64)),
    text: bytes(TEXT_BYTES),
  };
}

/**
 * Runs `work` on the scratch page, which is readable only meanwhile, and wipes it afterwards, whether `work` returned or
 * threw. Synchronous and not re-entrant: there is one page per thread. Nothing of it may be kept.
 */
export function withSecureScratch<T>(work: (scratch: SecureScratch) => T): T {
  if (inUse) throw new Error('the secure scratch page is in use: withSecureScratch does not nest');
  page ??= allocateGuarded(PAGE_BYTES);
  scratch ??= layOut(page);
  const [memory, views] = [page, scratch];
  return withAccess(memory, () => {
    inUse = true;
    try {
      return work(views);
    } finally {
      inUse = false;
      sodium.sodium_memzero(memory);
    }
  });
}
