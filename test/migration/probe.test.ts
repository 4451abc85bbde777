import * as assert from 'uvu/assert';
import { MigrationError } from '../../lib/errors.js';
import type { Examination } from '../../lib/migration/core.js';
import type { MigrationHandlerOptions } from '../../lib/migration/handler.js';
import { decodeObstacles, encodeObstacles, type MigrationObstacle } from '../../lib/migration/obstacles.js';
import type { Trailer } from '../../lib/wire/trailer.js';
import { refusal, suite } from '../support.js';
import { HERE, Node, ORCHESTRATOR, ORIGIN, SOURCE, STRANGER, sent, TARGET, turns } from './harness.js';

const asking = suite('asking whether a migration could go');
const answering = suite('answering whether a migration could go');
const wire = suite('obstacles on the wire');

const MIB = 1024 * 1024;
const speakers: MigrationHandlerOptions = { speaksExtensions: (node) => node !== STRANGER };
const id = (fill: number) => new Uint8Array(16).fill(fill);

/** A node that asks; what it is told at the end lands in `told`. */
function asker(options: MigrationHandlerOptions = speakers) {
  const node = new Node(options);
  const told: Array<readonly MigrationObstacle[]> = [];
  const ask = (source = SOURCE, target = TARGET, requestId = id(1), deadlineMs?: number) =>
    sent(
      node.handler.probe(ORIGIN, source, target, { requestId, transportIdentity: true, deadlineMs }, (obstacles) =>
        told.push(obstacles),
      ),
    );
  const answers = (from: bigint, trailer: Trailer) =>
    node.takes(from, { kind: 'ProbeAnswer', daemonOrigin: ORIGIN }, { requestId: id(1), ...trailer });
  const kinds = () => told.map((obstacles) => obstacles.map(({ kind, where }) => `${kind} ${where}`));
  return { node, told, ask, answers, kinds };
}

const fromSource: Trailer = { probedSide: 0n, daemonKind: 'recorder', snapshotLength: BigInt(MIB) };
const fromTarget: Trailer = { probedSide: 1n, snapshotLimit: BigInt(MIB) };

asking('goes to the source, then with what that said to the target', () => {
  const { ask, answers, told } = asker();
  assert.equal(ask(), [
    {
      to: SOURCE,
      message: { kind: 'Probe', daemonOrigin: ORIGIN },
      trailer: { requestId: id(1), source: SOURCE, target: TARGET, probedSide: 0n, transportIdentity: 1n },
    },
  ]);
  const [probe, ...more] = answers(SOURCE, fromSource);
  assert.equal(more, []);
  assert.is(probe?.to, TARGET);
  assert.is(probe?.trailer?.probedSide, 1n);
  assert.is(probe?.trailer?.daemonKind, 'recorder');
  assert.equal(told, []);
  assert.equal(answers(TARGET, fromTarget), []);
  assert.equal(told, [[]]);
});

asking('gathers what both say, and compares the size that one tells with the limit of the other', () => {
  const { ask, answers, told, kinds } = asker();
  ask();
  const pinned: MigrationObstacle = { kind: 'pinned', message: 'stays', where: 'source' };
  answers(SOURCE, { ...fromSource, obstacles: encodeObstacles([pinned]) });
  answers(TARGET, { ...fromTarget, snapshotLimit: BigInt(MIB - 1) });
  assert.equal(kinds(), [['pinned source', 'snapshot-too-large target']]);
  assert.equal(told[0]![0], pinned);
  assert.match(told[0]![1]!.message, /had 1048576 bytes, and node 2 takes at most 1048575/);
});

asking('compares no limit with a size that nobody knows', () => {
  const { ask, answers, told } = asker();
  ask();
  answers(SOURCE, { probedSide: 0n, daemonKind: 'recorder' });
  answers(TARGET, { ...fromTarget, snapshotLimit: 1n });
  assert.equal(told, [[]]);
});

asking('asks again what may be lost, and gives up at the deadline of each', () => {
  const { node, ask, answers, kinds } = asker();
  ask(SOURCE, TARGET, id(1), 1_200);
  const at = (now: number) => sent(node.handler.tick(now)).map(({ to, message }) => `${message.kind} ${to}`);
  assert.equal([at(499), at(500), at(999), at(1_000), at(1_199)], [[], ['Probe 1'], [], ['Probe 1'], []]);
  assert.equal(at(1_200), ['Probe 2'], 'the source has had its time');
  assert.equal(answers(SOURCE, fromSource), [], 'too late');
  assert.equal(kinds(), []);
  assert.equal(at(1_700), ['Probe 2']);
  at(2_400);
  assert.equal(kinds(), [['no-answer source', 'no-answer target']]);
  assert.equal(at(9_000), []);
});

asking('takes an answer once, and from whom it asked', async () => {
  const { node, ask, answers, kinds } = asker();
  ask();
  for (const from of [TARGET, STRANGER, ORCHESTRATOR]) await refusal('wrong-peer', () => answers(from, fromSource));
  assert.is(answers(SOURCE, fromSource).length, 1);
  assert.equal(answers(SOURCE, { ...fromSource, obstacles: encodeObstacles([]) }), []);
  await refusal('wrong-peer', () => answers(SOURCE, fromTarget));
  await refusal('truncated', () => answers(TARGET, { ...fromTarget, obstacles: Uint8Array.of(9, 1) }));
  assert.equal(kinds(), []);
  answers(TARGET, fromTarget);
  assert.equal(answers(TARGET, fromTarget), []);
  assert.equal(node.takes(TARGET, { kind: 'ProbeAnswer', daemonOrigin: ORIGIN }, {}), []);
  assert.equal(kinds(), [[]]);
});

asking('sends nothing to a node that is not known to speak extensions, and says so', () => {
  const { ask, answers, kinds } = asker();
  assert.equal(
    ask(STRANGER, TARGET).map(({ to }) => to),
    [TARGET],
  );
  answers(TARGET, fromTarget);
  assert.equal(ask(STRANGER, STRANGER), []);
  assert.equal(kinds(), [['not-askable source'], ['not-askable source', 'same-node orchestrator']]);
  const bare = asker({});
  assert.equal(bare.ask(), []);
  assert.equal(bare.kinds(), [['not-askable source', 'not-askable target']]);
  const plain = asker({ ...speakers, extensions: false });
  assert.equal(plain.ask(HERE, TARGET), []);
  assert.equal(plain.kinds(), [['not-askable target']]);
  assert.is(plain.node.asks('examine').length, 1, 'itself it asks without a frame');
});

asking('says which node is not there, or goes while it is asked', () => {
  const { node, ask, kinds } = asker({ ...speakers, isPeer: (peer) => peer !== 99n });
  ask(SOURCE, 99n);
  node.handler.peerGone(TARGET);
  assert.equal(kinds(), []);
  node.handler.peerGone(SOURCE);
  assert.equal(kinds(), [['source-unavailable source', 'target-unavailable target']]);
});

asking('holds few questions to one node at once', () => {
  const { node, ask, told, kinds } = asker();
  for (let i = 0; i < 64; i++) assert.is(ask(SOURCE, TARGET, id(i)).length, 1);
  assert.equal(
    ask(SOURCE, TARGET, id(64)).map(({ to }) => to),
    [TARGET],
    'the source is not asked',
  );
  node.handler.peerGone(TARGET);
  assert.equal(kinds(), [['not-askable source', 'target-unavailable target']]);
  node.handler.peerGone(SOURCE);
  node.handler.peerGone(TARGET);
  assert.is(told.length, 65);
  node.handler.takeOutbound();
  assert.is(ask(SOURCE, TARGET, id(65))[0]?.to, SOURCE);
});

asking('asks itself without a frame, and waits no longer for itself than for others', async () => {
  const { node, ask, kinds } = asker();
  let goOn: (told: Examination) => void = () => {};
  node.answers.examine = () =>
    new Promise((resolve) => {
      goOn = resolve;
    });
  assert.equal(ask(HERE, TARGET), []);
  assert.is(node.asks('examine')[0]?.orchestrator, HERE);
  goOn({ obstacles: [new MigrationError('pinned', 'stays')], daemonKind: 'recorder' });
  await turns();
  assert.equal(sent(node.handler.takeOutbound())[0]?.trailer?.daemonKind, 'recorder');
  ask(HERE, TARGET, id(2), 700);
  assert.equal(
    sent(node.handler.tick(700)).map(({ to }) => to),
    [TARGET, TARGET],
  );
  node.handler.peerGone(TARGET);
  assert.equal(kinds(), [
    ['pinned source', 'target-unavailable target'],
    ['no-answer source', 'target-unavailable target'],
  ]);
});

asking('ends when the dispatcher does', () => {
  const { node, ask, kinds } = asker();
  ask();
  node.handler.dispose();
  ask(SOURCE, TARGET, id(2));
  assert.equal(kinds(), [['not-ready orchestrator'], ['not-ready orchestrator']]);
});

asking('tells what keeps this node itself from leading', () => {
  const { node, ask, answers, kinds } = asker();
  node.handler.startMigration(ORIGIN, SOURCE, TARGET);
  ask();
  answers(SOURCE, fromSource);
  answers(TARGET, fromTarget);
  assert.equal(kinds(), [['already-migrating orchestrator']]);
});

/** What a node answers to a probe. */
function probed(node: Node, side: 0n | 1n, trailer: Trailer = {}, from = ORCHESTRATOR) {
  const request: Trailer = { requestId: id(1), probedSide: side, source: SOURCE, target: TARGET, ...trailer };
  return node.takes(from, { kind: 'Probe', daemonOrigin: ORIGIN }, request);
}

answering('says what an attempt would be refused for, and what the asker needs besides', () => {
  const node = new Node();
  node.answers.examine = () => ({
    obstacles: [new MigrationError('pinned', 'stays')],
    daemonKind: 'recorder',
    snapshotLength: 70,
  });
  const [answer] = probed(node, 0n, { transportIdentity: 0n });
  assert.is(answer?.to, ORCHESTRATOR);
  const { obstacles, ...trailer } = answer!.trailer!;
  assert.equal(trailer, { requestId: id(1), probedSide: 0n, daemonKind: 'recorder', snapshotLength: 70n });
  assert.equal(decodeObstacles(obstacles!, 'source'), [{ kind: 'pinned', message: 'stays', where: 'source' }]);
  const common = { origin: ORIGIN, orchestrator: ORCHESTRATOR, daemonKind: undefined };
  const asked = () => {
    const { kind: _, id: __, role: ___, ...ask } = node.asks('examine').at(-1)! as unknown as Record<string, unknown>;
    return ask;
  };
  assert.equal(asked(), { ...common, side: 'source', source: HERE, target: TARGET, identity: 'none' });
  node.answers.examine = () => ({ obstacles: [] });
  assert.is(probed(node, 1n)[0]?.trailer?.snapshotLimit, 2n ** 32n);
  assert.equal(asked(), { ...common, side: 'target', source: SOURCE, target: HERE, identity: 'where-possible' });
});

answering('knows of the migrations that are under way', () => {
  const node = new Node();
  node.own();
  node.takes(ORCHESTRATOR, { kind: 'TakeSnapshot', daemonOrigin: ORIGIN, targetNode: TARGET }, { requestId: id(7) });
  const kinds = (side: 0n | 1n) =>
    decodeObstacles(probed(node, side)[0]!.trailer!.obstacles!, 'source').map(({ kind }) => kind);
  assert.equal([kinds(0n), kinds(1n)], [['already-migrating'], []]);
});

answering('tells a stranger that it is not authorised, and nothing else', () => {
  const node = new Node();
  for (const cause of [undefined, new Error('the password is 1234')]) {
    node.answers.examine = () => {
      throw new MigrationError('not-authorised', `may not: ${cause?.message}`, { cause });
    };
    for (const side of [0n, 1n] as const) {
      const { obstacles, ...trailer } = probed(node, side, {}, STRANGER)[0]!.trailer!;
      assert.equal(trailer, { requestId: id(1), probedSide: side });
      const [told, ...more] = decodeObstacles(obstacles!, 'target');
      assert.equal(more, []);
      assert.is(told?.kind, 'not-authorised');
      assert.is(
        told?.message,
        `node 9 may not ${side === 0n ? 'take' : 'place'} daemon ${ORIGIN}: node 10 does not authorise it`,
      );
    }
  }
  assert.is(node.refused.length, 2, 'an authorize that failed is reported');
});

answering('keeps what went wrong to itself, and reports it', () => {
  const node = new Node();
  node.answers.examine = () => {
    throw new Error('the password is 1234');
  };
  const [told] = decodeObstacles(probed(node, 1n, {}, STRANGER)[0]!.trailer!.obstacles!, 'target');
  assert.is(told?.kind, 'state-failed');
  assert.not.match(told!.message, /1234/);
  assert.match(node.refused[0]!.message, /1234/);
});

answering('looks into few questions of one peer at once, each once, and none for ever', async () => {
  const node = new Node();
  const goOn: Array<(told: Examination) => void> = [];
  node.answers.examine = () => new Promise((resolve) => goOn.push(resolve));
  for (let i = 0; i < 16; i++) probed(node, 1n, { requestId: id(i) });
  probed(node, 1n, { requestId: id(3) });
  assert.is(goOn.length, 16, 'one that is being looked into is not begun again');
  await refusal('too-many-migrations', () => probed(node, 1n, { requestId: id(16) }));
  probed(node, 1n, { requestId: id(16) }, STRANGER);
  assert.is(goOn.length, 17, 'another peer has its own');
  goOn[0]!({ obstacles: [] });
  await turns();
  assert.equal(
    sent(node.handler.takeOutbound()).map(({ to, trailer }) => [to, trailer?.requestId]),
    [[ORCHESTRATOR, id(0)]],
  );
  probed(node, 1n, { requestId: id(17) });
  await refusal('too-many-migrations', () => probed(node, 1n, { requestId: id(18) }));
  node.handler.tick(10_000);
  probed(node, 1n, { requestId: id(18) });
  goOn[1]!({ obstacles: [] });
  await turns();
  assert.equal(node.handler.takeOutbound(), [], 'given up, so not answered');
  node.handler.peerGone(ORCHESTRATOR);
  goOn.at(-1)!({ obstacles: [] });
  await turns();
  assert.equal(node.handler.takeOutbound(), []);
});

answering('refuses a probe without its trailer, and any where no extensions are spoken', async () => {
  const node = new Node();
  await refusal('extensions-required', () => node.takes(ORCHESTRATOR, { kind: 'Probe', daemonOrigin: ORIGIN }));
  const plain = new Node({ extensions: false });
  await refusal('unknown-type', () => probed(plain, 1n));
  assert.is(node.asked.length + plain.asked.length, 0);
});

wire('come out as they went in', () => {
  const obstacles: MigrationObstacle[] = [
    { kind: 'pinned', message: 'stays', where: 'source' },
    { kind: 'factory-not-found', message: '', where: 'source' },
    { kind: 'not-ready', message: 'ö'.repeat(300), where: 'source' },
  ];
  assert.equal(decodeObstacles(encodeObstacles(obstacles), 'source'), obstacles);
  assert.equal(decodeObstacles(encodeObstacles([]), 'target'), []);
});

wire('are cut between characters, and of a kind that is not known here become the general one', () => {
  const long = `x${'ö'.repeat(1_000)}`;
  const [cut] = decodeObstacles(encodeObstacles([{ kind: 'pinned', message: long, where: 'source' }]), 'source');
  assert.is(cut?.message, long.slice(0, 1_000));
  const bytes = Uint8Array.from([3, ...Buffer.from('new'), 2, 0, ...Buffer.from('ok')]);
  assert.equal(decodeObstacles(bytes, 'target'), [{ kind: 'state-failed', message: 'ok', where: 'target' }]);
});

wire('that are cut off or no text are refused at every byte', async () => {
  const bytes = encodeObstacles([{ kind: 'pinned', message: 'stays', where: 'source' }]);
  for (let length = 1; length < bytes.length; length++)
    await refusal('truncated', () => decodeObstacles(bytes.subarray(0, length), 'source'));
  await refusal('invalid-utf8', () => decodeObstacles(Uint8Array.of(1, 255, 0, 0), 'source'));
});
