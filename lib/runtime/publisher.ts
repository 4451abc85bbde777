import type { Acceptance } from '../daemon/host.js';
import { MigrationError } from '../errors.js';
import type { CausalEvent } from '../wire/link.js';
import { requireDeliverable } from './delivery.js';
import type { Environment } from './environment.js';

/** Batches on their way at once. */
const MAX_OUTSTANDING = 8;
const RETRY_MS = 2;
/** How long a node that is gone may stay the owner, and how often the register is asked. */
const GONE_MS = 10_000;
const ASK_WHERE_MS = 50;

interface Batch {
  /** Of those sent, in order. */
  readonly number: number;
  readonly events: readonly CausalEvent[];
  readonly sentAt: number;
}

/**
 * Hands a batch to a node and gives back what became of it; of one round, nothing is accepted behind a refusal.
 *
 * @throws MigrationError `event-too-large`, at once: that batch was never sent, and the next one takes its place
 */
export type DeliverFn = (node: bigint, round: number, events: readonly CausalEvent[]) => Promise<Acceptance>;

/**
 * Sends a stream of events to one daemon, wherever it lives: in order, some batches ahead, and again where they were
 * refused for now. One that was refused because the daemon moves goes to the node that was named, after every answer
 * that is outstanding, so that the order holds. A target that ends before it has taken anything sends it back to the source, once the
 * register has the daemon there again; any other node that ends is its own end (`target-unavailable`), because accepted events may
 * have gone with it.
 */
export class EventPublisher {
  readonly #deliver: DeliverFn;
  readonly #environment: Pick<Environment, 'nowMs' | 'after'>;
  readonly #where: () => Promise<bigint | undefined>;
  #node: bigint;
  #outstanding = new Set<Promise<void>>();
  /** Batches that were refused; nothing new is sent before them. */
  #refused: Batch[] = [];
  #failure: unknown;
  #moved: bigint | undefined;
  /** Sent on to another node, and nothing accepted since. */
  #isSentOn = false;
  /** Who sent on last. */
  #sentOnBy: bigint | undefined;
  /** The node is gone; and when that was first heard, with nothing accepted since. */
  #gone: MigrationError | undefined;
  #goneAt: number | undefined;
  #round = 0;
  #batches = 0;
  #longestWaitMs = 0;
  #accepted = 0;

  /** @param where node of whom the daemon is, as the register says; undefined where it is nobody's */
  constructor(
    node: bigint,
    deliver: DeliverFn,
    environment: Pick<Environment, 'nowMs' | 'after'>,
    where: () => Promise<bigint | undefined> = () => Promise.resolve(undefined),
  ) {
    this.#node = node;
    this.#deliver = deliver;
    this.#environment = environment;
    this.#where = where;
  }

  /** Where the daemon was last seen. */
  get node(): bigint {
    return this.#node;
  }

  /** Events that some copy answers for. */
  get accepted(): number {
    return this.#accepted;
  }

  /** The longest that a batch waited from its first sending until it was accepted, in milliseconds. */
  get longestWaitMs(): number {
    return this.#longestWaitMs;
  }

  /**
   * Resolves when there is room for the next batch.
   *
   * @throws MigrationError `event-too-large`, TypeError where one is no event: then none of these is sent, and the publisher
   * goes on; MigrationError where the daemon refused for good
   */
  async send(events: readonly CausalEvent[]): Promise<void> {
    requireDeliverable(events);
    await this.#settleRefused();
    while (this.#outstanding.size >= MAX_OUTSTANDING) {
      await Promise.race(this.#outstanding);
      await this.#settleRefused();
    }
    this.#post({ number: this.#batches++, events, sentAt: this.#environment.nowMs() });
  }

  /** Resolves when every event sent has been accepted. */
  async flush(): Promise<void> {
    do {
      await Promise.all(this.#outstanding);
      await this.#settleRefused();
    } while (this.#outstanding.size > 0);
  }

  #post(batch: Batch): void {
    const answered = this.#deliver(this.#node, this.#round, batch.events).then(
      (acceptance) => this.#answered(batch, acceptance),
      (error) => {
        this.#failure ??= error;
      },
    );
    this.#outstanding.add(answered);
    void answered.finally(() => this.#outstanding.delete(answered));
  }

  #answered(batch: Batch, { accepted, refusal }: Acceptance): void {
    this.#accepted += accepted;
    if (!refusal) {
      this.#isSentOn = false;
      this.#goneAt = undefined;
      this.#longestWaitMs = Math.max(this.#longestWaitMs, this.#environment.nowMs() - batch.sentAt);
      return;
    }
    const isGone = refusal.kind === 'target-unavailable' && refusal.details.node === this.#node;
    // Without an answer nobody knows what was taken: sent again, that is dropped as seen.
    if (isGone) this.#gone = refusal;
    else if (!refusal.retriable && refusal.kind !== 'timed-out') this.#failure ??= refusal;
    this.#refused.push({ ...batch, events: batch.events.slice(accepted) });
    const target = refusal.details.target;
    if (refusal.kind === 'moving' && typeof target === 'bigint') this.#moved = target;
  }

  /**
   * A target that ends before it has taken anything leaves the daemon to the source that sent on, which may have to take it back
   * first. What any other node has accepted may be gone with it: whoever publishes must hear of that.
   */
  async #lookFor(gone: MigrationError): Promise<void> {
    this.#gone = undefined;
    this.#goneAt ??= this.#environment.nowMs();
    const isLate = this.#environment.nowMs() - this.#goneAt >= GONE_MS;
    const owner = this.#isSentOn ? await this.#where().catch(() => this.#node) : undefined;
    if (owner !== undefined && owner === this.#sentOnBy) this.#moved = owner;
    else if (owner !== this.#node || isLate) this.#failure ??= gone;
    else await new Promise<void>((resolve) => this.#environment.after(ASK_WHERE_MS, resolve));
  }

  /** Sends again what was refused, after all answers are in. */
  async #settleRefused(): Promise<void> {
    while (this.#refused.length > 0 && this.#failure === undefined) {
      await Promise.all(this.#outstanding);
      if (this.#gone) await this.#lookFor(this.#gone);
      if (this.#failure !== undefined) break;
      // At once to where the daemon has gone; but two nodes that send to each other are not asked in circles.
      const isSentOn = this.#moved !== undefined && this.#moved !== this.#node && !this.#isSentOn;
      if (isSentOn) this.#isSentOn = true;
      else await new Promise<void>((resolve) => this.#environment.after(RETRY_MS, resolve));
      if (this.#moved !== undefined && this.#moved !== this.#node) this.#sentOnBy = this.#node;
      this.#node = this.#moved ?? this.#node;
      this.#moved = undefined;
      const again = this.#refused.sort((a, b) => a.number - b.number);
      this.#refused = [];
      this.#round++;
      for (const batch of again) this.#post(batch);
      await Promise.all(this.#outstanding);
    }
    if (this.#failure !== undefined) {
      throw this.#failure instanceof MigrationError
        ? this.#failure
        : new MigrationError('state-failed', String(this.#failure), { cause: this.#failure });
    }
  }
}
