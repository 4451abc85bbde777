import type { EngineName, FrameCodec } from '../lib/wire/codec.js';
import { mustBeBytes } from './harness/check.js';
import {
  type BenchDefinition,
  type BenchOptions,
  type BenchReport,
  type Measurement,
  WrongResult,
} from './harness/definition.js';
import { loadEngines } from './harness/engines.js';
import { atMost } from './harness/goals.js';
import { isolated } from './harness/isolated.js';
import { PseudoRandom } from './harness/pseudo-random.js';
import { type Assembler, EngineAssembler, FrameWriter, NaiveAssembler, READ_BYTES } from './harness/snapshot-stream.js';
import { entryOf } from './harness/statistics.js';

export const definition: BenchDefinition = {
  name: 'memory',
  order: 50,
  title: 'Peak resident memory while 1 GiB is assembled',
  method:
    'Each contender in a process of its own, which writes the frames itself, 64 KiB at a time into one reused buffer, and assembles ' +
    'them. A snapshot of 8 MiB goes first, so that code and pools are there; then the resident memory is the base line, and the ' +
    'process’s own peak (`ru_maxrss`) after 1 GiB less that base line is the figure. The limit is a fresh ArrayBuffer of that ' +
    'size, filled. Every chunk of the snapshot is compared with what was sent, after the peak was read.',
  quoted: [
    { what: 'whole migration of 60 MiB on three nodes, peak resident memory', value: '304 MiB (5 × the state)' },
    { what: 'its Node binding at 60 MiB, source / target', value: '421 / 297 MiB' },
    { what: 'a snapshot of over 64 MiB', value: 'refused' },
  ],
};

type ContenderName = EngineName | 'naive' | 'limit';

const LABEL: Readonly<Record<ContenderName, string>> = {
  native: 'native',
  typescript: 'typescript',
  baseline: 'baseline',
  naive: 'naive: collect, Buffer.concat',
  limit: 'limit: one filled ArrayBuffer',
};

const MIB = 2 ** 20;
const WARM_UP_BYTES = 8 * MIB;
/** The snapshot's bytes come out of this block, over and over; no multiple of a chunk, so that chunks differ. */
const BLOCK_BYTES = 999_983;

class Source {
  readonly #block = new PseudoRandom(11).bytes(BLOCK_BYTES + 7_000);

  bytes(from: number, to: number): Uint8Array {
    const at = from % BLOCK_BYTES;
    return this.#block.subarray(at, at + to - from);
  }
}

function makeAssembler(codec: FrameCodec | undefined): Assembler {
  return codec === undefined ? new NaiveAssembler() : new EngineAssembler(codec, { maxPendingBytes: 2 ** 40 });
}

function assemble(assembler: Assembler, source: Source, length: number) {
  const read = new Uint8Array(READ_BYTES);
  const writer = new FrameWriter(length, (from, to) => source.bytes(from, to));
  for (;;) {
    const written = writer.write(read);
    const whole = assembler.push(written < read.length ? read.subarray(0, written) : read);
    if (whole !== undefined) return whole;
    if (written < read.length) throw new WrongResult('no snapshot after the last chunk');
  }
}

function fill(source: Source, length: number) {
  const bytes = new Uint8Array(length);
  for (let from = 0; from < length; from += 7_000) {
    bytes.set(source.bytes(from, Math.min(from + 7_000, length)), from);
  }
  return { bytes, dispose: () => {} };
}

/** In a process of its own: bytes over the base line at the peak. */
export function peakOf(name: ContenderName, length: number): number {
  const codec = name === 'naive' || name === 'limit' ? undefined : loadEngines([name]).frames[0];
  const source = new Source();
  const make = (bytes: number) =>
    name === 'limit' ? fill(source, bytes) : assemble(makeAssembler(codec), source, bytes);
  make(WARM_UP_BYTES).dispose();
  globalThis.gc?.();
  const before = process.memoryUsage.rss();
  const whole = make(length);
  const peak = process.resourceUsage().maxRSS * 1024 - before;
  for (let from = 0; from < length; from += 7_000) {
    const to = Math.min(from + 7_000, length);
    mustBeBytes(whole.bytes.subarray(from, to), source.bytes(from, to), `${name}, chunk at ${from}`);
  }
  mustBeBytes(whole.bytes.subarray(length), new Uint8Array(0), `${name}, nothing after the end`);
  return peak;
}

export async function run({ quick, engines }: BenchOptions): Promise<BenchReport> {
  const { frames: codecs, unavailable } = loadEngines(engines);
  const length = quick ? 16 * MIB : 2 ** 30;
  const rounds = quick ? 1 : 3;
  const names: ContenderName[] = [...codecs.map(({ engine }) => engine), 'naive', 'limit'];
  const peaks = new Map<ContenderName, number[]>(names.map((name) => [name, []]));
  let checked = 0;
  for (let round = 0; round < rounds; round++) {
    for (const name of names) {
      const peak = await isolated<number>({ module: import.meta.url, name: 'peakOf', args: [name, length] });
      peaks.get(name)!.push(peak / MIB);
      checked++;
    }
  }
  const measurement: Measurement = {
    subject: `peak over the base line, ${length / MIB} MiB assembled`,
    unit: 'MiB',
    entries: names.map((name) => entryOf(LABEL[name], peaks.get(name)!)),
  };
  const native = peaks.get('native');
  return {
    measurements: [measurement],
    goals: atMost((length / MIB) * 1.05 + 32, {
      goal: 'native: at most 1.05 × the snapshot + 32 MiB over the base line',
      measured: native && Math.max(...native),
      unit: 'MiB',
      how: 'the highest of the rounds',
    }),
    notes: [],
    checked,
    unavailable,
  };
}
