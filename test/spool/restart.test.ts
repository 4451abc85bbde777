import * as assert from 'uvu/assert';
import { DaemonRuntime, EntityKeypair, InProcessMesh, NodeKeys } from '../../lib/index.js';
import { parseFencedName } from '../../lib/spool/fenced-name.js';
import { Closing } from '../runtime/closing.js';
import { events, Recorder, refusal, suite } from '../support.js';
import { inSpoolWorld, ORCHESTRATOR, SOURCE, type SpoolWorld, TARGET } from './spool-world.js';

/** Runs a migration until what `holds` says, and lets the source die there. */
async function crashWhen(
  world: SpoolWorld,
  holds: (what: string, world: SpoolWorld) => boolean,
  nodes: readonly bigint[] = [SOURCE],
): Promise<void> {
  let isStruck = false;
  world.point = (node, what) => {
    if (isStruck || node !== SOURCE || !holds(what, world)) return;
    isStruck = true;
    for (const id of nodes) world.crash(id);
  };
  await world.publish(10);
  world.move();
  for (let i = 0; i < 40 && !isStruck; i++) {
    await world.publish(1);
    await world.elapse(20);
  }
  world.point = () => {};
  assert.ok(isStruck, 'the source has crashed');
}

const restart = suite('a source that is started again');

restart('goes on with a daemon that its target has not claimed', () =>
  inSpoolWorld({}, async (world) => {
    await crashWhen(world, (what) => what === 'written' && world.entry?.offer !== undefined, [SOURCE, TARGET]);
    await world.elapse(100);
    assert.equal(world.live, []);
    await world.boot(SOURCE);
    assert.equal(world.live, []);
    await world.elapse(3_000);
    assert.is(world.whole(), SOURCE);
    await world.publish(3);
    await world.elapse(100);
    assert.is(world.whole(), SOURCE);
  }),
);

restart('hears of the activation, and lets go', () =>
  inSpoolWorld({}, async (world) => {
    await crashWhen(world, (what) => what === 'written' && world.entry?.offer !== undefined);
    await world.elapse(1_000);
    assert.is(world.whole(), TARGET);
    await world.boot(SOURCE);
    await world.elapse(1_000);
    assert.is(world.whole(), TARGET);
    assert.is(world.disk(SOURCE).contents().size, 0);
  }),
);

/** A migration that fails when the daemon stands still and is offered: its source goes on, and others hear why. */
async function failAfterOffer(world: SpoolWorld): Promise<void> {
  world.point = (node, what) => {
    if (node !== SOURCE || what !== 'written' || world.entry?.offer === undefined) return;
    world.point = () => {};
    world.crash(TARGET);
  };
  await world.publish(10);
  const handle = world.move();
  await world.publish(5);
  await world.elapse(3_000);
  assert.is(handle.phase === 'Complete', false);
  assert.is(world.whole(), SOURCE);
}

restart('brings a daemon that had gone on back only when it is told to, and says that it is older', () =>
  inSpoolWorld({}, async (world) => {
    await failAfterOffer(world);
    const kept = world.accepted.length;
    const [name] = [...world.disk(SOURCE).contents().keys()];
    assert.match(name!, /^resumed-/);
    await world.publish(4);
    await world.elapse(100);
    world.crash(SOURCE, 'kept');
    await world.boot(SOURCE);
    await world.elapse(3_000);
    assert.equal(world.live, []);
    const { isWhole, epoch } = await world.runtime(SOURCE).recover(world.origin);
    assert.is(isWhole, false);
    assert.is(epoch, world.entry!.epoch);
    assert.equal(world.live, [SOURCE]);
    assert.equal(world.seen(SOURCE), world.accepted.slice(0, kept));
    await refusal('daemon-not-found', () => world.runtime(SOURCE).recover(world.origin));
  }),
);

restart('tells each daemon that could not be brought back of its end, and the one that could when it has ended', () => {
  let fails = false;
  const daemon = () => {
    const made = new Closing();
    if (fails) made.restore = () => assert.unreachable('it takes up nothing');
    return made;
  };
  return inSpoolWorld({ daemon }, async (world) => {
    await failAfterOffer(world);
    const [stayed] = world.lives.get(SOURCE)!.made as Closing[];
    assert.is(stayed!.told, 0, 'it went on');
    world.crash(SOURCE, 'kept');
    await world.boot(SOURCE);
    await world.elapse(3_000);
    fails = true;
    await refusal('state-failed', () => world.runtime(SOURCE).recover(world.origin));
    fails = false;
    await world.runtime(SOURCE).recover(world.origin);
    const made = world.lives.get(SOURCE)!.made as Closing[];
    assert.equal(
      made.map(({ told }) => told),
      [1, 0],
    );
    await world.outcome(world.runtime(SOURCE).stop(world.origin));
    assert.equal(
      made.map(({ told, wrong }) => [told, wrong]),
      [
        [1, []],
        [1, []],
      ],
    );
  });
});

restart('is not live again before the mark is on its disk, so that it does not come back as it stood before', () =>
  inSpoolWorld({}, async (world) => {
    let [isMarking, mark] = [false, () => {}];
    const marked = new Promise<void>((resolve) => {
      mark = resolve;
    });
    world.disk(SOURCE).delay = async ({ kind }) => {
      if (kind !== 'rename') return;
      isMarking = true;
      await marked;
    };
    world.point = (node, what) => {
      if (node === SOURCE && written(what, world)) world.crash(TARGET);
    };
    await world.publish(10);
    world.move();
    await world.elapse(3_000);
    world.point = () => {};
    assert.ok(isMarking);
    assert.equal(world.live, [], 'before the mark');
    await world.publish(1);
    assert.is(world.accepted.length, 10);
    world.crash(SOURCE, 'kept');
    mark();
    world.disk(SOURCE).delay = () => Promise.resolve();
    await world.boot(SOURCE);
    await world.elapse(3_000);
    assert.is(world.whole(), SOURCE);
  }),
);

restart('does not take a daemon for its file that may be whole, though it was never offered', () =>
  inSpoolWorld({}, async (world) => {
    const { fault } = world.disk(SOURCE);
    let isSealing = false;
    // All of it is written when the disk fails to say so, and then it takes no removal.
    world.disk(SOURCE).fault = (operation) => {
      const { kind } = operation;
      isSealing ||= kind === 'sync' && world.live.length === 0;
      return isSealing && (kind === 'sync' || kind === 'remove') ? 'EIO' : fault(operation, 0);
    };
    await world.publish(10);
    world.move();
    await world.elapse(3_000);
    assert.ok(isSealing);
    assert.is(world.whole(), SOURCE);
    await world.publish(4);
    await world.elapse(100);
    world.crash(SOURCE, 'kept');
    world.disk(SOURCE).fault = fault;
    await world.boot(SOURCE);
    await world.elapse(3_000);
    assert.equal(world.live, []);
    assert.is((await world.runtime(SOURCE).recover(world.origin)).isWhole, false);
  }),
);

restart('goes on by itself where it had taken the daemon back and died before that was live', () =>
  inSpoolWorld({}, async (world) => {
    world.point = (node, what) => {
      if (node !== SOURCE) return;
      if (what === 'written' && world.entry?.offer !== undefined) world.crash(TARGET);
      if (what.startsWith('rename')) world.crash(SOURCE);
    };
    await world.publish(10);
    world.move();
    await world.publish(5);
    await world.elapse(3_000);
    world.point = () => {};
    assert.is(world.lives.has(SOURCE), false);
    assert.is(world.entry!.epoch, 2n, 'withdrawn');
    await world.boot(SOURCE);
    await world.elapse(200);
    assert.is(world.whole(), SOURCE);
    assert.is(world.entry!.epoch, 2n);
  }),
);

restart('does not take a daemon for its file where the disk did not take the mark', () =>
  inSpoolWorld({}, async (world) => {
    world.disk(SOURCE).fault = (operation) => {
      world.point(SOURCE, operation.kind);
      return operation.kind === 'rename' ? 'EIO' : undefined;
    };
    await failAfterOffer(world);
    assert.ok(world.errors.some(({ kind, message }) => kind === 'spool-failed' && /marking/.test(message)));
    await world.publish(4);
    await world.elapse(100);
    world.crash(SOURCE, 'kept');
    world.disk(SOURCE).fault = () => undefined;
    await world.boot(SOURCE);
    await world.elapse(3_000);
    assert.equal(world.live, []);
    assert.is((await world.runtime(SOURCE).recover(world.origin)).isWhole, false);
  }),
);

const written = (what: string, world: SpoolWorld) => what === 'written' && world.entry?.offer !== undefined;

restart('waits for a register that is out of reach, and nothing is live meanwhile', () =>
  inSpoolWorld({}, async (world) => {
    await crashWhen(world, written, [SOURCE, TARGET]);
    world.isRegisterAway = true;
    await world.boot(SOURCE);
    await world.elapse(5_000);
    assert.equal(world.live, []);
    await refusal('register-unavailable', () => world.runtime(SOURCE).recover(world.origin));
    world.isRegisterAway = false;
    await world.elapse(4_000);
    assert.is(world.whole(), SOURCE);
  }),
);

restart('waits for word where the register died too', () =>
  inSpoolWorld({}, async (world) => {
    await crashWhen(world, written, [SOURCE, TARGET]);
    const { register } = world.seat(ORCHESTRATOR);
    const standing = await register.read(world.origin);
    await register.compareAndSet(world.origin, standing!.revision, undefined);
    await world.boot(SOURCE);
    await world.elapse(5_000);
    assert.equal(world.live, []);
    const { isWhole, epoch } = await world.runtime(SOURCE).recover(world.origin);
    assert.is(isWhole, true);
    assert.ok(epoch > 2n, 'beyond the epoch in which the target may have lived');
    assert.is(world.whole(), SOURCE);
  }),
);

/** The target has become the owner, and these die before anybody hears so. */
async function crashBehindTheClaim(world: SpoolWorld, ...nodes: readonly bigint[]): Promise<void> {
  world.point = (node, what) => {
    if (node === TARGET && what === 'written') for (const id of nodes) world.crash(id);
  };
  await world.publish(10);
  world.move();
  await world.elapse(1_000);
  world.point = () => {};
  assert.is(world.entry!.owner, TARGET);
}

restart('that is the backup of a target which lives no more comes back when it is told to, whole', () =>
  inSpoolWorld({}, async (world) => {
    await crashBehindTheClaim(world, TARGET, SOURCE);
    await world.boot(SOURCE);
    await world.elapse(5_000);
    assert.equal(world.live, []);
    assert.is((await world.runtime(SOURCE).recover(world.origin)).isWhole, true);
    assert.is(world.whole(), SOURCE);
  }),
);

restart('takes the daemon back by itself when its target says that it has no copy', () =>
  inSpoolWorld({ bare: [TARGET] }, async (world) => {
    await crashBehindTheClaim(world, TARGET, SOURCE);
    await world.boot(SOURCE);
    await world.boot(TARGET);
    await world.elapse(2_000);
    assert.is(world.whole(), SOURCE);
    assert.is(world.entry!.epoch, 3n);
  }),
);

restart('that has lost nothing takes the daemon back too, when its target was started again without it', () =>
  inSpoolWorld({ bare: [TARGET], isGoneKnown: false }, async (world) => {
    await crashBehindTheClaim(world, TARGET);
    assert.equal(world.live, []);
    await world.boot(TARGET);
    await world.elapse(2_000);
    assert.is(world.whole(), SOURCE);
  }),
);

restart('drops what lives elsewhere in a further epoch', () =>
  inSpoolWorld({}, async (world) => {
    await crashWhen(world, written);
    await world.elapse(1_000);
    assert.is(world.whole(), TARGET);
    const onwards = world.runtime(ORCHESTRATOR).startMigration(world.origin, TARGET, ORCHESTRATOR);
    onwards.wait().catch(() => {});
    await world.elapse(1_000);
    assert.is(world.whole(), ORCHESTRATOR);
    await world.boot(SOURCE);
    await world.elapse(1_000);
    assert.is(world.disk(SOURCE).contents().size, 0);
    assert.is(world.whole(), ORCHESTRATOR);
  }),
);

/** It lives at the target; its source is started again while nobody can ask the register, and asks within a second. */
async function bootUndecided(world: SpoolWorld): Promise<void> {
  await crashBehindTheClaim(world, SOURCE);
  assert.is(world.whole(), TARGET);
  world.isRegisterAway = true;
  await world.boot(SOURCE);
  world.isRegisterAway = false;
}

function moveBetween(world: SpoolWorld, source: bigint, target: bigint): Promise<void> {
  const moved = world.runtime(ORCHESTRATOR).startMigration(world.origin, source, target).wait();
  moved.catch(() => {});
  return moved;
}

restart('lets go of a file whose daemon has come back and moves on by the time that it is read', () => {
  let restored: (() => void) | undefined;
  let isSlow = false;
  const daemon = () => {
    const made = new Recorder();
    const waits = isSlow ? new Promise<void>((resolve) => (restored = resolve)) : undefined;
    isSlow = false;
    made.before = (call) => (call === 'restore' ? waits : undefined);
    return made;
  };
  return inSpoolWorld({ daemon }, async (world) => {
    await bootUndecided(world);
    isSlow = true;
    await world.elapse(1_100);
    assert.is(isSlow, false, 'the file is read');
    await world.outcome(moveBetween(world, TARGET, SOURCE));
    await world.publish(3);
    assert.is(world.whole(), SOURCE);
    world.point = (node, what) => {
      // Onwards: what is written now is all that is left where both sides die.
      if (node === SOURCE && what === 'write fenced') restored!();
      if (node === SOURCE && what === 'written' && world.entry?.offer)
        for (const id of [SOURCE, TARGET]) world.crash(id);
    };
    void moveBetween(world, SOURCE, TARGET);
    await world.elapse(1_000);
    world.point = () => {};
    assert.equal(world.live, []);
    const files = [...world.disk(SOURCE).contents().keys()].map((name) => parseFencedName(name)!);
    assert.ok(
      files.some(({ try: attempt }) => attempt === world.entry!.tries),
      'the offered copy is on the disk',
    );
    await world.boot(SOURCE);
    await world.elapse(3_000);
    assert.is(world.whole(), SOURCE);
    assert.equal(
      world.errors.filter(({ message }) => /stays where it is/.test(message)),
      [],
    );
  });
});

restart('keeps a file while its daemon moves in, and takes it up where that comes to nothing', () =>
  inSpoolWorld({ isGoneKnown: false }, async (world) => {
    await bootUndecided(world);
    world.point = (node, what) => {
      // It has been restored here, and its source is gone.
      if (node === SOURCE && what.startsWith('send')) world.crash(TARGET);
    };
    void moveBetween(world, TARGET, SOURCE);
    await world.elapse(1_500);
    world.point = () => {};
    const roles = () =>
      world
        .runtime(SOURCE)
        .migrations()
        .map(({ role }) => role);
    assert.equal(roles(), ['target']);
    await world.elapse(4_000);
    assert.equal(roles(), ['source']);
    assert.equal(
      world.errors.filter(({ kind }) => kind === 'already-exists'),
      [],
    );
    await world.runtime(SOURCE).recover(world.origin, { force: true });
    await world.elapse(100);
    assert.is(world.whole(), SOURCE);
  }),
);

restart('leaves the file where nothing makes such a daemon, and takes it up the next time', () =>
  inSpoolWorld({}, async (world) => {
    await crashWhen(world, written, [SOURCE, TARGET]);
    const runtime = await world.boot(SOURCE, {}, false);
    assert.ok(runtime.isReady);
    const [error] = world.errors.filter(({ kind }) => kind === 'factory-not-found');
    assert.match(error!.message, /fenced-.* stays where it is.*registerFactory/);
    await world.elapse(2_000);
    assert.equal(world.live, []);
    await world.outcome(runtime.shutdown());
    await world.boot(SOURCE);
    await world.elapse(3_000);
    assert.is(world.whole(), SOURCE);
  }),
);

restart('leaves the file where its keys are not those that it was written under', () =>
  inSpoolWorld({}, async (world) => {
    await crashWhen(world, written, [SOURCE, TARGET]);
    const runtime = await world.boot(SOURCE, { nodeKeys: NodeKeys.generate() });
    assert.match(world.errors.map(({ message }) => message).join(), /sealed to another key than this node's/);
    await world.elapse(2_000);
    assert.equal(world.live, []);
    await world.outcome(runtime.shutdown());
    await world.boot(SOURCE);
    await world.elapse(3_000);
    assert.is(world.whole(), SOURCE);
  }),
);

restart('in live mode replays the log, and says so where that puts out something else', () =>
  inSpoolWorld({ isGoneKnown: false }, async (world) => {
    let isChanged = false;
    const fickle = () => {
      const daemon = new Recorder();
      const { process } = daemon;
      daemon.process = (event) =>
        isChanged ? [...(process.call(daemon, event) as Uint8Array[]), Uint8Array.of(1)] : process.call(daemon, event);
      return daemon;
    };
    Object.assign(world.options, { daemon: fickle });
    await world.publish(10);
    world.point = (node, what) => {
      if (node !== SOURCE) return;
      // The log has begun.
      if (what.startsWith('create')) void world.publish(3);
      if (written(what, world)) for (const id of [SOURCE, TARGET]) world.crash(id);
    };
    world.move({ mode: 'live' });
    await world.elapse(1_000);
    assert.is(world.accepted.length, 13);
    world.point = () => {};
    isChanged = true;
    await world.boot(SOURCE);
    const said = world.errors.filter(({ message }) => /not deterministic/.test(message));
    assert.is(said.length, 1);
    isChanged = false;
    await world.elapse(3_000);
    await world.publish(2);
    await world.elapse(100);
    assert.is(world.whole(), SOURCE, 'its chain goes on behind what was published');
  }),
);

restart('sets a damaged file aside, says which, and lets nothing of it live', () =>
  inSpoolWorld({}, async (world) => {
    await crashWhen(world, written, [SOURCE, TARGET]);
    const [name] = [...world.disk(SOURCE).contents().keys()];
    const { length } = world.disk(SOURCE).contents().get(name!)!;
    for (const at of [3, 40, 300, length - 40, length - 1]) {
      world.disk(SOURCE).edit(name!, (bytes) => {
        bytes[at]! ^= 4;
        return bytes;
      });
      world.errors.length = 0;
      const runtime = await world.boot(SOURCE);
      await world.elapse(3_000);
      assert.equal(world.live, []);
      const [error, ...others] = world.errors;
      assert.equal(others, []);
      assert.is(error!.kind, 'spool-damaged');
      assert.is(error!.details.file, name);
      assert.match(error!.message, new RegExp(`${name} is damaged: .* kept as damaged-${name}`));
      assert.equal([...world.disk(SOURCE).contents().keys()], [`damaged-${name}`]);
      await refusal('daemon-not-found', () => runtime.recover(world.origin));
      await world.outcome(runtime.shutdown());
      world.lives.delete(SOURCE);
      // Put back by hand, whole again.
      await putBack(world, `damaged-${name}`, name!);
      world.disk(SOURCE).edit(name!, (bytes) => {
        bytes[at]! ^= 4;
        return bytes;
      });
    }
    await world.boot(SOURCE);
    await world.elapse(3_000);
    assert.is(world.whole(), SOURCE);
  }),
);

async function putBack(world: SpoolWorld, from: string, to: string): Promise<void> {
  const storage = world.disk(SOURCE).storage();
  await storage.take();
  await storage.rename(from, to);
  await storage.letGo();
}

restart('leaves a file alone that a later version wrote, or that is another node’s', () =>
  inSpoolWorld({}, async (world) => {
    await crashWhen(world, written, [SOURCE, TARGET]);
    const [name] = [...world.disk(SOURCE).contents().keys()];
    const version = (value: number) =>
      world.disk(SOURCE).edit(name!, (bytes) => {
        bytes[8] = value;
        return bytes;
      });
    version(2);
    const runtime = await world.boot(SOURCE);
    assert.match(world.errors.at(-1)!.message, /version 2 of the spool.*start the node with the package that wrote it/);
    assert.equal([...world.disk(SOURCE).contents().keys()], [name]);
    await world.outcome(runtime.shutdown());
    version(1);
    const other = new DaemonRuntime({
      mesh: new InProcessMesh().join(9n),
      nodeKeys: world.keys.get(SOURCE)!,
      spool: world.disk(SOURCE).storage(),
      onError: (error) => world.errors.push(error),
    });
    await other.start();
    assert.match(world.errors.at(-1)!.message, /is node 1's.*Give each node a spool of its own/);
    await other.shutdown();
    await world.boot(SOURCE);
    await world.elapse(3_000);
    assert.is(world.whole(), SOURCE);
  }),
);

restart('reads its channels on from where the daemon stood', () =>
  inSpoolWorld({}, async (world) => {
    const feeder = world.runtime(ORCHESTRATOR);
    const feed = await feeder.spawn('recorder', EntityKeypair.generate());
    Object.assign(world.options, { daemon: () => new Recorder('other') });
    const origin = await world.runtime(SOURCE).spawn('recorder', EntityKeypair.generate());
    const reader = world.lives.get(SOURCE)!.made.at(-1)!;
    await world.runtime(SOURCE).subscribeChannel(origin, ORCHESTRATOR, 'recorder', { after: new Uint8Array(0) });
    await feeder.deliver(feed, events(78n, 1, 20));
    await world.elapse(40);
    assert.is(reader.seen.length, 20);
    world.point = (node, what) => {
      const standing = world.seat(ORCHESTRATOR).register.read(origin) as { entry: { offer?: unknown } } | undefined;
      if (node === SOURCE && what === 'written' && standing?.entry.offer)
        for (const id of [SOURCE, TARGET]) world.crash(id);
    };
    feeder
      .startMigration(origin, SOURCE, TARGET)
      .wait()
      .catch(() => {});
    await world.elapse(400);
    world.point = () => {};
    await feeder.deliver(feed, events(78n, 21, 20));
    const runtime = await world.boot(SOURCE);
    await world.elapse(3_000);
    assert.is(runtime.has(origin), true);
    await feeder.deliver(feed, events(78n, 41, 10));
    await world.elapse(100);
    const { seen } = world.lives.get(SOURCE)!.made.at(-1)!;
    assert.equal(
      seen,
      Array.from({ length: 50 }, (_, i) => BigInt(i + 1)),
    );
  }),
);

restart('keeps a daemon that was let go to a peer without extensions for `recover`, for its time', () =>
  inSpoolWorld({ isGoneKnown: false, isPlain: true }, async (world) => {
    world.point = (node, what) => {
      if (node === SOURCE && written(what, world)) for (const id of [SOURCE, TARGET]) world.crash(id);
    };
    await world.publish(10);
    world.move({ transportIdentity: false });
    await world.elapse(1_000);
    world.point = () => {};
    assert.is(world.lives.has(SOURCE), false);
    assert.is((world.entry!.offer as { try: bigint }).try, 0n);
    const runtime = await world.boot(SOURCE);
    await world.elapse(5_000);
    assert.equal(world.live, []);
    assert.is((await runtime.recover(world.origin)).isWhole, true);
    assert.equal(world.seen(SOURCE), world.accepted);
  }),
);

/** Ten minutes after a daemon was let go, it is moved from node 1 again, to node 3, and its source dies when it is offered. */
async function dieOfferedWhenItsTimeIsOver(world: SpoolWorld, letGoAt: number): Promise<void> {
  const { environment, runtime } = world.lives.get(SOURCE)!;
  world.point = (node, what) => {
    if (node !== SOURCE || !written(what, world)) return;
    world.point = () => {};
    world.isRegisterAway = true;
  };
  await environment.advance(letGoAt + 600_000 - 1_000 - environment.nowMs());
  const handle = world.runtime(ORCHESTRATOR).startMigration(world.origin, SOURCE, ORCHESTRATOR);
  handle.wait().catch(() => {});
  await world.elapse(200);
  assert.ok(world.entry!.offer, 'it is offered');
  assert.is(files(world).length, 1);
  await environment.advance(2_000);
  assert.is(files(world).length, 1, 'and its file is there');
  assert.equal(
    runtime.migrations().map(({ role }) => role),
    ['source'],
  );
  for (const id of [SOURCE, ORCHESTRATOR]) world.crash(id);
  world.isRegisterAway = false;
  await world.boot(SOURCE);
  await world.elapse(3_000);
  assert.equal(world.seen(SOURCE), world.accepted);
  assert.equal(world.live, [SOURCE]);
}

const files = (world: SpoolWorld) => [...world.disk(SOURCE).contents().keys()];

restart('whose daemon was recovered from an old backup moves it as any, when the time of that is over', () =>
  inSpoolWorld({ isGoneKnown: false, isPlain: true }, async (world) => {
    world.point = (node, what) => {
      if (node === SOURCE && written(what, world)) for (const id of [SOURCE, TARGET]) world.crash(id);
    };
    await world.publish(10);
    world.move({ transportIdentity: false });
    await world.elapse(1_000);
    world.point = () => {};
    await world.boot(SOURCE);
    await world.runtime(SOURCE).recover(world.origin);
    await world.elapse(10_000);
    await dieOfferedWhenItsTimeIsOver(world, 0);
  }),
);

for (const landsLate of [false, true]) {
  const when = landsLate ? 'after it was started again' : 'when it had died';
  restart(`whose claim lands ${when} says that it has no copy, whatever old file has come back`, () =>
    inSpoolWorld({ isGoneKnown: false }, async (world) => {
      let [name, content]: [string, Uint8Array] = ['', new Uint8Array(0)];
      world.point = (node, what) => {
        if (node !== SOURCE || !written(what, world)) return;
        const [[fileName, bytes]] = [...world.disk(SOURCE).contents()] as [[string, Uint8Array]];
        [name, content] = [fileName, bytes.slice()];
      };
      await world.publish(10);
      world.move();
      await world.elapse(1_000);
      assert.is(world.whole(), TARGET);
      await world.publish(5);
      assert.match(name, /^fenced-/);
      world.point = (node, what) => {
        if (node === SOURCE && what === (landsLate ? 'write' : 'written')) world.crash(SOURCE);
      };
      world
        .runtime(ORCHESTRATOR)
        .startMigration(world.origin, TARGET, SOURCE)
        .wait()
        .catch(() => {});
      await world.elapse(300);
      world.point = () => {};
      assert.is(world.entry!.owner, landsLate ? TARGET : SOURCE);
      assert.is(world.lives.has(SOURCE), false);
      const storage = world.disk(SOURCE).storage();
      await storage.take();
      await storage.replace(name, [content]);
      await storage.letGo();
      await world.boot(SOURCE);
      if (landsLate) await landClaim(world);
      // Before anybody loses patience.
      await world.elapse(500);
      assert.is(world.whole(), TARGET);
      await world.elapse(3_000);
      assert.is(world.whole(), TARGET);
      await refusal('daemon-not-found', () => world.runtime(SOURCE).counts(world.origin));
    }),
  );
}

/** The claim of a node that has forgotten it. */
async function landClaim(world: SpoolWorld): Promise<void> {
  const { register } = world.seat(ORCHESTRATOR);
  const { entry, revision } = (await register.read(world.origin))!;
  assert.ok(entry.offer);
  const claimed = { epoch: entry.epoch + 1n, owner: SOURCE, tries: entry.tries };
  assert.ok(await register.compareAndSet(world.origin, revision, claimed));
}
