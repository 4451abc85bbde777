import * as assert from 'uvu/assert';
import {
  type DaemonHealth,
  DaemonRuntime,
  EntityKeypair,
  InProcessMesh,
  type MeshDaemon,
  type MigrationError,
} from '../../lib/index.js';
import { events, Recorder, refusal, suite } from '../support.js';

const PUBLISHER = 77n;

/** Two nodes; daemons are made by `make`, which is told the node. The first lives on node 1. */
async function inPair(
  make: (node: bigint) => MeshDaemon,
  run: (world: { a: DaemonRuntime; b: DaemonRuntime; origin: bigint; move: () => Promise<void> }) => Promise<void>,
) {
  const mesh = new InProcessMesh();
  const [a, b] = [1n, 2n].map((id) => {
    const node = new DaemonRuntime({ mesh: mesh.join(id), orchestrators: [1n, 2n] });
    node.registerFactory('made', () => make(id));
    node.start();
    return node;
  }) as [DaemonRuntime, DaemonRuntime];
  try {
    const origin = await a.spawn('made', EntityKeypair.generate());
    await run({ a, b, origin, move: () => b.startMigration(origin, 1n, 2n).wait({ timeout: 5_000 }) });
  } finally {
    await a.shutdown();
    await b.shutdown();
  }
}

class Movable extends Recorder {
  movable = false;
}

const pinned = suite('a pinned daemon');

pinned('stays, goes on, and says why; once it may move it does', async () => {
  const daemon = new Movable();
  await inPair(
    () => daemon,
    async ({ a, b, origin, move }) => {
      const error = await refusal('pinned', move);
      assert.match(error.message, /movable: false/);
      assert.is(error.retriable, false);
      await refusal('pinned', () => a.startMigration(origin, 1n, 2n).wait({ timeout: 5_000 }));
      await a.deliver(origin, events(PUBLISHER, 1, 3));
      assert.equal(daemon.seen, [1n, 2n, 3n]);
      daemon.movable = true;
      await move();
      assert.ok(b.has(origin));
    },
  );
});

const stateless = suite('a daemon without a state');

class Echo implements MeshDaemon {
  readonly name = 'echo';
  processed = 0;
  calls: string[] = [];

  process() {
    this.processed++;
  }

  snapshot(): Uint8Array | undefined {
    this.calls.push('snapshot');
    return undefined;
  }

  restore(): void {
    this.calls.push('restore');
  }
}

class Stateless extends Echo {
  readonly isStateful = false;
}

stateless('moves without one, and what it has seen goes along', async () => {
  const made: Echo[] = [];
  const make = () => {
    made.push(new Stateless());
    return made.at(-1)!;
  };
  await inPair(make, async ({ a, b, origin, move }) => {
    await a.deliver(origin, events(PUBLISHER, 1, 5));
    await move();
    const again = await b.deliver(origin, events(PUBLISHER, 4, 4));
    assert.equal({ ...again }, { accepted: 4, duplicates: 2, refusal: undefined });
    assert.is(made[1]!.processed, 2);
    assert.equal(
      made.map(({ calls }) => calls),
      [[], []],
    );
  });
});

stateless('is not taken for one that does not say so', () =>
  inPair(
    () => new Echo(),
    async ({ a, origin, move }) => {
      const error = await refusal('state-failed', move);
      assert.match(error.message, /gave nothing; a daemon that has no state says isStateful: false/);
      assert.ok(a.has(origin));
    },
  ),
);

for (const [what, given, says] of [
  ['another array', new Uint16Array(4), /Uint8Array, or a stream .* gave an object \(Uint16Array\)/],
  ['a buffer', new ArrayBuffer(4), /gave an object \(ArrayBuffer\)/],
  ['an object', { count: 1 }, /gave an object \(Object\)/],
  ['null', null, /gave null/],
  ['text', 'text', /gave a string/],
] as const)
  stateless(`is told what its snapshot gave in place of bytes: ${what}`, () =>
    inPair(
      () => Object.assign(new Echo(), { snapshot: () => given as never }),
      async ({ a, origin, move }) => {
        const error = await refusal('state-failed', move);
        assert.match(error.message, says);
        assert.ok(a.has(origin));
      },
    ),
  );

stateless('takes no state: what would be lost fails the migration', () =>
  inPair(
    (node) => (node === 1n ? new Recorder() : new Stateless()),
    async ({ a, origin, move }) => {
      await a.deliver(origin, events(PUBLISHER, 1, 5));
      const error = await refusal('state-failed', move);
      assert.match(error.message, /40 bytes of state have come for it; they would be lost/);
      assert.ok(a.has(origin));
    },
  ),
);

const reached = suite('a daemon reached by its operator');

class Operated extends Recorder {
  status: DaemonHealth | Error = { status: 'healthy' };
  readonly messages: unknown[] = [];

  health(): Promise<DaemonHealth> {
    return this.status instanceof Error ? Promise.reject(this.status) : Promise.resolve(this.status);
  }

  onControl(message: unknown): number {
    if (message === 'throw') throw new Error('will not');
    return this.messages.push([message, this.seen.length]);
  }
}

reached('tells how it is; one without a word of its own is healthy', () => {
  const daemon = new Operated();
  return inPair(
    () => daemon,
    async ({ a, origin }) => {
      assert.equal(await a.health(origin), { status: 'healthy' });
      daemon.status = { status: 'degraded', reason: 'slow disk' };
      assert.equal(await a.health(origin), { status: 'degraded', reason: 'slow disk' });
      daemon.status = new Error('cannot tell');
      const error = await refusal('state-failed', () => a.health(origin));
      assert.match(error.message, /threw in health\(\): cannot tell/);
      assert.is(error.cause, daemon.status);
      await refusal('daemon-not-found', () => a.health(origin + 1n));
    },
  );
});

reached('has a health of healthy where it says nothing', () =>
  inPair(
    () => new Recorder(),
    async ({ a, origin }) => assert.equal(await a.health(origin), { status: 'healthy' }),
  ),
);

reached('gets control messages in their turn, and answers', () => {
  const daemon = new Operated();
  return inPair(
    () => daemon,
    async ({ a, origin }) => {
      let goOn = () => {};
      const wait = new Promise<void>((resolve) => {
        goOn = resolve;
      });
      daemon.before = (call) => (call === 'process' ? wait : undefined);
      const delivered = a.deliver(origin, events(PUBLISHER, 1, 2));
      const answer = a.control(origin, 'flush');
      goOn();
      await delivered;
      assert.is(await answer, 1);
      assert.equal(daemon.messages, [['flush', 2]], 'behind both events');
      const error = await refusal('state-failed', () => a.control(origin, 'throw'));
      assert.match(error.message, /threw in onControl\(\): will not/);
      await refusal('daemon-not-found', () => a.control(origin + 1n, 'flush'));
    },
  );
});

reached('gets none while it moves, because nothing would carry what it changes', async () => {
  let goOn = () => {};
  const wait = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  const made: Operated[] = [];
  const make = (node: bigint) => {
    const daemon = new Operated();
    if (node === 2n) daemon.before = (call) => (call === 'restore' ? wait : undefined);
    made.push(daemon);
    return daemon;
  };
  await inPair(make, async ({ a, b, origin, move }) => {
    const moved = move();
    while (made.length < 2) await new Promise((resolve) => setImmediate(resolve));
    const error: MigrationError = await refusal('moving', () => a.control(origin, 'flush'));
    assert.is(error.retriable, true);
    goOn();
    await moved;
    assert.is(await b.control(origin, 'flush'), 1);
    assert.equal(
      made.map(({ messages }) => messages.length),
      [0, 1],
    );
  });
});

reached('says so where it takes no control messages', () =>
  inPair(
    () => new Recorder(),
    async ({ a, origin }) => {
      const error = await refusal('no-control', () => a.control(origin, 'flush'));
      assert.match(error.message, /has no onControl/);
    },
  ),
);
