import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import {
  DaemonRuntime,
  EntityKeypair,
  InProcessMesh,
  type Mesh,
  type MigrationError,
  NodeKeys,
} from '../../lib/index.js';
import { inSpoolWorld, SOURCE, TARGET } from '../spool/spool-world.js';
import { events, eventually, Recorder, refusal, suite } from '../support.js';

const spool = suite('a runtime with a spool');

spool('needs the keys to which daemons in there are sealed', () => {
  const mesh = new InProcessMesh().join();
  assert.throws(
    () => new DaemonRuntime({ mesh, spool: '/nowhere' }),
    (error: unknown) => error instanceof TypeError && /nodeKeys must be given where spool is/.test(error.message),
  );
});

spool('is ready when it has started, and not before; one folder is one node’s', async () => {
  const parent = await mkdtemp(join(tmpdir(), 'spool-'));
  const mesh = new InProcessMesh();
  const made = [1n, 2n].map(
    (id) => new DaemonRuntime({ mesh: mesh.join(id), spool: join(parent, 'a'), nodeKeys: NodeKeys.generate() }),
  );
  const [one, two] = made as [DaemonRuntime, DaemonRuntime];
  const started = one.start();
  assert.is(one.isReady, false);
  assert.is(one.start(), started);
  await started;
  assert.is(one.isReady, true);
  await refusal('spool-in-use', () => two.start());
  assert.is(two.isReady, false);
  await one.shutdown();
  await two.start();
  assert.is(two.isReady, true);
  await two.shutdown();
  assert.equal(await readdir(join(parent, 'a')), []);
  await rm(parent, { recursive: true });
});

spool('starts at once without one, as ever', async () => {
  const runtime = new DaemonRuntime({ mesh: new InProcessMesh().join() });
  void runtime.start();
  assert.is(runtime.isReady, true);
  await runtime.shutdown();
});

/** The target's mesh, from which nothing gets to the source. */
function mute(seat: Mesh): Mesh {
  return new Proxy(seat, {
    get(target, name) {
      const value = Reflect.get(target, name, target) as unknown;
      if (name === 'send')
        return (to: bigint, sub: number, frame: Uint8Array) => frame[0] !== 0x85 && target.send(to, sub, frame);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

spool('keeps a daemon in a folder until its target has confirmed, across a restart', async () => {
  const parent = await mkdtemp(join(tmpdir(), 'spool-'));
  const mesh = new InProcessMesh();
  const nodeKeys = NodeKeys.generate();
  const errors: MigrationError[] = [];
  const boot = async (seat: Mesh, options = {}) => {
    const runtime = new DaemonRuntime({
      mesh: seat,
      orchestrators: [1n, 2n],
      onError: (error) => errors.push(error),
      policy: { source: { repeatMs: 50 } },
      ...options,
    });
    const daemons: Recorder[] = [];
    runtime.registerFactory('recorder', () => {
      daemons.push(new Recorder());
      return daemons.at(-1)!;
    });
    await runtime.start();
    return { runtime, daemons };
  };
  const folder = join(parent, 'one');
  const target = mesh.join(2n);
  const first = await boot(mesh.join(1n), { nodeKeys, spool: folder });
  let isMute = true;
  const second = await boot(
    new Proxy(target, {
      get(seat, name) {
        const value = Reflect.get(isMute ? mute(seat) : seat, name, seat) as unknown;
        return typeof value === 'function' ? value.bind(seat) : value;
      },
    }),
  );
  const origin = await first.runtime.spawn('recorder', EntityKeypair.generate());
  await first.runtime.deliver(origin, events(77n, 1, 100));
  await first.runtime.startMigration(origin, 1n, 2n).wait({ timeout: 10_000 });
  assert.is((await readdir(folder)).filter((name) => name.startsWith('fenced-')).length, 1);
  // It has not confirmed by then.
  await refusal('timed-out', () => first.runtime.shutdown({ deadlineMs: 300 }));
  assert.is((await readdir(folder)).length, 1);

  isMute = false;
  const again = await boot(mesh.join(1n), { nodeKeys, spool: folder });
  assert.is(again.runtime.has(origin), false);
  await eventually(
    'its target has confirmed',
    () => again.daemons[0]!.seen.length === 100 && !knows(again.runtime, origin),
  );
  assert.is(second.runtime.has(origin), true);
  for (const { runtime } of [again, second]) await runtime.shutdown();
  assert.equal(await readdir(folder), []);
  assert.equal(
    errors.map(({ message }) => message),
    [],
  );
  await rm(parent, { recursive: true });
});

function knows(runtime: DaemonRuntime, origin: bigint): boolean {
  try {
    runtime.counts(origin);
    return true;
  } catch {
    return false;
  }
}

spool('never holds a daemon’s key as it is, and gives it back', () =>
  inSpoolWorld({ isGoneKnown: false }, async (world) => {
    const seed = Uint8Array.from({ length: 32 }, (_, i) => (i * 37 + 11) & 0xff);
    const keypair = EntityKeypair.fromSeed(seed);
    const origin = await world.runtime(SOURCE).spawn('recorder', keypair.clone());
    world.point = (node, what) => {
      if (node === SOURCE && what === 'written') {
        const entry = world.seat(SOURCE).register.read(origin) as { entry: { offer?: unknown } };
        if (entry.entry.offer) for (const id of [SOURCE, TARGET]) world.crash(id);
      }
    };
    world
      .runtime(3n)
      .startMigration(origin, SOURCE, TARGET)
      .wait()
      .catch(() => {});
    await world.elapse(500);
    world.point = () => {};
    assert.is(world.lives.has(SOURCE), false);
    const all = Buffer.concat([...world.disk(SOURCE).contents().values()]);
    assert.ok(all.length > 500);
    assert.ok(all.includes(Buffer.from(keypair.entityId)));
    assert.not(all.includes(Buffer.from(seed)));
    assert.not(all.includes(Buffer.from(seed.subarray(0, 16))));
    assert.not(all.toString('latin1').includes(Buffer.from(seed).toString('hex')));
    const runtime = await world.boot(SOURCE);
    await world.elapse(3_000);
    assert.is(runtime.has(origin), true);
    const message = new TextEncoder().encode('hello');
    assert.ok(keypair.id.verify(message, runtime.keypair(origin).sign(message)));
  }),
);
