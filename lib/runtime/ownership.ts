import { MigrationError } from '../errors.js';
import type { OwnershipEntry, OwnershipRegister, RegisteredOwnership } from '../mesh/register.js';
import type { LostOwner } from '../migration/core.js';
import { BoundedMemory } from '../migration/memory.js';
import { mayClaim, type Offer, openOffer } from '../migration/offer.js';
import type { DaemonOwnership, WithdrawalOutcome } from '../migration/ownership.js';

/** A compare-and-set is tried this often against others who write the same entry. */
const ROUNDS = 16;
/** Daemons of which what was read ahead is remembered. */
const READ_AHEAD = 1_024;

/**
 * What a node writes into the ownership register, each by compare-and-set. Who loses one, or gets no answer, reads again:
 * what stands there decides, not what was heard.
 */
export class Ownership implements DaemonOwnership {
  readonly #register: OwnershipRegister;
  readonly #node: bigint;
  /** Claims whose answer is not known: one that stands in the register as written has been won. */
  readonly #claims = new Map<bigint, { readonly try: bigint; readonly epoch: bigint }>();
  /** Daemons that were to begin here, and it is not known whether they do: the numbers below their first tries. */
  readonly #unheard = new Map<bigint, Set<bigint>>();
  #lastBeginning = -1n;
  /** Tries that have not got their numbers yet: the newest of each daemon. */
  readonly #beginnings = new Map<bigint, object>();
  /** What stood there a moment ago, for the next offer or claim: where that has changed, the write is refused, and it reads. */
  readonly #ahead = new BoundedMemory<RegisteredOwnership>(READ_AHEAD);

  constructor(register: OwnershipRegister, node: bigint) {
    this.#register = register;
    this.#node = node;
  }

  /**
   * A daemon begins to live here.
   *
   * @param tries below the number of its first try. A daemon that was stopped and lives again must not begin where it began
   * before: its peers remember those tries, and would take the new ones for old
   * @returns the epoch in which it begins: that of an earlier attempt from here where the register took that one, without an
   * answer that was heard
   * @throws MigrationError `already-exists`; `register-unavailable`: it may yet be written, and the next attempt takes it up
   */
  async create(origin: bigint, { epoch = 1n, tries = 0n } = {}): Promise<bigint> {
    // No two alike, so that what stands there tells which of them it was.
    this.#lastBeginning = tries > this.#lastBeginning ? tries : this.#lastBeginning + 1n;
    const beginning = this.#lastBeginning;
    if (await this.#write(origin, 0n, { epoch, owner: this.#node, tries: beginning })) {
      this.#unheard.delete(origin);
      return epoch;
    }
    const unheard = this.#unheard.get(origin) ?? new Set<bigint>();
    this.#unheard.set(origin, unheard.add(beginning));
    const standing = (await this.#read(origin))?.entry;
    if (standing === undefined) throw notTaken(origin);
    this.#unheard.delete(origin);
    if (standing.owner === this.#node && unheard.has(standing.tries)) return standing.epoch;
    throw new MigrationError(
      'already-exists',
      `daemon ${origin} lives on node ${standing.owner} already; a daemon cannot be spawned twice. Where its last copy was lost with that node, forget() gives it up`,
      { details: { origin, owner: standing.owner } },
    );
  }

  /** A daemon that lives here ends. */
  async remove(origin: bigint): Promise<void> {
    await this.#change(origin, (entry) => this.#requireOwner(origin, entry) && undefined);
  }

  /** A daemon whose last copy was lost with its owner has ended. @throws MigrationError `ownership-lost` where it has another by now */
  async removeLost(origin: bigint, { node, epoch }: LostOwner): Promise<void> {
    await this.#change(origin, (entry) => {
      if (entry.owner !== node || entry.epoch !== epoch) throw lostTo(origin, entry);
      return undefined;
    });
  }

  /**
   * An attempt to migrate begins: it gets a number higher than any before. One that has not got it when the next begins was given
   * up, and must not count on: what stands here belongs to the newest number.
   */
  async beginTry(origin: bigint): Promise<{ try: bigint; epoch: bigint }> {
    const beginning = {};
    this.#beginnings.set(origin, beginning);
    try {
      const { epoch, tries } = await this.#change(origin, (entry) => {
        if (this.#beginnings.get(origin) !== beginning) throw givenUp(origin);
        return { ...this.#requireOwner(origin, entry), tries: entry.tries + 1n };
      });
      return { try: tries, epoch };
    } finally {
      if (this.#beginnings.get(origin) === beginning) this.#beginnings.delete(origin);
    }
  }

  async readAhead(origin: bigint): Promise<void> {
    try {
      const standing = await this.#register.read(origin);
      if (standing) this.#ahead.set(origin, standing);
    } catch {
      // Whoever needs it reads, and says so.
    }
  }

  async offer(origin: bigint, epoch: bigint, offer: Offer): Promise<void> {
    await this.#changeAhead(origin, (entry) => {
      if (this.#requireOwner(origin, entry).epoch !== epoch) throw lostTo(origin, entry);
      return { ...entry, offer };
    });
  }

  /** Takes the offer back, unless the target was faster. */
  async withdraw(origin: bigint, epoch: bigint, attempt: bigint): Promise<WithdrawalOutcome> {
    const after = await this.#withdrawn(origin, epoch);
    if (!after) return 'superseded';
    const isOwn = after.owner === this.#node;
    if (isOwn && after.epoch === epoch + 1n) return 'withdrawn';
    if (after.epoch <= epoch + 1n) return after.tries === attempt ? 'claimed' : 'lived-on';
    // Without a further try only a recovery from here can have made it this node's.
    return isOwn && after.tries === attempt ? { epoch: after.epoch } : 'superseded';
  }

  /** @returns what stands there now; undefined where the daemon has ended */
  async #withdrawn(origin: bigint, epoch: bigint): Promise<OwnershipEntry | undefined> {
    try {
      return await this.#change(origin, (entry) => {
        if (entry.owner !== this.#node || entry.epoch !== epoch) return entry;
        return { epoch: epoch + 1n, owner: this.#node, tries: entry.tries };
      });
    } catch (error) {
      if (error instanceof MigrationError && error.kind === 'daemon-not-found') return undefined;
      throw error;
    }
  }

  /** Becomes the owner, where exactly this was offered. @throws MigrationError `ownership-lost` */
  async claim(origin: bigint, offer: Offer): Promise<{ epoch: bigint }> {
    const after = await this.#changeAhead(origin, (entry) => {
      const claim = this.#claims.get(origin);
      if (claim?.try === offer.try && entry.owner === this.#node && entry.epoch === claim.epoch) return entry;
      if (!entry.offer || !mayClaim(entry.offer, offer)) throw lostTo(origin, entry);
      const epoch = entry.epoch + 1n;
      this.#claims.set(origin, { try: offer.try, epoch });
      return { epoch, owner: this.#node, tries: entry.tries };
    });
    this.#claims.delete(origin);
    return { epoch: after.epoch };
  }

  async claimedIn(origin: bigint, attempt: bigint): Promise<bigint | undefined> {
    const entry = (await this.#read(origin))?.entry;
    return entry?.owner === this.#node && entry.tries === attempt && !entry.offer ? entry.epoch : undefined;
  }

  /** What stands in the register. @throws MigrationError `register-unavailable` */
  async entry(origin: bigint): Promise<OwnershipEntry | undefined> {
    return (await this.#read(origin))?.entry;
  }

  /** The target may know no register: then the daemon stands here until `recover`, and nobody else can claim it. */
  async letGo(origin: bigint, epoch: bigint, target: bigint): Promise<void> {
    await this.offer(origin, epoch, openOffer(target));
  }

  /** Becomes the owner again. The caller knows that no other copy is live, or which one is not. */
  async recover(origin: bigint, lost: LostOwner | undefined): Promise<{ epoch: bigint }> {
    let written: OwnershipEntry | undefined;
    const { epoch } = await this.#change(origin, (entry) => {
      if (entry.owner === this.#node && entry.epoch === written?.epoch) return entry;
      // Nobody else writes this node as the owner: that was this recovery, and its answer was lost.
      if (lost && entry.owner === this.#node && entry.epoch === lost.epoch + 1n) return entry;
      if (lost && (entry.owner !== lost.node || entry.epoch !== lost.epoch)) throw lostTo(origin, entry);
      written = { epoch: entry.epoch + 1n, owner: this.#node, tries: entry.tries };
      return written;
    });
    return { epoch };
  }

  /** Who has a daemon, and since which epoch, as the register says; undefined where nobody has. @throws MigrationError `register-unavailable` */
  async holder(origin: bigint): Promise<LostOwner | undefined> {
    const standing = await this.#read(origin);
    return standing && { node: standing.entry.owner, epoch: standing.entry.epoch };
  }

  /** The same as `#change`, the first time by what was read ahead; what that refuses is looked at anew. */
  async #changeAhead(origin: bigint, next: (entry: OwnershipEntry) => OwnershipEntry): Promise<OwnershipEntry> {
    const ahead = this.#ahead.get(origin);
    this.#ahead.delete(origin);
    const entry = ahead && unlessRefused(() => next(ahead.entry));
    if (entry && entry !== ahead.entry && (await this.#write(origin, ahead.revision, entry))) return entry;
    return this.#change(origin, next);
  }

  /**
   * Reads, decides, writes, and reads again where the write was lost.
   *
   * @param next what should stand there; the same entry where nothing is to be written
   * @returns what stands there now
   */
  async #change<T extends OwnershipEntry | undefined>(
    origin: bigint,
    next: (entry: OwnershipEntry) => T,
  ): Promise<T & OwnershipEntry> {
    for (let round = 0; round < ROUNDS; round++) {
      const standing = await this.#read(origin);
      if (!standing) throw notRegistered(origin);
      const entry = next(standing.entry);
      if (entry === standing.entry) return entry as T & OwnershipEntry;
      if (await this.#write(origin, standing.revision, entry)) return entry as T & OwnershipEntry;
    }
    throw notTaken(origin, ROUNDS);
  }

  async #read(origin: bigint): Promise<RegisteredOwnership | undefined> {
    try {
      return await this.#register.read(origin);
    } catch (cause) {
      throw new MigrationError(
        'register-unavailable',
        `the ownership register cannot be read for daemon ${origin}; try again`,
        {
          details: { origin },
          cause,
        },
      );
    }
  }

  /** Without an answer nobody knows whether it was written: what stands there is read again. */
  async #write(origin: bigint, revision: bigint, entry: OwnershipEntry | undefined): Promise<boolean> {
    try {
      return await this.#register.compareAndSet(origin, revision, entry);
    } catch {
      return false;
    }
  }

  #requireOwner(origin: bigint, entry: OwnershipEntry): OwnershipEntry {
    if (entry.owner !== this.#node) throw lostTo(origin, entry);
    return entry;
  }
}

function unlessRefused<T>(decide: () => T): T | undefined {
  try {
    return decide();
  } catch {
    return undefined;
  }
}

function givenUp(origin: bigint): MigrationError {
  return new MigrationError('cancelled', `the try of daemon ${origin} was given up: a further one has begun`, {
    details: { origin },
  });
}

function notTaken(origin: bigint, rounds = 1): MigrationError {
  return new MigrationError(
    'register-unavailable',
    `the ownership register did not take a change for daemon ${origin} in ${rounds} rounds; try again`,
    { details: { origin } },
  );
}

function lostTo(origin: bigint, entry: OwnershipEntry): MigrationError {
  return new MigrationError(
    'ownership-lost',
    `daemon ${origin} belongs to node ${entry.owner} in epoch ${entry.epoch}, and not to who asked`,
    {
      details: { origin, owner: entry.owner, epoch: entry.epoch },
    },
  );
}

export function notRegistered(origin: bigint): MigrationError {
  return new MigrationError('daemon-not-found', `daemon ${origin} is in no ownership register`, {
    details: { origin },
  });
}
