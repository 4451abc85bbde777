import * as assert from 'uvu/assert';
import { DaemonHost } from '../../lib/daemon/host.js';
import {
  createCodec,
  DaemonRegistry,
  DaemonRuntime,
  type DaemonRuntimeOptions,
  EntityKeypair,
  InProcessMesh,
  type Mesh,
  type MigrationError,
} from '../../lib/index.js';
import { events, eventually, refusal, suite } from '../support.js';
import { Closing } from './closing.js';
import { type Sent, withoutConfirmations } from './held-confirmations.js';
import { ManualEnvironment, settled } from './manual-environment.js';

const PUBLISHER = 77n;
const [SOURCE, TARGET] = [1n, 2n];

/** Two nodes; `made` are their daemons, in order. */
async function world(options: Partial<DaemonRuntimeOptions> = {}, targetMesh = (mesh: Mesh) => mesh) {
  const net = new InProcessMesh();
  const errors: MigrationError[] = [];
  const start = (mesh: Mesh) => {
    const made: Closing[] = [];
    const runtime = new DaemonRuntime({
      orchestrators: [SOURCE],
      onError: (error) => void errors.push(error),
      ...options,
      mesh,
    });
    runtime.registerFactory('closing', (config) => {
      made.push(Object.assign(new Closing(), config));
      return made.at(-1)!;
    });
    void runtime.start();
    return { runtime, made };
  };
  const source = start(net.join(SOURCE));
  const seat = net.join(TARGET);
  const target = start(targetMesh(seat));
  const keypair = EntityKeypair.generate();
  const origin = await source.runtime.spawn('closing', keypair);
  await source.runtime.deliver(origin, events(PUBLISHER, 1, 5));
  const move = () => source.runtime.startMigration(origin, SOURCE, TARGET);
  const told = () => [source.made.map((daemon) => daemon.told), target.made.map((daemon) => daemon.told)];
  /** Shuts both down. Every daemon must have been told once, and called as it should be. */
  const end = async () => {
    for (const { runtime } of [source, target]) await runtime.shutdown();
    for (const daemon of [...source.made, ...target.made]) {
      assert.equal(daemon.wrong, []);
      assert.is(daemon.told, 1);
    }
  };
  return { source, target, seat, keypair, origin, move, told, end, errors };
}

const disposal = suite('a daemon that is told of its end');

disposal(
  'of a move: at the source when that is confirmed and not before, at the target when it is stopped',
  async () => {
    const held: Sent[] = [];
    const { target, seat, origin, move, told, end } = await world({}, (mesh) =>
      withoutConfirmations(mesh, (sent) => held.push(sent)),
    );
    await move().wait({ timeout: 5_000 });
    await eventually('the target has confirmed', () => held.length > 0);
    await settled();
    assert.equal(told(), [[0], [0]], 'the one at the source is the backup');
    for (const { to, frame } of held) seat.send(to, 0x0500, frame);
    await eventually('the source has heard it', () => told()[0]![0] === 1);
    assert.equal(told(), [[1], [0]]);
    await target.runtime.stop(origin);
    assert.equal(told(), [[1], [1]]);
    await end();
  },
);

disposal('of a migration that is cancelled: the copy at the target alone', async () => {
  const { target, origin, source, move, told, end } = await world();
  let reached = () => {};
  const restoring = new Promise<void>((resolve) => {
    reached = resolve;
  });
  target.runtime.expectMigration('closing', origin, {
    before: async (call: string) => {
      if (call !== 'restore') return;
      reached();
      await settled();
    },
  });
  const handle = move();
  await restoring;
  assert.is(await handle.cancel(), 'cancelled');
  await eventually('the target has let go', () => told()[1]![0] === 1);
  assert.equal(told(), [[0], [1]]);
  await source.runtime.deliver(origin, events(PUBLISHER, 6, 1));
  await end();
});

disposal('of a restore that fails', async () => {
  const { target, origin, move, told, end } = await world();
  target.runtime.expectMigration('closing', origin, {
    restore: () => {
      throw new Error('no');
    },
  });
  await refusal('state-failed', () => move().wait({ timeout: 5_000 }));
  await settled();
  assert.equal(told(), [[0], [1]]);
  await end();
});

disposal('when it comes back to a node that has recovered it: not at all', async () => {
  const { source, seat, origin, move, told, end } = await world({}, (mesh) => withoutConfirmations(mesh, () => {}));
  await move().wait({ timeout: 5_000 });
  await seat.close();
  await eventually('the source has it again', () => source.runtime.has(origin));
  assert.equal(told()[0], [0]);
  await source.runtime.stop(origin);
  assert.equal(told()[0], [1]);
  await end();
});

disposal('by a shutdown that waits for it, as a backup too', async () => {
  const { source, move, told, end } = await world({}, (mesh) => withoutConfirmations(mesh, () => {}));
  let isDone = false;
  source.made[0]!.onEnd = async () => {
    await settled(50);
    isDone = true;
  };
  await move().wait({ timeout: 5_000 });
  assert.equal(told(), [[0], [0]]);
  await source.runtime.shutdown({ deadlineMs: 500 }).catch(() => {});
  assert.ok(isDone);
  await end().catch(() => {});
  assert.equal(told(), [[1], [1]]);
});

disposal('by stop, which waits for it', async () => {
  const { source, origin, end } = await world();
  let isDone = false;
  source.made[0]!.onEnd = async () => {
    await settled(50);
    isDone = true;
  };
  await source.runtime.stop(origin);
  assert.ok(isDone);
  await end();
});

disposal('where a spawn fails behind the factory, from nothing or from a snapshot', async () => {
  const { source, target, keypair, origin, told, end } = await world();
  const again = EntityKeypair.fromEntityId(keypair.entityId.slice());
  await refusal('already-exists', () => target.runtime.spawn('closing', again));
  const snapshot = await source.runtime.snapshot(origin);
  const throwing = {
    restore: () => {
      throw new Error('no');
    },
  };
  await refusal('state-failed', () => target.runtime.spawnFromSnapshot('closing', again, snapshot, throwing));
  await refusal('already-exists', () => target.runtime.spawnFromSnapshot('closing', again, snapshot));
  assert.equal(told(), [[0], [1, 1, 1]]);
  await end();
});

disposal(
  'behind the call that runs: the key is wiped at once, and what was queued is no more asked of it',
  async () => {
    const { source, origin, keypair, end } = await world();
    const [daemon] = source.made as [Closing];
    let goOn = () => {};
    const blocked = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    daemon.before = (call) => (call === 'process' ? blocked : undefined);
    void Promise.resolve(source.runtime.deliver(origin, events(PUBLISHER, 6, 3)));
    const snapshot = source.runtime.snapshot(origin);
    snapshot.catch(() => {});
    const ending = source.runtime.shutdown();
    assert.is(keypair.canSign, false, 'wiped while it hangs');
    await settled(20);
    assert.is(daemon.told, 0);
    goOn();
    await ending;
    assert.is(daemon.told, 1);
    assert.equal(daemon.seen, [1n, 2n, 3n, 4n, 5n, 6n], 'the other two are nobody’s');
    await refusal('disposed', () => snapshot);
    await end();
  },
);

disposal('behind a call that ends the node itself', async () => {
  const { source, origin, end } = await world();
  let ending: Promise<void> | undefined;
  await source.runtime.control(origin, () => {
    ending = source.runtime.shutdown();
  });
  await ending;
  await end();
});

for (const what of ['process', 'onEnd'] as const) {
  disposal(`a ${what} that hangs keeps no shutdown from its end, which names the daemon`, async () => {
    const environment = new ManualEnvironment();
    const { source, origin, keypair } = await world({ environment });
    const never = () => new Promise<void>(() => {});
    const [daemon] = source.made as [Closing];
    if (what === 'onEnd') daemon.onEnd = never;
    else daemon.before = never;
    void Promise.resolve(source.runtime.deliver(origin, events(PUBLISHER, 6, 1)));
    const ending = refusal('timed-out', () => source.runtime.shutdown({ deadlineMs: 2_000 }));
    assert.is(keypair.canSign, false);
    await environment.advance(2_000);
    const error = await ending;
    assert.match(error.message, `daemon "recorder" (origin ${origin}) was not disposed of in time`);
    assert.is(daemon.told, what === 'onEnd' ? 1 : 0);
    assert.equal(daemon.wrong, []);
    assert.is(environment.timers, 1, 'the other node’s');
  });
}

disposal('one that throws is reported, and stops nothing', async () => {
  const { source, origin, errors, end } = await world();
  const cause = new Error('the database is gone');
  source.made[0]!.onEnd = () => {
    throw cause;
  };
  await source.runtime.stop(origin);
  assert.equal(
    errors.map(({ kind, details, cause }) => ({ kind, origin: details.origin, cause })),
    [{ kind: 'state-failed', origin, cause }],
  );
  await end();
});

disposal('one that lets go at once', async () => {
  const { source, end } = await world();
  let told = 0;
  source.runtime.registerFactory('plain', () => ({
    name: 'plain',
    process() {},
    snapshot: () => new Uint8Array(0),
    restore() {},
    [Symbol.dispose]: () => void told++,
  }));
  const origin = await source.runtime.spawn('plain', EntityKeypair.generate());
  await source.runtime.stop(origin);
  assert.is(told, 1);
  await end();
  assert.is(told, 1);
});

disposal('without a runtime: by its host, and by the registry that drops a backup or closes', async () => {
  const codec = createCodec({ engine: 'typescript' });
  const registry = new DaemonRegistry();
  const hosted = () => {
    const daemon = new Closing();
    const host = new DaemonHost({
      codec,
      keypair: EntityKeypair.generate(),
      kind: 'closing',
      daemon,
      publish: () => {},
    });
    return { daemon, host };
  };
  const [kept, dropped, arriving, alone] = [hosted(), hosted(), hosted(), hosted()];
  for (const { host } of [kept, dropped]) {
    registry.add(host);
    registry.setAside(host.origin);
  }
  registry.arrive(arriving.host);
  registry.dropBackup(dropped.host.origin);
  await settled();
  assert.equal(
    [kept, dropped, arriving].map(({ daemon }) => daemon.told),
    [0, 1, 0],
  );
  registry.close();
  await settled();
  assert.equal(
    [kept, dropped, arriving].map(({ daemon }) => daemon.told),
    [1, 1, 1],
  );
  await alone.host.dispose();
  await alone.host.dispose();
  assert.is(alone.daemon.told, 1);
  await refusal('disposed', async () => alone.host.snapshot({ carry: false }));
  assert.equal(alone.daemon.wrong, []);
});
