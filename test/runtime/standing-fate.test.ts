import * as assert from 'uvu/assert';
import type { OwnershipEntry } from '../../lib/mesh/register.js';
import { openOffer } from '../../lib/migration/offer.js';
import { fateOf } from '../../lib/runtime/standing-fate.js';
import { fencedName, resumedName } from '../../lib/spool/fenced-name.js';
import { suite } from '../support.js';

const fate = suite('the fate of a file');
const HERE = 1n;
const TARGET = 2n;
const FILE = fencedName({ origin: 7n, try: 4n, epoch: 2n });
const offer = (attempt: bigint) => ({ ...openOffer(TARGET), try: attempt });
const entry = (changes: Partial<OwnershipEntry>): OwnershipEntry => ({ epoch: 2n, owner: HERE, tries: 4n, ...changes });

const FATES: ReadonlyArray<readonly [what: string, entry: OwnershipEntry, kind: string, isOlder?: boolean]> = [
  ['whose try is the last', entry({}), 'stands'],
  ['that was offered', entry({ offer: offer(4n) }), 'stands'],
  ['that was offered, though a try was counted that never began', entry({ tries: 5n, offer: offer(4n) }), 'stands'],
  ['behind which a further try has begun', entry({ tries: 5n }), 'waits', true],
  ['behind which another was offered', entry({ tries: 5n, offer: offer(5n) }), 'waits', true],
  ['of which another offer stands', entry({ offer: offer(3n) }), 'waits', false],
  ['that was withdrawn', entry({ epoch: 3n }), 'goes-on'],
  ['that was withdrawn, and behind which a further try has begun', entry({ epoch: 3n, tries: 5n }), 'waits', true],
  ['that was withdrawn, and behind which another was offered', entry({ epoch: 3n, offer: offer(5n) }), 'waits', true],
  ['that was claimed and recovered', entry({ epoch: 4n }), 'goes-on'],
  // No withdrawal and no recovery of this file leads there: it has lived on here.
  ['that is this node’s in a further epoch', entry({ epoch: 5n }), 'waits', true],
  ['that its target has claimed', entry({ epoch: 3n, owner: TARGET }), 'stands'],
  ['that its target is moving on', entry({ epoch: 3n, owner: TARGET, tries: 5n, offer: offer(5n) }), 'stands'],
  ['that another node than its target has', entry({ epoch: 3n, owner: 3n }), 'gone'],
  ['whose daemon has gone further', entry({ epoch: 4n, owner: 3n }), 'gone'],
];
for (const [what, standing, kind, isOlder] of FATES) {
  fate(`of a daemon ${what}: ${kind}`, () => {
    const found = fateOf(FILE, TARGET, standing, HERE);
    assert.is(found.kind, kind);
    if (found.kind === 'waits') assert.is(found.isOlder, isOlder);
  });
}

fate(
  'of a daemon that is marked as resumed: only `recover` brings it back, unless it lives elsewhere in a further epoch',
  () => {
    const marked = resumedName(FILE, 3n);
    for (const [what, standing] of FATES) {
      const isGone = standing.owner !== HERE && standing.epoch > 3n;
      const expected = isGone ? { kind: 'gone' } : { kind: 'waits', isOlder: true };
      assert.equal(fateOf(marked, TARGET, standing, HERE), expected, what);
    }
  },
);
