import type { FrameCodec } from '../lib/wire/codec.js';
import { MAX_SNAPSHOT_CHUNK_SIZE, SNAPSHOT_READY_HEADER_SIZE } from '../lib/wire/message.js';
import { typescriptCodec } from '../lib/wire/typescript/index.js';
import { mustBe, mustBeBytes } from './harness/check.js';
import type { BenchDefinition, BenchOptions, BenchReport } from './harness/definition.js';
import { loadEngines } from './harness/engines.js';
import { atMost } from './harness/goals.js';
import { type Contender, checksMade, interleave, nanosecondsPer, type Plan } from './harness/measure.js';
import { PseudoRandom } from './harness/pseudo-random.js';
import { chunksOf, ORIGIN, SEQ_THROUGH } from './harness/snapshot-stream.js';

export const definition: BenchDefinition = {
  name: 'chunks-out',
  order: 40,
  title: 'A snapshot of 1 GiB to frames',
  method:
    'Headers alone: `writeChunkHeaders`, 256 chunks per call, into memory that is reused. Gathered: the same into new memory per ' +
    'call, and for each chunk a view of its header and a view of its payload in a list, as a transport’s gathering write takes ' +
    'them; every payload is checked to be a view of the snapshot’s own memory. Copied: `encode` of a SnapshotReady per chunk, a new ' +
    'array each. The limit for the copied ones is one copy of the same payloads, 7,000 bytes at a time, into memory that is reused; ' +
    'for the others there is none, since no payload moves.',
  quoted: [
    { what: 'cut into chunks and encode, frames kept, 1 / 16 / 60 MiB', value: '9.7–12.4 / 2.4–4.0 / 0.50–0.52 GB/s' },
    { what: 'SnapshotReady with 7,000 bytes, encode', value: '191–248 ns' },
  ],
};

const CHUNKS_PER_CALL = 256;

/** All headers of the snapshot, as the typescript engine writes them; it is held to the vectors. */
function expectedHeaders(snapshotLength: number): Uint8Array {
  const chunks = chunksOf(snapshotLength);
  const headers = new Uint8Array(chunks * SNAPSHOT_READY_HEADER_SIZE);
  typescriptCodec.writeChunkHeaders(headers, ORIGIN, SEQ_THROUGH, snapshotLength, 0, chunks);
  return headers;
}

function writesHeaders(codec: FrameCodec, snapshotLength: number, expected: Uint8Array): Contender {
  const chunks = chunksOf(snapshotLength);
  const headers = new Uint8Array(expected.length);
  return {
    name: codec.engine,
    run() {
      for (let first = 0; first < chunks; first += CHUNKS_PER_CALL) {
        const count = Math.min(CHUNKS_PER_CALL, chunks - first);
        const target = headers.subarray(first * SNAPSHOT_READY_HEADER_SIZE);
        codec.writeChunkHeaders(target, ORIGIN, SEQ_THROUGH, snapshotLength, first, count);
      }
      return undefined;
    },
    check() {
      mustBeBytes(headers, expected, `${codec.engine} headers`);
      headers.fill(0);
    },
  };
}

/** Hands on what a transport would write at once: header, payload, header, payload … */
type Sink = (parts: readonly Uint8Array[]) => void;

function gather(codec: FrameCodec, snapshot: Uint8Array, sink: Sink): void {
  const chunks = chunksOf(snapshot.length);
  for (let first = 0; first < chunks; first += CHUNKS_PER_CALL) {
    const count = Math.min(CHUNKS_PER_CALL, chunks - first);
    const headers = new Uint8Array(count * SNAPSHOT_READY_HEADER_SIZE);
    codec.writeChunkHeaders(headers, ORIGIN, SEQ_THROUGH, snapshot.length, first, count);
    const parts: Uint8Array[] = [];
    for (let i = 0; i < count; i++) {
      const at = (first + i) * MAX_SNAPSHOT_CHUNK_SIZE;
      parts.push(
        headers.subarray(i * SNAPSHOT_READY_HEADER_SIZE, (i + 1) * SNAPSHOT_READY_HEADER_SIZE),
        snapshot.subarray(at, at + MAX_SNAPSHOT_CHUNK_SIZE),
      );
    }
    sink(parts);
  }
}

function gathers(codec: FrameCodec, snapshot: Uint8Array, expected: Uint8Array): Contender {
  const name = codec.engine;
  let bytes = 0;
  return {
    name,
    run() {
      bytes = 0;
      gather(codec, snapshot, (parts) => {
        for (const part of parts) bytes += part.length;
      });
      return undefined;
    },
    check() {
      mustBe(bytes, snapshot.length + expected.length, `${name} gathered, bytes`);
      checkGathered(codec, snapshot, expected);
    },
  };
}

/** Each part is in its place, and each payload is the snapshot's own memory. */
function checkGathered(codec: FrameCodec, snapshot: Uint8Array, expected: Uint8Array): void {
  let chunk = 0;
  gather(codec, snapshot, (parts) => {
    for (let i = 0; i < parts.length; i += 2, chunk++) {
      const at = chunk * SNAPSHOT_READY_HEADER_SIZE;
      mustBeBytes(parts[i]!, expected.subarray(at, at + SNAPSHOT_READY_HEADER_SIZE), `header ${chunk}`);
      const payload = parts[i + 1]!;
      mustBe(payload.buffer === snapshot.buffer, true, `payload ${chunk} is a view of the snapshot`);
      mustBe(payload.byteOffset - snapshot.byteOffset, chunk * MAX_SNAPSHOT_CHUNK_SIZE, `payload ${chunk}, place`);
    }
  });
  mustBe(chunk, chunksOf(snapshot.length), 'chunks gathered');
}

function encodes(codec: FrameCodec, snapshot: Uint8Array, expected: Uint8Array): Contender {
  const totalChunks = chunksOf(snapshot.length);
  let bytes = 0;
  let last = new Uint8Array(0) as Uint8Array;
  return {
    name: codec.engine,
    run() {
      bytes = 0;
      for (let chunkIndex = 0; chunkIndex < totalChunks; chunkIndex++) {
        const at = chunkIndex * MAX_SNAPSHOT_CHUNK_SIZE;
        last = codec.encode({
          kind: 'SnapshotReady',
          daemonOrigin: ORIGIN,
          seqThrough: SEQ_THROUGH,
          chunkIndex,
          totalChunks,
          snapshotBytes: snapshot.subarray(at, at + MAX_SNAPSHOT_CHUNK_SIZE),
        });
        bytes += last.length;
      }
      return undefined;
    },
    check() {
      mustBe(bytes, snapshot.length + expected.length, `${codec.engine} encoded, bytes`);
      const payload = snapshot.subarray((totalChunks - 1) * MAX_SNAPSHOT_CHUNK_SIZE);
      mustBeBytes(
        last.subarray(0, SNAPSHOT_READY_HEADER_SIZE),
        expected.subarray(-SNAPSHOT_READY_HEADER_SIZE),
        'header',
      );
      mustBeBytes(last.subarray(SNAPSHOT_READY_HEADER_SIZE), payload, 'payload');
    },
  };
}

function copies(snapshot: Uint8Array): Contender {
  const chunks = chunksOf(snapshot.length);
  const target = new Uint8Array(MAX_SNAPSHOT_CHUNK_SIZE);
  return {
    name: 'limit: copy of the payloads',
    run() {
      for (let i = 0; i < chunks; i++) {
        const at = i * MAX_SNAPSHOT_CHUNK_SIZE;
        target.set(snapshot.subarray(at, at + MAX_SNAPSHOT_CHUNK_SIZE));
      }
      return undefined;
    },
    check() {
      const last = snapshot.subarray((chunks - 1) * MAX_SNAPSHOT_CHUNK_SIZE);
      mustBeBytes(target.subarray(0, last.length), last, 'copy of the last payload');
    },
  };
}

export async function run({ quick, engines }: BenchOptions): Promise<BenchReport> {
  const { frames: codecs, unavailable } = loadEngines(engines);
  const snapshot = new PseudoRandom(5).bytes(quick ? 3 * 2 ** 20 : 2 ** 30);
  const expected = expectedHeaders(snapshot.length);
  const plan = (subject: string): Plan => ({
    subject,
    unit: 'ns per chunk',
    convert: nanosecondsPer(chunksOf(snapshot.length)),
    rounds: quick ? 1 : 9,
    sliceMs: quick ? 0 : 100,
  });
  const headers = await interleave(
    plan('headers alone, 256 per call'),
    codecs.map((codec) => writesHeaders(codec, snapshot.length, expected)),
  );
  const gathered = await interleave(
    plan('gathered: header and slice of each chunk'),
    codecs.map((codec) => gathers(codec, snapshot, expected)),
  );
  const encoded = await interleave(plan('copied: encode of each chunk'), [
    ...codecs.map((codec) => encodes(codec, snapshot, expected)),
    copies(snapshot),
  ]);
  return {
    measurements: [headers, gathered, encoded],
    goals: atMost(500, {
      goal: 'native, gathered: at most 0.5 µs per chunk, no copy of the payload',
      measured: gathered.median('native'),
      unit: 'ns',
      how: 'median; every payload handed on was found to be a view of the snapshot',
    }),
    notes: [],
    checked: checksMade(),
    unavailable,
  };
}
