import { once } from 'node:events';
import * as assert from 'uvu/assert';
import { type CausalEvent, DaemonRuntime, joinWorkerMesh, WorkerMesh, type WorkerNode } from '../../lib/index.js';
import { events, eventually, refusal, suite } from '../support.js';

const threads = suite('a mesh of worker threads');
const PUBLISHER = 77n;

interface World {
  readonly mesh: WorkerMesh;
  readonly runtime: DaemonRuntime;
  readonly spawn: (data?: { hang?: 'restore'; streams?: boolean }) => WorkerNode;
}

async function ask<T>({ worker }: WorkerNode, command: string): Promise<T> {
  worker.postMessage(command);
  return (await once(worker, 'message'))[0];
}

/** Resolves when the node has made its daemon. */
async function untilMade(node: WorkerNode): Promise<void> {
  for (const end = Date.now() + 10_000; Date.now() < end; ) {
    if (await ask<boolean>(node, 'made')) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`node ${node.nodeId} has made no daemon in 10 s`);
}

async function inWorld(run: (world: World) => Promise<void>): Promise<void> {
  const mesh = new WorkerMesh();
  const runtime = new DaemonRuntime({ mesh: mesh.local });
  runtime.start();
  const script = new URL('./worker-fixture.js', import.meta.url);
  try {
    await run({ mesh, runtime, spawn: (workerData = {}) => mesh.spawn(script, { workerData }) });
  } finally {
    await runtime.shutdown();
  }
}

threads('moves a daemon from thread to thread, and its outputs go on as one stream', () =>
  inWorld(async ({ mesh, runtime, spawn }) => {
    const [a, b] = [spawn(), spawn()];
    await ask(b, 'made');
    const origin = await ask<bigint>(a, 'spawn');
    const outputs: CausalEvent[] = [];
    await mesh.local.subscribe('recorder', {}, (_, published) => void outputs.push(...published));
    assert.equal(await runtime.canMigrate(origin, b.nodeId, { transportIdentity: false }), []);
    const publisher = runtime.publisher(origin, a.nodeId);
    const handle = runtime.startMigration(origin, a.nodeId, b.nodeId);
    for (let first = 1; first <= 1_000; first += 50) await publisher.send(events(PUBLISHER, first, 50));
    await handle.wait({ timeout: 10_000 });
    await publisher.flush();
    await eventually('all outputs are out', () => outputs.length === 1_000);
    const expected = Array.from({ length: 1_000 }, (_, i) => BigInt(i + 1));
    assert.equal(await ask(b, 'seen'), expected);
    assert.equal(
      outputs.map(({ link }) => link.sequence),
      expected,
    );
  }),
);

threads('a streamed state moves from thread to thread and back, with the events of the time', () =>
  inWorld(async ({ runtime, spawn }) => {
    const [a, b] = [spawn({ streams: true }), spawn({ streams: true })];
    await ask(b, 'made');
    const origin = await ask<bigint>(a, 'spawn');
    const publisher = runtime.publisher(origin, a.nodeId);
    let next = 1;
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const) {
      const handle = runtime.startMigration(origin, from.nodeId, to.nodeId);
      for (let i = 0; i < 10; i++, next += 50) await publisher.send(events(PUBLISHER, next, 50));
      await handle.wait({ timeout: 10_000 });
      assert.ok(handle.status.bytesTotal > 1_000_000);
      await publisher.flush();
      assert.equal(
        await ask(to, 'seen'),
        Array.from({ length: next - 1 }, (_, i) => BigInt(i + 1)),
      );
    }
  }),
);

threads('a channel goes with a daemon from thread to thread and back, while it is published on', () =>
  inWorld(async ({ mesh, runtime, spawn }) => {
    const [a, b] = [spawn(), spawn()];
    await ask(b, 'made');
    const origin = await ask<bigint>(a, 'spawnSubscribed');
    let published = 0;
    const timer = setInterval(() => {
      mesh.local.publish('feed', 1n, events(PUBLISHER, published + 1, 20));
      published += 20;
    }, 1);
    for (const [from, to] of [
      [a, b],
      [b, a],
      [a, b],
    ] as const) {
      const handle = runtime.startMigration(origin, from.nodeId, to.nodeId);
      await handle.wait({ timeout: 10_000 });
      assert.is(handle.rebind.done, 1);
    }
    clearInterval(timer);
    for (const end = Date.now() + 10_000; Date.now() < end; )
      if ((await ask<bigint[]>(b, 'seen')).length >= published) break;
    assert.equal(
      await ask(b, 'seen'),
      Array.from({ length: published }, (_, i) => BigInt(i + 1)),
    );
  }),
);

threads('a target whose thread ends fails the migration at once, and the source goes on', () =>
  inWorld(async ({ runtime, spawn }) => {
    const [a, b] = [spawn(), spawn({ hang: 'restore' })];
    await ask(b, 'made');
    const origin = await ask<bigint>(a, 'spawn');
    const handle = runtime.startMigration(origin, a.nodeId, b.nodeId);
    await untilMade(b);
    const publisher = runtime.publisher(origin, a.nodeId);
    await publisher.send(events(PUBLISHER, 1, 10));
    await publisher.flush();
    await b.worker.terminate();
    const error = await refusal('target-unavailable', () => handle.wait({ timeout: 5_000 }));
    assert.match(error.message, new RegExp(`node ${b.nodeId} is gone`));
    assert.equal(
      await ask(a, 'seen'),
      Array.from({ length: 10 }, (_, i) => BigInt(i + 1)),
      'what was logged has been processed',
    );
    const c = spawn();
    await ask(c, 'made');
    await runtime.startMigration(origin, a.nodeId, c.nodeId).wait({ timeout: 5_000 });
  }),
);

threads('a source whose thread ends fails the migration at once', () =>
  inWorld(async ({ runtime, spawn }) => {
    const [a, b] = [spawn(), spawn({ hang: 'restore' })];
    await ask(b, 'made');
    const origin = await ask<bigint>(a, 'spawn');
    const handle = runtime.startMigration(origin, a.nodeId, b.nodeId);
    await untilMade(b);
    await a.worker.terminate();
    await refusal('target-unavailable', () => handle.wait({ timeout: 5_000 }));
    await refusal('target-unavailable', () => runtime.startMigration(origin, a.nodeId, b.nodeId));
  }),
);

threads('a publisher of a daemon whose node is gone is told so', () =>
  inWorld(async ({ runtime, spawn }) => {
    const a = spawn();
    const origin = await ask<bigint>(a, 'spawn');
    const publisher = runtime.publisher(origin, a.nodeId);
    await publisher.send(events(PUBLISHER, 1, 10));
    await publisher.flush();
    await a.worker.terminate();
    await refusal('target-unavailable', async () => {
      await publisher.send(events(PUBLISHER, 11, 10));
      await publisher.flush();
    });
  }),
);

threads('a thread without a seat cannot join', async () => {
  await refusal('target-unavailable', () => joinWorkerMesh());
});

threads('a node id stands for one thread', () =>
  inWorld(async ({ mesh }) => {
    assert.throws(() => mesh.spawn('none.js', {}, 1n), /node 1 is in this mesh already/);
  }),
);
