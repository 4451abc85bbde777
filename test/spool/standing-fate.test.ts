import * as assert from 'uvu/assert';
import type { OwnershipEntry } from '../../lib/mesh/register.js';
import { fateOf, type StandingFate } from '../../lib/runtime/standing-fate.js';
import { fencedName, resumedName } from '../../lib/spool/fenced-name.js';
import { suite } from '../support.js';

const [NODE, TARGET, OTHER] = [1n, 2n, 3n];
const FILE = fencedName({ origin: 100n, try: 4n, epoch: 7n });
const RESUMED = resumedName(FILE, 8n);
const OFFER = {
  try: 4n,
  target: TARGET,
  snapshotDigest: new Uint8Array(32),
  logCount: 0n,
  logDigest: new Uint8Array(32),
};

const OLDER = { kind: 'waits', isOlder: true } as const;
const UNKNOWN = { kind: 'waits', isOlder: false } as const;
const STANDS = { kind: 'stands' } as const;
const GONE = { kind: 'gone' } as const;

function entry(owner: bigint, epoch: bigint, change: Partial<OwnershipEntry> = {}): OwnershipEntry {
  return { owner, epoch, tries: 4n, ...change };
}

/** What stands in the register, and what becomes of the file as it was written, and of the same marked as resumed in epoch 8. */
const CASES: ReadonlyArray<readonly [string, OwnershipEntry | undefined, StandingFate, StandingFate]> = [
  ['nothing', undefined, UNKNOWN, OLDER],
  ['no offer yet', entry(NODE, 7n), STANDS, OLDER],
  ['its offer', entry(NODE, 7n, { offer: OFFER }), STANDS, OLDER],
  ['its offer without a try', entry(NODE, 7n, { offer: { ...OFFER, try: 0n } }), UNKNOWN, OLDER],
  ['a later try in its epoch', entry(NODE, 7n, { tries: 5n }), OLDER, OLDER],
  ['its withdrawal', entry(NODE, 8n), { kind: 'goes-on', epoch: 8n }, OLDER],
  ['a claim that was recovered', entry(NODE, 9n), { kind: 'goes-on', epoch: 9n }, OLDER],
  ['a withdrawal, and a later try', entry(NODE, 8n, { tries: 5n }), OLDER, OLDER],
  ['a withdrawal, and an offer of another try', entry(NODE, 8n, { offer: { ...OFFER, try: 5n } }), OLDER, OLDER],
  // No withdrawal and no recovery of this file has led there: it has lived on here.
  ['this node in a further epoch', entry(NODE, 10n), OLDER, OLDER],
  ['the claim of its target', entry(TARGET, 8n), STANDS, OLDER],
  ['its target, which has begun a further try', entry(TARGET, 8n, { tries: 5n }), STANDS, OLDER],
  ['a node to which it was not offered', entry(OTHER, 8n), GONE, OLDER],
  ['a further owner', entry(TARGET, 9n), GONE, GONE],
  ['another node in its own epoch', entry(OTHER, 7n), UNKNOWN, OLDER],
];

const fates = suite('what becomes of a file');

for (const [standing, registered, ofFile, ofResumed] of CASES) {
  fates(`where the register has ${standing}`, () => {
    assert.equal(fateOf(FILE, TARGET, registered, NODE), ofFile);
    assert.equal(fateOf(RESUMED, TARGET, registered, NODE), ofResumed);
  });
}

fates('whose target it does not say: whoever has it in the next epoch may be that', () => {
  assert.equal(fateOf(FILE, undefined, entry(OTHER, 8n), NODE), STANDS);
});
