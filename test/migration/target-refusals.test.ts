import * as assert from 'uvu/assert';
import { MigrationError } from '../../lib/errors.js';
import { suite } from '../support.js';
import { chunkFrames, Node, ORCHESTRATOR, ORIGIN, SOURCE, STRANGER, sent, TRY, turns } from './harness.js';

const refusals = suite('a refused SnapshotReady');

/** A node that lets nobody but the orchestrator place a daemon. */
function guarded(): Node {
  const node = new Node();
  node.answers.admit = ({ orchestrator }) => {
    if (orchestrator !== ORCHESTRATOR) throw new MigrationError('not-authorised', 'only the orchestrator may');
    return undefined;
  };
  return node;
}

function kinds(told: ReturnType<Node['takes']>) {
  return told.map(({ to, message }) => `${message.kind} to ${to}`);
}

const HIGHEST_TRY = 2n ** 64n - 1n;

for (const attempt of [TRY, HIGHEST_TRY]) {
  refusals(`from a stranger keeps nobody else out, were it of try ${attempt}`, () => {
    const node = guarded();
    assert.equal(kinds(node.takesFrame(STRANGER, chunkFrames(100, attempt)[0]!)), [`MigrationFailed to ${STRANGER}`]);
    node.takesFrame(ORCHESTRATOR, chunkFrames(100)[0]!);
    assert.is(node.asks('restore').length, 1);
  });

  refusals(`from a stranger leaves a source its confirmation, were it of try ${attempt}`, () => {
    const node = guarded();
    node.takesFrame(ORCHESTRATOR, chunkFrames(100)[0]!);
    node.hearsOffer(0n);
    node.takes(ORCHESTRATOR, { kind: 'ActivateTarget', daemonOrigin: ORIGIN }, { try: TRY });
    assert.is(node.asks('activate').length, 1);
    node.takesFrame(STRANGER, chunkFrames(100, attempt)[0]!);
    const reminder = { kind: 'BufferedEvents', daemonOrigin: ORIGIN, events: [] } as const;
    assert.equal(kinds(node.takes(SOURCE, reminder, { try: TRY, logFrom: 1n })), [`ActivationConfirmed to ${SOURCE}`]);
  });
}

refusals('is answered alike when it comes again; of a stranger nothing is remembered', () => {
  const [chunk] = chunkFrames(100);
  for (const [kind, asked] of [
    ['not-authorised', 2],
    ['not-ready', 1],
  ] as const) {
    const node = new Node();
    node.answers.admit = () => {
      throw new MigrationError(kind, 'as the test wants it');
    };
    const first = node.takesFrame(ORCHESTRATOR, chunk!);
    assert.equal(kinds(first), [`MigrationFailed to ${ORCHESTRATOR}`]);
    assert.equal(node.takesFrame(ORCHESTRATOR, chunk!), first);
    assert.is(node.asks('admit').length, asked, kind);
  }
});

/** A node that has taken the daemon in try 4, by the orchestrator's word. */
function settled(): Node {
  const node = guarded();
  node.takesFrame(ORCHESTRATOR, chunkFrames(100)[0]!);
  node.hearsOffer(0n);
  node.takes(ORCHESTRATOR, { kind: 'ActivateTarget', daemonOrigin: ORIGIN }, { try: TRY });
  return node;
}

const ANOTHER = 8n;

for (const attempt of [TRY - 1n, TRY]) {
  refusals(`of an old try is told to another orchestrator that may place daemons here: try ${attempt}`, () => {
    const node = settled();
    node.answers.admit = ({ orchestrator }) => {
      assert.is(orchestrator, ANOTHER);
      return undefined;
    };
    const before = node.asks('restore').length;
    const [answer, ...more] = node.takesFrame(ANOTHER, chunkFrames(100, attempt)[0]!);
    assert.equal(more, []);
    assert.equal([answer!.to, answer!.message.kind, answer!.trailer?.try], [ANOTHER, 'MigrationFailed', attempt]);
    const { reason } = answer!.message as { reason: { message: string } };
    assert.match(reason.message, new RegExp(`try ${attempt} .* is over: try ${TRY} has been here`));
    assert.is(node.asks('restore').length, before);
  });

  refusals(`of an old try tells a stranger what it would hear anywhere: try ${attempt}`, () => {
    const [chunk] = chunkFrames(100, attempt);
    const node = settled();
    assert.equal(node.takesFrame(STRANGER, chunk!), guarded().takesFrame(STRANGER, chunk!));
    const again = node.takes(ORCHESTRATOR, { kind: 'ActivateTarget', daemonOrigin: ORIGIN }, { try: TRY });
    assert.equal(kinds(again), [`ActivateAck to ${ORCHESTRATOR}`, `ActivationConfirmed to ${SOURCE}`]);
  });
}

refusals('of an old try is looked into once at a time, and of no more than some', async () => {
  const node = settled();
  let decide = () => {};
  node.answers.admit = () =>
    new Promise((_, reject) => {
      const before = decide;
      decide = () => {
        before();
        reject(new MigrationError('not-ready', 'not now'));
      };
    });
  const [chunk] = chunkFrames(100, TRY - 1n);
  const asked = node.asks('admit').length;
  for (let from = 100n; from < 356n; from++)
    for (let times = 0; times < 2; times++) assert.equal(node.takesFrame(from, chunk!), []);
  assert.is(node.asks('admit').length, asked + 256);
  assert.throws(() => node.takesFrame(356n, chunk!), /256 of those are being looked into/);
  decide();
  await turns();
  const told = kinds(sent(node.handler.takeOutbound()));
  assert.equal(
    told,
    Array.from({ length: 256 }, (_, i) => `MigrationFailed to ${100 + i}`),
  );
});

/** A node that takes the daemon from one orchestrator alone; `authorize` has its own opinion. */
function bound(node: Node): Node {
  node.factories.expect('recorder', ORIGIN, undefined, { orchestrator: ORCHESTRATOR });
  return node;
}

refusals('of a daemon that is bound to another orchestrator is answered, and leaves nothing behind', () => {
  const node = bound(new Node());
  for (let times = 1; times <= 2; times++) {
    const [answer, ...more] = node.takesFrame(ANOTHER, chunkFrames(100, TRY + 1n)[0]!);
    assert.equal(more, []);
    assert.ok(answer!.message.kind === 'MigrationFailed' && answer!.message.reason.kind === 'StateFailed');
    assert.is(answer!.message.reason.message, 'not authorised');
    assert.equal([answer!.to, answer!.trailer], [ANOTHER, { try: TRY + 1n, failureKind: 'not-authorised' }]);
    assert.equal([node.handler.list(), node.reports, node.asks('restore')], [[], [], []]);
  }
  node.takesFrame(ORCHESTRATOR, chunkFrames(100)[0]!);
  assert.is(node.asks('restore').length, 1);
});

refusals('tells a stranger nothing of a binding', () => {
  for (const [chunk] of [chunkFrames(100), chunkFrames(100, HIGHEST_TRY), chunkFrames(15_000)])
    assert.equal(bound(guarded()).takesFrame(STRANGER, chunk!), guarded().takesFrame(STRANGER, chunk!));
});
