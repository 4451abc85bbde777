import type { MigrationCodec } from '../lib/wire/codec.js';
import type { StateSnapshot } from '../lib/wire/snapshot.js';
import { mustBe, mustBeBytes } from './harness/check.js';
import type { BenchDefinition, BenchOptions, BenchReport } from './harness/definition.js';
import { loadEngines } from './harness/engines.js';
import {
  type Contender,
  checksMade,
  gigabytesPerSecond,
  interleave,
  type Measured,
  nanosecondsPer,
} from './harness/measure.js';
import { PseudoRandom } from './harness/pseudo-random.js';

export const definition: BenchDefinition = {
  name: 'snapshot',
  order: 70,
  title: 'Snapshots, written and read',
  method:
    'Written: `encodeSnapshot` copies the state into one new array; the limit is one memcpy of the same bytes into a fresh array. ' +
    'Written in parts: `encodeSnapshotParts` gives what stands before and after the state, which is not touched. Read: ' +
    '`decodeSnapshot` checks all and gives views; it copies nothing either, so both cost the same for any state (the reference ' +
    'copies). What both have to do is hash the entity id (BLAKE2s). What was written and read is compared byte for byte.',
  quoted: [
    { what: 'snapshot to bytes, 1 / 16 / 60 MiB', value: '22–26 / 6.3–9.1 / 1.1–1.4 GB/s' },
    { what: 'snapshot from bytes, 1 / 16 / 60 MiB', value: '32–33 / 6.5–9.9 / 1.1–1.6 GB/s' },
    { what: 'memcpy into fresh memory there, 1 / 16 / 60 MiB', value: '17–21 / 6.9–9.7 / 1.2 GB/s' },
  ],
};

const MIB = 2 ** 20;
const CALLS = 200;

function makeSnapshot(codec: MigrationCodec, stateLength: number): StateSnapshot {
  const random = new PseudoRandom(23);
  const entityId = random.bytes(32);
  const chainLink = {
    originHash: codec.originHash(entityId),
    horizon: random.u64(),
    sequence: 9n,
    parentHash: random.u64(),
  };
  const state = random.bytes(stateLength);
  const bindings = random.bytes(1_000);
  return { entityId, throughSeq: 9n, chainLink, createdAt: random.u64(), state, bindings, identityEnvelope: undefined };
}

function writes(codec: MigrationCodec, snapshot: StateSnapshot, expected: Uint8Array): Contender {
  let written: Uint8Array | undefined;
  return {
    name: codec.engine,
    run() {
      written = codec.encodeSnapshot(snapshot);
      return undefined;
    },
    check: () => mustBeBytes(written!, expected, `${codec.engine} encodeSnapshot`),
  };
}

function copies(bytes: Uint8Array): Contender {
  let copy: Uint8Array | undefined;
  return {
    name: 'limit: memcpy, fresh memory',
    run() {
      copy = new Uint8Array(bytes.length);
      copy.set(bytes);
      return undefined;
    },
    check: () => mustBeBytes(copy!, bytes, 'copy'),
  };
}

function writesParts(codec: MigrationCodec, snapshot: StateSnapshot, expected: Uint8Array): Contender {
  const stateLength = snapshot.state.length;
  let parts = { head: new Uint8Array(0) as Uint8Array, tail: new Uint8Array(0) as Uint8Array };
  return {
    name: codec.engine,
    run() {
      for (let i = 0; i < CALLS; i++) parts = codec.encodeSnapshotParts(snapshot, stateLength);
      return undefined;
    },
    check() {
      const { head, tail } = parts;
      mustBeBytes(head, expected.subarray(0, head.length), `${codec.engine} head`);
      mustBeBytes(tail, expected.subarray(head.length + stateLength), `${codec.engine} tail`);
    },
  };
}

function reads(codec: MigrationCodec, snapshot: StateSnapshot, bytes: Uint8Array): Contender {
  let read: StateSnapshot | undefined;
  return {
    name: codec.engine,
    run() {
      for (let i = 0; i < CALLS; i++) read = codec.decodeSnapshot(bytes);
      return undefined;
    },
    check() {
      mustBe(read!.chainLink.parentHash, snapshot.chainLink.parentHash, `${codec.engine} parent hash`);
      mustBe(read!.createdAt, snapshot.createdAt, `${codec.engine} created at`);
      mustBe(read!.state.buffer === bytes.buffer, true, `${codec.engine} state is a view`);
      mustBeBytes(read!.state, snapshot.state, `${codec.engine} state`);
      mustBeBytes(read!.bindings, snapshot.bindings, `${codec.engine} bindings`);
    },
  };
}

export async function run({ quick, engines }: BenchOptions): Promise<BenchReport> {
  const { full: codecs, unavailable } = loadEngines(engines);
  const reference = codecs[0];
  const measurements: Measured[] = [];
  if (reference === undefined) return { measurements, goals: [], notes: [], checked: 0, unavailable };
  const sizes = quick ? [MIB] : [MIB, 16 * MIB, 60 * MIB];
  const rounds = quick ? 2 : 11;
  let largest: StateSnapshot | undefined;
  for (const size of sizes) {
    const snapshot = makeSnapshot(reference, size);
    const expected = new Uint8Array(reference.encodeSnapshot(snapshot));
    const plan = {
      unit: 'GB/s',
      convert: gigabytesPerSecond(expected.length),
      rounds,
      sliceMs: quick ? 0 : 60,
    } as const;
    const contenders = codecs.map((codec) => writes(codec, snapshot, expected));
    measurements.push(
      await interleave({ ...plan, subject: `write, ${size / MIB} MiB` }, [...contenders, copies(expected)]),
    );
    largest = snapshot;
  }
  const expected = reference.encodeSnapshot(largest!);
  const plan = { unit: 'ns per call', convert: nanosecondsPer(CALLS), rounds, sliceMs: quick ? 0 : 50 } as const;
  const label = `${sizes.at(-1)! / MIB} MiB`;
  measurements.push(
    await interleave(
      { ...plan, subject: `write in parts, ${label}` },
      codecs.map((codec) => writesParts(codec, largest!, expected)),
    ),
    await interleave(
      { ...plan, subject: `read, ${label}` },
      codecs.map((codec) => reads(codec, largest!, expected)),
    ),
  );
  return { measurements, goals: [], notes: [], checked: checksMade(), unavailable };
}
