import { blake3 } from '@noble/hashes/blake3.js';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FrameColumns } from '../../lib/wire/columns.js';
import { MessageType } from '../../lib/wire/message.js';
import type { AssembledSnapshot, SnapshotReassembler } from '../../lib/wire/reassembler.js';
import { comparable } from '../conformance/frames.js';
import * as any from './arbitraries.js';
import { agree, frameCodecs, holds, outcome } from './support.js';

const test = suite(`reassembly on ${frameCodecs.map((codec) => codec.engine).join(', ')}`);

interface Feed {
  readonly op: 'feed';
  readonly origin: bigint;
  readonly seq: bigint;
  readonly index: number;
  readonly total: number;
  readonly length: number;
  readonly fill: number;
}

type Operation =
  | Feed
  | { readonly op: 'cancel' | 'forget'; readonly origin: bigint }
  | { readonly op: 'wait'; readonly ms: number }
  | { readonly op: 'sweep'; readonly maxIdleMs: number };

interface Pending {
  readonly seq: bigint;
  readonly total: number;
  readonly chunks: Map<number, Uint8Array>;
  progressMs: number;
}

const sizeOf = (pending: Pending) => [...pending.chunks.values()].reduce((sum, chunk) => sum + chunk.length, 0);

/** The rules of the contract over plain maps. */
class Model {
  readonly pending = new Map<bigint, Pending>();
  readonly latest = new Map<bigint, bigint>();
  nowMs = 0;

  constructor(readonly maxSnapshotBytes: number) {}

  feed({ origin, seq, index, total, length, fill }: Feed): Uint8Array | string | undefined {
    if (total === 0) return 'zero-total-chunks';
    if (total > 700_000) return 'total-chunks-too-large';
    if (index >= total) return 'chunk-index-out-of-range';
    if (length === 0) return 'empty-chunk';
    if (length > 7_000) return 'chunk-too-large';
    const latest = this.latest.get(origin);
    if (latest !== undefined && seq < latest) return 'stale-seq-through';
    const known = this.pending.get(origin);
    const current = known?.seq === seq ? known : undefined;
    if (current !== undefined && current.total !== total) return 'total-chunks-mismatch';
    const buffered = current === undefined ? 0 : sizeOf(current) - (current.chunks.get(index)?.length ?? 0);
    if (buffered + length > this.maxSnapshotBytes) return 'snapshot-too-large';
    if (current === undefined && total > this.maxSnapshotBytes) return 'snapshot-too-large';
    const pending = current ?? { seq, total, chunks: new Map(), progressMs: this.nowMs };
    if (!pending.chunks.has(index)) pending.progressMs = this.nowMs;
    pending.chunks.set(index, new Uint8Array(length).fill(fill));
    this.latest.set(origin, seq);
    this.pending.set(origin, pending);
    if (pending.chunks.size < total) return undefined;
    this.pending.delete(origin);
    return Buffer.concat(Array.from({ length: total }, (_, i) => pending.chunks.get(i)!));
  }

  missing(origin: bigint, limit: number): number[] {
    const pending = this.pending.get(origin);
    const runs: number[] = [];
    for (let i = 0; pending !== undefined && i < pending.total; i++) {
      if (pending.chunks.has(i)) continue;
      if (runs.at(-1) === i) runs[runs.length - 1] = i + 1;
      else if (runs.length === 2 * limit) break;
      else runs.push(i, i + 1);
    }
    return runs;
  }

  sweep(maxIdleMs: number): number {
    const idle = [...this.pending].filter(([, { progressMs }]) => this.nowMs - progressMs >= maxIdleMs);
    for (const [origin] of idle) this.pending.delete(origin);
    return idle.length;
  }
}

const origin = fc.constantFrom(0n, 1n, 2n ** 64n - 1n);

const feed: fc.Arbitrary<Feed> = fc.record({
  op: fc.constant('feed' as const),
  origin,
  seq: fc.oneof({ weight: 6, arbitrary: fc.constant(5n) }, { weight: 1, arbitrary: fc.constantFrom(0n, 4n, 6n, 7n) }),
  index: fc.oneof({ weight: 12, arbitrary: fc.nat({ max: 4 }) }, { weight: 1, arbitrary: any.u32 }),
  total: fc.oneof({ weight: 12, arbitrary: fc.constantFrom(3, 3, 3, 4, 1) }, { weight: 1, arbitrary: any.u32 }),
  length: fc.oneof(
    { weight: 6, arbitrary: fc.constant(7_000) },
    { weight: 3, arbitrary: fc.integer({ min: 1, max: 6_999 }) },
    { weight: 1, arbitrary: fc.constantFrom(0, 7_001) },
  ),
  fill: fc.nat({ max: 255 }),
});

const operation: fc.Arbitrary<Operation> = fc.oneof(
  { weight: 16, arbitrary: feed },
  { weight: 1, arbitrary: fc.record({ op: fc.constantFrom('cancel' as const, 'forget' as const), origin }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('wait' as const), ms: fc.nat({ max: 500 }) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('sweep' as const), maxIdleMs: fc.nat({ max: 600 }) }) },
);

const columns = new FrameColumns(1);

function feedRow(reassembler: SnapshotReassembler, chunk: Uint8Array, one: Feed, nowMs: number) {
  columns.count = 1;
  columns.status[0] = 0;
  columns.type[0] = MessageType.SnapshotReady;
  columns.origin[0] = one.origin;
  columns.word[0] = one.seq;
  columns.index[0] = one.index;
  columns.total[0] = one.total;
  columns.payloadOffset[0] = 0;
  columns.payloadLength[0] = chunk.length;
  const { next, snapshot, error } = reassembler.feedBatch(chunk, columns, 0, 1, nowMs);
  assert.is(next, error === undefined ? 1 : 0, 'feedBatch next');
  if (error !== undefined) throw error;
  return snapshot;
}

function run(reassembler: SnapshotReassembler, model: Model, one: Operation, byRow: boolean, digest: boolean): void {
  switch (one.op) {
    case 'feed': {
      const { origin, seq, index, total } = one;
      const chunk = new Uint8Array(one.length).fill(one.fill);
      const expected = model.feed(one);
      let snapshot: AssembledSnapshot | undefined;
      const got = outcome(() => {
        snapshot = byRow
          ? feedRow(reassembler, chunk, one, model.nowMs)
          : reassembler.feed(origin, seq, index, total, chunk, model.nowMs);
        return snapshot?.bytes;
      });
      assert.equal(got, typeof expected === 'string' ? { refused: expected } : { value: comparable(expected) }, 'feed');
      if (snapshot === undefined) return;
      assert.equal([snapshot.daemonOrigin, snapshot.seqThrough], [origin, seq], 'whose snapshot');
      const wanted = digest ? blake3(snapshot.bytes) : undefined;
      assert.equal(comparable(snapshot.digest), comparable(wanted), 'digest');
      snapshot.dispose();
      return;
    }
    case 'cancel':
      assert.is(reassembler.cancel(one.origin), model.pending.delete(one.origin), 'cancel');
      return;
    case 'forget':
      model.pending.delete(one.origin);
      assert.is(reassembler.forget(one.origin), model.latest.delete(one.origin), 'forget');
      return;
    case 'wait':
      model.nowMs += one.ms;
      return;
    case 'sweep':
      assert.is(reassembler.sweep(model.nowMs, one.maxIdleMs), model.sweep(one.maxIdleMs), 'sweep');
      return;
  }
}

function same(reassembler: SnapshotReassembler, model: Model, origin: bigint): void {
  assert.is(reassembler.pendingCount, model.pending.size, 'pendingCount');
  const pending = model.pending.get(origin);
  const progress = pending && {
    seqThrough: pending.seq,
    totalChunks: pending.total,
    receivedChunks: pending.chunks.size,
    receivedBytes: sizeOf(pending),
  };
  assert.equal(comparable(reassembler.progress(origin)), comparable(progress), 'progress');
  if (pending === undefined || pending.total < 100) {
    assert.equal([...reassembler.missing(origin, 2)], model.missing(origin, 2), 'missing');
  }
}

test('any script: every engine does what the contract says', () => {
  const script = fc.record({
    operations: fc.array(operation, { maxLength: 60, size: 'max' }),
    maxSnapshotBytes: fc.constantFrom(2 ** 32, 2 ** 32, 14_000, 20_999, 2),
    byRow: fc.boolean(),
    digest: fc.boolean(),
  });
  holds(script, ({ operations, maxSnapshotBytes, byRow, digest }) => {
    for (const codec of frameCodecs) {
      const reassembler = codec.createReassembler({ maxSnapshotBytes, maxPendingBytes: 2 ** 40, digest });
      const model = new Model(maxSnapshotBytes);
      operations.forEach((one, i) => {
        try {
          run(reassembler, model, one, byRow, digest);
          same(reassembler, model, 'origin' in one ? one.origin : 0n);
        } catch (error) {
          if (error instanceof Error) error.message = `${codec.engine}, operation ${i}: ${error.message}`;
          throw error;
        }
      });
      reassembler.dispose();
    }
  });
});

test('snapshots of any size come together from chunks in any order', () => {
  const whole = fc.tuple(fc.integer({ min: 1, max: 300_000 }), fc.nat(), fc.boolean());
  holds(
    whole,
    ([length, seed, digest]) => {
      const snapshot = any.noise(seed, length);
      const total = Math.ceil(length / 7_000);
      const order = Array.from({ length: total }, (_, i) => i);
      order.sort((a, b) => Math.imul(a + 1, seed | 1) - Math.imul(b + 1, seed | 1));
      for (const codec of frameCodecs) {
        const reassembler = codec.createReassembler({ digest });
        let got: AssembledSnapshot | undefined;
        for (const index of order) {
          const chunk = snapshot.subarray(7_000 * index, 7_000 * index + 7_000);
          assert.is(got, undefined);
          got = reassembler.feed(1n, 1n, index, total, chunk, 0);
        }
        assert.is(Buffer.compare(got!.bytes, snapshot), 0, codec.engine);
        if (digest) assert.equal(comparable(got!.digest), comparable(blake3(snapshot)), codec.engine);
        assert.is(reassembler.pendingBytes, 0);
        reassembler.dispose();
        assert.is(Buffer.compare(got!.bytes, snapshot), 0, 'a snapshot outlives its reassembler');
      }
    },
    0.1,
  );
});

test('a whole batch of decoded frames: runs end where the contract says', () => {
  const rows = fc.array(
    fc.record({ other: fc.nat({ max: 19 }), seq: fc.constantFrom(1n, 1n, 1n, 2n), index: fc.nat({ max: 5 }) }),
    { maxLength: 30, size: 'max' },
  );
  holds(rows, (all) => {
    const chunk = new Uint8Array(7_000).fill(3);
    agree(frameCodecs, (codec) => {
      const frames = all.map(({ other, seq, index }) =>
        other === 0
          ? codec.encode({ kind: 'CleanupComplete', daemonOrigin: 1n })
          : codec.encode({
              kind: 'SnapshotReady',
              daemonOrigin: other === 1 ? 2n : 1n,
              seqThrough: seq,
              chunkIndex: index % 4,
              totalChunks: index === 5 ? 5 : 4,
              snapshotBytes: chunk,
            }),
      );
      const prefixed = frames.flatMap((frame) => [Uint8Array.of(frame.length, frame.length >> 8, 0, 0), frame]);
      const batch = new Uint8Array(Buffer.concat(prefixed));
      const columns = new FrameColumns(32);
      codec.decodeBatch(batch, columns);
      const reassembler = codec.createReassembler();
      const log: unknown[] = [];
      for (let row = 0; row < columns.count; ) {
        const { next, snapshot, error } = reassembler.feedBatch(batch, columns, row, columns.count, 0);
        log.push(next, snapshot?.bytes.length, (error as { kind?: string } | undefined)?.kind);
        assert.ok(next > row || error !== undefined || columns.type[row] !== 1, 'feedBatch goes on');
        row = next > row && error === undefined ? next : next + 1;
      }
      return log;
    });
  });
});

test('the cap on pending bytes holds, whatever comes', () => {
  const script = fc.array(fc.tuple(fc.nat({ max: 5 }), fc.nat({ max: 30 }), fc.integer({ min: 1, max: 7_000 })), {
    maxLength: 60,
    size: 'max',
  });
  holds(fc.tuple(script, fc.integer({ min: 1, max: 200_000 })), ([feeds, maxPendingBytes]) => {
    for (const codec of frameCodecs) {
      const reassembler = codec.createReassembler({ maxPendingBytes });
      for (const [origin, index, length] of feeds) {
        const before = [reassembler.pendingBytes, reassembler.pendingCount, reassembler.progress(BigInt(origin))];
        const got = outcome(
          () => reassembler.feed(BigInt(origin), 1n, index, 31, new Uint8Array(length), 0)?.bytes.length,
        );
        assert.ok(reassembler.pendingBytes <= maxPendingBytes, `${codec.engine} holds its cap`);
        if (typeof got === 'object' && got !== null && 'refused' in got) {
          assert.is(got.refused, 'too-many-pending-bytes', codec.engine);
          const after = [reassembler.pendingBytes, reassembler.pendingCount, reassembler.progress(BigInt(origin))];
          assert.equal(after, before, `${codec.engine}: a refused chunk changes nothing`);
        }
      }
      for (let origin = 0n; origin < 6n; origin++) reassembler.cancel(origin);
      assert.is(reassembler.pendingBytes, 0, codec.engine);
    }
  });
});

test('a declared-large, never-sent snapshot costs under 1 MiB of resident memory', () => {
  for (const codec of frameCodecs) {
    const warm = codec.createReassembler();
    for (let i = 0; i < 4; i++) warm.feed(1n, 1n, i, 8, new Uint8Array(7_000), 0);
    warm.dispose();
    const reassembler = codec.createReassembler();
    const before = process.memoryUsage.rss();
    reassembler.feed(1n, 1n, 0, 600_000, new Uint8Array(7_000), 0);
    reassembler.feed(2n, 1n, 599_999, 600_000, new Uint8Array(7_000), 0);
    reassembler.feed(3n, 1n, 300_000, 700_000, new Uint8Array(1), 0);
    const cost = (process.memoryUsage.rss() - before) / 3;
    assert.ok(cost < 2 ** 20, `${codec.engine}: ${Math.round(cost / 1024)} KiB each`);
    assert.ok(reassembler.pendingBytes < 3 * 2 ** 20, `${codec.engine} counts ${reassembler.pendingBytes}`);
    reassembler.dispose();
  }
});

test('a reassembler that was disposed of refuses', () => {
  for (const codec of frameCodecs) {
    const reassembler = codec.createReassembler();
    reassembler.feed(1n, 1n, 0, 2, new Uint8Array(7_000), 0);
    reassembler.dispose();
    reassembler.dispose();
    assert.equal([reassembler.pendingCount, reassembler.pendingBytes], [0, 0]);
    const calls: (() => unknown)[] = [
      () => reassembler.feed(1n, 1n, 0, 2, new Uint8Array(1)),
      () => reassembler.feedBatch(new Uint8Array(0), columns, 0, 0),
      () => reassembler.progress(1n),
      () => reassembler.missing(1n, 1),
      () => reassembler.cancel(1n),
      () => reassembler.forget(1n),
      () => reassembler.sweep(0),
    ];
    calls.forEach((call, i) => {
      assert.throws(call, (error: { kind?: string }) => error.kind === 'disposed', `${codec.engine}, call ${i}`);
    });
  }
});

test.run();
