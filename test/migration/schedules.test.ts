import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { suite } from '../support.js';
import { type Cluster, type ClusterOptions, inCluster, ORCHESTRATOR, SOURCE, TARGET } from './cluster.js';

/** One step of a network that keeps nothing in order: what it does, and to which frame. */
interface Step {
  readonly what: 'deliver' | 'lose' | 'double' | 'repeat' | 'wait' | 'publish' | 'cancel';
  readonly which: number;
}

/** Frames that were sent long ago come again at most this often in a run, so that it ends. */
const steps = (withCancel: boolean) =>
  fc.array(
    fc.record<Step>({
      what: fc.oneof(
        { weight: 36, arbitrary: fc.constant<Step['what']>('deliver') },
        { weight: 6, arbitrary: fc.constantFrom<Step['what']>('lose', 'double', 'repeat', 'wait', 'publish') },
        ...(withCancel ? [{ weight: 1, arbitrary: fc.constant<Step['what']>('cancel') }] : []),
      ),
      // Mostly the next frame, sometimes one from further behind.
      which: fc.oneof({ weight: 2, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(1_000) }),
    }),
    { minLength: 10, maxLength: 80 },
  );

function take(cluster: Cluster, { what, which }: Step): void {
  const { queue, sent } = cluster;
  const flight = queue[which % Math.max(1, queue.length)];
  if (what === 'wait') cluster.pass(1 + (which % 1_500));
  else if (what === 'publish') cluster.publish(1 + (which % 3));
  else if (what === 'cancel') cluster.cancel();
  else if (what === 'repeat') cluster.hand(sent[which % sent.length]!);
  else if (!flight) cluster.pass(500);
  else if (what === 'deliver') cluster.deliver(flight);
  else if (what === 'double') cluster.hand(flight);
  else queue.splice(queue.indexOf(flight), 1);
}

const WORLDS: Readonly<Record<string, ClusterOptions>> = Object.fromEntries(
  [ORCHESTRATOR, SOURCE, TARGET].flatMap((orchestrator) => [
    [`orchestrator on node ${orchestrator}, extensions shown`, { orchestrator, history: 1_000 }],
    [`orchestrator on node ${orchestrator}, extensions known`, { orchestrator, history: 1_000, known: true }],
    [`orchestrator on node ${orchestrator}, live mode`, { orchestrator, history: 1_000, known: true, mode: 'live' }],
  ]),
);
const SEED = 6;

function runThrough(cluster: Cluster, schedule: readonly Step[]): void {
  cluster.publish(2);
  cluster.start();
  for (const step of schedule) if (cluster.sent.length > 0) take(cluster, step);
}

const bare = suite('a network that loses, doubles and reorders');
for (const [name, options] of Object.entries(WORLDS)) {
  bare(`a migration goes through: ${name}`, () => {
    const property = fc.property(steps(false), (schedule) =>
      inCluster(options, (cluster) => {
        runThrough(cluster, schedule);
        cluster.quiet();
        assert.is(cluster.whole(), TARGET);
      }),
    );
    fc.assert(property, { numRuns: 50, seed: SEED });
  });

  bare(`one that is given up leaves the daemon at the source, where recover brings it back if need be: ${name}`, () => {
    const property = fc.property(steps(true), (schedule) =>
      inCluster(options, (cluster) => {
        runThrough(cluster, schedule);
        cluster.cancel();
        cluster.elapse(200_000);
        // An offer that nobody can take back: the target has let go, as whoever calls this knows.
        if (!cluster.live()) cluster.recover();
        cluster.quiet();
        cluster.whole();
      }),
    );
    fc.assert(property, { numRuns: 40, seed: SEED });
  });
}

bare('without extensions there is one copy, or one to recover, and no event is taken twice or out of order', () => {
  const property = fc.property(fc.constantFrom(ORCHESTRATOR, SOURCE, TARGET), steps(true), (orchestrator, schedule) =>
    inCluster({ orchestrator, extensions: false, history: 1_000 }, (cluster) => {
      runThrough(
        cluster,
        schedule.filter(({ what }) => what !== 'publish' || cluster.source.isLive),
      );
      cluster.elapse(400_000);
      if (!cluster.live()) cluster.recover();
      cluster.quiet();
      const { seen } = cluster.live()!.daemon!;
      assert.equal(
        seen,
        [...new Set(seen)].sort((a, b) => Number(a - b)),
      );
    }),
  );
  fc.assert(property, { numRuns: 200, seed: SEED });
});

const registered = suite('a network that loses, doubles and reorders, with an ownership register');
for (const [name, options] of Object.entries(WORLDS)) {
  registered(`a migration ends, cancelled or not, and so does the next: ${name}`, () => {
    const property = fc.asyncProperty(steps(true), steps(true), (...schedules) =>
      inCluster({ ...options, register: true }, async (cluster) => {
        for (const schedule of schedules) {
          cluster.publish(2);
          const here = cluster.whole();
          cluster.start({}, here, here === SOURCE ? TARGET : SOURCE);
          for (const step of schedule) {
            if (cluster.sent.length > 0) take(cluster, step);
            if (step.which % 2 === 0) await cluster.breathe();
          }
          await cluster.later();
          cluster.whole();
        }
      }),
    );
    return fc.assert(property, { numRuns: 20, seed: SEED });
  });
}
