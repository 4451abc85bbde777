import { IdentityError } from './errors.js';
import { type SecureBuffer, sodium } from './sodium.js';

let requireLocked = false;
let takenBytes = 0;
let lockedBytes = 0;

/** From now on, whether pages that cannot be locked into RAM are refused or used all the same. */
export function setRequireLocked(required: boolean): void {
  requireLocked = required;
}

/** What this thread has taken from the system, and how much of it is locked into RAM. */
export function guardedPageTotals(): { readonly bytes: number; readonly lockedBytes: number } {
  return { bytes: takenBytes, lockedBytes };
}

/** `sodium_malloc` locks its pages but does not say when it could not; asking again does. */
function tryLock(memory: SecureBuffer): boolean {
  try {
    sodium.sodium_mlock(memory);
    return true;
  } catch {
    return false;
  }
}

/**
 * `size` bytes from `sodium_malloc`, zeroed, between guard pages and out of core dumps. Callers keep few: each takes four
 * mappings, and where the system refuses one, sodium-native ends the process. Throws `secure-memory-not-locked` where
 * that is required and the system refuses.
 */
export function allocateGuarded(size: number): SecureBuffer {
  const memory = sodium.sodium_malloc(size);
  const locked = tryLock(memory);
  if (!locked && requireLocked) {
    throw new IdentityError(
      'secure-memory-not-locked',
      `the system refuses to lock ${size} more bytes of secrets into RAM (${lockedBytes} are locked); ` +
        'raise RLIMIT_MEMLOCK (ulimit -l), or set requireLocked to false',
      { details: { lockedBytes, wantedBytes: size } },
    );
  }
  takenBytes += size;
  if (locked) lockedBytes += size;
  sodium.sodium_memzero(memory);
  return memory;
}
