import type { FrameCodec } from '../lib/wire/codec.js';
import { FrameColumns } from '../lib/wire/columns.js';
import { createCodec } from '../lib/wire/engine.js';
import type { MigrationMessage } from '../lib/wire/message.js';
import { typescriptCodec } from '../lib/wire/typescript/index.js';
import { mustBe, mustBeBytes } from './harness/check.js';
import type { BenchDefinition, BenchOptions, BenchReport, Goal } from './harness/definition.js';
import { loadEngines } from './harness/engines.js';
import { atLeast, atMost } from './harness/goals.js';
import { type Contender, checksMade, interleave, type Measured, nanosecondsPer, type Plan } from './harness/measure.js';
import { PseudoRandom } from './harness/pseudo-random.js';
import { digits } from './harness/text.js';

export const definition: BenchDefinition = {
  name: 'frames',
  order: 10,
  title: 'Small frames, decoded and encoded, one at a time and in batches',
  method:
    'Frames of 9 and 17 bytes with random u64 fields, in turn the six messages of a fixed size. One at a time: `decode` gives a ' +
    'message object with bigints, `encode` takes one. In batches: `decodeBatch` fills columns, `encodeBatch` reads them; “and both ' +
    'bigints read” then takes `origin` and `word` of every row out of the columns as a bigint. The limit is one copy of the same ' +
    'bytes (`Uint8Array.set`), which looks at nothing. Every call handles other bytes than the one before it; sums over the ' +
    'decoded fields, and the encoded bytes, are compared after each slice.',
  quoted: [
    { what: 'encode / decode a fixed-size message (9–49 bytes), in Rust, no boundary', value: '23–30 / 13–16 ns' },
  ],
};

const BATCH_SIZES = [16, 256, 1_000] as const;

/** The typescript engine's own way to bigints: a message object per frame. */
const ONE_BY_ONE = 'typescript, decode one by one';

/** Frames that are handled per call of a contender, whatever the batch size. */
const FRAMES = 16_000;

interface Workload {
  readonly messages: readonly MigrationMessage[];
  readonly frames: readonly Uint8Array[];
  /** The sum over all frames of origin and second word, mod 2^64. */
  readonly sum: bigint;
}

function makeWorkload(): Workload {
  const random = new PseudoRandom(17);
  const messages: MigrationMessage[] = [];
  let sum = 0n;
  for (let i = 0; i < FRAMES; i++) {
    const daemonOrigin = random.u64();
    const word = random.u64();
    messages.push(messageOf(i % 6, daemonOrigin, word));
    sum += i % 6 < 4 ? daemonOrigin + word : daemonOrigin;
  }
  const frames = messages.map((message) => typescriptCodec.encode(message));
  return { messages, frames, sum: BigInt.asUintN(64, sum) };
}

function messageOf(kind: number, daemonOrigin: bigint, word: bigint): MigrationMessage {
  switch (kind) {
    case 0:
      return { kind: 'TakeSnapshot', daemonOrigin, targetNode: word };
    case 1:
      return { kind: 'RestoreComplete', daemonOrigin, restoredSeq: word };
    case 2:
      return { kind: 'CutoverNotify', daemonOrigin, targetNode: word };
    case 3:
      return { kind: 'ActivateAck', daemonOrigin, replayedSeq: word };
    case 4:
      return { kind: 'CleanupComplete', daemonOrigin };
    default:
      return { kind: 'ActivateTarget', daemonOrigin };
  }
}

/** The frames as batches of `size`, each frame behind its length. */
function batchesOf(frames: readonly Uint8Array[], size: number): Uint8Array[] {
  const batches: Uint8Array[] = [];
  for (let first = 0; first < frames.length; first += size) {
    const parts = frames.slice(first, first + size).flatMap((frame) => [Uint8Array.of(frame.length, 0, 0, 0), frame]);
    batches.push(new Uint8Array(Buffer.concat(parts)));
  }
  return batches;
}

/** The second u64 of a decoded message. */
function wordOf(message: MigrationMessage): bigint {
  switch (message.kind) {
    case 'TakeSnapshot':
    case 'CutoverNotify':
      return message.targetNode;
    case 'RestoreComplete':
      return message.restoredSeq;
    case 'ActivateAck':
      return message.replayedSeq;
    default:
      return 0n;
  }
}

function decodesOne(name: string, codec: FrameCodec, { frames, sum }: Workload): Contender {
  let lowBits = 0n;
  let sink: MigrationMessage | undefined;
  return {
    name,
    run() {
      for (const frame of frames) sink = codec.decode(frame);
      return undefined;
    },
    check() {
      lowBits = 0n;
      for (const frame of frames) {
        const message = codec.decode(frame);
        lowBits += message.daemonOrigin + wordOf(message);
      }
      mustBe(BigInt.asUintN(64, lowBits), sum, `${name} decode, sum of fields`);
      mustBe(sink?.daemonOrigin, typescriptCodec.decode(frames.at(-1)!).daemonOrigin, `${name} decode, last frame`);
    },
  };
}

function encodesOne(name: string, codec: FrameCodec, { messages, frames }: Workload): Contender {
  const results: Uint8Array[] = new Array(messages.length);
  return {
    name,
    run() {
      for (let i = 0; i < messages.length; i++) results[i] = codec.encode(messages[i]!);
      return undefined;
    },
    check() {
      for (let i = 0; i < results.length; i++) mustBeBytes(results[i]!, frames[i]!, `${name} encode of message ${i}`);
    },
  };
}

/** One batch decoded after another. The columns of all are kept, so that the check sees what was timed. */
function decodesBatches(codec: FrameCodec, work: Workload, size: number, readsBigints: boolean): Contender {
  const batches = batchesOf(work.frames, size);
  const columns = batches.map(() => new FrameColumns(size));
  let sum = 0n;
  return {
    name: codec.engine,
    run() {
      sum = 0n;
      for (let i = 0; i < batches.length; i++) {
        codec.decodeBatch(batches[i]!, columns[i]!);
        if (readsBigints) sum = BigInt.asUintN(64, sum + sumOf(columns[i]!));
      }
      return undefined;
    },
    check() {
      const rows = columns.reduce((total, { count }) => total + count, 0);
      mustBe(rows, FRAMES, `${codec.engine} decodeBatch of ${size}, rows`);
      const decoded = columns.reduce((total, one) => BigInt.asUintN(64, total + sumOf(one)), 0n);
      mustBe(decoded, work.sum, `${codec.engine} decodeBatch of ${size}, sum of fields`);
      if (readsBigints) mustBe(sum, work.sum, `${codec.engine} decodeBatch of ${size}, sum while reading`);
      for (const one of columns) one.origin.fill(0n);
    },
  };
}

/** Xor would do as well; a sum mod 2^64 cannot be had from u32 halves without care, so that it proves exact u64. */
function sumOf({ count, origin, word }: FrameColumns): bigint {
  let sum = 0n;
  for (let row = 0; row < count; row++) sum = BigInt.asUintN(64, sum + origin[row]! + word[row]!);
  return sum;
}

function encodesBatches(codec: FrameCodec, work: Workload, size: number): Contender {
  const batches = batchesOf(work.frames, size);
  const columns = batches.map((batch) => {
    const filled = new FrameColumns(size);
    typescriptCodec.decodeBatch(batch, filled);
    return filled;
  });
  const targets = batches.map((batch) => new Uint8Array(batch.length));
  return {
    name: codec.engine,
    run() {
      for (let i = 0; i < columns.length; i++) codec.encodeBatch(columns[i]!, targets[i]!);
      return undefined;
    },
    check() {
      targets.forEach((target, i) => {
        mustBeBytes(target, batches[i]!, `${codec.engine} encodeBatch of ${size}, batch ${i}`);
        target.fill(0);
      });
    },
  };
}

/** The physical limit: the same bytes moved, and nothing else. */
function copies(work: Workload, size: number): Contender {
  const batches = batchesOf(work.frames, size);
  const targets = batches.map((batch) => new Uint8Array(batch.length));
  return {
    name: 'limit: copy of the bytes',
    run() {
      for (let i = 0; i < batches.length; i++) targets[i]!.set(batches[i]!);
      return undefined;
    },
    check() {
      for (let i = 0; i < targets.length; i++) mustBeBytes(targets[i]!, batches[i]!, 'copy');
    },
  };
}

export async function run({ quick, engines }: BenchOptions): Promise<BenchReport> {
  const { frames: codecs, unavailable } = loadEngines(engines);
  const work = makeWorkload();
  const plan = (subject: string): Plan => ({
    subject,
    unit: 'ns per frame',
    convert: nanosecondsPer(FRAMES),
    rounds: quick ? 2 : 15,
    sliceMs: quick ? 1 : 60,
  });
  const decodeOne = await interleave(
    plan('decode, one at a time'),
    codecs.map((codec) => decodesOne(codec.engine, codec, work)),
  );
  const encodeOne = await interleave(
    plan('encode, one at a time'),
    codecs.map((codec) => encodesOne(codec.engine, codec, work)),
  );
  const measurements = [decodeOne];
  const batchwise = new Map<number, Measured>();
  for (const size of BATCH_SIZES) {
    const subject = `decode into columns, ${size.toLocaleString('en-US')} per call`;
    const contenders = codecs.map((codec) => decodesBatches(codec, work, size, false));
    const decoded = await interleave(plan(subject), [...contenders, copies(work, size)]);
    batchwise.set(size, decoded);
    measurements.push(decoded);
  }
  const asBigints = await interleave(plan('decode into columns, 1,000 per call, and both bigints read'), [
    ...codecs.map((codec) => decodesBatches(codec, work, 1_000, true)),
    ...(engines.includes('typescript') ? [decodesToBigints(work)] : []),
  ]);
  measurements.push(asBigints, encodeOne);
  for (const size of BATCH_SIZES) {
    const subject = `encode from columns, ${size.toLocaleString('en-US')} per call`;
    const contenders = codecs.map((codec) => encodesBatches(codec, work, size));
    measurements.push(await interleave(plan(subject), [...contenders, copies(work, size)]));
  }
  return {
    measurements,
    goals: goalsOf(decodeOne, encodeOne, batchwise.get(1_000)!, asBigints),
    notes: notesOf(batchwise.get(1_000)!, asBigints),
    checked: checksMade(),
    unavailable,
  };
}

/** The typescript engine delivering both u64 of each frame as bigints, in its own way: a message per frame. */
function decodesToBigints({ frames, sum }: Workload): Contender {
  let total = 0n;
  return {
    name: ONE_BY_ONE,
    run() {
      total = 0n;
      for (const frame of frames) {
        const message = typescriptCodec.decode(frame);
        total = BigInt.asUintN(64, total + message.daemonOrigin + wordOf(message));
      }
      return undefined;
    },
    check: () => mustBe(total, sum, 'typescript decode, sum while reading'),
  };
}

/** The ratios that the goal does not ask for, and that a reader would. */
function notesOf(columns: Measured, asBigints: Measured): string[] {
  const notes = [`The engine that createCodec() gives by itself here: ${createCodec().engine}.`];
  const [filled, read] = [columns.ratio('typescript', 'native'), asBigints.ratio('typescript', 'native')];
  if (filled !== undefined && read !== undefined) {
    notes.push(
      `Like for like, both engines filling columns 1,000 frames per call: native is ${digits(filled)} times as fast, and ` +
        `${digits(read)} times where both bigints of each row are read, because making a bigint costs the same in either.`,
    );
  }
  return notes;
}

function goalsOf(decodeOne: Measured, encodeOne: Measured, columns: Measured, asBigints: Measured): Goal[] {
  const perFrame = { unit: 'ns', how: 'median' };
  const times = { unit: '×', how: 'median of the ratios within each round' };
  const slower = { unit: '× its time', how: times.how };
  return [
    ...atMost(10, {
      ...perFrame,
      goal: 'native, 1,000 per call: at most 10 ns per frame',
      measured: columns.median('native'),
    }),
    ...atLeast(5, {
      ...times,
      goal: 'native, 1,000 per call: 5 times the typescript engine’s decode, a message per frame, each delivering both u64 as bigints',
      measured: asBigints.ratio(ONE_BY_ONE, 'native'),
    }),
    ...atMost(1.1, {
      ...slower,
      goal: 'native, decode one at a time: never over 10% slower than typescript',
      measured: decodeOne.ratio('native', 'typescript'),
    }),
    ...atMost(1.1, {
      ...slower,
      goal: 'native, encode one at a time: never over 10% slower than typescript',
      measured: encodeOne.ratio('native', 'typescript'),
    }),
  ];
}
