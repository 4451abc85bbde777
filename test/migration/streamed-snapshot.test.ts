import * as assert from 'uvu/assert';
import { MemoryKeep, type StateKeep } from '../../lib/daemon/state-keep.js';
import { StateStream } from '../../lib/daemon/state-stream.js';
import type { MigrationError } from '../../lib/errors.js';
import type { StreamedState } from '../../lib/index.js';
import { OutgoingSnapshot } from '../../lib/migration/outgoing-snapshot.js';
import { type SnapshotBytes, SnapshotParts, StreamedSnapshot } from '../../lib/migration/snapshot-bytes.js';
import { MigrationFailureReason } from '../../lib/wire/failure.js';
import { type FrameProducer, readyFrames } from '../../lib/wire/frame-producer.js';
import type { SnapshotReady } from '../../lib/wire/message.js';
import { events, refusal, suite } from '../support.js';
import { codec, Node, ORCHESTRATOR, ORIGIN, REQUEST, SOURCE, sent, TARGET, turns } from './harness.js';

const streamed = suite('a snapshot whose state is streamed');
const CHUNK = 7_000;
const FRAME = { kind: 'TakeSnapshot', daemonOrigin: ORIGIN, targetNode: TARGET } as const;

function bytesOf(length: number, salt = 1): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 8) * salt) & 255);
}

function* cut(bytes: Uint8Array, size: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function* cutLater(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (const piece of cut(bytes, size)) {
    await new Promise((resolve) => setImmediate(resolve));
    yield piece;
  }
}

const BEFORE = bytesOf(150, 2);
const BEHIND = bytesOf(90, 3);

interface Made {
  readonly bytes: SnapshotBytes;
  readonly kept: StateKeep[];
}

function snapshotOf(state: StreamedState, before = BEFORE, behind = BEHIND): Made {
  const kept: StateKeep[] = [];
  const bytes = new StreamedSnapshot({
    origin: ORIGIN,
    before: [before.subarray(0, 100), before.subarray(100)],
    state: new StateStream('daemon "test"', state),
    behind: [behind],
    keepState: (origin, byteLength) => {
      assert.equal([origin, byteLength], [ORIGIN, state.byteLength]);
      kept.push(new MemoryKeep());
      return kept.at(-1)!;
    },
  });
  return { bytes, kept };
}

function outgoing(bytes: SnapshotBytes, onFailed?: (error: MigrationError) => void): OutgoingSnapshot {
  const trailer = { try: 4n, source: SOURCE, daemonKind: 'recorder' };
  const sign = (message: Uint8Array) =>
    codec.blake3(message).length === 32 ? new Uint8Array(64).fill(message[0]!) : undefined;
  const fields = { origin: ORIGIN, seqThrough: 12n, bytes, trailer, target: TARGET, sign };
  return new OutgoingSnapshot(codec, { ...fields, onFailed: onFailed && ((_, error) => onFailed(error)) });
}

/** All frames, as they get ready. */
async function pulled(frames: FrameProducer): Promise<Uint8Array[]> {
  const all: Uint8Array[] = [];
  for (;;) {
    all.push(...readyFrames(frames));
    if (frames.done) return all;
    await new Promise<void>((resolve) => frames.onReady!(resolve));
  }
}

function chunkOf(frame: Uint8Array): SnapshotReady {
  return sent([{ destNode: 0n, payload: frame }])[0]!.message as SnapshotReady;
}

const LENGTHS = [
  0,
  1,
  CHUNK - 240,
  CHUNK - 241,
  CHUNK - 239,
  2 * CHUNK - 150,
  2 * CHUNK - 240,
  10 * CHUNK + 17,
  300_000,
];

for (const length of LENGTHS) {
  streamed(`of ${length} bytes leaves as the same frames as from memory`, async () => {
    const state = bytesOf(length);
    const whole = new SnapshotParts([BEFORE, state, BEHIND]);
    const expected = await pulled(outgoing(whole));
    for (const size of [1, 100, 6_999, CHUNK, 40_000, 1_000_000]) {
      for (const chunks of [() => cut(state, size), cut(state, size), () => cutLater(state, size)]) {
        if (size === 1 && length > 20_000) continue;
        const out = outgoing(snapshotOf({ byteLength: length, chunks }).bytes);
        const frames = await pulled(out);
        assert.equal(
          frames.map((frame) => Buffer.from(frame).toString('base64')),
          expected.map((frame) => Buffer.from(frame).toString('base64')),
        );
        assert.is(out.bytesWritten, out.byteLength);
        assert.ok(out.digest);
        // Each of them alone, and all again.
        for (let index = 0; index < Math.min(frames.length, 4); index++) {
          const at = frames.length - 1 - index;
          assert.equal(await pulled(out.again(Uint32Array.of(at, at + 1))!), [frames[at]!]);
        }
        assert.equal(await pulled(out.again(Uint32Array.of(0, frames.length))!), frames);
      }
    }
  });
}

const STATE = bytesOf(20 * CHUNK + 500);
const RUNS = Uint32Array.of(2, 4, 7, 8, 3, 5, 18, 99);
const MISSING = [2, 3, 7, 18, 19, 20];

for (const [how, chunks, opens] of [
  ['a function', () => () => cutLater(STATE, 5_000), 0],
  ['a generator', () => cut(STATE, 5_000), 1],
  ['an async generator', () => cutLater(STATE, 5_000), 1],
] as const) {
  streamed(`from ${how} gives again what was lost, in one reading, and the last chunk without any`, async () => {
    let opened = 0;
    const made = chunks();
    const counted =
      typeof made === 'function'
        ? () => {
            opened++;
            return made();
          }
        : made;
    const { bytes, kept } = snapshotOf({ byteLength: STATE.length, chunks: counted });
    const out = outgoing(bytes);
    const first = await pulled(out);
    assert.is(kept.length, opens);
    assert.equal(await pulled(out.lastAgain()), first.slice(-1));
    assert.is(opened, 1 - opens);
    for (let i = 0; i < 2; i++) {
      const again = await pulled(out.again(RUNS)!);
      assert.equal(
        again.map((frame) => chunkOf(frame).chunkIndex),
        MISSING,
      );
      assert.equal(
        again,
        MISSING.map((index) => first[index]!),
      );
    }
    assert.is(opened, opens === 0 ? 3 : 0);
    out.cancel();
    assert.equal([...((kept[0]?.chunks(0) ?? []) as Iterable<Uint8Array>)], []);
  });
}

streamed('is read again by one at a time', async () => {
  let open = 0;
  const chunks = async function* () {
    open++;
    try {
      yield* cutLater(STATE, 5_000);
    } finally {
      open--;
    }
  };
  const out = outgoing(snapshotOf({ byteLength: STATE.length, chunks }).bytes);
  await pulled(out);
  const again = out.again(RUNS)!;
  assert.is(out.again(RUNS), undefined);
  assert.equal((await pulled(again)).length, MISSING.length);
  await turns();
  assert.is(open, 0, 'what was read again is closed at the last of the chunks');
  const next = out.again(Uint32Array.of(0, 1))!;
  assert.equal((await pulled(next)).length, 1);
  await turns();
  assert.is(open, 0);
});

streamed('of which nothing is missing is not read again', async () => {
  let opened = 0;
  const chunks = () => {
    opened++;
    return cut(STATE, 5_000);
  };
  const out = outgoing(snapshotOf({ byteLength: STATE.length, chunks }).bytes);
  await pulled(out);
  for (const runs of [[], [4, 4], [99, 100]]) assert.ok(out.again(Uint32Array.from(runs))!.done);
  assert.is(opened, 1);
});

streamed('that cannot be read ends, says so once, and is closed', async () => {
  for (const failing of [1, 2]) {
    let [opened, closed] = [0, 0];
    const chunks = function* () {
      opened++;
      try {
        yield* cut(STATE.subarray(0, opened === failing ? 50_000 : STATE.length), 5_000);
      } finally {
        closed++;
      }
    };
    const errors: MigrationError[] = [];
    const out = outgoing(snapshotOf({ byteLength: STATE.length, chunks }).bytes, (error) => errors.push(error));
    const frames = await pulled(out);
    // What is read ahead tells before anything of it has left.
    assert.is(frames.length, failing === 1 ? 0 : 21);
    if (failing === 2) await pulled(out.again(RUNS)!);
    assert.is(errors.length, 1);
    assert.is(errors[0]!.kind, 'state-failed');
    assert.ok(out.done);
    assert.is(out.again(RUNS), undefined);
    assert.is(closed, opened);
  }
});

streamed('that goes wrong behind its last byte never leaves whole', async () => {
  for (const wrong of ['throws', 'gives more']) {
    const chunks = async function* () {
      yield* cutLater(STATE, 5_000);
      await turns();
      if (wrong === 'throws') throw new Error('the checksum differs');
      yield Uint8Array.of(1);
    };
    const errors: MigrationError[] = [];
    const out = outgoing(snapshotOf({ byteLength: STATE.length, chunks }).bytes, (error) => errors.push(error));
    const frames = await pulled(out);
    assert.is(frames.length, out.totalChunks - 1);
    assert.is(errors.length, 1);
    assert.is(out.digest, undefined);
  }
});

streamed('that is cancelled at any chunk closes its iterator, and no more goes out', async () => {
  for (let at = 0; at <= 21; at++) {
    let [opened, closed] = [0, 0];
    const chunks = function* () {
      opened++;
      try {
        yield* cut(STATE, 900_000);
      } finally {
        closed++;
      }
    };
    const out = outgoing(snapshotOf({ byteLength: STATE.length, chunks }).bytes);
    const frame = new Uint8Array(out.maxFrameLength);
    for (let i = 0; i < at; i++) assert.ok(out.writeNext(frame, 0) > 0);
    out.cancel();
    assert.ok(out.done);
    assert.is(out.writeNext(frame, 0), 0);
    assert.is(closed, opened);
  }
});

streamed('lets go of a snapshot in memory when it is cancelled', () => {
  const parts = new SnapshotParts([STATE]);
  const out = outgoing(parts);
  assert.is(parts.byteLength, STATE.length);
  out.cancel();
  assert.is(parts.byteLength, 0);
});

/** A source without a transport whose daemon streams. */
function sourceNode(chunks: StreamedState['chunks'], byteLength = STATE.length) {
  const node = new Node();
  const log = node.own();
  for (const event of events(7n, 1, 3)) log.append(event);
  const { bytes, kept } = snapshotOf({ byteLength, chunks });
  node.answers.takeSnapshot = () => ({ seqThrough: 12n, bytes, daemonKind: 'recorder', sign: () => undefined });
  return { node, kept };
}

const chunksIn = (frames: ReturnType<typeof sent>) =>
  frames.filter(({ message }) => message.kind === 'SnapshotReady').length;

streamed('without a transport is in the array at once where its pieces are, whatever their size', () => {
  for (const size of [3, 5_000, 1_000_000])
    assert.is(chunksIn(sourceNode(() => cut(STATE, size)).node.takes(ORCHESTRATOR, FRAME, REQUEST)), 21);
});

streamed('without a transport comes out later, with ticks and what is taken', async () => {
  const { node } = sourceNode(() => cutLater(STATE, 5_000));
  assert.is(chunksIn(node.takes(ORCHESTRATOR, FRAME, REQUEST)), 0);
  let [chunks, calls] = [0, 0];
  for (let now = 1; chunks < 21; now++) {
    await new Promise((resolve) => setImmediate(resolve));
    chunks += chunksIn(sent(now % 2 === 0 ? node.handler.tick(now) : node.handler.takeOutbound()));
    calls++;
  }
  assert.ok(calls > 10, 'no more than is here each time');
  assert.is(chunks, 21);
  assert.is(node.handler.list()[0]!.bytesDone, STATE.length + 240);
});

streamed('without a transport that throws later fails the migration, and the daemon goes on', async () => {
  const { node } = sourceNode(async function* () {
    yield STATE.subarray(0, 50_000);
    await turns();
    throw new Error('the disk is gone');
  });
  node.takes(ORCHESTRATOR, FRAME, REQUEST);
  const told = [];
  for (let i = 0; i < 20; i++) {
    await turns();
    told.push(...sent(node.handler.takeOutbound()));
  }
  const failures = told.filter(({ message }) => message.kind === 'MigrationFailed');
  assert.equal(
    failures.map(({ to }) => to),
    [ORCHESTRATOR, TARGET],
  );
  assert.is(node.asks('resume').length, 1);
  const report = node.reports.find(({ kind }) => kind === 'failed') as { error: MigrationError };
  assert.is(report.error.kind, 'state-failed');
  assert.match(report.error.message, /the disk is gone/);
  assert.is((report.error.cause as Error).message, 'the disk is gone');
});

streamed('is let go when its target has restored it', async () => {
  const { node, kept } = sourceNode(cut(STATE, 5_000));
  node.takes(ORCHESTRATOR, FRAME, REQUEST);
  assert.is(kept.length, 1);
  assert.is(Buffer.concat([...(kept[0]!.chunks(0) as Iterable<Uint8Array>)]).length, STATE.length);
  node.takes(TARGET, { kind: 'EventAck', daemonOrigin: ORIGIN }, { try: 4n, ackThrough: 0n });
  assert.is([...(kept[0]!.chunks(0) as Iterable<Uint8Array>)].length, 0);
});

streamed('is not taken for restored before all of it has left', async () => {
  const { node } = sourceNode(() => cutLater(STATE, 5_000));
  node.takes(ORCHESTRATOR, FRAME, REQUEST);
  const trailer = { try: 4n, ackThrough: 0n };
  await refusal('wrong-phase', () => node.takes(TARGET, { kind: 'EventAck', daemonOrigin: ORIGIN }, trailer));
  await refusal('wrong-phase', () =>
    node.takes(ORCHESTRATOR, { kind: 'CutoverNotify', daemonOrigin: ORIGIN, targetNode: TARGET }, { try: 4n }),
  );
  assert.is(node.handler.list()[0]!.phase, 'transferring');
});

streamed('is closed where nobody wants it any more when it is given, and where the dispatcher ends', async () => {
  for (const end of ['failed', 'disposed', 'disposed later'] as const) {
    let closed = 0;
    const once = {
      next: () => new Promise<never>(() => {}),
      return: () => {
        closed++;
        return Promise.resolve({ done: true as const, value: undefined });
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
    const { node } = sourceNode(once);
    const given = node.answers.takeSnapshot!({} as never);
    let give = () => {};
    node.answers.takeSnapshot = () =>
      new Promise((resolve) => {
        give = () => resolve(given as never);
      });
    node.takes(ORCHESTRATOR, FRAME, REQUEST);
    if (end === 'failed') {
      const reason = MigrationFailureReason.stateFailed('cancelled');
      node.takes(
        ORCHESTRATOR,
        { kind: 'MigrationFailed', daemonOrigin: ORIGIN, reason },
        { requestId: REQUEST.requestId!, try: 4n },
      );
    } else if (end === 'disposed') node.handler.dispose();
    give();
    await turns();
    if (end === 'disposed later') node.handler.dispose();
    assert.is(closed, 1, end);
  }
});
