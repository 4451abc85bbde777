import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { MigrationError } from '../../lib/errors.js';
import type { FrameCodec, MigrationCodec } from '../../lib/wire/codec.js';
import { ENGINES, loadEngine } from '../conformance/engines.js';
import { comparable } from '../conformance/frames.js';
import { isMigrationCodec } from '../conformance/runner.js';

/** Cases per property: `FC_RUNS`, else what an ordinary test run can afford. */
export const RUNS = Number(process.env.FC_RUNS ?? 1_000);

const loaded = await Promise.all(ENGINES.map(loadEngine));

/** Every engine that is available here. */
export const frameCodecs: readonly FrameCodec[] = loaded.flatMap((engine) => ('codec' in engine ? [engine.codec] : []));
export const codecs: readonly MigrationCodec[] = frameCodecs.filter(isMigrationCodec);

/** Runs a property; what it throws holds the smallest counterexample and the seed that finds it again. */
export function holds<T>(arbitrary: fc.Arbitrary<T>, predicate: (value: T) => void, share = 1): void {
  const numRuns = Math.max(1, Math.round(RUNS * share));
  fc.assert(fc.property(arbitrary, predicate), { numRuns });
}

/** What a call gave: its value, byte arrays as hex, or the kind with which it was refused. */
export function outcome(body: () => unknown): unknown {
  try {
    return { value: comparable(body()) };
  } catch (error) {
    if (error instanceof MigrationError) return { refused: error.kind };
    throw error;
  }
}

/** That all engines give the same. @returns what they gave */
export function agree<C extends FrameCodec>(engines: readonly C[], body: (codec: C) => unknown): unknown {
  const [first, ...others] = engines.map((codec) => outcome(() => body(codec)));
  others.forEach((other, i) => {
    assert.equal(other, first, `${engines[i + 1]!.engine} beside ${engines[0]!.engine}`);
  });
  return first;
}
