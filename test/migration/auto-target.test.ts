import * as assert from 'uvu/assert';
import { chooseTarget, MIGRATION_TAG, type MigrationCandidate } from '../../lib/migration/auto-target.js';
import { refusal, suite } from '../support.js';
import { inCluster, ORIGIN, SOURCE, STRANGER, TARGET } from './cluster.js';

function candidate(nodeId: bigint, ...tags: string[]): MigrationCandidate {
  return { nodeId, tags: [MIGRATION_TAG, ...tags] };
}

const without = (nodeId: bigint): MigrationCandidate => ({ nodeId, tags: ['subprotocol:0x0501', 'gpu'] });
const scores = new Map([
  [2n, 1],
  [3n, 5],
  [4n, 5],
  [5n, Number.NEGATIVE_INFINITY],
  [6n, Number.NaN],
  [SOURCE, 100],
]);
const rank = ({ nodeId }: MigrationCandidate) => scores.get(nodeId);

const CHOICES: ReadonlyArray<readonly [string, MigrationCandidate[], bigint | undefined]> = [
  ['the highest', [candidate(2n), candidate(3n)], 3n],
  ['the highest, wherever it stands', [candidate(3n), candidate(2n)], 3n],
  ['the first among equals', [candidate(4n), candidate(3n)], 4n],
  ['one that is ranked lowest, where there is no other', [candidate(5n)], 5n],
  ['not the source, however good', [candidate(SOURCE), candidate(2n)], 2n],
  ['not one that does not advertise it', [without(3n), candidate(2n)], 2n],
  ['not one that is ranked out', [candidate(7n), candidate(2n)], 2n],
  ['not one whose rank is no number', [candidate(6n), candidate(2n)], 2n],
  ['none of none', [], undefined],
  ['none where only the source is left', [candidate(SOURCE)], undefined],
  ['none where nobody advertises it', [without(2n), without(3n)], undefined],
  ['none where all are ranked out', [candidate(7n), candidate(6n)], undefined],
];

const choices = suite('a target is chosen');
for (const [what, candidates, expected] of CHOICES) {
  choices(what, async () => {
    const choose = () => chooseTarget(ORIGIN, SOURCE, new Set(candidates), rank);
    if (expected !== undefined) assert.is(choose(), expected);
    else {
      const error = await refusal('no-target-available', choose);
      assert.match(error.message, new RegExp(`none of ${candidates.length} candidates can take daemon ${ORIGIN}`));
      assert.equal(error.details, { origin: ORIGIN, source: SOURCE });
      assert.not.ok(error.retriable);
    }
  });
}

choices('by tags that can be read but once, and only among those that can take it', () => {
  const asked: bigint[] = [];
  const once = [SOURCE, 2n, 3n].map((nodeId) => ({ nodeId, tags: new Set([MIGRATION_TAG]).values() }));
  const chosen = chooseTarget(ORIGIN, SOURCE, once.values(), ({ nodeId }) => asked.push(nodeId));
  assert.is(chosen, 3n);
  assert.equal(asked, [2n, 3n]);
});

const auto = suite('startMigrationAuto');

auto('moves the daemon to the node that it chose', () => {
  inCluster({ orchestrator: SOURCE }, (cluster) => {
    cluster.target.expect(ORIGIN);
    const { handler } = cluster.source;
    const candidates = [candidate(STRANGER), candidate(TARGET, 'gpu')];
    const { target, outbound } = handler.startMigrationAuto(ORIGIN, SOURCE, candidates, ({ tags }) => [...tags].length);
    assert.is(target, TARGET);
    cluster.take(SOURCE, outbound);
    cluster.quiet();
    assert.is(cluster.whole(), TARGET);
  });
});

auto('changes nothing where no node fits', async () => {
  await inCluster({ orchestrator: SOURCE }, async (cluster) => {
    const { handler, reports } = cluster.source;
    await refusal('no-target-available', () => handler.startMigrationAuto(ORIGIN, SOURCE, [without(2n)], rank));
    assert.equal([handler.list(), handler.takeOutbound(), reports], [[], [], []]);
    assert.is(cluster.whole(), SOURCE);
  });
});
