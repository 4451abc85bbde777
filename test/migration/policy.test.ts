import * as assert from 'uvu/assert';
import {
  type OrchestratorPolicyOptions,
  orchestratorPolicy,
  type ParticipantPolicyOptions,
  participantPolicy,
  type WaitingPhase,
} from '../../lib/migration/policy.js';
import { refusal, suite } from '../support.js';
import { type Cluster, inCluster, ORCHESTRATOR, ORIGIN, OTHER, SOURCE, TARGET } from './cluster.js';

const policies = suite('a policy');
const WRONG_TIMES = [0, -1, 0.5, Number.NaN, '5', null, 5n];
const WRONG_COUNTS = [...WRONG_TIMES, 1.5, Number.POSITIVE_INFINITY];
const PHASES: readonly WaitingPhase[] = ['Snapshot', 'Transfer', 'Restore', 'Replay', 'Cutover', 'Rollback'];

function refuses(name: string, values: readonly unknown[], make: (value: never) => unknown): void {
  for (const value of values) {
    policies(`refuses ${name} ${typeof value} ${String(value)}`, () => {
      assert.throws(
        () => make(value as never),
        (error: unknown) => error instanceof RangeError && error.message.startsWith(`${name} must be`),
      );
    });
  }
}

for (const phase of PHASES) {
  refuses(`phases.${phase}.deadlineMs`, WRONG_TIMES, (deadlineMs) =>
    orchestratorPolicy({ phases: { [phase]: { deadlineMs } } }),
  );
  refuses(`phases.${phase}.tries`, WRONG_COUNTS, (tries) => orchestratorPolicy({ phases: { [phase]: { tries } } }));
}
for (const limit of ['maxMigrations', 'maxPerPeer']) {
  refuses(limit, WRONG_COUNTS, (value) => orchestratorPolicy({ [limit]: value }));
  refuses(limit, WRONG_COUNTS, (value) => participantPolicy({ [limit]: value }, 1));
}
for (const time of ['patienceMs', 'repeatMs'])
  refuses(time, WRONG_TIMES, (value) => participantPolicy({ [time]: value }, 1));

policies('refuses a phase in which nobody waits', () => {
  for (const phase of ['Complete', 'snapshot', 'Offered']) {
    const make = () => orchestratorPolicy({ phases: { [phase]: { tries: 1 } } } as OrchestratorPolicyOptions);
    assert.throws(make, new RegExp(`phases.${phase}: there is no such phase`));
  }
});

policies('keeps what is given, and fills in the rest', () => {
  const standard = orchestratorPolicy();
  const own = orchestratorPolicy({ maxPerPeer: 2, phases: { Replay: { tries: 7 } } });
  assert.equal(own, {
    ...standard,
    maxPerPeer: 2,
    phases: { ...standard.phases, Replay: { ...standard.phases.Replay, tries: 7 } },
  });
  assert.equal(participantPolicy({ repeatMs: 5 }, 77).patienceMs, 77);
  assert.is(
    orchestratorPolicy({ phases: { Replay: { deadlineMs: Number.POSITIVE_INFINITY } } }).phases.Replay.tries,
    30,
  );
});

const DEADLINE = { deadlineMs: 1_000, tries: 4 };
/** What an orchestrator asks for in a phase, and of whom: nothing where source and target repeat it among themselves. */
const ASKS: Readonly<Record<WaitingPhase, string | undefined>> = {
  Snapshot: `TakeSnapshot to ${SOURCE}`,
  Transfer: undefined,
  Restore: undefined,
  Replay: `BufferedEvents to ${TARGET}`,
  Cutover: `CutoverNotify to ${SOURCE}`,
  Rollback: `MigrationFailed to ${SOURCE}`,
};

/** Brings an orchestrator into a phase; the frames that entering it sent are still on their way. */
function enter(cluster: Cluster, phase: WaitingPhase): void {
  cluster.start();
  if (phase === 'Rollback') cluster.cancel();
  while (phaseHere(cluster) !== phase) {
    if (cluster.queue.length === 0) throw new Error(`${phase} was never entered: ${cluster.describe()}`);
    cluster.deliver();
  }
}

function phaseHere(cluster: Cluster): string | undefined {
  return cluster.orchestrator.handler.list()[0]?.phase;
}

const deadlines = suite('an orchestrator that hears nothing');
for (const phase of PHASES) {
  deadlines(`asks again as often as its policy says, and then gives up: ${phase}`, () => {
    const policy = { orchestratorPolicy: { phases: { [phase]: DEADLINE } } };
    inCluster({ history: 1_000, node: () => policy }, (cluster) => {
      enter(cluster, phase);
      const asked = () =>
        cluster.sent
          .filter(({ from, to }) => from === ORCHESTRATOR && ASKS[phase]?.endsWith(`to ${to}`))
          .filter((flight) => ASKS[phase]?.startsWith(cluster.decode(flight).message.kind)).length;
      const times: number[] = [];
      cluster.queue.length = 0;
      for (let seen = asked(); cluster.now < 999; ) {
        cluster.pass(1);
        cluster.queue.length = 0;
        assert.is(phaseHere(cluster), phase);
        if (asked() > seen) times.push(cluster.now);
        seen = asked();
      }
      assert.equal(times, ASKS[phase] ? [250, 500, 750] : []);
      assert.is(cluster.orchestrator.handler.list()[0]?.tries, 4);
      cluster.pass(1);
      if (phase !== 'Rollback') {
        assert.is(phaseHere(cluster), 'Rollback');
        const report = cluster.orchestrator.reports.at(-1);
        assert.is(report?.kind === 'progress' && report.progress.phase, 'Rollback');
      } else assert.equal(cluster.orchestrator.ends, ['orchestrator cancelled']);
      cluster.elapse(100_000);
      assert.equal(cluster.orchestrator.ends, [`orchestrator ${phase === 'Rollback' ? 'cancelled' : 'timed-out'}`]);
      // At the cutover the source may have stopped; here it had not heard of it.
      assert.is(cluster.whole(), SOURCE);
    });
  });
}

deadlines('counts from the last progress, not from the beginning', () => {
  const node = () => ({ orchestratorPolicy: { phases: { Transfer: DEADLINE } } });
  inCluster({ history: 5_000, node }, (cluster) => {
    enter(cluster, 'Transfer');
    for (let chunk = 0; phaseHere(cluster) === 'Transfer'; chunk++) {
      assert.ok(chunk < 10);
      cluster.pass(900);
      cluster.deliver(cluster.queue.find(({ to }) => to === ORCHESTRATOR)!);
    }
    cluster.quiet();
    assert.is(cluster.whole(), TARGET);
  });
});

const patience = suite('a participant that hears nothing');
const PATIENT: ParticipantPolicyOptions = { patienceMs: 4_000, repeatMs: 300 };

patience('source: repeats what was not answered, and goes on when its patience is over', () => {
  inCluster({ node: (id) => (id === SOURCE ? { sourcePolicy: PATIENT } : {}) }, (cluster) => {
    cluster.start();
    cluster.deliver();
    const chunks = () => cluster.sent.filter((each) => cluster.decode(each).message.kind === 'SnapshotReady').length;
    const before = chunks();
    for (let ms = 0; ms < 3_900; ms += 100) {
      cluster.queue.length = 0;
      cluster.pass(100);
    }
    assert.is(cluster.source.handler.list()[0]?.phase, 'transferring');
    // Once it has waited for `repeatMs`, at its looks of 100 ms.
    assert.ok(chunks() - before >= 9 && chunks() - before <= 13, `${chunks() - before} repeats`);
    cluster.pass(200);
    assert.equal(cluster.source.ends, ['source timed-out']);
    assert.is(cluster.whole(), SOURCE);
  });
});

for (const phase of ['assembling', 'holding']) {
  patience(`target: gives up when its patience is over: ${phase}`, () => {
    inCluster({ history: 1_000, node: (id) => (id === TARGET ? { targetPolicy: PATIENT } : {}) }, (cluster) => {
      cluster.start();
      while (cluster.target.handler.list()[0]?.phase !== phase) cluster.deliver();
      for (const end = cluster.now + 3_900; cluster.now < end; ) {
        cluster.queue.length = 0;
        cluster.pass(100);
        assert.is(cluster.target.handler.list()[0]?.phase, phase);
      }
      cluster.queue.length = 0;
      cluster.pass(400);
      assert.equal(cluster.target.ends, ['target timed-out']);
      assert.is(cluster.target.copy, undefined);
      cluster.quiet();
      assert.is(cluster.whole(), SOURCE);
    });
  });
}

/** What a limit of one is set on, and the peer that its error names. */
const LIMITS: ReadonlyArray<readonly [what: string, policy: OrchestratorPolicyOptions]> = [
  ['maxMigrations', { maxMigrations: 2 }],
  ['maxPerPeer, by the source', { maxPerPeer: 2 }],
];

const crowds = suite('an orchestrator leads no more than its policy allows');
for (const [what, orchestratorPolicy] of LIMITS) {
  crowds(what, async () => {
    await inCluster({ node: () => ({ orchestratorPolicy }) }, async (cluster) => {
      const { handler } = cluster.orchestrator;
      for (const daemon of [1n, 2n]) handler.startMigration(daemon, SOURCE, TARGET + daemon);
      const before = handler.list();
      const error = await refusal('too-many-migrations', () => handler.startMigration(3n, SOURCE, 8n));
      assert.ok(error.retriable);
      assert.is(error.details.limit, 2);
      assert.equal(handler.list(), before);
      handler.cancelMigration(1n);
      cluster.elapse(10_000);
      handler.startMigration(3n, SOURCE, 8n);
    });
  });
}

crowds('maxPerPeer, by the target; other peers have room', async () => {
  await inCluster({ node: () => ({ orchestratorPolicy: { maxPerPeer: 1 } }) }, async (cluster) => {
    const { handler } = cluster.orchestrator;
    handler.startMigration(1n, 11n, TARGET);
    const error = await refusal('too-many-migrations', () => handler.startMigration(2n, 12n, TARGET));
    assert.match(error.message, /1 migrations for node 2 are under way at this orchestrator/);
    handler.startMigration(2n, 12n, 13n);
    const same = await refusal('already-migrating', () => handler.startMigration(2n, 14n, 15n));
    assert.match(same.message, /cancel that first or wait for its end/);
  });
});

const busy = suite('a participant takes on no more than its policy allows');
for (const limit of ['maxMigrations', 'maxPerPeer'] as const) {
  for (const [half, at] of [
    ['sourcePolicy', SOURCE],
    ['targetPolicy', TARGET],
  ] as const) {
    busy(`and says so to who asks; later there is room: ${limit} of ${half}`, () => {
      inCluster({ node: (id) => (id === at ? { [half]: { [limit]: 1 } } : {}) }, (cluster) => {
        cluster.start();
        while (!cluster.nodes.get(at)!.handler.isMigrating(ORIGIN)) cluster.deliver();
        cluster.startOther();
        cluster.quiet();
        assert.is(cluster.whole(), TARGET);
        const report = cluster.orchestrator.reports.findLast(({ kind }) => kind === 'failed');
        assert.ok(report?.kind === 'failed' && report.origin === OTHER);
        assert.match(report.error.message, /1 migrations.* are under way at this (source|target)/);
        assert.is(cluster.source.registry.get(OTHER)?.gate, 'live');
        cluster.start({}, SOURCE, TARGET, OTHER);
        cluster.quiet();
        assert.is(cluster.target.registry.get(OTHER)?.gate, 'live');
      });
    });
  }
}
