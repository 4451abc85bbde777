import * as assert from 'uvu/assert';
import type { MigrationStatus } from '../../lib/migration/core.js';
import { suite } from '../support.js';
import {
  type Cluster,
  type ClusterOptions,
  inCluster,
  ORCHESTRATOR,
  ORIGIN,
  OTHER,
  SOURCE,
  TARGET,
} from './cluster.js';

const FIELDS = [
  ...['origin', 'role', 'source', 'target', 'orchestrator', 'phase', 'ageMs', 'phaseAgeMs'],
  ...['bytesDone', 'bytesTotal', 'eventsWaiting', 'tries'],
].sort();
const COUNTS = ['ageMs', 'phaseAgeMs', 'bytesDone', 'bytesTotal', 'eventsWaiting', 'tries'] as const;
/** 1,000 events seen before: two chunks. */
const CHUNKED: ClusterOptions = { history: 1_000 };

function statuses(cluster: Cluster): Array<MigrationStatus & { readonly at: bigint }> {
  return [...cluster.nodes.values()].flatMap(({ id, handler }) =>
    handler.list().map((status) => ({ ...status, at: id })),
  );
}

/** Steps through a migration; looks after each frame, with some time between them. */
function watch(options: ClusterOptions, look: (all: ReturnType<typeof statuses>, cluster: Cluster) => void): void {
  inCluster({ ...CHUNKED, ...options }, (cluster) => {
    cluster.start();
    for (let events = 3; cluster.queue.length > 0; events--) {
      cluster.deliver();
      cluster.pass(7);
      if (events > 0) cluster.publish(1);
      look(statuses(cluster), cluster);
    }
    cluster.quiet();
    assert.equal(statuses(cluster), []);
  });
}

const lists = suite('list');
for (const orchestrator of [ORCHESTRATOR, SOURCE, TARGET]) {
  for (const extensions of [true, false]) {
    const where = `orchestrator on node ${orchestrator}, extensions ${extensions}`;

    lists(`says who takes part and counts in whole numbers, in each role and phase: ${where}`, () => {
      const phases = new Map<string, Set<string>>();
      watch({ orchestrator, extensions }, (all) => {
        assert.equal(new Set(all.map(({ role }) => role)).size, all.length, 'one entry per role');
        for (const { at, ...status } of all) {
          assert.equal(Object.keys(status).sort(), FIELDS);
          assert.equal([status.origin, status.target, status.orchestrator], [ORIGIN, TARGET, orchestrator]);
          // The base frames do not tell a target where the daemon comes from.
          assert.is(status.source, extensions || status.role !== 'target' ? SOURCE : undefined);
          assert.is(at, status[status.role]);
          for (const count of COUNTS) assert.ok(Number.isInteger(status[count]) && status[count] >= 0, count);
          assert.ok(status.phaseAgeMs <= status.ageMs);
          assert.ok(status.bytesDone <= status.bytesTotal || status.bytesTotal === 0);
          phases.set(status.role, (phases.get(status.role) ?? new Set()).add(status.phase));
        }
      });
      const begins = orchestrator === SOURCE ? ['Transfer'] : ['Snapshot', 'Transfer', 'Restore'];
      assert.equal([...phases.get('orchestrator')!], [...begins, 'Replay', 'Cutover']);
      assert.equal(
        [...phases.get('source')!],
        extensions ? ['transferring', 'streaming', 'offered'] : ['transferring'],
      );
      assert.equal([...phases.get('target')!], ['assembling', 'holding']);
    });
  }
}

lists('tells ages by the clock that ticks bring', () => {
  inCluster(CHUNKED, (cluster) => {
    cluster.pass(1_000);
    cluster.start();
    cluster.pass(40);
    cluster.deliver();
    while (cluster.orchestrator.handler.list()[0]?.phase !== 'Transfer') cluster.deliver();
    cluster.pass(2);
    const [led] = cluster.orchestrator.handler.list();
    assert.equal([led?.ageMs, led?.phaseAgeMs], [42, 2]);
    assert.is(cluster.source.handler.list()[0]?.ageMs, 2);
  });
});

lists('counts snapshot bytes as they leave, pass and arrive, up to the total', () => {
  const seen = { source: new Set<number>(), orchestrator: new Set<number>(), target: new Set<number>() };
  let total = 0;
  watch({}, (all) => {
    for (const { role, bytesDone, bytesTotal } of all) {
      seen[role].add(bytesDone);
      if (role === 'source') total = bytesTotal;
      if (role === 'target') assert.is(bytesTotal, total);
    }
  });
  assert.ok(total > 8_000);
  assert.equal([...seen.source], [total], 'a transport that has room for all');
  assert.equal([...seen.orchestrator], [0, 7_000, total]);
  assert.equal([...seen.target], [7_000, total]);
});

lists('counts logged events that the target has not applied', () => {
  inCluster({}, (cluster) => {
    const waiting = (node: bigint) => cluster.nodes.get(node)!.handler.list()[0]?.eventsWaiting;
    cluster.start();
    cluster.deliver();
    cluster.publish(5);
    assert.is(waiting(SOURCE), 5);
    cluster.pass(1_000);
    while (cluster.queue.some(({ to }) => to === ORCHESTRATOR)) {
      cluster.deliver(cluster.queue.find(({ to }) => to === ORCHESTRATOR)!);
    }
    assert.is(waiting(ORCHESTRATOR), 5);
    while (cluster.source.handler.list()[0]?.phase !== 'offered') cluster.deliver();
    assert.is(waiting(SOURCE), 0);
    cluster.quiet();
    assert.is(cluster.whole(), TARGET);
  });
});

lists('gives copies: what a caller does to them changes nothing', () => {
  inCluster({}, (cluster) => {
    cluster.start();
    const { handler } = cluster.orchestrator;
    const list = handler.list();
    Object.assign(list[0]!, { phase: 'Complete', target: 99n });
    list.length = 0;
    assert.equal([handler.list()[0]?.phase, handler.list()[0]?.target], ['Snapshot', TARGET]);
  });
});

lists('shows no secret and no state', () => {
  const secrets = new Set<string>();
  watch({ sealed: true }, (all, cluster) => {
    for (const status of all) {
      for (const value of Object.values(status)) assert.ok(['bigint', 'number', 'string'].includes(typeof value));
      secrets.add(`${status.role} ${status.phase}`);
    }
    assert.ok(cluster.sent.length > 0);
  });
  assert.ok(secrets.size > 6);
});

lists('holds each daemon that moves, once per role', () => {
  inCluster({ orchestrator: SOURCE }, (cluster) => {
    cluster.start();
    cluster.startOther();
    const listed = cluster.source.handler.list().map(({ origin, role }) => `${role} ${origin}`);
    assert.equal(
      listed.sort(),
      [ORIGIN, OTHER].flatMap((origin) => [`orchestrator ${origin}`, `source ${origin}`]).sort(),
    );
  });
});

for (const orchestrator of [SOURCE, ORCHESTRATOR]) {
  lists(`holds a source that waits for its confirmation, which is no fault of who led it: node ${orchestrator}`, () => {
    inCluster({ orchestrator }, (cluster) => {
      cluster.start();
      for (let spent = 0; spent < 20_000; spent += 500) {
        // Every confirmation is lost.
        while (cluster.queue.length > 0) {
          const flight = cluster.queue[0]!;
          if (cluster.decode(flight).message.kind === 'ActivationConfirmed') cluster.queue.shift();
          else cluster.deliver(flight);
        }
        cluster.pass(500);
      }
      assert.equal(cluster.orchestrator.ends, ['orchestrator completed']);
      assert.is(cluster.source.handler.list()[0]?.phase, 'offered');
      assert.equal(cluster.orchestrator.refused, []);
    });
  });
}
