import { MigrationError } from '../errors.js';
import { isPromise, type MaybePromise } from '../maybe-promise.js';
import { asMigrationError } from '../migration/failure.js';
import type { SubscriptionBinding, SubscriptionLedger } from '../wire/ledger.js';
import type { Environment } from './environment.js';
import type { RebindPolicy } from './rebind-policy.js';

const FIRST_RETRY_MS = 250;
const LONGEST_RETRY_MS = 5_000;
/** Subscriptions begun, or given up, before the event loop gets its turn. */
const SLICE = 100;
/** What more tries do not change. */
const FINAL = new Set(['position-expired', 'not-authorised']);

export interface RebindOptions {
  /** For messages: whose subscriptions they are. */
  readonly origin: bigint;
  readonly ledger: SubscriptionLedger;
  readonly environment: Environment;
  readonly policy: RebindPolicy;
  /** Subscribes once. It may throw, reject, or never answer. */
  readonly open: (binding: SubscriptionBinding) => MaybePromise<void>;
  /** The book has changed. */
  readonly onChange: () => void;
  /** A subscription has failed for good. */
  readonly report: (error: MigrationError) => void;
}

/** A subscription that has failed once at least. */
export interface RebindProblem {
  readonly binding: SubscriptionBinding;
  readonly reason: string;
}

interface Try {
  readonly since: number;
}

/**
 * Subscribes everywhere in a ledger, whose own book tells what is pending, done and failed. What is away does not hold the
 * others, and is tried again until the deadline.
 */
export class Rebind {
  readonly #options: RebindOptions;
  readonly #startedAt: number;
  readonly #problems = new Map<string, RebindProblem>();
  readonly #inFlight = new Map<string, Try>();
  #round = 0;
  #isOver = false;
  /** A round is under way: the next one waits for its own turn. */
  #isTrying = false;
  #stopTimer = () => {};
  #stopWaiting = () => {};

  constructor(options: RebindOptions) {
    this.#options = options;
    this.#startedAt = options.environment.nowMs();
  }

  /** Those that have failed once at least, and are not done. */
  get problems(): Iterable<RebindProblem> {
    return this.#problems.values();
  }

  /** Why one of these is not done. */
  reason(binding: SubscriptionBinding): string | undefined {
    return this.#problems.get(keyOf(binding))?.reason;
  }

  /** @returns a promise that resolves when each has been tried, and has answered or been waited for long enough */
  begin(): MaybePromise<void> {
    const { ledger } = this.#options;
    ledger.beginRebind();
    if (ledger.size === 0) {
      this.stop();
      return;
    }
    this.#schedule();
    return this.#tryAll().then(() => this.#wait());
  }

  /** For what is begun, so long as somebody may still answer. */
  #wait(): MaybePromise<void> {
    if (this.#isOver || this.#inFlight.size === 0) return;
    const { environment, policy } = this.#options;
    return new Promise((resolve) => {
      const stop = environment.after(policy.waitMs, resolve);
      this.#stopWaiting = () => {
        stop();
        resolve();
      };
    });
  }

  /** What is still pending stays so; answers that come later count no more. */
  stop(): void {
    this.#isOver = true;
    this.#stopTimer();
    this.#stopWaiting();
    this.#inFlight.clear();
  }

  #schedule(): void {
    const { environment, policy } = this.#options;
    const left = this.#startedAt + policy.deadlineMs - environment.nowMs();
    const delay = Math.min(FIRST_RETRY_MS * 2 ** this.#round++, LONGEST_RETRY_MS, left);
    this.#stopTimer = environment.after(delay, () => this.#again());
  }

  #again(): void {
    const { environment, policy } = this.#options;
    if (environment.nowMs() - this.#startedAt >= policy.deadlineMs) {
      void this.#giveUp();
      return;
    }
    this.#schedule();
    void this.#tryAll();
  }

  /** Begins a try of each, some in a turn. */
  async #tryAll(): Promise<void> {
    if (this.#isTrying) return;
    this.#isTrying = true;
    await this.#forPending((binding) => {
      if (!this.#isWaiting(keyOf(binding))) void this.#try(binding);
    });
    this.#isTrying = false;
  }

  /** Some in a turn: what is pending when it begins, until the rebind is over. */
  async #forPending(work: (binding: SubscriptionBinding) => void): Promise<void> {
    const { ledger, environment } = this.#options;
    let looked = 0;
    for (const binding of ledger.pendingRebinds(ledger.rebindCounts.pending)) {
      if (looked > 0 && looked % SLICE === 0) await environment.turn();
      if (this.#isOver) return;
      looked++;
      work(binding);
    }
  }

  /** Whether a try is still to be answered. */
  #isWaiting(key: string): boolean {
    const { environment, policy } = this.#options;
    const last = this.#inFlight.get(key);
    return last !== undefined && environment.nowMs() - last.since < policy.tryMs;
  }

  #try(binding: SubscriptionBinding): MaybePromise<void> {
    const { ledger, environment, open } = this.#options;
    const { publisher, channel } = binding;
    if (!ledger.markTried(publisher, channel)) return;
    const key = keyOf(binding);
    const now: Try = { since: environment.nowMs() };
    // One that hangs is a problem too, though it says nothing.
    if (this.#inFlight.has(key)) this.#problems.set(key, { binding, reason: 'no answer' });
    this.#inFlight.set(key, now);
    const failed = (error: unknown) => {
      if (this.#inFlight.get(key) === now) this.#failed(binding, asMigrationError(error));
    };
    try {
      const opened = open(binding);
      return isPromise(opened) ? opened.then(() => this.#done(binding), failed) : this.#done(binding);
    } catch (error) {
      return failed(error);
    }
  }

  #done(binding: SubscriptionBinding): void {
    if (this.#isOver) return;
    this.#options.ledger.markDone(binding.publisher, binding.channel);
    this.#problems.delete(keyOf(binding));
    this.#settle(keyOf(binding));
  }

  #failed(binding: SubscriptionBinding, error: MigrationError): void {
    const { ledger, report } = this.#options;
    this.#problems.set(keyOf(binding), { binding, reason: error.message });
    if (FINAL.has(error.kind)) {
      ledger.markFailed(binding.publisher, binding.channel, error.message);
      report(error);
    }
    this.#settle(keyOf(binding));
  }

  #settle(key: string): void {
    this.#inFlight.delete(key);
    if (this.#inFlight.size === 0) this.#stopWaiting();
    if (this.#options.ledger.rebindCounts.pending === 0) this.stop();
    this.#options.onChange();
  }

  /** Of what answers meanwhile, nothing is given up. */
  async #giveUp(): Promise<void> {
    const { origin, ledger, policy, report, onChange } = this.#options;
    const { deadlineMs } = policy;
    const { size } = ledger;
    let count = 0;
    let first: RebindProblem | undefined;
    await this.#forPending((binding) => {
      const { publisher, channel } = binding;
      if (ledger.rebindState(publisher, channel)?.state !== 'pending') return;
      const problem = { binding, reason: this.reason(binding) ?? 'no answer' };
      this.#problems.set(keyOf(binding), problem);
      ledger.markFailed(publisher, channel, problem.reason);
      first ??= problem;
      count++;
    });
    this.stop();
    if (!first) return;
    const { binding, reason } = first as RebindProblem;
    const { publisher, channel } = binding;
    const message = `${count} of ${size} subscriptions of daemon ${origin} could not be made again within ${deadlineMs} ms; the first: channel "${channel}" of node ${publisher}: ${reason}. Call subscribeChannel when it is back`;
    report(new MigrationError('timed-out', message, { details: { origin, publisher, channel } }));
    onChange();
  }
}

/** One text per (publisher, channel). */
export function keyOf({ publisher, channel }: Pick<SubscriptionBinding, 'publisher' | 'channel'>): string {
  return `${publisher}/${channel}`;
}
