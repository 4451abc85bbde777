import * as assert from 'uvu/assert';
import { DaemonRuntime, EntityKeypair, InProcessMesh, secureMemoryStatus } from '../../lib/index.js';
import { eventually, Recorder, refusal, suite } from '../support.js';

const identity = suite('a daemon’s key in a migration');
const MESSAGE = Buffer.from('signed by the daemon');

interface World {
  readonly source: DaemonRuntime;
  readonly target: DaemonRuntime;
  readonly targetDaemon: Recorder;
}

async function inWorld(run: (world: World) => Promise<void>): Promise<void> {
  const mesh = new InProcessMesh();
  const source = new DaemonRuntime({ mesh: mesh.join(1n) });
  const target = new DaemonRuntime({ mesh: mesh.join(2n), orchestrators: [1n] });
  const targetDaemon = new Recorder();
  source.registerFactory('recorder', () => new Recorder());
  target.registerFactory('recorder', () => targetDaemon);
  for (const node of [source, target]) node.start();
  try {
    await run({ source, target, targetDaemon });
  } finally {
    for (const node of [source, target]) await node.shutdown();
  }
}

identity('travels sealed: the target signs with it, and the source no longer can', () =>
  inWorld(async ({ source, target, targetDaemon }) => {
    const keypair = EntityKeypair.generate();
    const { id } = keypair;
    const origin = await source.spawn('recorder', keypair);
    let couldSignAtRestore: boolean | undefined;
    targetDaemon.before = (call) => {
      if (call === 'restore') couldSignAtRestore = keypair.canSign;
    };
    await source.startMigration(origin, 1n, 2n).wait({ timeout: 5_000 });

    assert.ok(id.verify(MESSAGE, target.keypair(origin).sign(MESSAGE)));
    assert.is(couldSignAtRestore, true, 'not wiped before the confirmation');
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.is(keypair.canSign, false, 'wiped after it');
    assert.is(keypair.originHash, origin, 'the public half stays');
    await refusal('public-only', () => keypair.sign(MESSAGE));
  }),
);

identity('that is not here fails the start, which says what is missing; the daemon goes on', () =>
  inWorld(async ({ source, target }) => {
    const origin = await source.spawn('recorder', EntityKeypair.generate().publicOnly());
    const error = await refusal('identity-transport-failed', () =>
      source.startMigration(origin, 1n, 2n).wait({ timeout: 5_000 }),
    );
    assert.match(error.message, /public-only: its private half is not on this node.*transportIdentity: false/);
    assert.ok(source.has(origin));
    assert.is(target.has(origin), false);
  }),
);

identity('cannot be sealed to a node whose key is unknown', async () => {
  const mesh = new InProcessMesh();
  await using source = new DaemonRuntime({ mesh: mesh.join(1n) });
  source.registerFactory('recorder', () => new Recorder());
  source.start();
  // In the mesh, but its runtime has not begun.
  mesh.join(2n);
  const origin = await source.spawn('recorder', EntityKeypair.generate());
  const error = await refusal('identity-transport-failed', () =>
    source.startMigration(origin, 1n, 2n).wait({ timeout: 5_000 }),
  );
  assert.match(error.message, /the X25519 public key of target node 2 is unknown/);
  assert.ok(source.keypair(origin).canSign);
});

identity('stays behind where it is told to, and the daemon arrives with its public half alone', () =>
  inWorld(async ({ source, target }) => {
    const origin = await source.spawn('recorder', EntityKeypair.generate());
    await source.startMigration(origin, 1n, 2n, { transportIdentity: false }).wait({ timeout: 5_000 });
    const arrived = target.keypair(origin);
    assert.is(arrived.originHash, origin);
    await refusal('public-only', () => arrived.sign(MESSAGE));
  }),
);

identity('stays with the source where the restore fails, and is wiped at the target', () =>
  inWorld(async ({ source, target, targetDaemon }) => {
    const origin = await source.spawn('recorder', EntityKeypair.generate());
    targetDaemon.before = (call) => {
      if (call === 'restore') throw new Error('no');
    };
    await refusal('state-failed', () => source.startMigration(origin, 1n, 2n).wait({ timeout: 5_000 }));
    assert.is(source.keypair(origin).sign(MESSAGE).length, 64);
    await refusal('daemon-not-found', () => target.keypair(origin));
  }),
);

identity('must be a key pair', () =>
  inWorld(async ({ source }) => {
    try {
      await source.spawn('recorder', { entityId: new Uint8Array(32) } as never);
      assert.unreachable();
    } catch (error) {
      assert.instance(error, TypeError);
      assert.match((error as Error).message, /keypair must be an EntityKeypair/);
    }
  }),
);

identity('is sealed to a node that announces its key a moment after it was known', async () => {
  const mesh = new InProcessMesh();
  await using source = new DaemonRuntime({ mesh: mesh.join(1n) });
  await using target = new DaemonRuntime({ mesh: mesh.join(2n), orchestrators: [1n] });
  for (const node of [source, target]) node.registerFactory('recorder', () => new Recorder());
  source.start();
  const origin = await source.spawn('recorder', EntityKeypair.generate());
  const handle = source.startMigration(origin, 1n, 2n);
  setTimeout(() => target.start(), 30);
  await handle.wait({ timeout: 5_000 });
  assert.ok(target.keypair(origin).canSign);
});

identity('opened for a restore that is still going on is wiped when the target shuts down', () =>
  inWorld(async ({ source, target, targetDaemon }) => {
    const origin = await source.spawn('recorder', EntityKeypair.generate());
    let goOn!: () => void;
    const held = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    let restoring = false;
    targetDaemon.before = (call) => {
      if (call !== 'restore') return;
      restoring = true;
      return held;
    };
    const handle = source.startMigration(origin, 1n, 2n);
    await eventually('the target restores', () => restoring);
    const before = secureMemoryStatus().secrets;
    await target.shutdown();
    // The opened key, and both halves of the node's keys.
    assert.is(secureMemoryStatus().secrets, before - 3);
    goOn();
    await refusal('target-unavailable', () => handle.wait({ timeout: 5_000 }));
    await refusal('daemon-not-found', () => target.keypair(origin));
    assert.ok(source.keypair(origin).canSign);
  }),
);

identity('is wiped by a shutdown whose register does not answer', async () => {
  const mesh = new InProcessMesh().join();
  const node = new DaemonRuntime({ mesh });
  node.registerFactory('recorder', () => new Recorder());
  node.start();
  const keypair = EntityKeypair.generate();
  await node.spawn('recorder', keypair);
  mesh.register.compareAndSet = () => Promise.reject(new Error('no answer'));
  await refusal('register-unavailable', () => node.shutdown());
  assert.is(keypair.canSign, false);
});

identity('is not taken up by a node that shuts down meanwhile, nor twice, nor disposed of', async () => {
  const seats = new InProcessMesh();
  await using other = new DaemonRuntime({ mesh: seats.join() });
  const node = new DaemonRuntime({ mesh: seats.join() });
  for (const runtime of [other, node]) {
    runtime.registerFactory('recorder', () => new Recorder());
    runtime.start();
  }
  const keypair = EntityKeypair.generate();
  const spawned = refusal('not-ready', () => node.spawn('recorder', keypair));
  await node.shutdown();
  await spawned;
  const origin = await other.spawn('recorder', keypair);
  await refusal('already-exists', () => other.spawn('recorder', keypair));
  assert.ok(other.keypair(origin).canSign, 'the daemon keeps its key');
  const disposed = EntityKeypair.generate();
  disposed.dispose();
  await refusal('disposed', () => other.spawn('recorder', disposed));
});
