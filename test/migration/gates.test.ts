import * as assert from 'uvu/assert';
import { reasonOf } from '../../lib/migration/failure.js';
import { encodeMigrationFrame, type MigrationFrame } from '../../lib/wire/extension.js';
import type { MigrationFailureReason } from '../../lib/wire/failure.js';
import type { Trailer } from '../../lib/wire/trailer.js';
import { refusal, suite } from '../support.js';
import {
  type Cluster,
  type ClusterOptions,
  type Flight,
  inCluster,
  ORCHESTRATOR,
  ORIGIN,
  SOURCE,
  STRANGER,
  TARGET,
} from './cluster.js';

/** How a migration goes, so that every kind of frame is sent in one of them. */
const COURSES: Readonly<Record<string, (cluster: Cluster, deliver: () => void) => void>> = {
  'goes through': (cluster, deliver) => {
    while (cluster.queue.length > 0) deliver();
  },
  'is asked for a chunk again': (cluster, deliver) => {
    const isChunk = (flight: Flight) => cluster.decode(flight).message.kind === 'SnapshotReady' && flight.to === TARGET;
    let lost = false;
    for (let round = 0; cluster.isBusy && round < 1_000; round++) {
      const [next] = cluster.queue;
      if (!next) cluster.pass(500);
      else if (!lost && isChunk(next)) lost = cluster.queue.shift() !== undefined;
      else deliver();
    }
  },
  'is cancelled': (cluster, deliver) => {
    while (!cluster.target.copy && cluster.queue.length > 0) deliver();
    cluster.cancel();
    while (cluster.queue.length > 0) deliver();
  },
};

const WORLDS: readonly ClusterOptions[] = [ORCHESTRATOR, SOURCE, TARGET].flatMap((orchestrator) => [
  { orchestrator, history: 1_000 },
  { orchestrator, history: 1_000, known: true },
  { orchestrator, history: 1_000, extensions: false },
]);

function title({ orchestrator, extensions = true, known }: ClusterOptions): string {
  return `orchestrator on node ${orchestrator}, extensions ${extensions ? (known ? 'known' : 'shown') : 'off'}`;
}

/** Runs a migration; before each frame is delivered, something else is done with it, which must change nothing. */
function beforeEachFrame(
  options: ClusterOptions,
  course: string,
  meet: (cluster: Cluster, flight: Flight) => void,
): Set<string> {
  const met = new Set<string>();
  inCluster(options, (cluster) => {
    cluster.publish(1);
    cluster.start();
    cluster.publish(2);
    COURSES[course]!(cluster, () => {
      const [flight] = cluster.queue as [Flight];
      met.add(cluster.decode(flight).message.kind);
      const before = traces(cluster);
      try {
        meet(cluster, flight);
        assert.equal(traces(cluster), before);
      } catch (error) {
        const what = error instanceof Error ? error.message : String(error);
        throw new Error(`${cluster.name(flight)}: ${what}; ${cluster.describe()}`, { cause: error });
      }
      cluster.deliver();
    });
    cluster.quiet();
    assert.is(cluster.whole(), course === 'is cancelled' ? SOURCE : TARGET);
  });
  return met;
}

/** All that a frame can change. */
function traces(cluster: Cluster): unknown {
  const nodes = [...cluster.nodes.values()].map(({ copy, daemon, handler, reports }) => ({
    migrations: handler.list(),
    reports: reports.length,
    copy: copy && { gate: copy.gate, logged: copy.log.nextNumber, head: copy.head, epoch: copy.epoch },
    seen: daemon?.seen.length,
  }));
  return { nodes, queue: cluster.queue.map(({ number }) => number), published: cluster.published.length };
}

/** Frames that went to one who is no node of the cluster are answers to him. */
function answersTo(cluster: Cluster, stranger: bigint): string[] {
  const { queue } = cluster;
  const answers = queue.filter(({ to }) => to === stranger);
  for (const answer of answers) queue.splice(queue.indexOf(answer), 1);
  return answers.map((flight) => {
    const { message } = cluster.decode(flight);
    if (message.kind !== 'MigrationFailed') return message.kind;
    return message.reason.kind === 'StateFailed' ? message.reason.message : message.reason.kind;
  });
}

/** Whom a cluster's nodes allow: without extensions it is `authorize` that tells a stranger's events from the source's. */
function members(leader: bigint): NonNullable<ClusterOptions['node']> {
  return (id) => ({
    hooks: {
      authorize: ({ orchestrator, source }) =>
        (orchestrator === leader || orchestrator === id) && (source === undefined || source === SOURCE),
    },
  });
}

/** Without extensions no chunk can be asked for. */
function courses({ extensions }: ClusterOptions): string[] {
  return Object.keys(COURSES).filter((course) => extensions !== false || course !== 'is asked for a chunk again');
}

const strangers = suite('a frame from a stranger');
for (const options of WORLDS) {
  for (const course of courses(options)) {
    strangers(`changes nothing: a migration that ${course}; ${title(options)}`, () => {
      const met = beforeEachFrame({ ...options, node: members(options.orchestrator!) }, course, (cluster, flight) => {
        const node = cluster.nodes.get(flight.to)!;
        const { refused, reports } = node;
        const [refusedBefore, reportsBefore] = [refused.length, reports.length];
        cluster.hand({ ...flight, from: STRANGER });
        const answers = answersTo(cluster, STRANGER);
        // One who opens something is answered; anybody else is refused.
        assert.is(answers.length + refused.length - refusedBefore, isSilent(cluster, flight) ? 0 : 1);
        assert.match(answers.join(), /^(not authorised|AlreadyMigrating|)$/);
        assert.ok(refused.slice(refusedBefore).every(({ kind }) => REFUSALS.includes(kind)));
        // That somebody was refused is reported, and nothing else.
        for (const report of reports.splice(reportsBefore)) assert.ok(report.kind === 'failed' && !report.begun);
      });
      assert.ok(met.has(course === 'is cancelled' ? 'MigrationFailed' : 'ActivateAck'));
      if (course === 'is asked for a chunk again') assert.ok(met.has('ChunkStatus'));
    });
  }
}

const REFUSALS: readonly string[] = ['wrong-peer', 'daemon-not-found', 'not-authorised'];

/** Without extensions anybody may turn out to be the source, so that a frame without events is passed over. */
function isSilent(cluster: Cluster, flight: Flight): boolean {
  const { message } = cluster.decode(flight);
  const isOfTarget = message.kind === 'BufferedEvents' && message.events.length === 0;
  return cluster.options.extensions === false && isOfTarget;
}

/** Whether a node of the migration may send this too: it opens something, or means another half of its receiver. */
function mayComeFrom(cluster: Cluster, { to }: Flight, kind: MigrationFrame['message']['kind'], from: bigint): boolean {
  if (kind === 'TakeSnapshot') return true;
  if (kind === 'SnapshotReady') return from === to || to === TARGET;
  return kind === 'MigrationFailed' || (kind === 'BufferedEvents' && (from === SOURCE || from === cluster.leader));
}

const others = suite('a frame from another node of the migration');
for (const options of WORLDS) {
  for (const course of courses(options)) {
    others(`is refused as wrong-peer: a migration that ${course}; ${title(options)}`, () => {
      let handed = 0;
      beforeEachFrame({ ...options, node: members(options.orchestrator!) }, course, (cluster, flight) => {
        const { kind } = cluster.decode(flight).message;
        const node = cluster.nodes.get(flight.to)!;
        for (const from of [SOURCE, TARGET, ORCHESTRATOR]) {
          if (from === flight.from || mayComeFrom(cluster, flight, kind, from)) continue;
          const before = node.refused.length;
          cluster.hand({ ...flight, from });
          const silent = isSilent(cluster, flight) ? 0 : 1;
          assert.is(node.refused.length, before + silent, `from node ${from}`);
          if (silent) assert.match(node.refused.at(-1)!.kind, /^(wrong-peer|not-authorised|daemon-not-found)$/);
          handed++;
        }
      });
      assert.ok(handed > 1);
    });
  }
}

/** The same frame with another trailer. */
function withTrailer(cluster: Cluster, flight: Flight, change: (trailer: Trailer) => Trailer | undefined): Flight {
  const { message, trailer } = cluster.decode(flight);
  return { ...flight, payload: encodeMigrationFrame(cluster.source.codec, message, change(trailer!)) };
}

/** Frames that have no try to compare with yet, or none at all. */
const OPENING: readonly string[] = ['TakeSnapshot', 'SourceStatus', 'SnapshotReady'];

const tries = suite('a frame of another try');
for (const options of WORLDS.filter(({ extensions }) => extensions !== false)) {
  for (const course of courses(options)) {
    for (const step of [-1n, 1n, 1n << 63n]) {
      tries(`changes nothing: a migration that ${course}, try + ${step}; ${title(options)}`, () => {
        const met = beforeEachFrame(options, course, (cluster, flight) => {
          const { message, trailer } = cluster.decode(flight);
          if (OPENING.includes(message.kind) || trailer?.try === undefined) return;
          // A confirmation is told by its epoch, which no other try has.
          const epoch = message.kind === 'ActivationConfirmed' ? { epoch: trailer.epoch! + step } : {};
          cluster.hand(withTrailer(cluster, flight, (own) => ({ ...own, try: own.try! + step, ...epoch })));
        });
        assert.ok(met.size > 3);
      });
    }
  }
}

const downgrades = suite('a frame without a trailer');
for (const options of WORLDS.filter(({ extensions }) => extensions !== false)) {
  for (const course of courses(options)) {
    downgrades(
      `from a peer that has shown extensions changes nothing: a migration that ${course}; ${title(options)}`,
      () => {
        const spoke = new Set<string>();
        beforeEachFrame(options, course, (cluster, flight) => {
          const hasSpoken = spoke.has(`${flight.from} to ${flight.to}`);
          spoke.add(`${flight.from} to ${flight.to}`);
          // With RestoreComplete a target shows the orchestrator what it speaks, whatever it has said to others.
          const isFirst = cluster.decode(flight).message.kind === 'RestoreComplete';
          if ((!hasSpoken || isFirst) && !options.known) return;
          const before = cluster.sent.length;
          cluster.hand(withTrailer(cluster, flight, () => undefined));
          // Who opens something without one is told that it must have one.
          const answers = cluster.sent.slice(before).map((answer) => cluster.decode(answer).message);
          for (const answer of answers) assert.is(answer.kind, 'MigrationFailed');
          cluster.queue.splice(cluster.queue.length - answers.length);
        });
      },
    );
  }
}

const unknown = suite('a frame of no migration');
for (const options of WORLDS) {
  for (const course of courses(options)) {
    unknown(`is refused: of a migration that ${course}; ${title(options)}`, () => {
      inCluster({ ...options, node: members(options.orchestrator!) }, (fresh) => {
        const before = traces(fresh);
        beforeEachFrame(options, course, (cluster, flight) => {
          const { kind } = cluster.decode(flight).message;
          if (kind === 'TakeSnapshot' || kind === 'SnapshotReady') return;
          const node = fresh.nodes.get(flight.to)!;
          const refusedBefore = node.refused.length;
          fresh.hand(flight);
          assert.is(node.refused.length, refusedBefore + 1);
          assert.is(node.refused.at(-1)?.kind, kind === 'MigrationFailed' ? 'wrong-peer' : 'daemon-not-found');
        });
        assert.equal(traces(fresh), before);
      });
    });
  }
}

const openings = suite('a migration that somebody else tried to open');
for (const attempt of [0n, 1n, 2n, (1n << 64n) - 1n]) {
  for (const kind of ['TakeSnapshot', 'SnapshotReady']) {
    openings(`goes through: a stranger's ${kind} of try ${attempt} came first`, () => {
      inCluster({ history: 1_000, node: members(ORCHESTRATOR) }, (cluster) => {
        cluster.start();
        while (cluster.queue.length > 0) {
          const flight = cluster.queue[0]!;
          const { message, trailer } = cluster.decode(flight);
          const requestId = new Uint8Array(16);
          const forged = withTrailer(cluster, flight, () => ({ ...trailer, requestId, try: attempt }));
          if (message.kind === kind) cluster.hand({ ...forged, from: STRANGER });
          answersTo(cluster, STRANGER);
          cluster.deliver();
        }
        assert.is(cluster.whole(), TARGET);
        assert.not.ok(cluster.isBusy);
      });
    });
  }
}

openings('is answered for after its end, whatever a stranger asked for meanwhile', () => {
  inCluster({ extensions: false }, (cluster) => {
    cluster.start();
    let isLost = false;
    while (cluster.isBusy && cluster.now < 100_000) {
      const [flight] = cluster.queue;
      const kind = flight && cluster.decode(flight).message.kind;
      if (!flight) cluster.pass(500);
      else if (kind !== 'CleanupComplete' || isLost) cluster.deliver();
      else {
        // The source has let go, and the orchestrator will ask again.
        isLost = cluster.queue.shift() !== undefined;
        const message = { kind: 'TakeSnapshot', daemonOrigin: ORIGIN, targetNode: TARGET } as const;
        const payload = encodeMigrationFrame(cluster.source.codec, message, undefined);
        cluster.hand({ from: STRANGER, to: SOURCE, payload });
        assert.equal(answersTo(cluster, STRANGER), ['not authorised']);
      }
    }
    assert.ok(isLost);
    assert.is(cluster.whole(), TARGET);
  });
});

const bindings = suite('a daemon bound to an orchestrator');
for (const extensions of [true, false]) {
  bindings(`comes from that one alone, whom else authorize allows: extensions ${extensions}`, () => {
    inCluster({ extensions, node: () => ({ hooks: { authorize: () => true } }) }, (cluster) => {
      const { target } = cluster;
      assert.not.ok(target.factories.bindOrchestrator(ORIGIN, SOURCE), 'it is not expected yet');
      cluster.start();
      assert.ok(target.factories.bindOrchestrator(ORIGIN, STRANGER));
      // All of them hear of it, without a clock.
      while (cluster.queue.length > 0) cluster.deliver();
      assert.not.ok(cluster.isBusy);
      const [failed] = cluster.orchestrator.reports.filter((report) => report.kind === 'failed');
      assert.is(failed!.error.kind, 'not-authorised');
      assert.is(cluster.whole(), SOURCE);
      cluster.start();
      target.factories.bindOrchestrator(ORIGIN, ORCHESTRATOR);
      cluster.quiet();
      assert.is(cluster.whole(), TARGET);
    });
  });
}

/** Why a target cannot take a daemon, and how it says so. */
const REFUSED_AT_TARGET: Readonly<
  Record<string, readonly [MigrationFailureReason['kind'], (cluster: Cluster) => void]>
> = {
  'it makes no daemons': ['ComputeNotSupported', () => {}],
  'it does not know how to make this one': ['FactoryNotFound', ({ target }) => target.factories.fulfil(ORIGIN)],
  'it has one of that origin': [
    'StateFailed',
    (cluster) => {
      cluster.spawnAt(TARGET);
      cluster.target.copy!.hold();
    },
  ],
};

const refusals = suite('a target that cannot take a daemon');
for (const [why, [reason, arrange]] of Object.entries(REFUSED_AT_TARGET)) {
  for (const orchestrator of [ORCHESTRATOR, SOURCE, TARGET]) {
    refusals(`says so, and the daemon goes on at its source: ${why}; orchestrator on node ${orchestrator}`, () => {
      const bare = reason === 'ComputeNotSupported';
      const node = (id: bigint) => (id === TARGET && bare ? { bare } : {});
      // Without extensions no kind is named, by which a target could make a daemon that it does not expect.
      inCluster({ orchestrator, node, extensions: false }, (cluster) => {
        cluster.start();
        arrange(cluster);
        cluster.quiet();
        assert.is(cluster.whole(), SOURCE);
        const failures = cluster.orchestrator.reports.filter((report) => report.kind === 'failed');
        const told = failures.find(({ role }) => role === 'orchestrator')!;
        assert.is(reasonOf(told.error).kind, reason);
      });
    });
  }
}

const oneNode = suite('source and target on one node');
for (const orchestrator of [ORCHESTRATOR, SOURCE]) {
  oneNode(`are refused with a clear error: orchestrator on node ${orchestrator}`, async () => {
    await inCluster({ orchestrator }, async (cluster) => {
      const error = await refusal('target-unavailable', () => cluster.start({}, SOURCE, SOURCE));
      assert.match(error.message, /cannot migrate from node 1 to itself; name another target/);
      assert.equal(cluster.sent, []);
      assert.not.ok(cluster.isBusy);
      assert.is(cluster.whole(), SOURCE);
    });
  });
}

for (const extensions of [true, false]) {
  oneNode(`are refused by the source too, whoever leads: extensions ${extensions}`, () => {
    inCluster({ extensions }, (cluster) => {
      const message = { kind: 'TakeSnapshot', daemonOrigin: ORIGIN, targetNode: SOURCE } as const;
      const trailer = extensions ? { requestId: new Uint8Array(16).fill(3) } : undefined;
      const payload = encodeMigrationFrame(cluster.source.codec, message, trailer);
      cluster.hand({ from: ORCHESTRATOR, to: SOURCE, payload });
      const [answer, ...more] = cluster.sent.map((flight) => cluster.decode(flight).message);
      assert.equal(more, []);
      assert.ok(answer?.kind === 'MigrationFailed' && answer.reason.kind === 'StateFailed');
      assert.match(answer.reason.message, /to itself; name another target/);
      assert.is(cluster.whole(), SOURCE);
      assert.equal(cluster.source.handler.list(), []);
    });
  });
}
