import * as assert from 'uvu/assert';
import { suite } from '../support.js';
import { History } from './checkers.js';
import { entryOf, Ledger } from './ledger-daemon.js';
import { type Plan, type Planned, planWithoutSpools } from './plan.js';
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

/**
 * What is planned for a quiet cluster, all of it; partitions lose frames, and nobody is told of a death.
 *
 * @param fates what else may happen
 */
function simulatePlanned(planned: readonly Planned[], changes: Partial<Plan> = {}, fates: readonly string[] = []) {
  const plan = quiet({ planned, knowsDeath: false, ...changes });
  const network: Plan['network'] = { ...plan.network, partitionsLose: true };
  const allowed = new Set([...planned.map(({ name }) => name), ...fates]);
  return simulatePlan({ ...plan, network }, { allowed, keepsLines: true });
}

function crash(node: number, seen: string, nth: number, { thenMs = 0.001, downMs = 50 } = {}): Planned {
  return { name: `crash ${node}`, when: { seen, nth, thenMs }, deed: { do: 'crash', node, daemon: 0, downMs } };
}

/** From node 1 to 2, which takes events, and onwards to 3. Node 1 hears nothing of that, and keeps its backup. */
const ONWARDS: readonly Planned[] = [
  { ...MOVE, deed: { ...MOVE.deed, by: 3 } },
  {
    name: 'part',
    when: { seen: 'wrote claim', nth: 1, thenMs: 0.001 },
    deed: { do: 'part', from: 1, to: 2, daemon: 0, bothWays: true, forMs: 2_500 },
  },
  { ...EVENTS, at: 300 },
  { name: 'onwards', at: 600, deed: { do: 'migrate', daemon: 0, by: 3, to: 3 } },
];

function lineAt(lines: readonly string[], what: RegExp): number {
  const at = lines.findIndex((line) => what.test(line));
  assert.ok(at >= 0, `${what} in the trace`);
  return at;
}

regressions(
  'seed 62122: an offer that lands after its crash does not end what a recovered backup may lack',
  async () => {
    let landedLate = 0;
    // How long the offer takes is the register's affair: some of these are in time.
    for (let thenMs = 0.5; thenMs <= 5; thenMs += 0.5) {
      const { violation, lines } = await simulatePlanned([
        ...ONWARDS,
        crash(2, 'arrived CutoverNotify', 2, { thenMs }),
      ]);
      assert.is(violation, undefined, `${thenMs} ms after the cutover`);
      const crashed = lineAt(lines, /2 CRASHES/);
      if (!lines.slice(crashed).some((line) => /2 ⇒ register {2}d0 offer: owner 2, epoch 2/.test(line))) continue;
      assert.ok(lineAt(lines, /2 → 3 {2}accepted 3/) < crashed, 'it had accepted events');
      if (lines.some((line) => /1 has recovered d0/.test(line))) landedLate++;
    }
    assert.ok(landedLate > 0, 'an offer landed late, and a backup was recovered');
  },
);

regressions(
  'seeds 20154 and 22396: a copy that crashes behind its target’s claim is missed where an older one is recovered',
  async () => {
    const planned: Planned[] = [
      { ...MOVE, deed: { ...MOVE.deed, by: 3 } },
      { ...EVENTS, at: 300 },
      { name: 'back', at: 600, deed: { do: 'migrate', daemon: 0, by: 3, to: 1 } },
      crash(1, 'wrote claim', 2),
      crash(2, 'wrote claim', 2),
    ];
    // Node 1 had let go of the file of its first offer: the crash brings that back.
    const fates = ['crash-tears:1>0#1', 'crash-loses:1>0#1'];
    const { violation, lines } = await simulatePlanned(planned, { spools: new Set([1]) }, fates);
    assert.is(violation, undefined);
    lineAt(lines, /1 has recovered d0, which is older/);
  },
);

regressions('a backup is let go of that is two moves old, and no crash of newer copies calls it back', async () => {
  const planned = [...ONWARDS, crash(2, 'wrote claim', 2), crash(3, 'wrote claim', 2)];
  const { violation, visits } = await simulatePlanned(planned);
  assert.is(violation, undefined);
  assert.is(visits.get('spawned-anew'), 1);
});

regressions(
  'seed 21133: a backup waits when its owner is gone, where that has stopped for a further try: it comes back with all',
  async () => {
    const planned = [...ONWARDS, crash(2, 'wrote offer', 2, { downMs: 400 }), crash(3, 'wrote offer', 2)];
    const { violation, visits } = await simulatePlanned(planned, { knowsDeath: true, spools: new Set([2]) });
    assert.is(violation, undefined);
    assert.is(visits.get('fenced-copy-taken-up'), 1);
    assert.is(visits.get('recovered-backup'), undefined);
  },
);

regressions('seed 100814: of two copies that are made on a node, the one counts that it hosts', async () => {
  let madeTwice = 0;
  // Node 1 asks again about its file a second after its start, which chance has not to the millisecond.
  for (let at = 1_292; at < 1_304; at++) {
    const planned: Planned[] = [
      { ...MOVE, deed: { ...MOVE.deed, by: 3 } },
      crash(1, 'wrote claim', 1),
      {
        name: 'lose-register',
        when: { seen: 'wrote claim', nth: 1, thenMs: 0.001 },
        deed: { do: 'lose-register', node: 1, daemon: 0, forMs: 200 },
      },
      { ...EVENTS, at: 600 },
      { name: 'back', at, deed: { do: 'migrate', daemon: 0, by: 3, to: 1 } },
    ];
    const { daemons } = quiet({});
    const slow = [{ ...daemons[0]!, isAsync: true }];
    const { violation, lines } = await simulatePlanned(planned, { spools: new Set([1]), daemons: slow });
    assert.is(violation, undefined, `moved back at ${at} ms`);
    const back = lines.slice(lineAt(lines, /1 starts again/));
    const live = lineAt(back, /1 has d0 live/);
    if (back.slice(0, live).filter((line) => /1 makes d0/.test(line)).length === 2) madeTwice++;
  }
  assert.ok(madeTwice > 0, 'it was made of the file while it moved in');
});

regressions('seed 87319: a copy that moves in and comes to nothing leaves the file of an earlier try', async () => {
  const planned: Planned[] = [
    { ...MOVE, deed: { ...MOVE.deed, by: 3 } },
    crash(1, 'arrived CleanupComplete', 1, { downMs: 400 }),
    // It claims when it knows that nobody is there to whom it could confirm.
    {
      name: 'lose-register',
      when: { seen: 'wrote offer', nth: 1, thenMs: 0.001 },
      deed: { do: 'lose-register', node: 2, daemon: 0, forMs: 60 },
    },
    { name: 'back', at: 800, deed: { do: 'migrate', daemon: 0, by: 3, to: 1 } },
    // Before the copy is there.
    crash(2, 'sent SnapshotReady', 4),
  ];
  // It cannot be made of its file, which waits.
  const changes = { spools: new Set([1]), throws: 1, knowsDeath: true };
  const { violation, lines } = await simulatePlanned(planned, changes, ['restore-throws:1>0#3']);
  assert.is(violation, undefined);
  const waits = lineAt(lines, /1 reports state-failed: fenced-.* stays where it is/);
  const isGone = lineAt(lines, /2 CRASHES/);
  const cameBack = lineAt(lines, /1 → 3 {2}RestoreComplete/);
  const recovered = lineAt(lines, /1 has recovered d0$/);
  assert.ok(waits < isGone && isGone < cameBack && cameBack < recovered, 'a copy moved in beside the file');
});

regressions('what may be missing ends with what was sent when its copy was lost', () => {
  const said: string[] = [];
  const history = new History([[0]], (promise) => said.push(promise));
  history.sent(0, 8, false);
  const lost = history.sentTo(0, () => false);
  history.sent(0, 12, false);
  history.lost(lost);
  const traits = { isAsync: false, padding: 0, streams: 'no', isFickle: false } as const;
  const witness = { publisherNumber: Number, processed() {}, wait: () => undefined, throws: () => false, wrongly() {} };
  const ledger = (entry: number) => Object.assign(new Ledger(0, 1, 0, traits, witness), { entries: [entry] });
  history.processed(ledger(entryOf(0, 9)));
  assert.equal(said, []);
  history.processed(ledger(entryOf(0, 10)));
  assert.equal(said, ['order']);
});

regressions('seed 3622: a further try that another node leads is answered at once where one is not over', async () => {
  const { violation, lines } = await simulatePlanned([
    { ...MOVE, deed: { ...MOVE.deed, by: 3 } },
    crash(3, 'arrived RestoreComplete', 1),
    // The source gives up meanwhile, and its target does not hear of it.
    { name: 'part', at: 1_500, deed: { do: 'part', from: 1, to: 2, daemon: 0, bothWays: true, forMs: 350 } },
    { ...MOVE, name: 'again', at: 1_900 },
  ]);
  assert.is(violation, undefined);
  const asked = lineAt(lines, /1 moves d0 from 1 to 2/);
  const answered = lineAt(lines, /2 → 1 {2}MigrationFailed d0 AlreadyMigrating/);
  const ended = lineAt(lines, /1 has not moved d0/);
  const late = lineAt(lines, /2 → 3 {2}MigrationFailed .* in phase holding at the target/);
  assert.ok(asked < answered && answered < ended && ended < late, 'its leader need not wait for the end of the other');
});

regressions(
  'seed 116107: what a former life was sent may come last: its output is on its way for some milliseconds',
  async () => {
    const planned: Planned[] = [
      { ...EVENTS, at: 160, deed: { ...EVENTS.deed, events: 1 } },
      { name: 'crash', at: 161.3, deed: { do: 'crash', node: 1, daemon: 0, downMs: 1_100 } },
    ];
    let lastOnes = 0;
    // The last answer is waited for until 3,165 ms, whatever else happens: the end comes about then.
    for (let faultsMs = 1_390; faultsMs < 1_396; faultsMs += 0.5) {
      const { violation, lines, ms } = await simulatePlanned(planned, { faultsMs });
      assert.is(violation, undefined, `faults end at ${faultsMs} ms`);
      // Sent on to where the daemon is, it is there at once.
      const last = lines.find((line) => /3 → 3 {2}events 1–1 of 1000/.test(line));
      if (!last) continue;
      lastOnes++;
      assert.ok(lines.indexOf(last) > lineAt(lines, /done: last moves/));
      assert.ok(ms - Number.parseFloat(last) >= 100, `looked at after ${ms} ms: ${last}`);
    }
    assert.ok(lastOnes > 0, 'something came behind the last moves');
  },
);

regressions('seed 129507: a try is not over by the patience of some while a node that takes part is down', async () => {
  const planned: Planned[] = [
    { ...MOVE, deed: { ...MOVE.deed, by: 3, to: 1 } },
    {
      name: 'part',
      when: { seen: 'wrote claim', nth: 1, thenMs: 0.001 },
      deed: { do: 'part', from: 1, to: 3, daemon: 0, bothWays: false, forMs: 1_500 },
    },
    { name: 'onwards', at: 560, deed: { do: 'migrate', daemon: 0, by: 4, to: 2 } },
    crash(1, 'wrote offer', 2, { downMs: 2_200 }),
    // Nobody tells the target that it may claim.
    crash(4, 'wrote offer', 2),
  ];
  const daemons = [{ ...quiet({}).daemons[0]!, home: 3 }];
  const { violation, lines } = await simulatePlanned(planned, { nodes: 4, daemons, spools: new Set([1]) });
  assert.is(violation, undefined);
  const goesOn = lines[lines.findLastIndex((line) => /1 has d0 live/.test(line))]!;
  assert.ok(Number.parseFloat(goesOn) > 4_200, 'both tries began more than 4 s ago');
  assert.ok(lineAt(lines, /nothing came for daemon/) > lines.indexOf(goesOn), 'its target has a copy');
});
