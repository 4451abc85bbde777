import { IdentityError } from './errors.js';
import { type SecureBuffer, sodium } from './sodium.js';

/** Bytes of a secret: an Ed25519 seed or an X25519 private key. */
export const SECRET_BYTES = 32;
/** Four pages: enough that mappings stay few, small enough for a `RLIMIT_MEMLOCK` of 64 KiB. */
const SLAB_BYTES = 16_384;
const SECRETS_PER_SLAB = SLAB_BYTES / SECRET_BYTES;
/** Twice and a half the 100,000 daemons that a node must hold: 489 slabs, 8 MB. */
export const DEFAULT_MAX_SECRETS = 250_000;
/** `sodium_malloc` takes four mappings, of which Linux gives a process 65,530: 4,096 slabs take a quarter of them. */
export const MAX_SECRETS_CEILING = 4_096 * SECRETS_PER_SLAB;

/** How this thread keeps secrets. */
export interface SecureMemoryOptions {
  /** Secrets alive at once, 1 to {@link MAX_SECRETS_CEILING}; default {@link DEFAULT_MAX_SECRETS}. */
  readonly maxSecrets?: number;
  /**
   * Whether a new page that the system does not let us lock into RAM is an error (`secure-memory-not-locked`) or is used
   * unlocked, so that it may reach the swap device; default false.
   */
  readonly requireLocked?: boolean;
}

/** What this thread's secrets take. */
export interface SecureMemoryStatus {
  readonly secrets: number;
  readonly maxSecrets: number;
  /** Bytes of guarded memory taken from the system. They are kept for reuse and never shrink. */
  readonly bytes: number;
  /** Of these, what the system has locked into RAM. */
  readonly lockedBytes: number;
}

/** A secret's place. Shared with the finalizer, which must not hold the {@link Secret} itself. */
interface Slot {
  readonly index: number;
  taken: boolean;
}

const slabs: SecureBuffer[] = [];
const freeSlots: number[] = [];
let maxSecrets = DEFAULT_MAX_SECRETS;
let requireLocked = false;
let lockedSlabs = 0;
let taken = 0;

/** Sets this thread's limits. What is already held stays, also where the new limit is below it. */
export function configureSecureMemory(options: SecureMemoryOptions): void {
  const limit = options.maxSecrets ?? maxSecrets;
  if (!Number.isInteger(limit) || limit < 1 || limit > MAX_SECRETS_CEILING) {
    throw new TypeError(`maxSecrets must be a whole number from 1 to ${MAX_SECRETS_CEILING}, got ${limit}`);
  }
  maxSecrets = limit;
  requireLocked = options.requireLocked ?? requireLocked;
}

/** This thread's figures. */
export function secureMemoryStatus(): SecureMemoryStatus {
  return { secrets: taken, maxSecrets, bytes: slabs.length * SLAB_BYTES, lockedBytes: lockedSlabs * SLAB_BYTES };
}

/** `sodium_malloc` locks its pages but does not say when it could not; asking again does. */
function tryLock(slab: SecureBuffer): boolean {
  try {
    sodium.sodium_mlock(slab);
    return true;
  } catch {
    return false;
  }
}

function addSlab(): void {
  const slab = sodium.sodium_malloc(SLAB_BYTES);
  const locked = tryLock(slab);
  if (!locked && requireLocked) {
    throw new IdentityError(
      'secure-memory-not-locked',
      `the system refuses to lock ${SLAB_BYTES} more bytes of secrets into RAM (${lockedSlabs * SLAB_BYTES} are); ` +
        'raise RLIMIT_MEMLOCK (ulimit -l), or set requireLocked to false',
      { details: { lockedBytes: lockedSlabs * SLAB_BYTES, wantedBytes: SLAB_BYTES } },
    );
  }
  sodium.sodium_memzero(slab);
  sodium.sodium_mprotect_noaccess(slab);
  if (locked) lockedSlabs++;
  const first = slabs.push(slab) * SECRETS_PER_SLAB - SECRETS_PER_SLAB;
  for (let slot = first + SECRETS_PER_SLAB - 1; slot >= first; slot--) freeSlots.push(slot);
}

function takeSlot(): Slot {
  if (taken >= maxSecrets) {
    throw new IdentityError(
      'secure-memory-exhausted',
      `${taken} secrets are held, as many as maxSecrets allows; dispose key pairs, or raise it with configureSecureMemory`,
      { details: { secrets: taken, maxSecrets } },
    );
  }
  if (freeSlots.length === 0) addSlab();
  taken++;
  return { index: freeSlots.pop()!, taken: true };
}

/** The page of a secret is readable only while `work` runs. */
function withSlot<T>(slot: Slot, work: (bytes: Uint8Array) => T): T {
  const slab = slabs[Math.floor(slot.index / SECRETS_PER_SLAB)]!;
  const start = (slot.index % SECRETS_PER_SLAB) * SECRET_BYTES;
  sodium.sodium_mprotect_readwrite(slab);
  try {
    return work(slab.subarray(start, start + SECRET_BYTES));
  } finally {
    sodium.sodium_mprotect_noaccess(slab);
  }
}

function releaseSlot(slot: Slot): void {
  if (!slot.taken) return;
  slot.taken = false;
  withSlot(slot, (bytes) => sodium.sodium_memzero(bytes));
  freeSlots.push(slot.index);
  taken--;
}

const leaked = new FinalizationRegistry<Slot>(releaseSlot);

/**
 * 32 secret bytes in guarded memory. They go in and out by copying between secure pages only. Where its owner is
 * collected without `wipe`, the place is wiped and used again.
 */
export class Secret {
  readonly #slot: Slot;

  /** Copies `source`, which should be secure memory itself; wiping it is the caller's. */
  constructor(source: Uint8Array) {
    this.#slot = takeSlot();
    withSlot(this.#slot, (bytes) => bytes.set(source));
    leaked.register(this, this.#slot, this);
  }

  /** `target` must be secure memory. */
  copyInto(target: Uint8Array): void {
    if (!this.#slot.taken) throw new IdentityError('disposed', 'this secret has been wiped');
    withSlot(this.#slot, (bytes) => target.set(bytes));
  }

  /** Overwrites the bytes and gives the place back. Again: nothing. */
  wipe(): void {
    leaked.unregister(this);
    releaseSlot(this.#slot);
  }
}
