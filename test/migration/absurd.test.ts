import * as assert from 'uvu/assert';
import { MigrationError } from '../../lib/errors.js';
import { SnapshotParts } from '../../lib/migration/snapshot-bytes.js';
import { events, refusal, suite } from '../support.js';
import { inCluster } from './cluster.js';
import {
  chunkFrames,
  codec,
  HEAD,
  Node,
  ORCHESTRATOR,
  ORIGIN,
  REQUEST,
  SOURCE,
  STRANGER,
  sent,
  TARGET,
  TRY,
  turns,
} from './harness.js';

const absurd = suite('a peer that says absurd things');
const daemonOrigin = ORIGIN;
const U64_MAX = 2n ** 64n - 1n;
const CHUNKS = 20;

/** A source whose chunks have all left. */
function sourceNode(): Node {
  const node = new Node();
  const log = node.own();
  for (const event of events(7n, 1, 3)) log.append(event);
  node.answers.takeSnapshot = () => ({
    seqThrough: HEAD.sequence,
    bytes: new SnapshotParts([new Uint8Array(7_000 * CHUNKS)]),
    daemonKind: 'recorder',
    sign: () => undefined,
  });
  const begun = node.takes(ORCHESTRATOR, { kind: 'TakeSnapshot', daemonOrigin, targetNode: TARGET }, REQUEST);
  assert.is(begun.filter(({ message }) => message.kind === 'SnapshotReady').length, CHUNKS);
  return node;
}

/** Which chunks come again for those runs. */
function again(runs: readonly number[]): number[] {
  const missingChunks = new Uint8Array(Uint32Array.from(runs).buffer);
  const told = sourceNode().takes(TARGET, { kind: 'ChunkStatus', daemonOrigin }, { try: TRY, missingChunks });
  return told.flatMap(({ message }) => (message.kind === 'SnapshotReady' ? [message.chunkIndex] : []));
}

absurd('gets the chunks that it misses, each once and in order, however it names them', () => {
  const all = Array.from({ length: CHUNKS }, (_, i) => i);
  assert.equal(again([2, 4, 7, 8]), [2, 3, 7]);
  assert.equal(again([0, 0xffff_ffff]), all);
  assert.equal(again([0xffff_fff0, 0xffff_ffff, 19, 0xffff_ffff]), [19]);
  assert.equal(again([5, 3, 6, 6, 1, 3, 0, 4, 18]), [1, 2, 3]);
  assert.equal(again([]), []);
  assert.equal(again(Array.from({ length: 200_000 }, (_, i) => (i % 2 ? 0xffff_ffff : 0))), all);
});

absurd('cannot acknowledge events that it was not sent', async () => {
  const node = sourceNode();
  const ack = (ackThrough: bigint) => node.takes(TARGET, { kind: 'EventAck', daemonOrigin }, { try: TRY, ackThrough });
  ack(0n);
  for (const ackThrough of [4n, 2n ** 53n, U64_MAX]) await refusal('state-failed', () => ack(ackThrough));
  assert.is(node.handler.list()[0]!.eventsWaiting, 3);
  ack(3n);
  assert.is(node.handler.list()[0]!.eventsWaiting, 0);
});

for (const [name, trailer] of [
  ['try', { try: U64_MAX, source: SOURCE, daemonKind: 'recorder' }],
  ['epoch', { try: TRY, epoch: U64_MAX, source: SOURCE, daemonKind: 'recorder' }],
] as const) {
  absurd(`cannot place a daemon with a ${name} that none could follow`, () => {
    const node = new Node();
    const snapshotBytes = new Uint8Array(100);
    const chunk = { seqThrough: 1n, chunkIndex: 0, totalChunks: 2, snapshotBytes };
    const told = node.takes(ORCHESTRATOR, { kind: 'SnapshotReady', daemonOrigin, ...chunk }, trailer);
    assert.equal(
      told.map(({ to, message }) => [to, message.kind]),
      [[ORCHESTRATOR, 'MigrationFailed']],
    );
    assert.equal(node.handler.list(), []);
    assert.is(node.asked.length, 0);
  });
}

absurd('or has lost count of its tries hears that the one it leads is over', () => {
  const node = new Node();
  node.takesFrame(ORCHESTRATOR, chunkFrames(20_000, 5n)[0]!);
  node.handler.peerGone(SOURCE);
  assert.equal(node.handler.list(), []);
  const told = node.takesFrame(ORCHESTRATOR, chunkFrames(20_000, 2n)[0]!);
  assert.equal(
    told.map(({ to, message, trailer }) => [to, message.kind, trailer?.try]),
    [[ORCHESTRATOR, 'MigrationFailed', 2n]],
  );
  node.answers.admit = () => {
    throw new MigrationError('not-authorised', 'a stranger');
  };
  const [{ message }] = node.takesFrame(STRANGER, chunkFrames(20_000, 2n)[0]!) as [(typeof told)[0]];
  assert.is((message as { reason: { message: string } }).reason.message, 'not authorised', 'nobody else hears of it');
});

absurd('keeps nobody else from sending events while it is looked at', async () => {
  const node = new Node();
  const answers: Array<(refused: boolean) => void> = [];
  const attempt = codec.encode({
    kind: 'SnapshotReady',
    daemonOrigin,
    seqThrough: HEAD.sequence,
    chunkIndex: 0,
    totalChunks: 1,
    snapshotBytes: chunkFrames(10)[0]!.subarray(29, 29 + snapshotLength()),
  });
  node.takesFrame(ORCHESTRATOR, attempt);
  assert.is(node.handler.list()[0]?.phase, 'holding');
  node.answers.authorize = ({ source }) =>
    new Promise((resolve, reject) => {
      answers.push(() =>
        source === STRANGER ? reject(new MigrationError('not-authorised', 'a stranger')) : resolve(undefined),
      );
    });
  const send = (from: bigint) =>
    node.takes(from, { kind: 'BufferedEvents', daemonOrigin, events: events(ORIGIN, Number(HEAD.sequence) + 1, 2) });
  for (let i = 0; i < 64; i++) send(STRANGER);
  await refusal('buffer-full', () => send(STRANGER));
  send(SOURCE);
  for (let i = 0; i < 2; i++) {
    answers.shift()!(true);
    await turns();
  }
  assert.is(node.replayed.length, 2);
});

for (const isAllowed of [false, true]) {
  absurd(`that asks for a daemon keeps others out only once it is let in: ${isAllowed}`, async () => {
    const node = new Node();
    node.own();
    const answers: Array<() => void> = [];
    node.answers.authorize = ({ orchestrator }) =>
      new Promise((resolve, reject) => {
        const isIn = orchestrator === ORCHESTRATOR || (orchestrator === STRANGER && isAllowed);
        answers.push(() => (isIn ? resolve(undefined) : reject(new MigrationError('not-authorised', 'a stranger'))));
      });
    const told: string[] = [];
    const note = (frames: ReturnType<Node['takes']>) =>
      told.push(...frames.map(({ to, message }) => `${message.kind} to ${to}`));
    const ask = (from: bigint) => {
      const requestId = new Uint8Array(16).fill(Number(from));
      note(node.takes(from, { kind: 'TakeSnapshot', daemonOrigin, targetNode: TARGET }, { ...REQUEST, requestId }));
    };
    ask(STRANGER);
    ask(ORCHESTRATOR);
    ask(ORCHESTRATOR);
    assert.equal(told, []);
    while (answers.length > 0) {
      answers.shift()!();
      await turns();
      note(sent(node.handler.takeOutbound()));
    }
    const loser = isAllowed ? ORCHESTRATOR : STRANGER;
    assert.is(told[0], `MigrationFailed to ${loser}`);
    assert.is(told.filter((what) => what.startsWith('MigrationFailed')).length, 1);
    assert.is(node.handler.list()[0]?.orchestrator, isAllowed ? STRANGER : ORCHESTRATOR);
  });
}

function snapshotLength(): number {
  return new DataView(chunkFrames(10)[0]!.buffer).getUint32(25, true);
}

for (const extensions of [true, false]) {
  const name = extensions ? 'a fenced daemon' : 'a frozen backup';
  absurd(`such as a register that is out of reach: ${name} is recovered once it is back`, async () => {
    await inCluster({ extensions, register: true }, async (cluster) => {
      cluster.publish(2);
      cluster.start();
      const isStopped = () => !cluster.source.isLive;
      for (let round = 0; !isStopped() && round < 200; round++) {
        if (cluster.queue.length > 0) cluster.deliver();
        await cluster.breathe();
      }
      await cluster.breathe();
      cluster.crash(TARGET);
      const { table } = cluster;
      const read = table.read.bind(table);
      table.read = () => {
        throw new Error('out of reach');
      };
      assert.ok(cluster.recover());
      await cluster.breathe();
      assert.is(cluster.live(), undefined);
      table.read = read;
      assert.ok(cluster.recover(), 'asked for again');
      await cluster.later();
      assert.is(cluster.whole(), SOURCE);
    });
  });
}
