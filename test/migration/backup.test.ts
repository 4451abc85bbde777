import * as assert from 'uvu/assert';
import { suite } from '../support.js';
import { type Cluster, inCluster, SOURCE, TARGET } from './cluster.js';
import { HERE, Node, ORCHESTRATOR, ORIGIN } from './harness.js';

const backups = suite('a daemon that was let go without extensions');
/** The source keeps a frozen copy for so long. */
const BACKUP_MS = 600_000;

/** Lets the daemon go to a target that crashes before it is live. */
async function lose(cluster: Cluster): Promise<void> {
  cluster.publish(2);
  cluster.start();
  for (let round = 0; cluster.source.copy && round < 100; round++) {
    if (cluster.queue.length > 0) cluster.deliver();
    if (cluster.source.isLive && round < 3) cluster.publish(1);
    await cluster.breathe();
  }
  assert.is(cluster.source.copy, undefined);
  assert.equal(cluster.source.handler.list(), [], 'the source has let go');
  cluster.crash(TARGET);
}

for (const register of [false, true]) {
  for (const wait of [0, 60_000, BACKUP_MS - 10_000]) {
    backups(
      `comes back by recover, with every event, after ${wait} ms, ${register ? 'with' : 'without'} a register`,
      async () => {
        await inCluster({ extensions: false, register }, async (cluster) => {
          await lose(cluster);
          cluster.elapse(wait);
          assert.is(cluster.live(), undefined);
          assert.ok(cluster.recover());
          assert.not.ok(cluster.recover(), 'once');
          await cluster.later();
          assert.is(cluster.whole(), SOURCE);
          assert.is(cluster.source.copy?.epoch, 2n);
        });
      },
    );
  }
}

backups('lives at its target, as the register says then', async () => {
  await inCluster({ extensions: false, register: true }, async (cluster) => {
    cluster.publish(2);
    cluster.start();
    await cluster.later();
    assert.is(cluster.whole(), TARGET);
    assert.is(cluster.ownerOf(), TARGET);
  });
});

backups('is gone when its time is over, and its key with it', async () => {
  await inCluster({ extensions: false }, async (cluster) => {
    const { keypair } = cluster.source.copy!;
    await lose(cluster);
    cluster.elapse(BACKUP_MS - 10_000);
    assert.ok(keypair.canSign);
    cluster.elapse(20_000);
    assert.not.ok(keypair.canSign);
    assert.not.ok(cluster.recover());
    assert.is(cluster.live(), undefined);
  });
});

backups('moves again once it is back', async () => {
  await inCluster({ extensions: false }, async (cluster) => {
    await lose(cluster);
    cluster.elapse(60_000);
    assert.ok(cluster.recover());
    cluster.revive(TARGET);
    cluster.start();
    cluster.quiet();
    assert.is(cluster.whole(), TARGET);
    cluster.elapse(2 * BACKUP_MS);
    assert.is(cluster.whole(), TARGET);
  });
});

backups('and that has come home since is not recovered over itself', () => {
  inCluster({ extensions: false }, (cluster) => {
    cluster.start();
    cluster.quiet();
    assert.is(cluster.whole(), TARGET);
    cluster.start({}, TARGET, SOURCE);
    cluster.quiet();
    assert.is(cluster.whole(), SOURCE);
    assert.not.ok(cluster.recover(), 'it lives');
    cluster.start();
    cluster.quiet();
    assert.is(cluster.whole(), TARGET);
  });
});

backups('and that moves again since it came home keeps what is kept for that, when its old time is over', () => {
  const node = new Node();
  const target = 9n;
  node.own();
  node.takes(ORCHESTRATOR, { kind: 'TakeSnapshot', daemonOrigin: ORIGIN, targetNode: target });
  node.takes(ORCHESTRATOR, { kind: 'CutoverNotify', daemonOrigin: ORIGIN, targetNode: target });
  assert.is(node.asks('setAside').length, 1);
  node.own();
  const requestId = new Uint8Array(16).fill(1);
  node.handler.tick(BACKUP_MS - 1_000);
  node.takes(ORCHESTRATOR, { kind: 'TakeSnapshot', daemonOrigin: ORIGIN, targetNode: target }, { requestId });
  assert.ok(node.handler.isMigrating(ORIGIN));
  node.handler.tick(BACKUP_MS + 1_000);
  assert.equal(node.asks('dropBackup'), []);
  assert.ok(node.handler.isMigrating(ORIGIN), `node ${HERE} still moves it`);
});
