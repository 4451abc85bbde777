import * as assert from 'uvu/assert';
import { MigrationError, type MigrationErrorKind } from '../../lib/errors.js';
import type { ExtensionMessage } from '../../lib/wire/extension.js';
import { MigrationFailureReason } from '../../lib/wire/failure.js';
import type { MigrationMessage } from '../../lib/wire/message.js';
import type { Trailer } from '../../lib/wire/trailer.js';
import { events, refusal, suite } from '../support.js';
import {
  chunkFrames,
  EPOCH,
  HEAD,
  HERE,
  Node,
  ORCHESTRATOR,
  ORIGIN,
  OTHER_REQUEST_ID,
  packed,
  REQUEST,
  SOURCE,
  START,
  STRANGER,
  sent,
  TARGET,
  TRY,
} from './harness.js';

type Message = MigrationMessage | ExtensionMessage;

/** One kind of frame at one half: who may send it, and what shows that it was taken. */
interface Case {
  readonly message: Message;
  readonly trailer?: Trailer;
  /** Brings a node to where this frame belongs. */
  readonly given: () => Node;
  readonly right: readonly bigint[];
  readonly wrong: readonly bigint[];
  /** What the frame does; `told` is what the node sent at once. */
  readonly taken: (node: Node, told: ReturnType<Node['takes']>) => void;
  /** How the frame is refused where there is no such migration. */
  readonly unknown: MigrationErrorKind;
  /** What keeps frames of another try out, where it is not the try itself. */
  readonly byEpoch?: true;
}

const daemonOrigin = ORIGIN;
const FAILED: Message = {
  kind: 'MigrationFailed',
  daemonOrigin,
  reason: MigrationFailureReason.stateFailed('as a test wants it'),
};
const CUTOVER: Message = { kind: 'CutoverNotify', daemonOrigin, targetNode: TARGET };

function kinds(told: ReturnType<Node['takes']>) {
  return told.map(({ to, message }) => `${message.kind} to ${to}`);
}

/** A source that has sent its snapshot. */
function sourceNode(): Node {
  const node = new Node();
  node.own();
  node.takes(ORCHESTRATOR, { kind: 'TakeSnapshot', daemonOrigin, targetNode: TARGET }, REQUEST);
  assert.is(node.asks('takeSnapshot').length, 1);
  return node;
}

/** A source that has stopped and offered. */
function offeringNode(): Node {
  const node = sourceNode();
  node.takes(TARGET, { kind: 'EventAck', daemonOrigin }, { try: TRY, ackThrough: 0n });
  assert.equal(kinds(node.takes(ORCHESTRATOR, CUTOVER, { try: TRY })), [
    `BufferedEvents to ${TARGET}`,
    `CleanupComplete to ${ORCHESTRATOR}`,
  ]);
  assert.is(node.asks('offer').length, 1);
  return node;
}

/** A target that has the first of two chunks. */
function assemblingNode(): Node {
  const node = new Node();
  node.takesFrame(ORCHESTRATOR, chunkFrames(10_000)[0]!);
  assert.is(node.asks('admit').length, 1);
  return node;
}

/** A target that holds a copy. */
function holdingNode(): Node {
  const node = new Node();
  for (const chunk of chunkFrames(100)) node.takesFrame(ORCHESTRATOR, chunk);
  assert.is(node.asks('restore').length, 1);
  return node;
}

/** A target that is live. */
function liveNode(): Node {
  const node = holdingNode();
  node.hearsOffer(0n);
  node.takes(ORCHESTRATOR, { kind: 'ActivateTarget', daemonOrigin }, { try: TRY });
  assert.is(node.asks('activate').length, 1);
  return node;
}

/** An orchestrator that has forwarded the snapshot's last chunk. */
function leadingNode(): Node {
  const node = new Node();
  node.handler.startMigration(ORIGIN, SOURCE, TARGET, START);
  node.handler.takeOutbound();
  for (const chunk of chunkFrames(100)) node.takesFrame(SOURCE, chunk);
  return node;
}

const RESTORED: Message = { kind: 'RestoreComplete', daemonOrigin, restoredSeq: HEAD.sequence };
const REPLAYED: Message = { kind: 'ReplayComplete', daemonOrigin, replayedSeq: HEAD.sequence, targetHead: HEAD };

/** An orchestrator that waits for the target to have replayed. */
function replayingNode(): Node {
  const node = leadingNode();
  node.takes(TARGET, RESTORED, { try: TRY });
  return node;
}

/** An orchestrator that waits for the source to have stopped. */
function cutoverNode(): Node {
  const node = replayingNode();
  node.takes(TARGET, REPLAYED, { try: TRY });
  return node;
}

function lastPhase(node: Node): string | undefined {
  const report = node.reports.at(-1);
  return report?.kind === 'progress' ? report.progress.phase : report?.kind;
}

const SOURCE_CASES: readonly Case[] = [
  {
    message: CUTOVER,
    trailer: { try: TRY },
    given: sourceNode,
    right: [ORCHESTRATOR],
    wrong: [TARGET, STRANGER, HERE],
    taken: (node) => assert.is(node.asks('fence').length, 1),
    unknown: 'daemon-not-found',
  },
  {
    message: { kind: 'EventAck', daemonOrigin },
    trailer: { try: TRY, ackThrough: 1n },
    given: () => {
      const node = sourceNode();
      node.copies.get(ORIGIN)!.log.append(events(7n, 1, 1)[0]!);
      node.takes(TARGET, { kind: 'EventAck', daemonOrigin }, { try: TRY, ackThrough: 0n });
      node.copies.get(ORIGIN)!.log.append(events(7n, 2, 1)[0]!);
      return node;
    },
    right: [TARGET],
    wrong: [ORCHESTRATOR, STRANGER, HERE],
    taken: (node, told) => {
      assert.equal(kinds(told), [`BufferedEvents to ${TARGET}`]);
      assert.is(node.reports.at(-1)?.kind, 'replayed');
    },
    unknown: 'daemon-not-found',
  },
  {
    message: { kind: 'ActivationConfirmed', daemonOrigin },
    trailer: { try: TRY, epoch: EPOCH + 1n },
    given: offeringNode,
    right: [TARGET],
    wrong: [ORCHESTRATOR, STRANGER, HERE],
    taken: (node) => {
      assert.is(node.asks('release').length, 1);
      assert.is(node.copies.size, 0);
    },
    unknown: 'daemon-not-found',
    byEpoch: true,
  },
  {
    message: FAILED,
    trailer: { try: TRY },
    given: sourceNode,
    right: [ORCHESTRATOR, TARGET],
    wrong: [STRANGER, HERE],
    taken: (node) => assert.is(node.asks('resume').length, 1),
    unknown: 'wrong-peer',
  },
];

const TARGET_CASES: readonly Case[] = [
  {
    message: { kind: 'BufferedEvents', daemonOrigin, events: events(7n, 1, 2) },
    trailer: { try: TRY, logFrom: 1n },
    given: holdingNode,
    right: [SOURCE, ORCHESTRATOR],
    wrong: [STRANGER, HERE],
    taken: (node) => assert.is(node.replayed.length, 2),
    unknown: 'daemon-not-found',
  },
  {
    message: { kind: 'ActivateTarget', daemonOrigin },
    trailer: { try: TRY },
    given: () => {
      const node = holdingNode();
      node.hearsOffer(0n);
      return node;
    },
    right: [ORCHESTRATOR],
    wrong: [SOURCE, STRANGER, HERE],
    taken: (node) => assert.is(node.asks('claim').length, 1),
    unknown: 'daemon-not-found',
  },
  {
    message: FAILED,
    trailer: { try: TRY },
    given: holdingNode,
    right: [ORCHESTRATOR, SOURCE],
    wrong: [STRANGER, HERE],
    taken: (node) => {
      assert.is(node.asks('discard').length, 1);
      assert.is(node.copies.size, 0);
    },
    unknown: 'wrong-peer',
  },
];

const ORCHESTRATOR_CASES: readonly Case[] = [
  {
    message: RESTORED,
    trailer: { try: TRY },
    given: leadingNode,
    right: [TARGET],
    wrong: [SOURCE, STRANGER, HERE],
    taken: (_, told) => assert.equal(kinds(told), [`BufferedEvents to ${TARGET}`]),
    unknown: 'daemon-not-found',
  },
  {
    message: REPLAYED,
    trailer: { try: TRY },
    given: replayingNode,
    right: [TARGET],
    wrong: [SOURCE, STRANGER, HERE],
    taken: (_, told) => assert.equal(kinds(told), [`CutoverNotify to ${SOURCE}`]),
    unknown: 'daemon-not-found',
  },
  {
    message: { kind: 'ActivateAck', daemonOrigin, replayedSeq: HEAD.sequence },
    trailer: { try: TRY, epoch: EPOCH + 1n },
    given: cutoverNode,
    right: [TARGET],
    wrong: [SOURCE, STRANGER, HERE],
    taken: (node) => assert.is(lastPhase(node), 'completed'),
    unknown: 'daemon-not-found',
  },
  {
    message: { kind: 'CleanupComplete', daemonOrigin },
    trailer: { try: TRY, logCount: 5n },
    given: cutoverNode,
    right: [SOURCE],
    wrong: [TARGET, STRANGER, HERE],
    taken: (_, told) => {
      assert.equal(kinds(told), [`ActivateTarget to ${TARGET}`]);
    },
    unknown: 'daemon-not-found',
  },
  {
    message: { kind: 'SourceStatus', daemonOrigin },
    trailer: { try: TRY, logCount: 5n, ackThrough: 2n },
    given: leadingNode,
    right: [SOURCE],
    wrong: [TARGET, STRANGER, HERE],
    taken: (node) => {
      const report = node.reports.at(-1);
      assert.is(report?.kind === 'progress' && report.progress.eventsWaiting, 3);
    },
    unknown: 'daemon-not-found',
  },
  {
    message: FAILED,
    trailer: { try: TRY },
    given: leadingNode,
    right: [SOURCE, TARGET],
    wrong: [STRANGER, HERE],
    // The one who said so need not be told.
    taken: (_, told) => assert.match(kinds(told).join(), new RegExp(`^MigrationFailed to (${SOURCE}|${TARGET})$`)),
    unknown: 'wrong-peer',
  },
];

/** The frame is refused, and nothing has changed. */
async function assertRefused(node: Node, kind: MigrationErrorKind, from: bigint, message: Message, trailer?: Trailer) {
  const before = node.traces;
  await refusal(kind, () => node.takes(from, message, trailer));
  assert.equal(node.traces, before);
  assert.equal(node.handler.takeOutbound(), []);
}

function checkPeers(half: string, cases: readonly Case[]): void {
  const peers = suite(`frames to ${half}`);
  for (const { message, trailer, given, right, wrong, taken, unknown, byEpoch } of cases) {
    const { kind } = message;
    for (const from of right) {
      peers(`${kind} from node ${from} is taken`, () => {
        const node = given();
        taken(node, node.takes(from, message, trailer));
      });
    }
    for (const from of wrong) {
      peers(`${kind} from node ${from} is refused as wrong-peer, and the right one is taken after it`, async () => {
        const node = given();
        await assertRefused(node, 'wrong-peer', from, message, trailer);
        taken(node, node.takes(right[0]!, message, trailer));
      });
    }
    peers(`${kind} without a migration is refused as ${unknown}`, async () => {
      const node = new Node();
      for (const from of [...right, ...wrong]) await assertRefused(node, unknown, from, message, trailer);
    });
    for (const other of [TRY - 1n, TRY + 1n]) {
      peers(`${kind} of try ${other} changes nothing`, () => {
        const node = given();
        const before = node.traces;
        const stale = byEpoch
          ? { ...trailer, try: other, epoch: EPOCH + 1n + other - TRY }
          : { ...trailer, try: other };
        assert.equal(node.takes(right[0]!, message, stale), []);
        assert.equal(node.traces, before);
        taken(node, node.takes(right[0]!, message, trailer));
      });
    }
  }
}

checkPeers('a source', SOURCE_CASES);
checkPeers('a target', TARGET_CASES);
checkPeers('an orchestrator', ORCHESTRATOR_CASES);

const opening = suite('frames that open a migration');
const TAKE: Message = { kind: 'TakeSnapshot', daemonOrigin, targetNode: TARGET };

opening('TakeSnapshot begins one, for whom the node authorises', () => {
  const node = new Node();
  node.own();
  assert.equal(kinds(node.takes(ORCHESTRATOR, TAKE, REQUEST)), [
    `SourceStatus to ${ORCHESTRATOR}`,
    `SnapshotReady to ${ORCHESTRATOR}`,
  ]);
  const [ask] = node.asks('authorize');
  assert.equal([ask?.role, ask?.orchestrator, ask?.source, ask?.target], ['source', ORCHESTRATOR, HERE, TARGET]);
});

opening('TakeSnapshot that comes again changes nothing; another one is refused', async () => {
  const node = sourceNode();
  const before = node.traces;
  assert.equal(node.takes(ORCHESTRATOR, TAKE, REQUEST), []);
  assert.equal(node.traces, before);
  const other = { ...REQUEST, requestId: new Uint8Array(16).fill(2) };
  for (const trailer of [other, undefined]) assertAnsweredAlreadyMigrating(node, ORCHESTRATOR, trailer);
});

/** A refusal is answered, so that who asked does not wait; nothing else changes. */
function assertAnsweredAlreadyMigrating(node: Node, from: bigint, trailer: Trailer | undefined): void {
  const before = node.traces;
  const [answer, ...more] = node.takes(from, TAKE, trailer);
  assert.equal(more, []);
  assert.is(answer?.to, from);
  assert.ok(answer?.message.kind === 'MigrationFailed' && answer.message.reason.kind === 'AlreadyMigrating');
  assert.equal(node.traces, before);
}

opening('TakeSnapshot from another node than the one that leads is refused, with the same request too', () => {
  for (const from of [TARGET, STRANGER]) assertAnsweredAlreadyMigrating(sourceNode(), from, REQUEST);
});

opening('SnapshotReady begins one, for whom the node authorises', () => {
  const [ask] = holdingNode().asks('admit');
  assert.equal([ask?.role, ask?.orchestrator, ask?.source, ask?.target], ['target', ORCHESTRATOR, SOURCE, HERE]);
});

opening('a chunk from another node than the one that leads is refused', async () => {
  const [, second] = chunkFrames(10_000);
  for (const from of [SOURCE, STRANGER, HERE]) {
    const node = assemblingNode();
    const before = node.traces;
    await refusal('wrong-peer', () => node.takesFrame(from, second!));
    assert.equal(node.traces, before);
    assert.is(node.takesFrame(ORCHESTRATOR, second!)[0]?.message.kind, 'RestoreComplete');
  }
});

opening('a chunk of a lower try is refused', async () => {
  const node = assemblingNode();
  const before = node.traces;
  await refusal('already-migrating', () => node.takesFrame(ORCHESTRATOR, chunkFrames(10_000, TRY - 1n)[1]!));
  assert.equal(node.traces, before);
  assert.is(node.takesFrame(ORCHESTRATOR, chunkFrames(10_000)[1]!)[0]?.message.kind, 'RestoreComplete');
});

opening('a chunk of a higher try ends the lower one, and no chunk of that is joined with it', async () => {
  const node = assemblingNode();
  const [first, second] = chunkFrames(10_000, TRY + 1n);
  assert.equal(node.takesFrame(ORCHESTRATOR, second!), []);
  await refusal('already-migrating', () => node.takesFrame(ORCHESTRATOR, chunkFrames(10_000)[0]!));
  assert.is(node.takesFrame(ORCHESTRATOR, first!)[0]?.message.kind, 'RestoreComplete');
});

opening("an orchestrator forwards its source's chunks as they came, and nobody else's", async () => {
  const [chunk] = chunkFrames(100);
  const node = new Node();
  node.handler.startMigration(ORIGIN, SOURCE, TARGET, START);
  for (const from of [TARGET, STRANGER, HERE]) {
    const before = node.traces;
    await refusal('wrong-peer', () => node.takesFrame(from, chunk!));
    assert.equal(node.traces, before);
  }
  assert.equal(node.handler.handleMessage(chunk!, SOURCE), [{ destNode: TARGET, payload: chunk }]);
});

/** A node that has asked the source for a daemon which the source is giving to another orchestrator. */
function latecomer(): Node {
  const node = new Node();
  node.handler.startMigration(ORIGIN, SOURCE, TARGET, START);
  return node;
}

/** The halves that have a migration, and where it stands there. */
function standings(node: Node): string[] {
  return node.handler.list().map(({ role, phase }) => `${role} ${phase}`);
}

// By its source, which sends its chunks itself, or by somebody else.
for (const from of [SOURCE, ORCHESTRATOR]) {
  opening(
    `another's migration to here goes on while an attempt to lead one waits for its refusal: led by ${from}`,
    () => {
      const node = latecomer();
      const [first, second] = chunkFrames(10_000, TRY, OTHER_REQUEST_ID);
      assert.equal(node.takesFrame(from, first!), []);
      assert.equal(kinds(node.takesFrame(from, second!)), [`RestoreComplete to ${from}`, `EventAck to ${SOURCE}`]);
      const reason = MigrationFailureReason.alreadyMigrating();
      const { requestId } = REQUEST;
      node.takes(SOURCE, { kind: 'MigrationFailed', daemonOrigin, reason }, { requestId: requestId! });
      assert.equal(standings(node), ['target holding']);
    },
  );
}

opening("another's migration to here is taken in a batch too", () => {
  const node = latecomer();
  const told = sent(node.handler.handleBatch(packed(chunkFrames(45_000, TRY, OTHER_REQUEST_ID)), SOURCE));
  assert.equal(kinds(told).slice(-2), [`RestoreComplete to ${SOURCE}`, `EventAck to ${SOURCE}`]);
  assert.equal(node.refused, []);
});

opening("another's migration to here is authorised by itself, whatever is led from here", async () => {
  const node = latecomer();
  node.answers.admit = () => {
    throw new MigrationError('not-authorised', 'as the test wants it');
  };
  const [chunk] = chunkFrames(100, TRY, OTHER_REQUEST_ID);
  for (const from of [SOURCE, STRANGER])
    assert.equal(kinds(node.takesFrame(from, chunk!)), [`MigrationFailed to ${from}`]);
  assert.equal(standings(node), ['orchestrator Snapshot']);
});

opening('a chunk of a try that is over is nobody else’s migration to here', () => {
  const node = leadingNode();
  const isPassedOver = (chunk: Uint8Array) => {
    const before = standings(node);
    assert.equal(node.takesFrame(SOURCE, chunk), []);
    assert.equal(standings(node), before);
  };
  // Before the one that is led from here: that has ended, or the source would not have begun this one.
  isPassedOver(chunkFrames(100, TRY - 1n, OTHER_REQUEST_ID)[0]!);
  node.handler.cancelMigration(ORIGIN);
  node.takes(SOURCE, FAILED, { try: TRY });
  assert.equal(standings(node), []);
  node.handler.startMigration(ORIGIN, SOURCE, TARGET, { ...START, requestId: OTHER_REQUEST_ID });
  // What was led from here, come once more.
  isPassedOver(chunkFrames(100)[0]!);
  const [later] = chunkFrames(100, TRY + 1n, new Uint8Array(16).fill(3));
  assert.equal(kinds(node.takesFrame(SOURCE, later!)), [`RestoreComplete to ${SOURCE}`, `EventAck to ${SOURCE}`]);
});

opening('ActivateTarget that comes again is answered again, for whom led the migration', async () => {
  const node = liveNode();
  const again: Message = { kind: 'ActivateTarget', daemonOrigin };
  const told = node.takes(ORCHESTRATOR, again, { try: TRY, logCount: 0n });
  assert.equal(kinds(told), [`ActivateAck to ${ORCHESTRATOR}`, `ActivationConfirmed to ${SOURCE}`]);
  assert.is(told[1]?.trailer?.epoch, EPOCH + 1n);
  for (const from of [SOURCE, STRANGER]) await assertRefused(node, 'wrong-peer', from, again, { try: TRY });
});

opening('a confirmation of another epoch lets nothing go', () => {
  for (const epoch of [EPOCH, EPOCH + 2n]) {
    const node = offeringNode();
    assert.equal(node.takes(TARGET, { kind: 'ActivationConfirmed', daemonOrigin }, { try: TRY, epoch }), []);
    assert.is(node.asks('release').length, 0);
    assert.is(node.copies.size, 1);
  }
});
