import { suite as uvuSuite } from 'uvu';
import { MigrationError, type MigrationErrorKind } from '../lib/errors.js';
import type { CausalEvent, MeshDaemon, StreamedState } from '../lib/index.js';

/**
 * A suite of uvu's. uvu takes an error's `details` for text of its own and stops silently where they are none, so ours are
 * wrapped.
 */
export function suite(name: string): (test: string, run: () => unknown) => void {
  const tests = uvuSuite(name);
  // All tests of a program are known when its last line has run.
  queueMicrotask(() => tests.run());
  return (test, run) =>
    void tests(test, async () => {
      try {
        await run();
      } catch (error) {
        if (!(error instanceof MigrationError)) throw error;
        throw new Error(`${error.kind}: ${error.message}`, { cause: error });
      }
    });
}

/** Events of one publisher: `count` from sequence `first` on, with the sequence as payload. */
export function events(originHash: bigint, first: number, count: number, parentHash = 0n): CausalEvent[] {
  return Array.from({ length: count }, (_, i) => {
    const payload = new Uint8Array(8);
    new DataView(payload.buffer).setBigUint64(0, BigInt(first + i), true);
    return { link: { originHash, horizon: 0n, sequence: BigInt(first + i), parentHash }, payload, receivedAt: 0n };
  });
}

/** Keeps what it processed, in order; gives each payload back as its output. */
export class Recorder implements MeshDaemon {
  readonly name = 'recorder';
  readonly channel: string;
  seen: bigint[] = [];
  /** Called first in each call, so that a test can throw or wait there. */
  before: (call: 'process' | 'snapshot' | 'restore') => void | Promise<void> = () => {};

  constructor(channel = 'recorder') {
    this.channel = channel;
  }

  process({ payload }: CausalEvent): Uint8Array[] | Promise<Uint8Array[]> {
    const done = () => {
      this.seen.push(new DataView(payload.buffer, payload.byteOffset).getBigUint64(0, true));
      return [payload];
    };
    const wait = this.before('process');
    return wait ? wait.then(done) : done();
  }

  snapshot(): Uint8Array | StreamedState | Promise<Uint8Array | StreamedState> {
    const done = () => this.state(new Uint8Array(BigUint64Array.from(this.seen).buffer));
    const wait = this.before('snapshot');
    return wait ? wait.then(done) : done();
  }

  /** How its state leaves. */
  state(bytes: Uint8Array): Uint8Array | StreamedState {
    return bytes;
  }

  restore(state: Uint8Array): void | Promise<void> {
    const done = () => {
      this.seen = [...new BigUint64Array(state.slice().buffer)];
    };
    const wait = this.before('restore');
    return wait ? wait.then(done) : done();
  }
}

/** Turns of the event loop, counted: work that is cut into slices takes one between two. */
export function countedTurns(): { count: number; readonly turn: () => Promise<void> } {
  const turns = {
    count: 0,
    turn: () => {
      turns.count++;
      return new Promise<void>((resolve) => setImmediate(resolve));
    },
  };
  return turns;
}

/** What was thrown, which must be a MigrationError of that kind. */
export async function refusal(kind: MigrationErrorKind, run: () => unknown): Promise<MigrationError> {
  try {
    await run();
  } catch (error) {
    if (error instanceof MigrationError && error.kind === kind) return error;
    throw error;
  }
  throw new Error(`nothing was thrown; a MigrationError ${kind} was expected`);
}

/** Resolves when a condition holds; fails after `ms`. */
export async function eventually(what: string, holds: () => boolean, ms = 5_000): Promise<void> {
  for (const end = Date.now() + ms; Date.now() < end; ) {
    if (holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`after ${ms} ms, still not: ${what}`);
}
