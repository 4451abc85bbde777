import { MigrationError } from '../errors.js';
import type { MigrationPhase, MigrationProgress } from '../migration/core.js';

/** A migration that this runtime leads. */
export class MigrationHandle {
  readonly origin: bigint;
  readonly source: bigint;
  readonly target: bigint;
  readonly #cancel: () => void;
  readonly #settled: Promise<void>;
  #resolve!: () => void;
  #reject!: (error: MigrationError) => void;
  #progress: MigrationProgress;
  readonly #onProgress: ((progress: MigrationProgress) => void) | undefined;

  constructor(
    progress: MigrationProgress,
    cancel: () => void,
    onProgress: ((progress: MigrationProgress) => void) | undefined,
  ) {
    this.origin = progress.origin;
    this.source = progress.source;
    this.target = progress.target;
    this.#progress = progress;
    this.#cancel = cancel;
    this.#onProgress = onProgress;
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

  get progress(): MigrationProgress {
    return this.#progress;
  }

  /**
   * Resolves when the daemon is live on the target.
   *
   * @param options `timeout` in milliseconds; the migration goes on when it has passed
   * @throws MigrationError why the migration failed, or `timed-out`
   */
  async wait(options: { readonly timeout?: number } = {}): Promise<void> {
    if (options.timeout === undefined) return this.#settled;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        const message = `the migration of daemon ${this.origin} is still in phase ${this.phase} after ${options.timeout} ms; it goes on`;
        reject(new MigrationError('timed-out', message, { details: { origin: this.origin, phase: this.phase } }));
      }, options.timeout);
    });
    try {
      await Promise.race([this.#settled, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Ends the migration unless it is over. `wait` rejects with `cancelled` when the daemon goes on at its source. Idempotent. */
  cancel(): void {
    this.#cancel();
  }

  /** For the runtime. */
  update(progress: MigrationProgress): void {
    this.#progress = progress;
    // Never inside the dispatcher: a listener may throw, or call back.
    if (this.#onProgress) queueMicrotask(() => this.#tell(progress));
  }

  #tell(progress: MigrationProgress): void {
    try {
      this.#onProgress?.(progress);
    } catch (error) {
      process.emitWarning(`onProgress threw: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  /** For the runtime. */
  settle(error: MigrationError | undefined): void {
    if (error) this.#reject(error);
    else this.#resolve();
  }
}
