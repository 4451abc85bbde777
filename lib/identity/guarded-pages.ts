import { IdentityError } from './errors.js';
import { requireMappings } from './mappings.js';
import { count, requireLocked, total } from './secret-ledger.js';
import { type SecureBuffer, sodium } from './sodium.js';

/** A failure of the system's, which libsodium reports without a word of its cause. */
function refusedBySystem(doing: string, cause: unknown): IdentityError {
  return new IdentityError(
    'secure-memory-exhausted',
    `the system refuses to ${doing}: memory or memory mappings are short; dispose key pairs, or raise RLIMIT_DATA (ulimit -d) or vm.max_map_count`,
    { cause, details: { bytes: total('bytes') } },
  );
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

function openPages(memory: SecureBuffer): void {
  try {
    sodium.sodium_mprotect_readwrite(memory);
  } catch (cause) {
    throw refusedBySystem('make a page of secrets accessible', cause);
  }
}

function closePages(memory: SecureBuffer): void {
  try {
    sodium.sodium_mprotect_noaccess(memory);
  } catch (cause) {
    throw refusedBySystem('make a page of secrets inaccessible', cause);
  }
}

/**
 * `size` bytes from `sodium_malloc`, zeroed, between guard pages, out of core dumps and without access rights. Callers keep
 * few: each takes four mappings. Throws `secure-memory-not-locked` where locking is required and the system refuses,
 * `secure-memory-exhausted` where there is not enough to have it; nothing is counted then, and collection frees the rest.
 */
export function allocateGuarded(size: number): SecureBuffer {
  requireMappings();
  let memory: SecureBuffer;
  try {
    memory = sodium.sodium_malloc(size);
  } catch (cause) {
    throw refusedBySystem(`give ${size} more bytes for secrets`, cause);
  }
  const locked = tryLock(memory);
  if (!locked && requireLocked()) {
    const lockedBytes = total('lockedBytes');
    throw new IdentityError(
      'secure-memory-not-locked',
      `the system refuses to lock ${size} more bytes of secrets into RAM (${lockedBytes} are locked); ` +
        'raise RLIMIT_MEMLOCK (ulimit -l), or set requireLocked to false',
      { details: { lockedBytes, wantedBytes: size } },
    );
  }
  sodium.sodium_memzero(memory);
  closePages(memory);
  count('bytes', size);
  if (locked) count('lockedBytes', size);
  return memory;
}

/**
 * Runs `work` while the pages are accessible. Throws `secure-memory-exhausted` before `work` where they do not become so,
 * and after it where they stay so.
 */
export function withAccess<T>(memory: SecureBuffer, work: () => T): T {
  openPages(memory);
  try {
    return work();
  } finally {
    closePages(memory);
  }
}
