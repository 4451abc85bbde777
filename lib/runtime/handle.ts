import { MigrationError } from '../errors.js';
import { millisecondsFromZero } from '../limits.js';
import type { MigrationMode, MigrationPhase, MigrationProgress } from '../migration/core.js';
import { asMigrationError } from '../migration/failure.js';
import { checkOptions } from '../options.js';
import type { Environment } from './environment.js';
import { Latest } from './latest.js';
import { type HandleProgress, type MigrationState, ProgressMeter } from './progress.js';
import { decodeRebindReport, type RebindReport } from './rebind-report.js';
import { retryDelay } from './retry.js';
import type { Slots } from './slots.js';

/** How a cancellation ended: the daemon goes on at its source; it was too late; or the migration failed of itself, or nobody said in time. */
export type CancelOutcome = 'cancelled' | 'completed' | 'failed';

/** What a handle needs of its runtime. */
export interface HandleOptions {
  readonly origin: bigint;
  readonly source: bigint;
  readonly target: bigint;
  readonly environment: Environment;
  /** Begins an attempt. @throws MigrationError where it cannot be begun */
  readonly begin: () => void;
  /** Whose turn it is: an attempt holds one from its beginning to its end. */
  readonly slots: Slots;
  /** Ends the attempt that is under way. */
  readonly cancel: () => void;
  /** Milliseconds for which a target that is not ready is asked again. */
  readonly retryBudgetMs: number;
  readonly mode: MigrationMode;
  readonly signal: AbortSignal | undefined;
  readonly onProgress: ((progress: HandleProgress) => void) | undefined;
  /** The migration is over, however it ended. */
  readonly onSettled: () => void;
}

/** A migration that this runtime leads. */
export class MigrationHandle implements AsyncDisposable {
  readonly origin: bigint;
  readonly source: bigint;
  readonly target: bigint;
  readonly #options: HandleOptions;
  readonly #settled: Promise<void>;
  readonly #startedAt: number;
  readonly #latest: Latest<HandleProgress>;
  readonly #abort = () => void this.cancel();
  #resolve!: () => void;
  #reject!: (error: MigrationError) => void;
  #meter: ProgressMeter;
  #progress: MigrationProgress;
  #state: MigrationState = 'running';
  #attempt = 0;
  #rebind: RebindReport = { done: 0, retrying: 0, failed: 0, subscriptions: [] };
  #rebindNumber = 0;
  /** Ends what stands between two attempts, or before the first. */
  #stopWaiting: (() => void) | undefined;
  #hasSlot = false;

  /** For the runtime. */
  constructor(options: HandleOptions) {
    const { origin, source, target, environment } = options;
    this.origin = origin;
    this.source = source;
    this.target = target;
    this.#options = options;
    this.#startedAt = environment.nowMs();
    this.#meter = new ProgressMeter(this.#startedAt, options.mode);
    this.#progress = { origin, source, target, phase: 'Snapshot', bytesDone: 0, bytesTotal: 0, eventsWaiting: 0 };
    this.#latest = new Latest(this.#measure());
    this.#settled = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // A caller who never waits must not be ended by a rejection that nobody handles.
    this.#settled.catch(() => {});
  }

  get phase(): MigrationPhase {
    return this.#progress.phase;
  }

  get state(): MigrationState {
    return this.#state;
  }

  /**
   * What has become of the daemon's subscriptions at its target, as that last told: when the daemon goes live, and whenever
   * it changes while the target still tries, also behind the migration's end. Zeros before that.
   */
  get rebind(): RebindReport {
    return this.#rebind;
  }

  /** Where the migration stands now. */
  get status(): HandleProgress {
    return this.#measure();
  }

  /** Each reader gets the newest whenever it asks, and ends behind the last one. */
  get progress(): AsyncIterable<HandleProgress> {
    return this.#latest;
  }

  /**
   * Resolves when the daemon is live on the target.
   *
   * @param options `timeout` in milliseconds; the migration goes on when it has passed
   * @throws MigrationError why the migration failed, or `timed-out`; TypeError or RangeError where that is no time
   */
  async wait(options: { readonly timeout?: number } = {}): Promise<void> {
    checkOptions(options, 'options', { timeout: millisecondsFromZero }, '{ timeout: 5_000 }');
    const { timeout } = options;
    if (timeout === undefined) return this.#settled;
    let stop = () => {};
    const late = new Promise<never>((_, reject) => {
      stop = this.#options.environment.after(timeout, () => {
        const message = `the migration of daemon ${this.origin} is still in phase ${this.phase} after ${timeout} ms; it goes on`;
        reject(new MigrationError('timed-out', message, { details: { origin: this.origin, phase: this.phase } }));
      });
    });
    try {
      await Promise.race([this.#settled, late]);
    } finally {
      stop();
    }
  }

  /**
   * Ends the migration, unless the target has the daemon already: then it goes on to its end. `wait` rejects with
   * `cancelled` when the daemon goes on at its source, and with `handed-over` where it may have been offered and the source has
   * said nothing until the deadline of the policy's `Rollback`: the ownership register tells then who has it. Idempotent.
   *
   * @returns how it ended, once that is known
   */
  cancel(): Promise<CancelOutcome> {
    this.cancelWaiting();
    if (this.#state === 'running') {
      this.#enter('cancelling');
      this.#options.cancel();
    }
    return this.#settled.then(
      () => 'completed' as const,
      () => (this.#state === 'cancelled' ? 'cancelled' : 'failed'),
    );
  }

  /** Cancels what is under way, and waits for its end. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isOver()) return;
    await this.cancel();
  }

  /** For the runtime: ends what has not been begun, or waits to be begun again. */
  cancelWaiting(): void {
    if (this.#state !== 'retrying' && this.#state !== 'queued') return;
    this.settle(new MigrationError('cancelled', `the migration of daemon ${this.origin} was cancelled`));
  }

  /** For the runtime: the first attempt. @throws MigrationError where it cannot be begun */
  start(): void {
    const { signal } = this.#options;
    if (signal?.aborted) {
      this.#state = 'cancelling';
      this.settle(
        new MigrationError('cancelled', `the migration of daemon ${this.origin} was aborted before it began`, {
          cause: signal.reason,
        }),
      );
      return;
    }
    this.#hasSlot = this.#options.slots.tryTake();
    if (this.#hasSlot) this.#begin();
    else this.#queue();
    // What was refused at once is over: a signal that lives on keeps nothing of it.
    if (!this.#isOver()) signal?.addEventListener('abort', this.#abort, { once: true });
  }

  /** For the runtime: the orchestrator's newest word. */
  update(progress: MigrationProgress): void {
    if (this.#isOver()) return;
    this.#progress = progress;
    this.#publish();
  }

  /** For the runtime: what the target tells of subscriptions. @throws MigrationError `truncated`, `trailing-bytes` */
  noteRebind(encoded: Uint8Array): void {
    const { number, report } = decodeRebindReport(encoded);
    // One that was overtaken says less.
    if (number <= this.#rebindNumber) return;
    this.#rebindNumber = number;
    this.#rebind = report;
  }

  /** For the runtime: an attempt has ended. */
  attemptEnded(error: MigrationError | undefined): void {
    const delay = error?.kind === 'not-ready' && this.#state === 'running' ? this.#nextDelay() : undefined;
    if (delay === undefined) this.settle(error?.kind === 'not-ready' ? this.#gaveUp(error) : error);
    else {
      this.#enter('retrying');
      this.#stopWaiting = this.#options.environment.after(delay, () => this.#tryAgain());
      this.#giveSlot();
    }
  }

  /** For the runtime: it is over. */
  settle(error: MigrationError | undefined): void {
    if (this.#isOver()) return;
    this.#stopWaiting?.();
    this.#options.signal?.removeEventListener('abort', this.#abort);
    const wasCancelled = error?.kind === 'cancelled';
    this.#enter(error === undefined ? 'completed' : wasCancelled ? 'cancelled' : 'failed');
    this.#latest.end();
    this.#options.onSettled();
    if (error) this.#reject(error);
    else this.#resolve();
    this.#giveSlot();
  }

  #tryAgain(): void {
    this.#stopWaiting = undefined;
    this.#hasSlot = this.#options.slots.tryTake();
    if (this.#hasSlot) this.#beginLater();
    else this.#queue();
  }

  /** Waits until one of those that are under way is over. */
  #queue(): void {
    this.#enter('queued');
    this.#stopWaiting = this.#options.slots.queue(() => {
      this.#stopWaiting = undefined;
      this.#hasSlot = true;
      this.#beginLater();
    });
  }

  /** Nobody is there to catch what this attempt cannot begin for. */
  #beginLater(): void {
    try {
      this.#begin();
    } catch (error) {
      this.settle(asMigrationError(error));
    }
  }

  #begin(): void {
    this.#attempt++;
    this.#meter = new ProgressMeter(this.#options.environment.nowMs(), this.#options.mode);
    this.#enter('running');
    try {
      this.#options.begin();
    } catch (error) {
      this.#giveSlot();
      throw error;
    }
  }

  #giveSlot(): void {
    if (!this.#hasSlot) return;
    this.#hasSlot = false;
    this.#options.slots.release();
  }

  #nextDelay(): number | undefined {
    const elapsed = this.#options.environment.nowMs() - this.#startedAt;
    return retryDelay(this.#attempt, elapsed, this.#options.retryBudgetMs);
  }

  #gaveUp(cause: MigrationError): MigrationError {
    if (this.#state !== 'running' || this.#options.retryBudgetMs === 0) return cause;
    const { origin, target, retryBudgetMs } = this.#options;
    const message = `node ${target} was not ready for daemon ${origin} in ${this.#attempt} attempts within ${retryBudgetMs} ms; call start() on its runtime, or give retryNotReady a larger budget`;
    return new MigrationError('not-ready-timeout', message, {
      details: { origin, target, attempts: this.#attempt },
      cause,
    });
  }

  #isOver(): boolean {
    return this.#state === 'completed' || this.#state === 'cancelled' || this.#state === 'failed';
  }

  #enter(state: MigrationState): void {
    this.#state = state;
    this.#publish();
  }

  #measure(): HandleProgress {
    return this.#meter.measure(this.#progress, this.#state, this.#attempt, this.#options.environment.nowMs());
  }

  #publish(): void {
    const progress = this.#measure();
    this.#latest.set(progress);
    // Never inside the dispatcher: a listener may throw, or call back.
    if (this.#options.onProgress) queueMicrotask(() => this.#tell(progress));
  }

  #tell(progress: HandleProgress): void {
    try {
      this.#options.onProgress?.(progress);
    } catch (error) {
      process.emitWarning(`onProgress threw: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
}
