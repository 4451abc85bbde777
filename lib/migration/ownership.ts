import type { MaybePromise } from '../maybe-promise.js';
import type { LostOwner } from './core.js';
import type { Offer } from './offer.js';

/**
 * What has become of an offer that was to be taken back. `withdrawn`: it was, in the next epoch. `claimed`: too late, the target
 * has the daemon. `lived-on`: so it has, and has begun a further try: a newer copy may stand on its disk. `superseded`: the daemon
 * has gone further than that, and this copy is the backup of nothing. An epoch: a recovery had landed unheard, and the daemon is
 * this node's in that one. `undecided`: nobody can say.
 */
export type WithdrawalOutcome =
  | 'withdrawn'
  | 'claimed'
  | 'lived-on'
  | 'superseded'
  | 'undecided'
  | { readonly epoch: bigint };

/** Who may live: what the two sides of a migration ask the witness (ARCHITECTURE.md, "A witness decides who lives"). */
export interface DaemonOwnership {
  /** Source: an attempt to migrate begins, with a number higher than any before. */
  beginTry(origin: bigint): MaybePromise<{ readonly try: bigint; readonly epoch: bigint }>;
  /** Looks at what stands there, so that the offer or claim that follows need not read first. Never fails: it is no more than a hint. */
  readAhead(origin: bigint): MaybePromise<void>;
  offer(origin: bigint, epoch: bigint, offer: Offer): MaybePromise<void>;
  /** Source: takes the offer of that try back, unless the target was faster. */
  withdraw(origin: bigint, epoch: bigint, attempt: bigint): MaybePromise<WithdrawalOutcome>;
  /**
   * Target: becomes the owner.
   *
   * @param epoch in which the source had the daemon, as it says; undefined where it does not
   * @throws MigrationError `ownership-lost`, `register-unavailable`
   */
  claim(origin: bigint, offer: Offer, epoch: bigint | undefined): MaybePromise<{ readonly epoch: bigint }>;
  /** The epoch in which a daemon is this node's since that try; undefined where it is not, or nobody can say. */
  claimedIn(origin: bigint, attempt: bigint): MaybePromise<bigint | undefined>;
  /** Source: lets go without an offer, to a target that may take the daemon without naming a try. */
  letGo(origin: bigint, epoch: bigint, target: bigint): MaybePromise<void>;
  /**
   * This node becomes the owner, because somebody knows that the other copy will never be live.
   *
   * @throws MigrationError `ownership-lost` where somebody else than `lost` is the owner by now
   */
  recover(origin: bigint, lost: LostOwner | undefined): MaybePromise<{ readonly epoch: bigint }>;
}

interface Standing {
  readonly epoch: bigint;
  readonly tries: bigint;
}

/**
 * Ownership of a dispatcher that has no register: whoever holds what was offered may go live, and an offer cannot be
 * taken back, because nobody could tell whether it has been taken up. Numbers are this node's own, and go on from those
 * with which a daemon arrived.
 */
export class UnwitnessedOwnership implements DaemonOwnership {
  readonly #standing = new Map<bigint, Standing>();

  beginTry(origin: bigint): { readonly try: bigint; readonly epoch: bigint } {
    const { epoch, tries } = this.#of(origin);
    this.#standing.set(origin, { epoch, tries: tries + 1n });
    return { try: tries + 1n, epoch };
  }

  readAhead(): void {}

  offer(): void {}

  withdraw(): 'undecided' {
    return 'undecided';
  }

  claim(origin: bigint, offer: Offer, epoch: bigint | undefined): { readonly epoch: bigint } {
    const own = this.#of(origin);
    const claimed = (epoch ?? own.epoch) + 1n;
    this.#standing.set(origin, { epoch: claimed, tries: own.tries > offer.try ? own.tries : offer.try });
    return { epoch: claimed };
  }

  claimedIn(): undefined {}

  letGo(): void {}

  recover(origin: bigint): { readonly epoch: bigint } {
    const { epoch, tries } = this.#of(origin);
    this.#standing.set(origin, { epoch: epoch + 1n, tries });
    return { epoch: epoch + 1n };
  }

  #of(origin: bigint): Standing {
    return this.#standing.get(origin) ?? { epoch: 1n, tries: 0n };
  }
}
