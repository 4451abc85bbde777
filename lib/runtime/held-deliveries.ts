import { EVENT_OVERHEAD } from '../mesh/channel-history.js';
import type { CausalEvent } from '../wire/link.js';
import type { Environment } from './environment.js';

/** How long a batch waits at the most: well below what its publisher waits for an answer. */
const LONGEST_MS = 200;
/** Bytes that wait here, at the most: while they do, their senders' links have so much less room. */
const MOST_BYTES = 256 * 1024;

/**
 * Batches that came for a held copy, and wait until it is live or gone: so a publisher that was sent on by the source is answered
 * at the moment when the daemon goes on, and need not ask again and again.
 */
export class HeldDeliveries {
  readonly #environment: Pick<Environment, 'after'>;
  readonly #waiting = new Map<bigint, Set<() => void>>();
  #bytes = 0;

  constructor(environment: Pick<Environment, 'after'>) {
    this.#environment = environment;
  }

  /** Resolves when `release` is called, or after a while; undefined where too much waits already. */
  wait(origin: bigint, events: readonly CausalEvent[]): Promise<void> | undefined {
    const bytes = events.reduce((sum, { payload }) => sum + payload.length + EVENT_OVERHEAD, 0);
    if (this.#bytes + bytes > MOST_BYTES) return undefined;
    this.#bytes += bytes;
    const waiting = this.#waiting.get(origin) ?? new Set();
    this.#waiting.set(origin, waiting);
    return new Promise((resolve) => {
      const done = () => {
        stop();
        waiting.delete(done);
        if (waiting.size === 0) this.#waiting.delete(origin);
        this.#bytes -= bytes;
        resolve();
      };
      const stop = this.#environment.after(LONGEST_MS, done);
      waiting.add(done);
    });
  }

  /** The copy is live, or gone. */
  release(origin: bigint): void {
    for (const done of [...(this.#waiting.get(origin) ?? [])]) done();
  }

  releaseAll(): void {
    for (const origin of [...this.#waiting.keys()]) this.release(origin);
  }
}
