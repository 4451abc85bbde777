import { createHash } from 'node:crypto';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import type { OutboundMigrationMessage } from '../../lib/migration/handler.js';
import { createCodec } from '../../lib/wire/engine.js';
import { MigrationFailureReason } from '../../lib/wire/failure.js';
import { suite } from '../support.js';
import {
  chunkFrames,
  frame,
  Node,
  ORIGIN,
  OTHER_REQUEST_ID,
  packed,
  SOURCE,
  START,
  STRANGER,
  TARGET,
  TRY,
} from './harness.js';

const forwarding = suite('a batch that an orchestrator forwards');

/** Bytes of SnapshotReady before the chunk; the last four are its length. */
const HEADER_SIZE = 29;
/** 45,000 bytes of state: seven chunks, of which the first six have the same trailer. */
const CHUNKS = chunkFrames(45_000);
const OTHER_TRY = chunkFrames(45_000, TRY + 1n);
/** Of another orchestrator's migration, to here. */
const RIVALS = chunkFrames(45_000, TRY + 2n, OTHER_REQUEST_ID);

/** The first chunk of what is no snapshot. */
const NO_SNAPSHOT = CHUNKS[0]!.slice();
NO_SNAPSHOT[HEADER_SIZE]! ^= 1;
/** What else may come between them. */
const OTHERS = [
  NO_SNAPSHOT,
  CHUNKS[2]!.subarray(0, -1),
  frame({ kind: 'RestoreComplete', daemonOrigin: ORIGIN, restoredSeq: 12n }, { try: TRY }),
  frame(
    { kind: 'MigrationFailed', daemonOrigin: ORIGIN, reason: MigrationFailureReason.stateFailed('x') },
    { try: TRY },
  ),
];
/** As from a peer without extensions: all in one run, but for the first and the last. */
const BARE = CHUNKS.map((chunk) => chunk.subarray(0, HEADER_SIZE + Buffer.from(chunk).readUInt32LE(HEADER_SIZE - 4)));
const SERIES = { chunks: CHUNKS, otherTry: OTHER_TRY, rivals: RIVALS, others: OTHERS, bare: BARE } as const;

/** A stretch of one of the series. */
interface Piece {
  readonly series: keyof typeof SERIES;
  readonly first: number;
  readonly count: number;
}

interface Batch {
  readonly from: bigint;
  readonly pieces: readonly Piece[];
}

const piece: fc.Arbitrary<Piece> = fc.record({
  series: fc.constantFrom('chunks', 'chunks', 'chunks', 'bare', 'otherTry', 'rivals', 'others'),
  first: fc.nat(CHUNKS.length - 1),
  count: fc.integer({ min: 1, max: CHUNKS.length }),
});
const batch: fc.Arbitrary<Batch> = fc.record({
  from: fc.constantFrom(SOURCE, SOURCE, SOURCE, SOURCE, SOURCE, TARGET, STRANGER),
  pieces: fc.array(piece, { minLength: 1, maxLength: 3 }),
});

function framesOf({ pieces }: Batch): readonly Uint8Array[] {
  return pieces.flatMap(({ series, first, count }) => SERIES[series].slice(first, first + count));
}

/** An orchestrator to which pieces are handed, in one way or the other; all that shows of it. */
function outcome(engine: 'native' | 'typescript', hand: (node: Node) => OutboundMigrationMessage[][]) {
  const node = new Node({ codec: createCodec({ engine }) });
  try {
    node.handler.startMigration(ORIGIN, SOURCE, TARGET, START);
    const frames = hand(node).flat();
    const kinds = node.reports.map(({ kind }) => kind);
    return {
      // Brief, so that a difference can be read.
      frames: frames.map(
        ({ destNode, payload }) => `${destNode} ${createHash('sha256').update(payload).digest('hex')}`,
      ),
      refused: node.refused.map((error) => error.message),
      list: node.handler.list(),
      reports: kinds.filter((kind) => kind !== 'progress'),
      told: kinds.length,
    };
  } finally {
    node.handler.dispose();
  }
}

/** A forwarded chunk is a view of its frame. */
function copied({ destNode, payload }: OutboundMigrationMessage): OutboundMigrationMessage {
  return { destNode, payload: new Uint8Array(payload) };
}

function inBatches(batches: readonly Batch[]) {
  return (node: Node) =>
    batches.map((given) => {
      const bytes = packed(framesOf(given));
      const answers = node.handler.handleBatch(bytes, given.from).map(copied);
      // The transport's again.
      bytes.fill(0xee);
      return answers;
    });
}

function oneByOne(batches: readonly Batch[]) {
  return (node: Node) =>
    batches.flatMap((given) =>
      framesOf(given).map((bytes) => node.handler.handleBatch(packed([bytes]), given.from).map(copied)),
    );
}

for (const engine of ['native', 'typescript'] as const) {
  forwarding(`does what its frames do one by one, in any mixture: ${engine}`, () => {
    const property = fc.property(fc.array(batch, { minLength: 1, maxLength: 6 }), (given) => {
      const { told: _, ...together } = outcome(engine, inBatches(given));
      const { told, ...apart } = outcome('typescript', oneByOne(given));
      assert.equal(together, apart);
    });
    fc.assert(property, { numRuns: 300, seed: 7 });
  });

  forwarding(`tells progress once for a run of chunks: ${engine}`, () => {
    const whole = [{ from: SOURCE, pieces: [{ series: 'chunks', first: 0, count: CHUNKS.length }] }] as const;
    const together = outcome(engine, inBatches(whole));
    assert.is(together.frames.filter((sent) => sent.startsWith(`${TARGET} `)).length, CHUNKS.length);
    // The start, the first chunk and the phase that it begins, the run of those behind it, and the last one.
    assert.is(together.told, 5);
    assert.is(outcome(engine, oneByOne(whole)).told, 2 + CHUNKS.length);
  });
}
