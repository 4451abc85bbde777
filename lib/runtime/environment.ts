import { randomBytes } from 'node:crypto';

/** Time and chance, handed in: so that a test owns the clock, and a run can be replayed. */
export interface Environment {
  /** Milliseconds on a clock that never goes back. */
  nowMs(): number;
  /** Wall clock, nanoseconds since the Unix epoch. */
  wallNs(): bigint;
  randomBytes(length: number): Uint8Array;
  /** Calls `run` every `ms` milliseconds until the returned function is called. */
  every(ms: number, run: () => void): () => void;
  /** Calls `run` once after `ms` milliseconds, never where that is Infinity, unless the returned function is called before. */
  after(ms: number, run: () => void): () => void;
  /** Resolves in a later turn of the event loop. */
  turn(): Promise<void>;
}

/** What one timer of the system's can wait; it takes more for 1 ms. */
const LONGEST_MS = 2 ** 31 - 1;

export const systemEnvironment: Environment = {
  nowMs: () => performance.now(),
  wallNs: () => BigInt(Date.now()) * 1_000_000n,
  randomBytes: (length) => randomBytes(length),
  every(ms, run) {
    const timer = setInterval(run, ms);
    return () => clearInterval(timer);
  },
  after(ms, run) {
    let timer: NodeJS.Timeout;
    const wait = (left: number): void => {
      timer = left > LONGEST_MS ? setTimeout(() => wait(left - LONGEST_MS), LONGEST_MS) : setTimeout(run, left);
    };
    wait(ms);
    return () => clearTimeout(timer);
  },
  turn: () => new Promise((resolve) => setImmediate(resolve)),
};
