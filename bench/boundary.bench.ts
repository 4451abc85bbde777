import { loadBaselineAddon } from '../lib/wire/baseline/addon.js';
import type { FrameCodec, MigrationCodec } from '../lib/wire/codec.js';
import { FrameColumns } from '../lib/wire/columns.js';
import { SNAPSHOT_READY_HEADER_SIZE } from '../lib/wire/message.js';
import { loadAddon } from '../lib/wire/native/addon.js';
import { typescriptCodec } from '../lib/wire/typescript/index.js';
import { type AllocationPath, allocatedPerFrame } from './harness/allocation.js';
import { mustBe } from './harness/check.js';
import type { BenchDefinition, BenchOptions, BenchReport, Goal, Measurement } from './harness/definition.js';
import { type Engines, loadEngines } from './harness/engines.js';
import { atMost } from './harness/goals.js';
import { type Contender, checksMade, interleave, nanosecondsPer, type Plan } from './harness/measure.js';
import { ORIGIN, readsOf, SEQ_THROUGH } from './harness/snapshot-stream.js';

export const definition: BenchDefinition = {
  name: 'boundary',
  order: 20,
  title: 'What a call into native code costs, apart from what it does',
  method:
    'Each kind of call, 10,000 times. Native has no call that does nothing: its nearest is a getter that gives one small number ' +
    'back; the baseline has an empty one. A borrowed slice: 17 bytes that are looked at for their length only. The fast path’s real ' +
    'call is `decodeBatch` as a transport makes it, argument checks included, on 256 bytes that hold no whole frame: all that ' +
    'there is beside decoding. The limit is a JavaScript function that does nothing. Then, with a young generation large enough that ' +
    'nothing is collected meanwhile: bytes that appear per frame on the JavaScript heap and outside it (`process.memoryUsage`) ' +
    'while 100 and more frames go through each path, 50 calls; medians over the rounds.',
  quoted: [],
  // Large enough for all that the allocation rounds could make.
  execArgv: ['--max-semi-space-size=256', '--min-semi-space-size=128'],
};

const CALLS = 10_000;

function calls(name: string, call: () => number | undefined, expected: number | undefined): Contender {
  let last: number | undefined;
  return {
    name,
    run() {
      for (let i = 0; i < CALLS; i++) last = call();
      return undefined;
    },
    check: () => mustBe(last, expected, `${name}, result`),
  };
}

const nothing = () => undefined;

const SLICE_BYTES = 17;
/** A frame that is longer than its batch: nothing to decode. */
function unfinishedBatch(): Uint8Array {
  const batch = new Uint8Array(256);
  batch[0] = 255;
  return batch;
}

function emptyCalls(names: readonly string[]): Contender[] {
  const contenders = [calls('limit: a JavaScript function', nothing, undefined)];
  if (names.includes('native')) {
    const reassembler = new (loadAddon().NativeReassembler)(2 ** 20, 2 ** 20, false);
    contenders.push(calls('native, getter of a number', () => reassembler.pendingCount, 0));
  }
  if (names.includes('baseline')) {
    const addon = loadBaselineAddon();
    contenders.push(calls('baseline', () => addon.empty() as undefined, undefined));
  }
  return contenders;
}

function sliceCalls(names: readonly string[]): Contender[] {
  const contenders: Contender[] = [];
  if (names.includes('native')) {
    const addon = loadAddon();
    const { buffer } = new FrameColumns(1);
    contenders.push(calls('native, columns of one row', () => addon.measureBatch(buffer, 0), 0));
  }
  if (names.includes('baseline')) {
    const addon = loadBaselineAddon();
    const bytes = new Uint8Array(SLICE_BYTES);
    contenders.push(calls('baseline', () => addon.touch(bytes), SLICE_BYTES));
  }
  return contenders;
}

function realCalls(codecs: readonly FrameCodec[]): Contender[] {
  return codecs.map((codec) => {
    const batch = unfinishedBatch();
    const columns = new FrameColumns(1_000);
    return calls(codec.engine, () => codec.decodeBatch(batch, columns), 0);
  });
}

const FRAMES = 1_000;

/** Every path on which 100 frames and more may go, with what one call of it handles. */
function pathsOf(codec: FrameCodec, full: MigrationCodec | undefined): AllocationPath[] {
  const frame = typescriptCodec.encode({ kind: 'TakeSnapshot', daemonOrigin: ORIGIN, targetNode: SEQ_THROUGH });
  const one = [Uint8Array.of(frame.length, 0, 0, 0), frame];
  const batch = new Uint8Array(Buffer.concat(Array.from({ length: FRAMES }, () => one).flat()));
  const columns = new FrameColumns(FRAMES);
  codec.decodeBatch(batch, columns);
  const target = new Uint8Array(batch.length);
  const headers = new Uint8Array(FRAMES * SNAPSHOT_READY_HEADER_SIZE);
  const snapshotLength = FRAMES * 7_000;
  const paths: AllocationPath[] = [
    { path: 'decodeBatch', frames: FRAMES, call: () => codec.decodeBatch(batch, columns) },
    { path: 'encodeBatch', frames: FRAMES, call: () => codec.encodeBatch(columns, target) },
    {
      path: 'writeChunkHeaders',
      frames: FRAMES,
      call: () => codec.writeChunkHeaders(headers, ORIGIN, SEQ_THROUGH, snapshotLength, 0, FRAMES),
    },
    feedPath(codec),
  ];
  if (full) {
    const { previous, events } = chainedEvents();
    const call = () => full.verifyFrameChain(previous, new Uint8Array(0), events);
    paths.push({ path: 'verifyFrameChain, per event', frames: FRAMES, call });
  }
  return paths;
}

/** Chunks that are here already: what remains is the path itself, and no new memory of the snapshot. */
function feedPath(codec: FrameCodec): AllocationPath {
  const snapshot = new Uint8Array(7_000 * 400);
  const wire = Buffer.concat(readsOf(snapshot));
  const columns = new FrameColumns(200);
  const batch = new Uint8Array(wire);
  codec.decodeBatch(batch, columns);
  const reassembler = codec.createReassembler();
  reassembler.feedBatch(batch, columns, 0, columns.count, 0);
  return {
    path: 'feedBatch',
    frames: columns.count,
    call: () => reassembler.feedBatch(batch, columns, 0, columns.count, 0).next,
  };
}

/** A frame of events that are one chain. */
function chainedEvents() {
  const previous = { originHash: 1n, horizon: 0n, sequence: 0n, parentHash: 0n };
  const payload = new Uint8Array(100);
  let link = previous;
  let before = new Uint8Array(0);
  const events = Array.from({ length: FRAMES }, () => {
    link = typescriptCodec.nextLink(link, before, 0n);
    before = payload;
    return { link, payload, receivedAt: 0n };
  });
  return { previous, events: typescriptCodec.encode({ kind: 'BufferedEvents', daemonOrigin: 1n, events }) };
}

/** Bytes per frame under which no object can hide: the smallest object takes more. */
const NO_OBJECT_BYTES = 8;

function allocations({ frames, full }: Engines, rounds: number): { table: Measurement[]; goals: Goal[] } {
  const table = new Map<string, Measurement>();
  const goals: Goal[] = [];
  for (const codec of frames) {
    for (const path of pathsOf(
      codec,
      full.find(({ engine }) => engine === codec.engine),
    )) {
      const entry = allocatedPerFrame(codec.engine, path, rounds);
      const before = table.get(path.path)?.entries ?? [];
      table.set(path.path, {
        subject: `allocated by ${path.path}`,
        unit: 'bytes per frame',
        entries: [...before, entry],
      });
      if (codec.engine !== 'native') continue;
      goals.push(
        ...atMost(NO_OBJECT_BYTES, {
          goal: `native, ${path.path}: no object and no fresh buffer per frame`,
          measured: entry.median,
          unit: 'bytes per frame',
          how: `${path.frames} frames per call; an object takes 12 bytes at the least`,
        }),
      );
    }
  }
  return { table: [...table.values()], goals };
}

export async function run({ quick, engines }: BenchOptions): Promise<BenchReport> {
  const loaded = loadEngines(engines);
  const codecs = loaded.frames;
  const names = codecs.map(({ engine }) => engine);
  const plan = (subject: string): Plan => ({
    subject,
    unit: 'ns per call',
    convert: nanosecondsPer(CALLS),
    rounds: quick ? 2 : 15,
    sliceMs: quick ? 1 : 50,
  });
  const measurements = [
    await interleave(plan('an empty call'), emptyCalls(names)),
    await interleave(plan('a call with a borrowed slice'), sliceCalls(names)),
    await interleave(plan('decodeBatch with nothing to decode'), realCalls(codecs)),
  ];
  const { table, goals } = allocations(loaded, quick ? 2 : 7);
  return {
    measurements: [...measurements, ...table],
    goals,
    notes: [],
    checked: checksMade(),
    unavailable: loaded.unavailable,
  };
}
