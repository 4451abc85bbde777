import { randomBytes } from 'node:crypto';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Worker } from 'node:worker_threads';
import * as assert from 'uvu/assert';
import { MigrationError } from '../../lib/errors.js';
import { FrameColumns } from '../../lib/wire/columns.js';
import type { CausalEvent } from '../../lib/wire/link.js';
import { loadNativeCodec } from '../../lib/wire/native/index.js';
import type { AssembledSnapshot } from '../../lib/wire/reassembler.js';
import { typescriptCodec } from '../../lib/wire/typescript/index.js';
import { suite } from '../support.js';

/**
 * What only the native engine can get wrong: memory outside the heap, and what crosses. What all engines share is tested by
 * the conformance suite and the properties.
 */
const test = suite('the native engine');
const codec = loadNativeCodec();

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

const MIB = 1024 * 1024;
const CHUNK = 7_000;

function assemble(snapshot: Uint8Array, options: { readonly digest?: boolean } = {}): AssembledSnapshot {
  const reassembler = codec.createReassembler(options);
  const total = Math.max(1, Math.ceil(snapshot.length / CHUNK));
  let whole: AssembledSnapshot | undefined;
  for (let i = 0; i < total; i++) {
    whole = reassembler.feed(1n, 1n, i, total, snapshot.subarray(i * CHUNK, (i + 1) * CHUNK), 0);
  }
  reassembler.dispose();
  return whole!;
}

/** Resident memory once finalizers have had their turns. */
async function resident(): Promise<number> {
  for (let i = 0; i < 5; i++) {
    collectGarbage();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return process.memoryUsage.rss();
}

test('hands over snapshots of every size byte for byte', () => {
  for (const size of [1, CHUNK, CHUNK + 1, 63 * 1024, 64 * 1024, 65 * 1024, MIB, 5 * MIB + 17]) {
    const snapshot = new Uint8Array(randomBytes(size));
    const whole = assemble(snapshot, { digest: true });
    assert.ok(Buffer.from(snapshot).equals(whole.bytes), `${size} bytes`);
    assert.equal(whole.digest, typescriptCodec.blake3(snapshot), `digest of ${size} bytes`);
  }
});

test('a snapshot disposed of is empty in every view, and its memory is given back', async () => {
  const source = new Uint8Array(64 * MIB).fill(1);
  const before = await resident();
  const whole = assemble(source);
  const view = whole.bytes.subarray(5, 10);
  assert.ok(process.memoryUsage.rss() - before > 56 * MIB, 'the snapshot is resident');
  whole.dispose();
  assert.is(whole.bytes.length, 0);
  assert.is(view.length, 0);
  assert.is(view[0], undefined);
  whole.dispose();
  const left = (await resident()) - before;
  assert.ok(left < 16 * MIB, `${left} bytes are still resident`);
});

test('a snapshot that is forgotten is collected', async () => {
  const source = new Uint8Array(16 * MIB).fill(1);
  const before = await resident();
  for (let i = 0; i < 20; i++) {
    assemble(source);
    if (i % 5 === 4) await resident();
  }
  const left = (await resident()) - before;
  assert.ok(left < 64 * MIB, `${left} bytes are still resident`);
});

test('a small snapshot whose memory went to another thread can be disposed of', () => {
  const whole = assemble(new Uint8Array(100).fill(7));
  const moved = structuredClone(whole.bytes, { transfer: [whole.bytes.buffer as ArrayBuffer] });
  whole.dispose();
  assert.is(moved[99], 7);
});

test('a declared-large snapshot that is never sent costs under 1 MiB', async () => {
  const reassembler = codec.createReassembler();
  const chunk = new Uint8Array(CHUNK).fill(1);
  const before = await resident();
  const DECLARED = 50;
  for (let i = 0; i < DECLARED; i++) reassembler.feed(BigInt(i), 1n, i, 613_566, chunk, 0);
  const cost = ((await resident()) - before) / DECLARED;
  assert.ok(cost < MIB, `${cost} bytes resident each`);
  assert.ok(reassembler.pendingBytes < DECLARED * MIB && reassembler.pendingBytes > DECLARED * CHUNK);
  reassembler.dispose();
});

test('100,000 rounds leave nothing behind', async () => {
  const chunk = new Uint8Array(200).fill(1);
  const round = (i: number) => {
    const reassembler = codec.createReassembler();
    assert.is(reassembler.feed(BigInt(i), 1n, 0, 1, chunk, 0)?.bytes.length, 200);
    reassembler.feed(BigInt(i), 2n, 0, 2, chunk, 0);
    if (i % 2 === 0) reassembler.dispose();
    const ledger = codec.createLedger();
    ledger.record(1n, 'sensors/lidar', chunk);
    if (i % 2 === 0) ledger.dispose();
    const log = codec.createEventLog();
    log.append({ link: { originHash: 1n, horizon: 0n, sequence: 1n, parentHash: 0n }, payload: chunk, receivedAt: 0n });
    if (i % 2 === 0) log.dispose();
  };
  for (let i = 0; i < 10_000; i++) round(i);
  const before = await resident();
  for (let i = 0; i < 100_000; i++) {
    round(i);
    // Finalizers wait for a turn of the loop.
    if (i % 1_000 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  const grown = (await resident()) - before;
  assert.ok(grown < 48 * MIB, `grown by ${grown} bytes`);
});

test('refuses to read and write the same memory', () => {
  const columns = new FrameColumns(100);
  assert.throws(() => codec.decodeBatch(columns.buffer, columns), /batch must not lie in the memory of columns/);
  columns.count = 50;
  assert.throws(() => codec.encodeBatch(columns, columns.buffer), /target must not lie in the memory of columns/);
  const reassembler = codec.createReassembler();
  assert.throws(() => reassembler.feedBatch(columns.buffer, columns, 0, 50), /batch must not lie in the memory/);
});

test('refuses columns whose memory was transferred away', () => {
  const columns = new FrameColumns(100);
  structuredClone(columns.buffer, { transfer: [columns.buffer.buffer as ArrayBuffer] });
  const batch = new Uint8Array(1_000);
  assert.throws(() => codec.decodeBatch(batch, columns), /columns.buffer must not be detached/);
});

test('refuses columns over memory that another thread could write', () => {
  const columns = new FrameColumns(100);
  const shared = new Uint8Array(new SharedArrayBuffer(columns.buffer.length));
  Object.defineProperty(columns, 'buffer', { value: shared });
  const batch = new Uint8Array(1_000);
  assert.throws(() => codec.decodeBatch(batch, columns), /columns.buffer must not be over a SharedArrayBuffer/);
});

test('columns of another batch do no harm', () => {
  const columns = new FrameColumns(4);
  columns.count = 4;
  columns.type.fill(1);
  columns.payloadOffset.fill(0xffff_fff0);
  columns.payloadLength.fill(7_000);
  columns.total.fill(2);
  const reassembler = codec.createReassembler();
  assert.throws(() => reassembler.feedBatch(new Uint8Array(10), columns, 0, 4), /columns must belong to batch/);
  assert.is(reassembler.pendingCount, 0);
});

test('a refusal from Rust carries its kind, text and values', () => {
  const reassembler = codec.createReassembler();
  reassembler.feed(1n, 2n ** 64n - 1n, 0, 2, new Uint8Array(1));
  try {
    reassembler.feed(1n, 2n ** 60n, 0, 2, new Uint8Array(1));
    assert.unreachable();
  } catch (error) {
    assert.instance(error, MigrationError);
    const { kind, message, details } = error as MigrationError;
    assert.is(kind, 'stale-seq-through');
    assert.match(message, /^chunk refused: seq_through 1152921504606846976 is older than 18446744073709551615/);
    assert.not.match(message, /\n/);
    assert.equal(details, { got: 2n ** 60n, latest: 2n ** 64n - 1n });
  }
});

function eventOf(log: number, i: number, length: number): CausalEvent {
  const link = { originHash: BigInt(log), horizon: 0n, sequence: BigInt(i), parentHash: 2n ** 64n - 1n };
  return { link, payload: new Uint8Array(length).fill(i), receivedAt: BigInt(i) };
}

test('an event is what it was when it was checked', () => {
  let reads = 0;
  const changing: CausalEvent = {
    ...eventOf(1, 1, 0),
    get payload() {
      return new Uint8Array(reads++ === 0 ? 1 : 3_000);
    },
  };
  const log = codec.createEventLog({ maxEvents: 4, maxBytes: 100 });
  log.append(changing);
  assert.equal([log.bytes, log.get(1n)?.payload.length], [1, 1]);
  // Logs of a thread share a staging area: one that could not be sent over would hold up all.
  const other = codec.createEventLog();
  other.append(eventOf(2, 1, 10));
  assert.equal(other.get(1n), eventOf(2, 1, 10));
});

test('logs that take turns keep their events apart', () => {
  const logs = [codec.createEventLog(), codec.createEventLog(), codec.createEventLog()];
  const twins = logs.map(() => typescriptCodec.createEventLog());
  for (let i = 0; i < 3_000; i++) {
    const which = (i * i + (i >> 4)) % 3;
    // Now and then one that crosses on its own, and an empty one.
    const event = eventOf(which, i, i % 50 === 0 ? 5_000 : i % 130);
    assert.is(logs[which]!.append(event), twins[which]!.append(event));
    if (i % 700 === 699) {
      for (const log of [logs[which]!, twins[which]!]) log.clear();
    }
    if (i % 97 === 0) assert.equal(logs[which]!.get(1n), twins[which]!.get(1n));
  }
  logs.forEach((log, which) => {
    const twin = twins[which]!;
    assert.equal([log.count, log.bytes, log.nextNumber], [twin.count, twin.bytes, twin.nextNumber]);
    assert.equal(log.digest(), twin.digest());
    assert.equal(log.encodeFrame(1n, 1n, 1e6, 1e6, 9n), twin.encodeFrame(1n, 1n, 1e6, 1e6, 9n));
    log.append(eventOf(which, 1, 10));
    log.dispose();
  });
  const after = codec.createEventLog();
  after.append(eventOf(7, 1, 10));
  assert.is(after.count, 1);
  assert.equal(after.get(1n), eventOf(7, 1, 10));
});

test('many threads load it and use it at once', async () => {
  const url = new URL('../../lib/wire/native/index.js', import.meta.url).href;
  const source = `
    import { parentPort } from 'node:worker_threads';
    const { loadNativeCodec } = await import(${JSON.stringify(url)});
    const codec = loadNativeCodec();
    const chunk = new Uint8Array(7000).fill(3);
    let length = 0;
    for (let round = 0; round < 20; round++) {
      const reassembler = codec.createReassembler({ digest: true });
      for (let i = 0; i < 200; i++) length = reassembler.feed(1n, 1n, i, 200, chunk)?.bytes.length ?? length;
    }
    parentPort.postMessage(length);
  `;
  const data = `data:text/javascript,${encodeURIComponent(source)}`;
  const answers = Array.from({ length: 12 }, () => {
    const worker = new Worker(new URL(data));
    return new Promise<unknown>((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
  });
  assert.equal(await Promise.all(answers), new Array(12).fill(1_400_000));
});
