import { OutgoingSnapshot } from '../lib/migration/outgoing-snapshot.js';
import { SnapshotParts } from '../lib/migration/snapshot-bytes.js';
import type { MigrationCodec } from '../lib/wire/codec.js';
import { encodeMigrationFrame } from '../lib/wire/extension.js';
import type { FrameProducer } from '../lib/wire/frame-producer.js';
import { bareNode, HERE, KIND, ORCHESTRATOR, SOURCE, StateDaemon, TARGET } from './harness/bare-node.js';
import { mustBe, mustBeBytes } from './harness/check.js';
import type { BenchDefinition, BenchOptions, BenchReport, Goal, Measurement } from './harness/definition.js';
import { loadEngines } from './harness/engines.js';
import { atMost } from './harness/goals.js';
import { isolated } from './harness/isolated.js';
import { PseudoRandom } from './harness/pseudo-random.js';
import { entryOf, median } from './harness/statistics.js';

export const definition: BenchDefinition = {
  name: 'stream',
  order: 120,
  title: 'A snapshot of 4 GiB through the dispatcher, pulled and pushed',
  method:
    'A source and a target, each a dispatcher in a process of its own. The source has a daemon whose state is one array of that size; its transport pulls chunks into one reused ' +
    'buffer of 128 KiB, as it would for a socket. The target is handed batches of 128 KiB; its daemon gets a view of what was assembled, and compares all of it with what was sent. Figures are ' +
    'the process’s own peak (`ru_maxrss`) over what it held before the migration began (the source: with its state), and bytes per second with BLAKE3 digest and all checks of the dispatcher.',
  quoted: [
    { what: 'whole migration of 60 MiB on three nodes, peak resident memory', value: '304 MiB (5 × the state)' },
    { what: 'a snapshot of 100 MiB', value: 'refused; both sides stuck' },
  ],
};

const MIB = 2 ** 20;
const BATCH_BYTES = 128 * 1024;
/** The state is this block, over and over. */
const BLOCK_BYTES = 64 * MIB;
/** What a snapshot of 2^32 bytes leaves to its state. */
const AROUND_STATE = 1_024;
const REQUEST_ID = new Uint8Array(16).fill(3);

export interface Streamed {
  readonly peakMiB: number;
  readonly gigabytesPerSecond: number;
}

/** Pulls frames into one buffer, each behind its length, until nothing more fits. */
class Puller {
  readonly batch = new Uint8Array(BATCH_BYTES);
  readonly #view = new DataView(this.batch.buffer);

  fill(frames: FrameProducer): Uint8Array {
    let at = 0;
    while (!frames.done && at + 4 + frames.maxFrameLength <= this.batch.length) {
      const length = frames.writeNext(this.batch, at + 4);
      this.#view.setUint32(at, length, true);
      at += 4 + length;
    }
    return this.batch.subarray(0, at);
  }
}

function measured(bytes: number, before: number, ms: number): Streamed {
  const peakMiB = (process.resourceUsage().maxRSS * 1024 - before) / MIB;
  return { peakMiB, gigabytesPerSecond: bytes / ms / 1e6 };
}

/** In a process of its own: a source whose transport pulls. */
export function sourceOf(engine: 'native' | 'typescript', stateBytes: number): Streamed {
  const codec = loadEngines([engine]).full[0]!;
  const puller = new Puller();
  const state = new Uint8Array(stateBytes);
  const block = new PseudoRandom(5).bytes(Math.min(BLOCK_BYTES, stateBytes));
  for (let at = 0; at < stateBytes; at += block.length) state.set(block.subarray(0, stateBytes - at), at);
  let pulled = 0;
  const stream = (_: bigint, frames: FrameProducer) => {
    while (!frames.done) pulled += puller.fill(frames).length;
  };
  const node = bareNode(codec, { send: () => {}, stream }, () => new StateDaemon(state));
  const daemonOrigin = node.own(new StateDaemon(state));
  globalThis.gc?.();
  const before = process.memoryUsage.rss();
  const take = { kind: 'TakeSnapshot', daemonOrigin, targetNode: TARGET } as const;
  const frame = encodeMigrationFrame(codec, take, { requestId: REQUEST_ID, transportIdentity: 0n });
  const start = performance.now();
  node.handler.handleMessage(frame, ORCHESTRATOR);
  const ms = performance.now() - start;
  const [status] = node.handler.list();
  mustBe(status?.bytesDone, status?.bytesTotal, 'bytes that have left');
  mustBe(pulled > stateBytes, true, 'more than the state was pulled');
  return measured(stateBytes, before, ms);
}

/** The parts of a snapshot whose state repeats one block. */
function snapshotParts(codec: MigrationCodec, block: Uint8Array, stateBytes: number) {
  const entityId = new Uint8Array(32).fill(9);
  const origin = codec.originHash(entityId);
  const chainLink = { originHash: origin, horizon: 0n, sequence: 0n, parentHash: 0n };
  const fields = { entityId, throughSeq: 0n, chainLink, createdAt: 0n, bindings: new Uint8Array(0) };
  const { head, tail } = codec.encodeSnapshotParts({ ...fields, identityEnvelope: undefined }, stateBytes);
  const parts = [head];
  for (let left = stateBytes; left > 0; left -= block.length) parts.push(block.subarray(0, left));
  return { origin, parts: [...parts, tail] };
}

/** In a process of its own: a target that is handed batches. */
export function targetOf(engine: 'native' | 'typescript', stateBytes: number): Streamed {
  const codec = loadEngines([engine]).full[0]!;
  const block = new PseudoRandom(5).bytes(Math.min(BLOCK_BYTES, stateBytes));
  const { origin, parts } = snapshotParts(codec, block, stateBytes);
  let compared = 0;
  let compareMs = 0;
  const compare = (state: Uint8Array) => {
    const start = performance.now();
    for (; compared < state.length; compared += block.length) {
      const part = state.subarray(compared, compared + block.length);
      mustBeBytes(part, block.subarray(0, part.length), `state at ${compared}`);
    }
    compareMs += performance.now() - start;
  };
  const node = bareNode(codec, { send: () => {}, stream: () => {} }, () => new StateDaemon(new Uint8Array(0), compare));
  const trailer = { try: 1n, requestId: REQUEST_ID, source: SOURCE, daemonKind: KIND, transportIdentity: 0n };
  const fields = {
    origin,
    seqThrough: 0n,
    bytes: new SnapshotParts(parts),
    trailer,
    target: HERE,
    sign: () => undefined,
  };
  const frames = new OutgoingSnapshot(codec, fields);
  const puller = new Puller();
  globalThis.gc?.();
  const before = process.memoryUsage.rss();
  let ms = 0;
  while (!frames.done) {
    const batch = puller.fill(frames);
    const start = performance.now();
    node.handler.handleBatch(batch, ORCHESTRATOR);
    ms += performance.now() - start;
  }
  mustBe(node.handler.list()[0]?.phase, 'holding', 'phase of the target');
  mustBe(compared >= stateBytes, true, 'all of the state was compared');
  return measured(stateBytes, before, ms - compareMs);
}

export async function run({ quick, engines }: BenchOptions): Promise<BenchReport> {
  const { full, unavailable } = loadEngines(engines);
  const stateBytes = quick ? 16 * MIB : 2 ** 32 - AROUND_STATE;
  const size = quick ? '16 MiB' : '4 GiB';
  const rounds = quick ? 1 : 3;
  const measurements: Measurement[] = [];
  const goals: Goal[] = [];
  let checked = 0;
  for (const side of ['source', 'target'] as const) {
    const results = new Map<string, Streamed[]>(full.map(({ engine }) => [engine, []]));
    for (let round = 0; round < rounds; round++) {
      for (const { engine } of full) {
        results
          .get(engine)!
          .push(await isolated({ module: import.meta.url, name: `${side}Of`, args: [engine, stateBytes] }));
        checked++;
      }
    }
    const entries = (pick: (result: Streamed) => number) =>
      [...results].map(([engine, rows]) => entryOf(engine, rows.map(pick)));
    measurements.push({
      subject: `${side}, ${size}: peak over what was there`,
      unit: 'MiB',
      entries: entries((row) => row.peakMiB),
    });
    measurements.push({
      subject: `${side}, ${size}: through the dispatcher`,
      unit: 'GB/s',
      entries: entries((row) => row.gigabytesPerSecond),
    });
    const native = results.get('native')?.map((row) => row.peakMiB);
    const limit = side === 'source' ? 32 : (1.05 * stateBytes) / MIB + 32;
    goals.push(
      ...atMost(limit, {
        goal:
          side === 'source'
            ? 'native, source: nothing of the snapshot is held a second time (32 MiB)'
            : 'native, target: 1.05 × the snapshot + 32 MiB',
        measured: native && median(native),
        unit: 'MiB',
        how: `median of ${rounds} processes`,
      }),
    );
  }
  return { measurements, goals, notes: [], checked, unavailable };
}
