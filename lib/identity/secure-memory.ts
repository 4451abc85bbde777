import { isObject, wrongType } from '../wire/arguments.js';
import { IdentityError } from './errors.js';
import { allocateGuarded, withAccess } from './guarded-pages.js';
import {
  count,
  maxSecrets as currentLimit,
  DEFAULT_MAX_SECRETS,
  setMaxSecrets,
  setRequireLocked,
  total,
} from './secret-ledger.js';
import { type SecureBuffer, sodium } from './sodium.js';

export { DEFAULT_MAX_SECRETS };

/** Bytes of a secret: an Ed25519 seed or an X25519 private key. */
export const SECRET_BYTES = 32;
/** Four pages: enough that mappings stay few, small enough for a `RLIMIT_MEMLOCK` of 64 KiB. */
const SLAB_BYTES = 16_384;
const SECRETS_PER_SLAB = SLAB_BYTES / SECRET_BYTES;
/** `sodium_malloc` takes four mappings, of which Linux gives a process 65,530: 4,096 slabs take a quarter of them. */
export const MAX_SECRETS_CEILING = 4_096 * SECRETS_PER_SLAB;

/** How this process keeps secrets. */
export interface SecureMemoryOptions {
  /** Secrets alive at once in all threads together, 1 to {@link MAX_SECRETS_CEILING}; default {@link DEFAULT_MAX_SECRETS}. */
  readonly maxSecrets?: number;
  /**
   * Whether a new page that the system does not let us lock into RAM is an error (`secure-memory-not-locked`) or is used
   * unlocked, so that it may reach the swap device; default false.
   */
  readonly requireLocked?: boolean;
}

/** What the secrets of all threads of this process take. */
export interface SecureMemoryStatus {
  readonly secrets: number;
  readonly maxSecrets: number;
  /** Bytes of guarded memory taken from the system. A thread keeps its own for reuse until it ends. */
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
/** Places of secrets that were collected while the system did not let them be wiped: tried again. */
let overdue: Slot[] = [];

/**
 * Sets the process's limits: those of all threads that have inherited their count (`docs/identity.md`). What is already
 * held stays, also where the new limit is below it. What is left out stays as it is.
 */
export function configureSecureMemory(options: SecureMemoryOptions): void {
  if (!isObject(options)) throw wrongType('options', 'an object', options);
  const { maxSecrets, requireLocked, ...unknown } = options;
  for (const name of Object.keys(unknown)) {
    throw new TypeError(`options must hold maxSecrets and requireLocked alone, got "${name}"`);
  }
  if (maxSecrets !== undefined) {
    if (!Number.isInteger(maxSecrets) || maxSecrets < 1 || maxSecrets > MAX_SECRETS_CEILING) {
      throw wrongType('maxSecrets', `a whole number from 1 to ${MAX_SECRETS_CEILING}`, maxSecrets);
    }
  }
  if (requireLocked !== undefined && typeof requireLocked !== 'boolean') {
    throw wrongType('requireLocked', 'a boolean', requireLocked);
  }
  if (maxSecrets !== undefined) setMaxSecrets(maxSecrets);
  if (requireLocked !== undefined) setRequireLocked(requireLocked);
}

/** The process's figures. */
export function secureMemoryStatus(): SecureMemoryStatus {
  return {
    secrets: total('secrets'),
    maxSecrets: currentLimit(),
    bytes: total('bytes'),
    lockedBytes: total('lockedBytes'),
  };
}

function addSlab(): void {
  const first = slabs.push(allocateGuarded(SLAB_BYTES)) * SECRETS_PER_SLAB - SECRETS_PER_SLAB;
  for (let slot = first + SECRETS_PER_SLAB - 1; slot >= first; slot--) freeSlots.push(slot);
}

/** Counted first, looked at afterwards: so threads that take one at once cannot both take the last. */
function countSecret(): void {
  count('secrets', 1);
  const [held, limit] = [total('secrets') - 1, currentLimit()];
  if (held < limit) return;
  count('secrets', -1);
  throw new IdentityError(
    'secure-memory-exhausted',
    `the threads of this process hold ${held} secrets, and maxSecrets allows ${limit}; dispose key pairs, or raise it with configureSecureMemory`,
    { details: { secrets: held, maxSecrets: limit } },
  );
}

function takeSlot(): Slot {
  retryOverdue();
  countSecret();
  try {
    if (freeSlots.length === 0) addSlab();
  } catch (cause) {
    count('secrets', -1);
    throw cause;
  }
  return { index: freeSlots.pop()!, taken: true };
}

/** For a slot that holds no secret, or none any more. */
function giveBack(slot: Slot): void {
  slot.taken = false;
  freeSlots.push(slot.index);
  count('secrets', -1);
}

/** The page of a secret is readable only while `work` runs. */
function withSlot<T>(slot: Slot, work: (bytes: Uint8Array) => T): T {
  const slab = slabs[Math.floor(slot.index / SECRETS_PER_SLAB)]!;
  const start = (slot.index % SECRETS_PER_SLAB) * SECRET_BYTES;
  return withAccess(slab, () => work(slab.subarray(start, start + SECRET_BYTES)));
}

/** Either the bytes are wiped and the place is free, or this throws and the place is as it was. */
function releaseSlot(slot: Slot): void {
  if (!slot.taken) return;
  withSlot(slot, (bytes) => {
    sodium.sodium_memzero(bytes);
    giveBack(slot);
  });
}

/** What nobody waits for: where the system does not let it be done now, later. */
function releaseInTime(slot: Slot): void {
  try {
    releaseSlot(slot);
  } catch {
    if (slot.taken) overdue.push(slot);
  }
}

function retryOverdue(): void {
  if (overdue.length === 0) return;
  const slots = overdue;
  overdue = [];
  for (const slot of slots) releaseInTime(slot);
}

const leaked = new FinalizationRegistry<Slot>(releaseInTime);

/**
 * 32 secret bytes in guarded memory. They go in and out by copying between secure pages only. Where its owner is
 * collected without `wipe`, the place is wiped and used again.
 */
export class Secret {
  readonly #slot: Slot;

  /** Copies `source`, which should be secure memory itself; wiping it is the caller's. */
  constructor(source: Uint8Array) {
    const slot = takeSlot();
    this.#slot = slot;
    let written = false;
    try {
      withSlot(slot, (bytes) => {
        written = true;
        bytes.set(source);
      });
    } catch (cause) {
      if (written) releaseInTime(slot);
      else giveBack(slot);
      throw cause;
    }
    leaked.register(this, slot, this);
  }

  get isWiped(): boolean {
    return !this.#slot.taken;
  }

  /** `target` must be secure memory. */
  copyInto(target: Uint8Array): void {
    if (this.isWiped) throw new IdentityError('disposed', 'this secret has been wiped');
    withSlot(this.#slot, (bytes) => target.set(bytes));
  }

  /** Overwrites the bytes and gives the place back. Throws and changes nothing where the system refuses. Again: nothing. */
  wipe(): void {
    releaseSlot(this.#slot);
    leaked.unregister(this);
  }
}
