import * as assert from 'uvu/assert';
import type { FrameCodec } from '../../../lib/wire/codec.js';
import { FrameColumns } from '../../../lib/wire/columns.js';
import { MessageType } from '../../../lib/wire/message.js';
import type { AssembledSnapshot, SnapshotReassembler } from '../../../lib/wire/reassembler.js';
import { namesValues, refusal, sameBytes, type Tally } from '../check.js';
import type { Runner } from '../runner.js';
import { bytes, type Fields, fieldsOf, listOf, NotUnderstood, number, text, u64 } from '../vector-json.js';

interface Chunk {
  readonly origin: bigint;
  readonly seqThrough: bigint;
  readonly index: number;
  readonly total: number;
  readonly bytes: Uint8Array;
}

type Feed = (reassembler: SnapshotReassembler, chunk: Chunk) => AssembledSnapshot | undefined;

const feedOne: Feed = (reassembler, { origin, seqThrough, index, total, bytes }) =>
  reassembler.feed(origin, seqThrough, index, total, bytes, 0);

const columns = new FrameColumns(1);

/** The same through a decoded row. What a decoder would have refused is put into the row by hand. */
const feedRow: Feed = (reassembler, { origin, seqThrough, index, total, bytes }) => {
  const batch = new Uint8Array(5 + bytes.length);
  batch.set(bytes, 5);
  columns.count = 1;
  columns.status[0] = 0;
  columns.type[0] = MessageType.SnapshotReady;
  columns.origin[0] = origin;
  columns.word[0] = seqThrough;
  columns.index[0] = index;
  columns.total[0] = total;
  columns.payloadOffset[0] = 5;
  columns.payloadLength[0] = bytes.length;
  const { next, snapshot, error } = reassembler.feedBatch(batch, columns, 0, 1, 0);
  assert.is(next, error === undefined ? 1 : 0, 'feedBatch next');
  if (error !== undefined) throw error;
  return snapshot;
};

function data(value: unknown): Uint8Array {
  if (typeof value === 'string') return bytes(value, 'data');
  const f = fieldsOf(value, ['fill_byte', 'len'], 'data');
  return new Uint8Array(number(f.len, 'len')).fill(number(f.fill_byte, 'fill_byte'));
}

/** What our kinds call what the reference reports under another name. */
function expectedKind(reference: string, chunk: Chunk): string {
  return reference === 'chunk-too-large' && chunk.bytes.length === 0 ? 'empty-chunk' : reference;
}

function feedStep(reassembler: SnapshotReassembler, feed: Feed, f: Fields): void {
  const chunk: Chunk = {
    origin: u64(f.origin, 'origin'),
    seqThrough: u64(f.seq, 'seq'),
    index: number(f.index, 'index'),
    total: number(f.total, 'total'),
    bytes: data(f.data),
  };
  const r = fieldsOf(f.result, ['kind', 'bytes?', 'len?', 'error_kind?', 'error_fields?'], 'result');
  switch (text(r.kind, 'result.kind')) {
    case 'error': {
      const progress = reassembler.progress(chunk.origin);
      const committed = reassembler.pendingBytes;
      const error = refusal(() => feed(reassembler, chunk), 'the chunk');
      assert.is(error.kind, expectedKind(text(r.error_kind, 'error_kind'), chunk), 'kind');
      namesValues(error, r.error_fields, 'the chunk');
      assert.equal(reassembler.progress(chunk.origin), progress, 'a refused chunk changes no progress');
      assert.is(reassembler.pendingBytes, committed, 'a refused chunk commits nothing');
      return;
    }
    case 'none':
      assert.is(feed(reassembler, chunk), undefined, 'no snapshot yet');
      return;
    case 'bytes': {
      const whole = feed(reassembler, chunk);
      assert.ok(whole, 'a snapshot');
      assert.equal([whole.daemonOrigin, whole.seqThrough], [chunk.origin, chunk.seqThrough], 'whose snapshot');
      if (r.bytes !== undefined) sameBytes(whole.bytes, bytes(r.bytes, 'result.bytes'), 'the snapshot');
      else assert.is(whole.bytes.length, number(r.len, 'result.len'), 'length of the snapshot');
      whole.dispose();
      assert.is(whole.bytes.length, 0, 'no bytes after dispose');
      return;
    }
    default:
      throw new NotUnderstood(`result kind "${String(r.kind)}"`);
  }
}

function step(reassembler: SnapshotReassembler, feed: Feed, value: unknown, where: string): void {
  const names = ['op', 'pending', 'origin?', 'data?', 'index?', 'result?', 'seq?', 'total?', 'evicted?'];
  const f = fieldsOf(value, names, where);
  const pendingBefore = reassembler.pendingCount;
  switch (text(f.op, 'op')) {
    case 'feed':
      feedStep(reassembler, feed, f);
      break;
    case 'cancel': {
      const isPending = reassembler.progress(u64(f.origin, 'origin')) !== undefined;
      assert.is(reassembler.cancel(u64(f.origin, 'origin')), isPending, 'cancel');
      break;
    }
    case 'sweep_stale_0ms':
      assert.is(reassembler.sweep(0, 1), 0, 'a sweep of what is idle for longer');
      assert.is(reassembler.pendingCount, pendingBefore, 'a sweep that drops nothing');
      assert.is(reassembler.sweep(0, 0), number(f.evicted, 'evicted'), 'sweep');
      break;
    default:
      throw new NotUnderstood(`reassembly op "${String(f.op)}"`);
  }
  assert.is(reassembler.pendingCount, number(f.pending, 'pending'), `${where} pending`);
  if (reassembler.pendingCount === 0) assert.is(reassembler.pendingBytes, 0, `${where} pendingBytes`);
}

function script(codec: FrameCodec, name: string, steps: readonly unknown[]): void {
  for (const [way, feed] of Object.entries({ feed: feedOne, feedBatch: feedRow })) {
    const reassembler = codec.createReassembler();
    steps.forEach((value, i) => {
      try {
        step(reassembler, feed, value, `step ${i}`);
      } catch (error) {
        if (error instanceof Error) error.message = `${name}, step ${i} by ${way}: ${error.message}`;
        throw error;
      }
    });
    reassembler.dispose();
    reassembler.dispose();
    const late = refusal(() => reassembler.feed(1n, 1n, 0, 1, Uint8Array.of(1)), 'a chunk after dispose');
    assert.is(late.kind, 'disposed');
  }
}

const RECIPE = 'feed origin 1 seq 5 total 20000, 7000-byte chunks 0x07 at index 0,1,2..';

/** The reference's limit of one snapshot is an option here; what it counts is the bytes of the chunks. */
function byteCap(codec: FrameCodec, f: Fields): void {
  if (f.recipe !== RECIPE) throw new NotUnderstood(`recipe "${String(f.recipe)}"`);
  const reassembler = codec.createReassembler({ maxSnapshotBytes: number(f.cap, 'cap'), maxPendingBytes: 2 ** 40 });
  const feed = (seq: bigint, index: number, length: number) =>
    reassembler.feed(1n, seq, index, 20_000, new Uint8Array(length).fill(7), 0);
  const last = number(f.last_accepted_index, 'last_accepted_index');
  for (let index = 0; index <= last; index++) assert.is(feed(5n, index, 7_000), undefined, `chunk ${index}`);
  const first = fieldsOf(f.first_error, ['error_kind', 'error_fields', 'index'], 'first_error');
  text(first.error_kind, 'error_kind');
  const refuses = (index: number, length: number) => {
    const error = refusal(() => feed(5n, index, length), `${length} bytes at ${index}`);
    assert.is(error.kind, 'snapshot-too-large', `${length} bytes at ${index}`);
    return error;
  };
  namesValues(refuses(number(first.index, 'index'), 7_000), first.error_fields, 'the first refused chunk');
  verdict(f, 'then feed 6864 bytes at 15000 -> exactly at cap', () => feed(5n, 15_000, 6_864));
  verdict(f, 'then 1 byte at 15001', () => feed(5n, 15_001, 1));
  verdict(f, 'then replace index 0 with 6999 bytes', () => feed(5n, 0, 6_999));
  verdict(f, 'then 1 byte at 15001 again', () => feed(5n, 15_001, 1));
  verdict(f, 'then newer seq 6 evicts', () => feed(6n, 0, 7_000));
  assert.is(reassembler.pendingCount, number(f.pending, 'pending'), 'pending');
  assert.is(reassembler.progress(1n)?.seqThrough, 6n, 'the newer one is pending');
  reassembler.dispose();
}

function verdict(f: Fields, name: string, body: () => AssembledSnapshot | undefined): void {
  const expected = text(f[name], name);
  if (expected === 'accepted') assert.is(body(), undefined, name);
  else if (expected === 'refused') assert.is(refusal(body, name).kind, 'snapshot-too-large', name);
  else throw new NotUnderstood(`${name}: "${expected}"`);
}

const RECIPE_NAMES = [
  ...['cap', 'first_error', 'last_accepted_index', 'name', 'pending', 'recipe'],
  ...[
    'then feed 6864 bytes at 15000 -> exactly at cap',
    'then 1 byte at 15001',
    'then replace index 0 with 6999 bytes',
  ],
  ...['then 1 byte at 15001 again', 'then newer seq 6 evicts'],
];

/** Scripts of chunks, cancels and sweeps with what each gives. */
export const reassembly: Runner = {
  file: 'reassembly',
  level: 'frames',
  run(vectors, codec, tally: Tally) {
    listOf(vectors, 'reassembly').forEach((value, i) => {
      const isRecipe = typeof value === 'object' && value !== null && 'recipe' in value;
      const f = fieldsOf(value, isRecipe ? RECIPE_NAMES : ['name', 'steps'], `reassembly[${i}]`);
      const name = text(f.name, 'name');
      tally.vector(`[${i}] ${name}`, () => {
        if (isRecipe) byteCap(codec, f);
        else script(codec, name, listOf(f.steps, 'steps'));
      });
    });
  },
};
