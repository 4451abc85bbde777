import { FrameColumns } from '../lib/wire/columns.js';
import { SNAPSHOT_READY_HEADER_SIZE } from '../lib/wire/message.js';
import { type Addon, loadAddon } from '../lib/wire/native/addon.js';
import { loadNativeCodec } from '../lib/wire/native/index.js';
import { typescriptCodec } from '../lib/wire/typescript/index.js';
import { mustBe, mustBeBytes } from './harness/check.js';
import type { BenchDefinition, BenchOptions, BenchReport } from './harness/definition.js';
import { loadEngines } from './harness/engines.js';
import { type Contender, checksMade, interleave, type Measured, nanosecondsPer, type Plan } from './harness/measure.js';
import { ORIGIN, SEQ_THROUGH } from './harness/snapshot-stream.js';

export const definition: BenchDefinition = {
  name: 'crossover',
  order: 25,
  title: 'From how many frames per call on native code pays',
  method:
    'Calls on few frames of 17 bytes, where the crossing is most of the cost. “Addon” is the crossing forced, without the checks of its ' +
    'arguments; “native” is the engine, which stays in TypeScript below the sizes set in lib/wire/native/frames.ts; those sizes come from here.',
  quoted: [],
};

const SIZES = [4, 8, 16, 32, 64] as const;
const CALLS = 1_000;
const SNAPSHOT_LENGTH = 7_000 * 100;

interface Work {
  readonly size: number;
  readonly batch: Uint8Array;
  readonly headers: Uint8Array;
}

function makeWork(size: number): Work {
  const frame = typescriptCodec.encode({ kind: 'TakeSnapshot', daemonOrigin: ORIGIN, targetNode: SEQ_THROUGH });
  const parts = Array.from({ length: size }, () => [Uint8Array.of(frame.length, 0, 0, 0), frame]).flat();
  const headers = new Uint8Array(size * SNAPSHOT_READY_HEADER_SIZE);
  typescriptCodec.writeChunkHeaders(headers, ORIGIN, SEQ_THROUGH, SNAPSHOT_LENGTH, 0, size);
  return { size, batch: new Uint8Array(Buffer.concat(parts)), headers };
}

function repeats(name: string, call: () => void, check: () => void): Contender {
  return {
    name,
    run() {
      for (let i = 0; i < CALLS; i++) call();
      return undefined;
    },
    check,
  };
}

interface Contestant {
  readonly name: string;
  readonly decode: (batch: Uint8Array, columns: FrameColumns) => void;
  readonly encode: (columns: FrameColumns, target: Uint8Array) => void;
  readonly writeHeaders: (headers: Uint8Array, count: number) => void;
}

function forced(addon: Addon): Contestant {
  return {
    name: 'addon, forced',
    decode: (batch, columns) => {
      columns.count = Math.floor(addon.decodeBatch(batch, columns.buffer, 0) / 2 ** 32);
    },
    encode: (columns, target) => {
      if (addon.measureBatch(columns.buffer, columns.count) === target.length) {
        addon.encodeBatch(columns.buffer, columns.count, target);
      }
    },
    writeHeaders: (headers, count) => addon.writeChunkHeaders(headers, ORIGIN, SEQ_THROUGH, SNAPSHOT_LENGTH, 0, count),
  };
}

function contestants(engines: readonly string[]): Contestant[] {
  const codecs = [
    ...(engines.includes('native') ? [loadNativeCodec()] : []),
    ...(engines.includes('typescript') ? [typescriptCodec] : []),
  ];
  const byEngine = codecs.map((codec) => ({
    name: codec.engine,
    decode: (batch: Uint8Array, columns: FrameColumns) => void codec.decodeBatch(batch, columns),
    encode: (columns: FrameColumns, target: Uint8Array) => void codec.encodeBatch(columns, target),
    writeHeaders: (headers: Uint8Array, count: number) =>
      codec.writeChunkHeaders(headers, ORIGIN, SEQ_THROUGH, SNAPSHOT_LENGTH, 0, count),
  }));
  return engines.includes('native') ? [forced(loadAddon()), ...byEngine] : byEngine;
}

function decodes({ name, decode }: Contestant, { batch, size }: Work): Contender {
  const columns = new FrameColumns(64);
  return repeats(
    name,
    () => decode(batch, columns),
    () => {
      mustBe(columns.count, size, `${name}, rows`);
      mustBe(columns.word[size - 1], SEQ_THROUGH, `${name}, word of the last row`);
      columns.word.fill(0n);
    },
  );
}

function encodes({ name, encode }: Contestant, { batch }: Work): Contender {
  const columns = new FrameColumns(64);
  typescriptCodec.decodeBatch(batch, columns);
  const target = new Uint8Array(batch.length);
  return repeats(
    name,
    () => encode(columns, target),
    () => {
      mustBeBytes(target, batch, `${name}, encoded`);
      target.fill(0);
    },
  );
}

function writesHeaders({ name, writeHeaders }: Contestant, { headers, size }: Work): Contender {
  const target = new Uint8Array(headers.length);
  return repeats(
    name,
    () => writeHeaders(target, size),
    () => {
      mustBeBytes(target, headers, `${name}, headers`);
      target.fill(0);
    },
  );
}

export async function run({ quick, engines }: BenchOptions): Promise<BenchReport> {
  const { full, unavailable } = loadEngines(engines.filter((name) => name !== 'baseline'));
  const contenders = contestants(full.map(({ engine }) => engine));
  const measurements: Measured[] = [];
  for (const [what, contender] of [
    ['decodeBatch', decodes],
    ['encodeBatch', encodes],
    ['writeChunkHeaders', writesHeaders],
  ] as const) {
    for (const size of SIZES) {
      const work = makeWork(size);
      const plan: Plan = {
        subject: `${what}, ${size} per call`,
        unit: 'ns per call',
        convert: nanosecondsPer(CALLS),
        rounds: quick ? 1 : 9,
        sliceMs: quick ? 0 : 30,
      };
      measurements.push(
        await interleave(
          plan,
          contenders.map((one) => contender(one, work)),
        ),
      );
    }
  }
  return {
    measurements: contenders.length > 0 ? measurements : [],
    goals: [],
    notes: [],
    checked: checksMade(),
    unavailable,
  };
}
