import * as assert from 'uvu/assert';
import { DaemonRuntime, EntityKeypair, InProcessMesh, type MigrationError } from '../../lib/index.js';
import type { SpoolStorage } from '../../lib/spool/storage.js';
import { ManualEnvironment, settled } from '../runtime/manual-environment.js';
import { refusal, suite } from '../support.js';
import { inSpoolWorld, ORCHESTRATOR, SOURCE, type SpoolWorld, type SpoolWorldOptions, TARGET } from './spool-world.js';

const DEADLINE_MS = 1_000;

interface Ending {
  /** Its error's kind; undefined where all was brought to its end, or while it is not over. */
  kind: string | undefined;
  error: MigrationError | undefined;
  isOver: boolean;
}

function begin(world: SpoolWorld, id: bigint): Ending {
  const ending: Ending = { kind: undefined, error: undefined, isOver: false };
  world
    .runtime(id)
    .shutdown({ deadlineMs: DEADLINE_MS })
    .catch((error: MigrationError) => Object.assign(ending, { kind: error.kind, error }))
    .then(() => Object.assign(ending, { isOver: true }));
  return ending;
}

/** Until it is over, in time; that life of the node has ended then. */
async function end(world: SpoolWorld, id: bigint, ending: Ending): Promise<Ending> {
  for (let ms = 0; !ending.isOver && ms <= DEADLINE_MS + 200; ms += 20) {
    await world.elapse(20);
    assert.ok(world.live.length <= 1, `live on ${world.live}`);
  }
  assert.ok(ending.isOver, 'the shutdown is over in time');
  world.lives.delete(id);
  return ending;
}

const files = (world: SpoolWorld, id: bigint) => [...world.disk(id).contents().keys()];

const everywhere = suite('a node with a spool that is shut down at any point of a migration, and started again');

for (const id of [SOURCE, TARGET, ORCHESTRATOR]) {
  for (const [name, options] of Object.entries<SpoolWorldOptions>({
    'its peers see it go': {},
    'nobody sees it go': { isGoneKnown: false },
    'it leads': { orchestrator: id },
  })) {
    if (name === 'it leads' && id === ORCHESTRATOR) continue;
    everywhere(`node ${id}, ${name}`, async () => {
      const homes = new Set<string>();
      for (let point = 0, more = true; more; point++) {
        await inSpoolWorld(options, async (world) => {
          await world.publish(5);
          let points = 0;
          let at: string | undefined;
          let ending: Ending | undefined;
          world.point = (node, what) => {
            if (node === SOURCE && (what.startsWith('create') || what === 'send 1' || what === 'send 7'))
              void world.publish(2);
            if (node !== id || at !== undefined || points++ !== point) return;
            at = what;
            ending = begin(world, id);
          };
          const { origin } = world;
          const leader = options.orchestrator ?? ORCHESTRATOR;
          const handle = world.runtime(leader).startMigration(origin, SOURCE, TARGET, { retryNotReady: false });
          let isSettled = false;
          const settle = () => {
            isSettled = true;
          };
          handle.wait().then(settle, settle);
          for (let i = 0; i < 15 && !at; i++) {
            await world.publish(2);
            await world.elapse(20);
          }
          more = at !== undefined;
          try {
            if (!ending) return;
            await end(world, id, ending);
            await world.elapse(100);
            await world.boot(id);
            await world.elapse(5_000);
            assert.ok(isSettled, 'the handle has settled');
            for (const [node, { runtime }] of world.lives) assert.equal(runtime.migrations(), [], `node ${node}`);
            if (world.live.length > 0) homes.add(`${world.whole()}`);
            else {
              homes.add('ended');
              assert.is(world.entry, undefined, 'the register has forgotten it');
              assert.equal(files(world, SOURCE), [], 'nothing is kept of it');
            }
            assert.equal(files(world, TARGET), []);
          } catch (error) {
            const why = error instanceof Error ? error.message : String(error);
            throw new Error(
              `point ${point} (${at}), ${ending?.error?.message}: ${why}; ${world.errors.map(({ message }) => message).join('; ')}`,
              { cause: error },
            );
          }
        });
      }
      assert.ok(homes.size > 1, [...homes].join());
    });
  }
}

const slow = suite('a shutdown with a spool');

/** Source and target are stopped where the target has claimed the daemon, and nobody has heard so. */
async function claimedUnheard(world: SpoolWorld): Promise<void> {
  world.point = (node, what) => {
    if (node === TARGET && what === 'written') world.crash(TARGET);
  };
  await world.publish(10);
  world.move();
  await world.elapse(500);
  world.point = () => {};
  assert.is(world.entry!.owner, TARGET);
  assert.equal(world.live, []);
}

/** From the first write on, nothing on that disk is ever done. */
const hang = (world: SpoolWorld, id: bigint) => {
  world.disk(id).delay = ({ kind }) => (kind === 'create' ? Promise.resolve() : new Promise(() => {}));
};

slow('throws at nobody who sends something while it waits for its disk', () =>
  inSpoolWorld({}, async (world) => {
    await world.publish(10);
    world.disk(SOURCE).delay = ({ kind }) => (kind === 'remove' ? new Promise(() => {}) : Promise.resolve());
    world.move();
    await world.elapse(1_000);
    assert.is(world.whole(), TARGET);
    const ending = begin(world, SOURCE);
    for (let i = 0; i < 5; i++) {
      // A frame to the node that ends.
      void world.runtime(ORCHESTRATOR).canMigrate(world.origin, TARGET, { source: SOURCE, timeout: 50 });
      await world.elapse(100);
    }
    await end(world, SOURCE, ending);
    assert.is(ending.kind, 'timed-out');
    await world.elapse(100);
    assert.is(world.whole(), TARGET);
  }),
);

slow('ends in time where its disk hangs, and says so once', () =>
  inSpoolWorld({}, async (world) => {
    await world.publish(10);
    hang(world, SOURCE);
    world.move();
    await world.elapse(100);
    const ending = await end(world, SOURCE, begin(world, SOURCE));
    assert.is(ending.kind, 'timed-out');
    assert.match(ending.error!.message, /the spool of node 1 did not answer in time/);
    const { errors } = ending.error!.cause as AggregateError;
    assert.is(errors.filter(({ message }) => /the spool of node 1/.test(message)).length, 1, ending.error!.message);
    await world.elapse(3_000);
    assert.equal(world.live, []);
  }),
);

slow('keeps a backup that its target has not confirmed, and the next start takes the daemon back', () =>
  inSpoolWorld({ isGoneKnown: false }, async (world) => {
    await claimedUnheard(world);
    const ending = await end(world, SOURCE, begin(world, SOURCE));
    assert.is(ending.kind, 'timed-out');
    assert.match(ending.error!.message, /stays in the spool for the next start/);
    assert.is(files(world, SOURCE).length, 1);
    await world.boot(SOURCE);
    await world.boot(TARGET, { spool: world.disk(TARGET).storage() });
    await world.elapse(3_000);
    assert.is(world.whole(), SOURCE);
  }),
);

slow('keeps what is offered where the register is away, and the next start goes on with it', () =>
  inSpoolWorld({ isGoneKnown: false }, async (world) => {
    world.point = (node, what) => {
      if (node === SOURCE && what === 'written' && world.entry?.offer !== undefined) world.crash(TARGET);
    };
    await world.publish(10);
    world.move();
    await world.elapse(300);
    world.point = () => {};
    world.isRegisterAway = true;
    const ending = await end(world, SOURCE, begin(world, SOURCE));
    assert.is(ending.kind, 'timed-out');
    world.isRegisterAway = false;
    assert.is(files(world, SOURCE).length, 1);
    await world.boot(SOURCE);
    await world.elapse(3_000);
    assert.is(world.whole(), SOURCE);
  }),
);

slow('keeps what is offered, and lets go at the next start where its target has claimed it meanwhile', () =>
  inSpoolWorld({ isGoneKnown: false }, async (world) => {
    let isCut = true;
    world.loses = () => false;
    const seat = world.seat(TARGET);
    const { send } = seat;
    // Nothing that the target says reaches the source.
    seat.send = (to, subprotocol, frame) => {
      if (!isCut || to !== SOURCE || world.entry?.owner !== TARGET) send.call(seat, to, subprotocol, frame);
    };
    await world.publish(10);
    world.move();
    await world.elapse(400);
    assert.equal(world.live, [TARGET]);
    const ending = await end(world, SOURCE, begin(world, SOURCE));
    assert.is(ending.kind, 'timed-out');
    assert.is(files(world, SOURCE).length, 1);
    isCut = false;
    await world.publish(3);
    await world.boot(SOURCE);
    await world.elapse(2_000);
    assert.is(world.whole(), TARGET);
    assert.equal(files(world, SOURCE), []);
  }),
);

slow('leaves no timer, not even of a backup that has its time', () =>
  inSpoolWorld({ isGoneKnown: false, isPlain: true }, async (world) => {
    world.point = (node, what) => {
      if (node === SOURCE && what === 'written' && world.entry?.offer !== undefined)
        for (const id of [SOURCE, TARGET]) world.crash(id);
    };
    await world.publish(10);
    world.move({ transportIdentity: false });
    await world.elapse(1_000);
    world.point = () => {};
    await world.boot(SOURCE);
    await world.elapse(100);
    const { environment } = world.lives.get(SOURCE)!;
    await end(world, SOURCE, begin(world, SOURCE));
    assert.is(environment.timers, 0);
    await world.boot(SOURCE);
    assert.is((await world.runtime(SOURCE).recover(world.origin)).isWhole, true);
  }),
);

slow('while it starts lets its spool go, also where that takes its time', () =>
  inSpoolWorld({ isGoneKnown: false }, async (world) => {
    await claimedUnheard(world);
    world.crash(SOURCE);
    world.isRegisterAway = true;
    for (const turns of [0, 1, 2, 3, 5, 8, 13, 21, 34]) {
      const booting = world.boot(SOURCE);
      for (let i = 0; i < turns; i++) await new Promise((resolve) => setImmediate(resolve));
      const ending = begin(world, SOURCE);
      await end(world, SOURCE, ending);
      assert.is(ending.kind, undefined, ending.error?.message);
      await booting;
      assert.is(files(world, SOURCE).length, 1);
    }
    world.isRegisterAway = false;
    await world.boot(SOURCE);
    await world.boot(TARGET);
    await world.elapse(3_000);
    assert.is(world.whole(), SOURCE);
  }),
);

slow('lets its spool go where the mesh hangs', () =>
  inSpoolWorld({}, async (world) => {
    const storage = world.disk(TARGET).storage();
    // As a folder does, which removes its lock.
    const spool = { ...storage, letGo: () => settled(20).then(() => storage.letGo()) };
    await end(world, TARGET, begin(world, TARGET));
    await world.boot(TARGET, { spool });
    const seat = world.seat(TARGET);
    const { close } = seat;
    seat.close = () => new Promise(() => {});
    const ending = await end(world, TARGET, begin(world, TARGET));
    assert.is(ending.kind, 'timed-out');
    assert.not.match(ending.error!.message, /spool/);
    close.call(seat);
    await world.boot(TARGET);
  }),
);

slow('closes and removes a file that its disk made too late', () =>
  inSpoolWorld({}, async (world) => {
    await end(world, SOURCE, begin(world, SOURCE));
    const storage = world.disk(SOURCE).storage();
    let goOn = () => {};
    const slowly = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    let [open, made] = [0, 0];
    const create: SpoolStorage['create'] = async (name) => {
      await slowly;
      const file = await storage.create(name);
      open++;
      made++;
      return { ...file, close: () => file.close().then(() => void open--) };
    };
    await world.boot(SOURCE, { spool: { ...storage, create } });
    const origin = await world.runtime(SOURCE).spawn('recorder', EntityKeypair.generate());
    const handle = world.runtime(ORCHESTRATOR).startMigration(origin, SOURCE, TARGET);
    handle.wait().catch(() => {});
    await world.elapse(100);
    const ending = await end(world, SOURCE, begin(world, SOURCE));
    assert.match(ending.error!.message, /the spool of node 1 did not answer in time/);
    goOn();
    await settled(20);
    assert.equal([made, open], [1, 0]);
    assert.equal(files(world, SOURCE), []);
  }),
);

slow('while it waits for its spool lets that go when it gets it', () =>
  inSpoolWorld({}, async (world) => {
    await end(world, TARGET, begin(world, TARGET));
    const storage = world.disk(TARGET).storage();
    let goOn = () => {};
    const opened = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    const started = world.boot(TARGET, { spool: { ...storage, take: () => opened.then(() => storage.take()) } });
    await world.elapse(20);
    await end(world, TARGET, begin(world, TARGET));
    goOn();
    await started;
    await world.boot(TARGET);
  }),
);

slow('is the end: a start behind it is refused, and takes no spool', () =>
  inSpoolWorld({}, async (world) => {
    const storage = world.disk(TARGET).storage();
    await end(world, TARGET, begin(world, TARGET));
    for (const spool of [{ spool: storage, nodeKeys: world.keys.get(TARGET)! }, {}]) {
      const environment = new ManualEnvironment();
      const node = new DaemonRuntime({ mesh: new InProcessMesh().join(9n), environment, ...spool });
      await node.shutdown();
      await refusal('not-ready', () => node.start());
      assert.is(node.isReady, false);
      assert.is(environment.timers, 0);
    }
    await world.boot(TARGET);
  }),
);
