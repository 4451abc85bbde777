import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { type Recorder, suite } from '../support.js';
import {
  type Cluster,
  type ClusterOptions,
  inCluster,
  ORCHESTRATOR,
  ORIGIN,
  OTHER,
  STRANGER,
  TARGET,
} from './cluster.js';
import { packed } from './harness.js';

/** 40,000 bytes of state: six chunks, of which the first five have the same trailer. */
const HISTORY = 5_000;
const ENGINES = ['native', 'typescript'] as const;

/** What an orchestrator sends to a target: two daemons, and of one a try that was cancelled before. */
function recorded(extensions: boolean): Uint8Array[] {
  return inCluster({ history: HISTORY, extensions }, (cluster) => {
    const toTarget = () =>
      cluster.sent.filter(({ from, to }) => from === ORCHESTRATOR && to === TARGET).map(({ payload }) => payload);
    cluster.start();
    while (cluster.orchestrator.handler.list()[0]?.phase !== 'Restore') cluster.deliver();
    cluster.cancel();
    cluster.quiet();
    cluster.start();
    cluster.startOther(HISTORY);
    cluster.quiet();
    return toTarget();
  });
}

const FRAMES = recorded(true);
/** The same without trailers: nothing but the origin tells one daemon's chunks from the other's. */
const BARE_FRAMES = recorded(false);

/** A stretch of the recorded frames, or something that is no frame of any migration. */
type Piece =
  | { readonly from: number; readonly count: number }
  | { readonly broken: number; readonly how: 'cut' | 'type' | 'trailer' | 'none' };

const piece: fc.Arbitrary<Piece> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ from: fc.nat(FRAMES.length - 1), count: fc.integer({ min: 1, max: FRAMES.length }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      broken: fc.nat(FRAMES.length - 1),
      how: fc.constantFrom('cut' as const, 'type' as const, 'trailer' as const, 'none' as const),
    }),
  },
);

function framesOf(given: Piece): Uint8Array[] {
  if ('count' in given) return FRAMES.slice(given.from, given.from + given.count);
  const frame = FRAMES[given.broken]!;
  if (given.how === 'none') return [new Uint8Array(0)];
  if (given.how === 'cut') return [frame.subarray(0, frame.length - 1)];
  const other = frame.slice();
  other[given.how === 'type' ? 0 : other.length - 3]! ^= 0x55;
  return [other];
}

/** A target to which the frames are handed, in one way or the other; all that shows of it. */
function outcome(options: ClusterOptions, hand: (cluster: Cluster) => void) {
  return inCluster(options, (cluster) => {
    const { source, target } = cluster;
    // The frames come from another cluster's source.
    source.registry.remove(ORIGIN)!.dispose();
    for (const origin of [ORIGIN, OTHER]) target.expect(origin);
    hand(cluster);
    const copies = [ORIGIN, OTHER].map((origin) => target.registry.get(origin));
    return {
      sent: cluster.sent.map(({ to, payload }) => `${to} ${Buffer.from(payload).toString('hex')}`),
      refused: target.refused.map(({ kind, details }) => [kind, details]),
      list: target.handler.list(),
      copies: copies.map((copy) => copy && [copy.gate, copy.head, copy.epoch, (copy.daemon as Recorder).seen.length]),
      reports: target.reports.map(({ kind }) => kind),
    };
  });
}

function inBatches(frames: readonly Uint8Array[], cuts: readonly number[], tail: Uint8Array) {
  const edges = [0, ...cuts.map((cut) => cut % (frames.length + 1)).sort((a, b) => a - b), frames.length];
  return (cluster: Cluster) => {
    edges.slice(1).forEach((end, i) => {
      const batch = Buffer.concat([packed(frames.slice(edges[i]!, end)), tail]);
      cluster.take(TARGET, cluster.target.handler.handleBatch(batch, ORCHESTRATOR));
      // The transport's again.
      batch.fill(0xee);
    });
  };
}

function oneByOne(frames: readonly Uint8Array[]) {
  return (cluster: Cluster) => {
    for (const payload of frames) cluster.hand({ from: ORCHESTRATOR, to: TARGET, payload });
  };
}

const batches = suite('a batch');

for (const engine of ENGINES) {
  batches(`does what its frames do one by one, of all that was recorded: ${engine}`, () => {
    const expected = outcome({ engine: 'typescript' }, oneByOne(FRAMES));
    assert.equal(
      expected.copies.map((copy) => copy?.[0]),
      // Their source has not said that it has stopped: its frames are not among them.
      ['held', 'held'],
    );
    assert.equal(outcome({ engine }, inBatches(FRAMES, [], new Uint8Array(0))), expected);
  });

  batches(`does what its frames do one by one, in any mixture, with half a frame at the end: ${engine}`, () => {
    const property = fc.property(
      fc.array(piece, { minLength: 1, maxLength: 8 }),
      fc.array(fc.nat(), { maxLength: 3 }),
      fc.nat(12_000),
      (pieces, cuts, half) => {
        const frames = pieces.flatMap(framesOf);
        const tail = packed([FRAMES[0]!]).subarray(0, half % (FRAMES[0]!.length + 4));
        assert.equal(
          outcome({ engine }, inBatches(frames, cuts, tail)),
          outcome({ engine: 'typescript' }, oneByOne(frames)),
        );
      },
    );
    fc.assert(property, { numRuns: 60, seed: 6 });
  });

  batches(`from a stranger does nothing: ${engine}`, () => {
    const { copies, list, refused } = outcome({ engine }, (cluster) => {
      cluster.take(TARGET, cluster.target.handler.handleBatch(packed(FRAMES), STRANGER));
    });
    assert.equal([copies, list], [[undefined, undefined], []]);
    assert.ok(refused.length > 0);
  });
}

for (const engine of ENGINES) {
  batches(`of chunks without trailers does what its frames do one by one, however they are mixed: ${engine}`, () => {
    const [first, second] = [ORIGIN, OTHER].map((origin) => BARE_FRAMES.filter((frame) => isChunkOf(frame, origin)));
    const mixed = fc.shuffledSubarray([...first!.slice(0, 6), ...second!], { minLength: 9 });
    const property = fc.property(mixed, (frames) => {
      const without = { engine, extensions: false };
      const expected = outcome({ ...without, engine: 'typescript' }, oneByOne(frames));
      assert.equal(outcome(without, inBatches(frames, [], new Uint8Array(0))), expected);
    });
    fc.assert(property, { numRuns: 40, seed: 6 });
  });
}

function isChunkOf(frame: Uint8Array, origin: bigint): boolean {
  return frame[0] === 1 && Buffer.from(frame).readBigUInt64LE(1) === origin;
}

batches('that is empty, or less than a length, does nothing', () => {
  for (const batch of [new Uint8Array(0), new Uint8Array(3), Uint8Array.of(255, 255, 255, 255)]) {
    const { sent, refused } = outcome({ engine: 'native' }, (cluster) => {
      cluster.take(TARGET, cluster.target.handler.handleBatch(batch, ORCHESTRATOR));
    });
    assert.equal([sent, refused], [[], []]);
  }
});
