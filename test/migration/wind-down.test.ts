import * as assert from 'uvu/assert';
import { refusal, suite } from '../support.js';
import { type Cluster, inCluster, ORCHESTRATOR, ORIGIN, SOURCE, TARGET } from './cluster.js';

const windDown = suite('a dispatcher that winds down');

/** Behind so many frames. @returns false where there are not so many */
async function after(cluster: Cluster, frames: number): Promise<boolean> {
  cluster.start();
  cluster.publish(3);
  for (let n = 0; n < frames; n++) {
    await cluster.breathe();
    if (cluster.queue.length === 0) return false;
    cluster.deliver();
  }
  return true;
}

for (const id of [SOURCE, TARGET, ORCHESTRATOR]) {
  windDown(`on node ${id} behind any frame leaves one whole daemon, and is idle`, async () => {
    const homes = new Set<bigint>();
    for (let frames = 0, more = true; more; frames++) {
      await inCluster({ register: true }, async (cluster) => {
        more = await after(cluster, frames);
        const { handler } = cluster.nodes.get(id)!;
        let isIdle = false;
        cluster.take(id, handler.windDown());
        assert.equal(handler.windDown(), [], 'once is all that counts');
        void handler.whenIdle().then(() => {
          isIdle = true;
        });
        cluster.publish(2);
        await cluster.later();
        homes.add(cluster.whole());
        assert.ok(isIdle, `behind ${frames} frames`);
        await refusal('not-ready', () => handler.startMigration(ORIGIN, id, id === TARGET ? SOURCE : TARGET));
      });
    }
    assert.equal([...homes].sort(), [SOURCE, TARGET], 'it is neither always given up nor always seen through');
  });
}

for (const [id, role] of [
  [SOURCE, 'source'],
  [TARGET, 'target'],
] as const) {
  windDown(`refuses what comes in as not ready, and answers: its ${role}`, () =>
    inCluster({}, (cluster) => {
      cluster.take(id, cluster.nodes.get(id)!.handler.windDown());
      cluster.start();
      cluster.quiet();
      assert.is(cluster.whole(), SOURCE);
      assert.equal(cluster.orchestrator.ends, ['orchestrator not-ready']);
    }),
  );
}

windDown('hands over at once what it leads, and says so, also before the source has stopped', async () => {
  const ends = new Set<string>();
  for (let frames = 0, more = true; more; frames++) {
    await inCluster({ register: true }, async (cluster) => {
      more = await after(cluster, frames);
      const { handler } = cluster.orchestrator;
      if (handler.list().every(({ role }) => role !== 'orchestrator')) return;
      handler.handOver();
      cluster.take(ORCHESTRATOR, handler.takeOutbound());
      for (const end of cluster.orchestrator.ends) ends.add(end);
    });
  }
  assert.equal([...ends].sort(), ['orchestrator cancelled', 'orchestrator handed-over']);
});
