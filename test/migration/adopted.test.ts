import * as assert from 'uvu/assert';
import { MigrationError } from '../../lib/index.js';
import type { MigrationHandlerOptions } from '../../lib/migration/handler.js';
import type { WithdrawalOutcome } from '../../lib/migration/ownership.js';
import { events, refusal, suite } from '../support.js';
import { EPOCH, Node, ORCHESTRATOR, ORIGIN, STRANGER, sent, TARGET, turns } from './harness.js';

const ATTEMPT = 7n;
const MIGRATION = {
  origin: ORIGIN,
  try: ATTEMPT,
  epoch: EPOCH,
  target: TARGET,
  orchestrator: ORCHESTRATOR,
  requestId: new Uint8Array(16).fill(1),
  mode: 'pause',
  seqThrough: 3n,
} as const;

/** A source that was started again, with a log of three events, and what it sent. */
function adopted(back?: MigrationError, options: MigrationHandlerOptions = {}) {
  const node = new Node(options);
  const log = node.own();
  for (const event of events(77n, 1, 3)) log.append(event);
  node.handler.tick(0);
  node.handler.adopt(MIGRATION, back);
  return node;
}

const said = (node: Node) => sent(node.handler.takeOutbound());
const message = (kind: 'CopyMissing' | 'ActivationConfirmed' | 'EventAck') => ({ kind, daemonOrigin: ORIGIN }) as const;
const adoption = suite('a source that takes a migration up again');

adoption('says at once what it has offered, and that it has stopped', () => {
  const node = adopted();
  const words = said(node).map(({ to, message: { kind }, trailer }) => ({
    to,
    kind,
    attempt: trailer?.try,
    count: trailer?.logCount,
  }));
  assert.equal(words, [
    { to: TARGET, kind: 'BufferedEvents', attempt: ATTEMPT, count: 3n },
    { to: ORCHESTRATOR, kind: 'CleanupComplete', attempt: ATTEMPT, count: undefined },
  ]);
  assert.is(node.handler.isMigrating(ORIGIN), true);
});

adoption('takes any acknowledgement of its log, and sends what none came for again', () => {
  const node = adopted();
  said(node);
  node.takes(TARGET, message('EventAck'), { try: ATTEMPT, ackThrough: 2n });
  const [again] = sent(node.handler.tick(1_500)).filter(({ message: { kind } }) => kind === 'BufferedEvents');
  assert.is(again?.trailer?.logFrom, 3n);
});

adoption('lets go at the confirmation of its target alone', async () => {
  const node = adopted();
  await refusal('wrong-peer', () =>
    node.takes(STRANGER, message('ActivationConfirmed'), { try: ATTEMPT, epoch: EPOCH + 1n }),
  );
  assert.is(node.asks('release').length, 0);
  node.takes(TARGET, message('ActivationConfirmed'), { try: ATTEMPT, epoch: EPOCH + 1n });
  assert.is(node.asks('release').length, 1);
});

adoption('takes the daemon back where its target has it and no copy of it; at the word of nobody else', async () => {
  const node = adopted();
  const told = { try: ATTEMPT, epoch: EPOCH + 1n };
  await refusal('wrong-peer', () => node.takes(STRANGER, message('CopyMissing'), told));
  node.takes(TARGET, message('CopyMissing'), { ...told, try: ATTEMPT - 1n });
  node.takes(TARGET, message('CopyMissing'), { ...told, epoch: EPOCH + 2n });
  assert.is(node.asks('recover').length, 0);
  node.answers.recover = () => ({ epoch: EPOCH + 2n });
  node.takes(TARGET, message('CopyMissing'), told);
  assert.equal(
    node.asks('recover').map(({ lost }) => lost),
    [{ node: TARGET, epoch: EPOCH + 1n }],
  );
  assert.is(node.asks('resume')[0]?.epoch, EPOCH + 2n);
});

adoption('goes back at once where it was taken back before', () => {
  const node = adopted(new MigrationError('cancelled', 'taken back'));
  assert.is(node.asks('withdraw')[0]?.epoch, EPOCH);
  assert.is(node.asks('resume')[0]?.epoch, EPOCH + 1n);
  assert.is(node.handler.isMigrating(ORIGIN), false);
});

for (const outcome of ['claimed', 'lived-on'] as const) {
  const does = outcome === 'claimed' ? 'is the newest copy' : 'waits: a newer copy may come back with its node';
  adoption(`whose target is gone, ${outcome}, ${does}`, () => {
    const node = adopted();
    node.answers.withdraw = () => outcome;
    node.answers.recover = () => ({ epoch: EPOCH + 2n });
    node.handler.peerGone(TARGET);
    const [recovery] = node.asks('recover');
    assert.equal(recovery?.lost, outcome === 'claimed' ? { node: TARGET, epoch: EPOCH + 1n } : undefined);
    assert.is(node.handler.isMigrating(ORIGIN), outcome === 'lived-on');
  });
}

adoption('whose target was gone, and has come back when the register answers, waits for its word', async () => {
  let isBack = false;
  const node = adopted(undefined, { isPeer: () => isBack });
  let answer = (_: 'claimed') => {};
  node.answers.withdraw = () =>
    new Promise((resolve) => {
      answer = resolve;
    });
  node.handler.peerGone(TARGET);
  isBack = true;
  answer('claimed');
  await turns();
  assert.equal([node.asks('recover').length, node.handler.isMigrating(ORIGIN)], [0, true]);
  node.answers.recover = () => ({ epoch: EPOCH + 2n });
  node.takes(TARGET, message('CopyMissing'), { try: ATTEMPT, epoch: EPOCH + 1n });
  assert.is(node.asks('recover').length, 1);
});

const OUTCOMES: ReadonlyArray<readonly [WithdrawalOutcome, { resumed?: bigint; released?: true }]> = [
  ['withdrawn', { resumed: EPOCH + 1n }],
  [{ epoch: EPOCH + 2n }, { resumed: EPOCH + 2n }],
  ['claimed', {}],
  ['lived-on', {}],
  ['undecided', {}],
  ['superseded', { released: true }],
];
for (const [outcome, { resumed, released }] of OUTCOMES) {
  adoption(
    `whose withdrawal is ${typeof outcome === 'string' ? outcome : 'a recovery'} does what follows from that`,
    () => {
      const node = adopted();
      node.answers.withdraw = () => outcome;
      node.handler.tick(100_000);
      assert.is(node.asks('withdraw').length, 1);
      assert.is(node.asks('withdraw')[0]?.try, ATTEMPT);
      assert.is(node.asks('resume')[0]?.epoch, resumed);
      assert.is(node.asks('release').length, released ? 1 : 0);
      assert.is(node.handler.isMigrating(ORIGIN), resumed === undefined && !released);
    },
  );
}
