import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FrameCodec, MigrationCodec } from '../lib/wire/codec.js';
import type { AssembledSnapshot } from '../lib/wire/reassembler.js';
import { mustBeBytes } from './harness/check.js';
import {
  type BenchDefinition,
  type BenchOptions,
  type BenchReport,
  type Goal,
  WrongResult,
} from './harness/definition.js';
import { type Engines, loadEngines } from './harness/engines.js';
import { atLeast } from './harness/goals.js';
import {
  type Contender,
  checksMade,
  gigabytesPerSecond,
  interleave,
  type Measured,
  type Plan,
  timed,
} from './harness/measure.js';
import { PseudoRandom } from './harness/pseudo-random.js';
import { type Assembler, EngineAssembler, FileAssembler, NaiveAssembler, readsOf } from './harness/snapshot-stream.js';

export const definition: BenchDefinition = {
  name: 'chunks-in',
  order: 30,
  title: 'Chunks to one assembled snapshot, 60 MiB and 1 GiB',
  method:
    'A snapshot as frames of 7,029 bytes, each behind its length, in reads of 64 KiB that cut frames wherever they end, all in ' +
    'memory beforehand. Each read goes through `decodeBatch` and `feedBatch`, until the snapshot is whole; with a digest, BLAKE3 of ' +
    'it is made on the way. The limit is one memcpy of the same bytes from memory as cold into memory as fresh (a new ArrayBuffer), ' +
    'and with a digest that memcpy followed by native BLAKE3 over the copy. Before each turn processes take as much memory, in common ' +
    'and in huge pages, and end, so that every contender finds free memory that the host of a virtual machine has not taken back. The naive way keeps a copy of every chunk and ends with ' +
    '`Buffer.concat`. Into a mapped file of the folder for temporary files nothing is synced. Each assembled snapshot is compared with the source byte for byte, outside the time taken. Digests by the ' +
    'typescript engine and the baseline, which both hash in JavaScript, are measured at the smaller size only.',
  quoted: [
    { what: 'decode and reassemble, 1 / 16 / 60 MiB', value: '6.4–9.1 / 2.0–2.8 / 0.78–0.85 GB/s' },
    { what: 'memcpy into fresh memory there, 1 / 16 / 60 MiB', value: '17–21 / 6.9–9.7 / 1.2 GB/s' },
    { what: 'decode and reassemble, share of that memcpy at 60 MiB', value: '65–71%' },
  ],
};

const MEMCPY = 'limit: memcpy, fresh memory';
const MEMCPY_HASH = 'limit: memcpy, then BLAKE3';
const IN_FILE = 'native, into a mapped file';
const NAIVE = 'naive: collect, Buffer.concat';

interface Stream {
  readonly snapshot: Uint8Array;
  readonly reads: readonly Uint8Array[];
}

function makeStream(bytes: number): Stream {
  const snapshot = new PseudoRandom(3).bytes(bytes);
  return { snapshot, reads: readsOf(snapshot) };
}

function assembles(
  name: string,
  { snapshot, reads }: Stream,
  make: () => Assembler,
  expectedDigest?: Uint8Array,
): Contender {
  let whole: AssembledSnapshot | undefined;
  const release = () => {
    whole?.dispose();
    whole = undefined;
  };
  return {
    name,
    run() {
      release();
      const assembler = make();
      const ms = timed(() => {
        for (const read of reads) whole = assembler.push(read);
      });
      assembler.dispose();
      return ms;
    },
    check() {
      if (whole === undefined) throw new WrongResult(`${name}: no snapshot after the last chunk`);
      mustBeBytes(whole.bytes, snapshot, `${name}, snapshot`);
      if (expectedDigest) mustBeBytes(whole.digest ?? new Uint8Array(0), expectedDigest, `${name}, digest`);
      release();
    },
  };
}

function copies(name: string, snapshot: Uint8Array, hash?: (bytes: Uint8Array) => Uint8Array): Contender {
  let copy: Uint8Array | undefined;
  let digest: Uint8Array | undefined;
  return {
    name,
    run() {
      copy = undefined;
      return timed(() => {
        copy = new Uint8Array(snapshot.length);
        copy.set(snapshot);
        digest = hash?.(copy);
      });
    },
    check() {
      mustBeBytes(copy!, snapshot, name);
      if (hash) mustBeBytes(digest!, hash(snapshot), `${name}, digest`);
      copy = undefined;
    },
  };
}

const byEngine = (stream: Stream, digest?: Uint8Array) => (codec: FrameCodec) =>
  assembles(
    codec.engine,
    stream,
    () => new EngineAssembler(codec, { digest: digest !== undefined, maxPendingBytes: 2 ** 40 }),
    digest,
  );

/** In the folder for temporary files; written back when the system likes, as nobody waits for it where a snapshot is received. */
function intoFile(stream: Stream, codecs: readonly MigrationCodec[], folder: string): Contender[] {
  return codecs.flatMap((codec) => {
    const { snapshotFiles: files } = codec;
    if (!files) return [];
    const options = { digest: false, maxPendingBytes: 2 ** 40 };
    return assembles(IN_FILE, stream, () => new FileAssembler(codec, files, join(folder, 'chunks'), options));
  });
}

function planOf({ snapshot: { length } }: Stream, rounds: number): Omit<Plan, 'subject'> {
  return { unit: 'GB/s', convert: gigabytesPerSecond(length), rounds, sliceMs: 0, freshBytes: 1.1 * length };
}

async function withoutDigest(
  label: string,
  stream: Stream,
  { frames, full }: Engines,
  rounds: number,
): Promise<Measured> {
  // The naive way holds a snapshot twice.
  const freshBytes = 2.1 * stream.snapshot.length;
  const folder = mkdtempSync(join(tmpdir(), 'chunks-in-'));
  try {
    return await interleave({ ...planOf(stream, rounds), freshBytes, subject: `${label}, no digest` }, [
      ...frames.map(byEngine(stream)),
      ...intoFile(stream, full, folder),
      copies(MEMCPY, stream.snapshot),
      assembles(NAIVE, stream, () => new NaiveAssembler()),
    ]);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function withDigest(
  label: string,
  stream: Stream,
  codecs: readonly FrameCodec[],
  hasher: MigrationCodec,
  rounds: number,
) {
  const digest = hasher.blake3(stream.snapshot);
  return interleave({ ...planOf(stream, rounds), subject: `${label}, with its BLAKE3 digest` }, [
    ...codecs.map(byEngine(stream, digest)),
    copies(MEMCPY, stream.snapshot),
    copies(MEMCPY_HASH, stream.snapshot, hasher.blake3),
  ]);
}

export async function run({ quick, engines: names }: BenchOptions): Promise<BenchReport> {
  const engines = loadEngines(names);
  const [small, large] = quick ? [2 ** 20, 4 * 2 ** 20] : [60 * 2 ** 20, 2 ** 30];
  const hasher = engines.full[0];
  const smallStream = makeStream(small);
  const measurements = [await withoutDigest(quick ? '1 MiB' : '60 MiB', smallStream, engines, quick ? 1 : 15)];
  if (hasher) {
    const label = quick ? '1 MiB' : '60 MiB';
    measurements.push(await withDigest(label, smallStream, engines.frames, hasher, quick ? 1 : 5));
  }
  const largeStream = makeStream(large);
  const largeLabel = quick ? '4 MiB' : '1 GiB';
  const whole = await withoutDigest(largeLabel, largeStream, engines, quick ? 1 : 7);
  measurements.push(whole);
  let digested: Measured | undefined;
  const native = engines.full.find(({ engine }) => engine === 'native');
  if (native) {
    digested = await withDigest(largeLabel, largeStream, [native], native, quick ? 1 : 7);
    measurements.push(digested);
  }
  return {
    measurements,
    goals: goalsOf(measurements[0]!, whole, digested),
    notes: [],
    checked: checksMade(),
    unavailable: engines.unavailable,
  };
}

function goalsOf(small: Measured, large: Measured, digested: Measured | undefined): Goal[] {
  const share = { unit: 'of the memcpy', how: 'median of the ratios within each round' };
  return [
    ...atLeast(0.6, {
      ...share,
      goal: 'native, 1 GiB: 60% of one memcpy of the same bytes',
      measured: large.ratio('native', MEMCPY),
    }),
    ...atLeast(0.4, {
      ...share,
      goal: 'native, 1 GiB with its BLAKE3 digest: 40% of one memcpy',
      measured: digested?.ratio('native', MEMCPY),
    }),
    ...atLeast(0.71, {
      ...share,
      goal: "native, 60 MiB: no slower than the reference's 65–71% of its memcpy",
      measured: small.ratio('native', MEMCPY),
    }),
  ];
}
