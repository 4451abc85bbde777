import type { MaybePromise } from '../maybe-promise.js';
import type { Offer } from '../migration/offer.js';

/** Who owns a daemon. */
export interface OwnershipEntry {
  /** Raised by one with every change of owner, and every return to the old one. */
  readonly epoch: bigint;
  /** Node id. */
  readonly owner: bigint;
  /** The number of the last attempt to migrate; each is numbered one higher than the one before. */
  readonly tries: bigint;
  readonly offer?: Offer;
}

export interface RegisteredOwnership {
  readonly entry: OwnershipEntry;
  /** Another one with every write, also where the entry was removed meanwhile; never 0. */
  readonly revision: bigint;
}

/**
 * The ownership register: per daemon who owns it, changed by compare-and-set alone. An operation that rejects may or may not
 * have taken effect; who needs to know reads again.
 */
export interface OwnershipRegister {
  read(origin: bigint): MaybePromise<RegisteredOwnership | undefined>;
  /**
   * @param expected the revision that must stand there; 0 where nothing may
   * @param entry undefined removes it
   * @returns whether it was written
   */
  compareAndSet(origin: bigint, expected: bigint, entry: OwnershipEntry | undefined): MaybePromise<boolean>;
}

/** The register as a table in this thread: of an in-process mesh, and of the parent of worker threads. */
export class OwnershipTable implements OwnershipRegister {
  readonly #entries = new Map<bigint, RegisteredOwnership>();
  #revision = 0n;

  read(origin: bigint): RegisteredOwnership | undefined {
    return this.#entries.get(origin);
  }

  compareAndSet(origin: bigint, expected: bigint, entry: OwnershipEntry | undefined): boolean {
    if ((this.#entries.get(origin)?.revision ?? 0n) !== expected) return false;
    if (entry) this.#entries.set(origin, { entry, revision: ++this.#revision });
    else this.#entries.delete(origin);
    return true;
  }
}
