import * as assert from 'uvu/assert';
import { MigrationError } from '../../lib/errors.js';
import { suite } from '../support.js';
import { chunkFrames, Node, ORCHESTRATOR, ORIGIN, SOURCE, STRANGER, TRY } from './harness.js';

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
