import * as assert from 'uvu/assert';
import { suite } from '../support.js';
import { planWithoutSpools } from './plan.js';
import { quiet } from './quiet.js';
import { simulatePlan } from './run.js';

const regressions = suite('regressions');

/** Seeds that broke a promise once, before there were spools, and why. */
const SEEDS: ReadonlyArray<readonly [seed: number, why: string]> = [
  [42, 'a creation whose answer was lost was taken for another’s'],
  [6, 'a batch of events was taken behind one that was lost'],
  [9504, 'an answer to a batch of a node’s earlier life was taken for one of its next'],
  [9942, 'a snapshot for a node that was away left what the host carries behind'],
  [1212, 'chunks sent again stood before those that were missing, where they leave slowly'],
];

for (const [seed, why] of SEEDS) {
  regressions(`seed ${seed}: ${why}`, async () => {
    assert.is((await simulatePlan(planWithoutSpools(seed))).violation, undefined);
  });
}

const MOVE = { name: 'move', at: 100, deed: { do: 'migrate', daemon: 0, by: 1, to: 2 } } as const;
const EVENTS = { name: 'events', at: 60, deed: { do: 'burst', publisher: 0, events: 12 } } as const;

regressions('a creation that the register took counts, though its answer was lost', async () => {
  const { violation, completed } = await simulatePlan(quiet({ planned: [{ ...MOVE, at: 400 }] }), {
    allowed: new Set(['register-unanswered:1>0#1', 'move']),
  });
  assert.is(violation, undefined);
  assert.is(completed, 2);
});

regressions('behind a lost batch of a publisher nothing is taken', async () => {
  const plan = quiet({ planned: [EVENTS] });
  const first = await simulatePlan(
    { ...plan, network: { ...plan.network, deliveriesToo: true } },
    {
      allowed: new Set(['lost:3>1#1', 'events']),
    },
  );
  assert.is(first.violation, undefined);
  assert.ok(first.taken.includes('lost:3>1#1'), 'a batch was lost');
});

regressions('two lost chunks arrive in the end, however slowly chunks leave', async () => {
  const plan = quiet({ planned: [MOVE], maxBytesPerSecond: 40_000 });
  const { violation, completed, rolledBack } = await simulatePlan(
    { ...plan, daemons: [{ ...plan.daemons[0]!, padding: 40_000 }] },
    { allowed: new Set(['lost:1>2#2', 'lost:1>2#3', 'move']) },
  );
  assert.is(violation, undefined);
  assert.equal([completed, rolledBack], [2, 0]);
});

regressions('in live mode, a last output that differs is noticed', async () => {
  const one = { do: 'burst', publisher: 0, events: 1 } as const;
  const plan = quiet({ planned: [EVENTS, MOVE, { name: 'more', at: 103, deed: one }] });
  const daemons = [{ ...plan.daemons[0]!, mode: 'live' as const, isFickle: true }];
  const allowed = new Set(['events', 'move', 'more']);
  const { violation, visits } = await simulatePlan({ ...plan, daemons }, { allowed });
  assert.is(violation, undefined);
  assert.ok((visits.get('live-copies-differ') ?? 0) > 0, 'the target did not claim');
});
