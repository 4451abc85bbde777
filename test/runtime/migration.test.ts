import * as assert from 'uvu/assert';
import {
  type CausalEvent,
  createCodec,
  DaemonRuntime,
  EntityKeypair,
  InProcessMesh,
  type MigrationError,
  type MigrationProgress,
} from '../../lib/index.js';
import { events, eventually, Recorder, refusal, suite } from '../support.js';

const migration = suite('a migration in one process');
const PUBLISHER = 77n;

interface World {
  readonly nodes: readonly DaemonRuntime[];
  readonly daemons: Recorder[];
  readonly origin: bigint;
  readonly outputs: CausalEvent[];
  readonly errors: MigrationError[];
}

/** Nodes 1, 2 and 3, all trusting each other; a recorder on node 1. */
async function inWorld(
  run: (world: World) => Promise<void>,
  options: { readonly trust?: boolean } = {},
): Promise<void> {
  const mesh = new InProcessMesh();
  const daemons: Recorder[] = [];
  const errors: MigrationError[] = [];
  const seats = [1n, 2n, 3n].map((id) => mesh.join(id));
  const nodes = seats.map((seat) => {
    const orchestrators = options.trust === false ? [] : [1n, 2n, 3n];
    const runtime = new DaemonRuntime({ mesh: seat, orchestrators, onError: (error) => errors.push(error) });
    runtime.registerFactory('recorder', () => {
      const daemon = new Recorder();
      daemons.push(daemon);
      return daemon;
    });
    runtime.start();
    return runtime;
  });
  const outputs: CausalEvent[] = [];
  await seats[0]!.subscribe('recorder', {}, (_, published) => void outputs.push(...published));
  const origin = await nodes[0]!.spawn('recorder', EntityKeypair.generate());
  try {
    await run({ nodes, daemons, origin, outputs, errors });
  } finally {
    for (const node of nodes) await node.shutdown();
  }
}

/** A daemon that moves to node 2 is restored there only behind that. */
function restoreAfter({ nodes, daemons }: Pick<World, 'nodes' | 'daemons'>, held: Promise<void>): void {
  nodes[1]!.registerFactory('recorder', () => {
    const daemon = new Recorder();
    daemon.before = (call) => (call === 'restore' ? held : undefined);
    daemons.push(daemon);
    return daemon;
  });
}

function numbers(first: number, last: number): bigint[] {
  return Array.from({ length: last - first + 1 }, (_, i) => BigInt(first + i));
}

/** The outputs are one chain from its first link on, and as many as there should be. */
function assertOutputs({ outputs, origin }: World, count: number): void {
  const genesis = { originHash: origin, horizon: 0n, sequence: 0n, parentHash: 0n };
  assert.is(outputs.length, count);
  assert.is(createCodec().verifyChain(genesis, new Uint8Array(0), outputs), count, 'one chain');
}

for (const [place, leader] of [
  ['apart', 2],
  ['on the source’s node', 0],
  ['on the target’s node', 1],
] as const) {
  migration(`completes with the orchestrator ${place}, while events go on arriving`, () =>
    inWorld(async (world) => {
      const { nodes, daemons, origin, outputs } = world;
      await nodes[0]!.deliver(origin, events(PUBLISHER, 1, 100));
      const publisher = nodes[2]!.publisher(origin, 1n);
      const phases = new Set<string>();
      const onProgress = ({ phase }: MigrationProgress) => void phases.add(phase);
      const handle = nodes[leader]!.startMigration(origin, 1n, 2n, { onProgress });
      for (let first = 101; first <= 2_000; first += 100) await publisher.send(events(PUBLISHER, first, 100));
      await handle.wait({ timeout: 5_000 });
      await publisher.send(events(PUBLISHER, 2_001, 10));
      await publisher.flush();
      await eventually('all outputs are out', () => outputs.length === 2_010);

      assert.equal(daemons[1]!.seen, numbers(1, 2_010), 'each event once, in order, at the target');
      assertOutputs(world, 2_010);
      assert.is(handle.phase, 'Complete');
      for (const phase of ['Transfer', 'Replay', 'Cutover', 'Complete']) assert.ok(phases.has(phase), phase);
      assert.is(nodes[0]!.has(origin), false);
      assert.ok(nodes[1]!.has(origin));
      assert.is(publisher.node, 2n);
      assert.equal(world.errors, []);
    }),
  );
}

migration('goes there, back and onwards', () =>
  inWorld(async (world) => {
    const { nodes, daemons, origin, outputs } = world;
    const route = [1n, 2n, 1n, 3n];
    const publisher = nodes[2]!.publisher(origin, 1n);
    for (let leg = 0; leg + 1 < route.length; leg++) {
      await publisher.send(events(PUBLISHER, 1 + leg * 10, 10));
      await nodes[2]!.startMigration(origin, route[leg]!, route[leg + 1]!).wait({ timeout: 5_000 });
    }
    await publisher.send(events(PUBLISHER, 31, 10));
    await publisher.flush();
    await eventually('all outputs are out', () => outputs.length === 40);
    assert.equal(daemons.at(-1)!.seen, numbers(1, 40));
    assertOutputs(world, 40);
  }),
);

migration('drops what a publisher sends again after the move', () =>
  inWorld(async ({ nodes, daemons, origin }) => {
    await nodes[0]!.deliver(origin, events(PUBLISHER, 1, 10));
    await nodes[2]!.startMigration(origin, 1n, 2n).wait({ timeout: 5_000 });
    const again = await nodes[1]!.deliver(origin, events(PUBLISHER, 5, 10));
    assert.equal({ accepted: again.accepted, duplicates: again.duplicates }, { accepted: 10, duplicates: 6 });
    assert.equal(daemons[1]!.seen, numbers(1, 14));
  }),
);

for (const call of ['snapshot', 'restore'] as const) {
  for (const way of ['throws', 'rejects'] as const) {
    migration(`a daemon that ${way} in ${call} fails that migration alone`, () =>
      inWorld(async (world) => {
        const { nodes, daemons, origin, outputs } = world;
        const fail = (at: string): void | Promise<void> => {
          if (at !== call) return;
          if (way === 'rejects') return Promise.reject(new Error('no'));
          throw new Error('no');
        };
        daemons[0]!.before = fail;
        nodes[1]!.registerFactory('recorder', () => {
          const daemon = new Recorder();
          daemon.before = fail;
          daemons.push(daemon);
          return daemon;
        });
        const handle = nodes[2]!.startMigration(origin, 1n, 2n);
        await nodes[0]!.deliver(origin, events(PUBLISHER, 1, 50));
        const error = await refusal('state-failed', () => handle.wait({ timeout: 5_000 }));
        assert.match(error.message, new RegExp(`daemon "recorder" .* threw in ${call}\\(\\): no`));
        await nodes[0]!.deliver(origin, events(PUBLISHER, 51, 50));
        await eventually('the source has processed all', () => outputs.length === 100);
        assert.equal(daemons[0]!.seen, numbers(1, 100));
        assertOutputs(world, 100);
        await eventually('the target has let go', () => !nodes[1]!.has(origin));

        daemons[0]!.before = () => {};
        nodes[1]!.registerFactory('recorder', () => new Recorder());
        await nodes[2]!.startMigration(origin, 1n, 2n).wait({ timeout: 5_000 });
        assert.ok(nodes[1]!.has(origin), 'and the next try works');
      }),
    );
  }
}

migration('a daemon that takes its time loses nothing either', () =>
  inWorld(async (world) => {
    const { nodes, daemons, origin, outputs } = world;
    const slow = () => new Promise<void>((resolve) => setImmediate(resolve));
    daemons[0]!.before = slow;
    nodes[1]!.registerFactory('recorder', () => {
      const daemon = new Recorder();
      daemon.before = slow;
      daemons.push(daemon);
      return daemon;
    });
    const publisher = nodes[2]!.publisher(origin, 1n);
    await publisher.send(events(PUBLISHER, 1, 50));
    const handle = nodes[2]!.startMigration(origin, 1n, 2n);
    for (let first = 51; first <= 500; first += 50) await publisher.send(events(PUBLISHER, first, 50));
    await handle.wait({ timeout: 5_000 });
    await publisher.flush();
    await eventually('all outputs are out', () => outputs.length === 500);
    assert.equal(daemons[1]!.seen, numbers(1, 500));
    assertOutputs(world, 500);
  }),
);

migration('is refused to who is not on the list, and the daemon goes on', () =>
  inWorld(
    async ({ nodes, daemons, origin }) => {
      const error = await refusal('not-authorised', () =>
        nodes[2]!.startMigration(origin, 1n, 2n).wait({ timeout: 5_000 }),
      );
      assert.match(error.message, /not authorised/);
      await nodes[0]!.deliver(origin, events(PUBLISHER, 1, 3));
      assert.equal(daemons[0]!.seen, [1n, 2n, 3n]);
    },
    { trust: false },
  ),
);

migration('is refused where it makes no sense, with a reason', () =>
  inWorld(async ({ nodes, origin }) => {
    await refusal('target-unavailable', () => nodes[2]!.startMigration(origin, 1n, 1n));
    await refusal('target-unavailable', () => nodes[2]!.startMigration(origin, 1n, 9n));
    await refusal('daemon-not-found', () => nodes[2]!.startMigration(origin + 1n, 1n, 2n).wait({ timeout: 5_000 }));
    const handle = nodes[2]!.startMigration(origin, 1n, 2n);
    await refusal('already-migrating', () => nodes[2]!.startMigration(origin, 1n, 2n));
    await handle.wait({ timeout: 5_000 });
  }),
);

migration('a node without a factory says so, and can be neither home nor target', async () => {
  const mesh = new InProcessMesh();
  await using source = new DaemonRuntime({ mesh: mesh.join() });
  await using bare = new DaemonRuntime({ mesh: mesh.join(), orchestrators: [source.nodeId] });
  source.registerFactory('recorder', () => new Recorder());
  for (const node of [source, bare]) node.start();
  await refusal('factory-not-found', () => bare.spawn('recorder', EntityKeypair.generate()));
  const origin = await source.spawn('recorder', EntityKeypair.generate());
  await refusal('factory-not-found', () =>
    source.startMigration(origin, source.nodeId, bare.nodeId).wait({ timeout: 5_000 }),
  );
  assert.ok(source.has(origin));
});

migration('can be cancelled; the daemon goes on, and can be moved again', () =>
  inWorld(async (world) => {
    const { nodes, daemons, origin, outputs } = world;
    let goOn!: () => void;
    const held = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    restoreAfter({ nodes, daemons }, held);
    const handle = nodes[2]!.startMigration(origin, 1n, 2n);
    await eventually('the target restores', () => daemons.length === 2);
    await nodes[0]!.deliver(origin, events(PUBLISHER, 1, 5));
    handle.cancel();
    handle.cancel();
    await refusal('cancelled', () => handle.wait());
    await eventually('the source is live again', () => outputs.length === 5);
    goOn();
    await nodes[2]!.startMigration(origin, 1n, 3n).wait({ timeout: 5_000 });
    assert.ok(nodes[2]!.has(origin));
    assert.is(nodes[1]!.has(origin), false);
    assertOutputs(world, 5);
  }),
);

migration('a target that goes away in the middle costs nothing', () =>
  inWorld(async (world) => {
    const { nodes, daemons, origin, outputs } = world;
    restoreAfter({ nodes, daemons }, new Promise<void>(() => {}));
    const handle = nodes[2]!.startMigration(origin, 1n, 2n);
    await eventually('the target restores', () => daemons.length === 2);
    await nodes[0]!.deliver(origin, events(PUBLISHER, 1, 5));
    await nodes[1]!.shutdown();
    const error = await refusal('target-unavailable', () => handle.wait({ timeout: 5_000 }));
    assert.match(error.message, /node 2 is gone/);
    await eventually('the source is live again', () => outputs.length === 5);
    assert.equal(daemons[0]!.seen, numbers(1, 5));
  }),
);

migration('is on the list of each node that takes part, until it is over', () =>
  inWorld(async ({ nodes, daemons, origin }) => {
    let goOn = () => {};
    const held = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    restoreAfter({ nodes, daemons }, held);
    const handle = nodes[2]!.startMigration(origin, 1n, 2n);
    await eventually('the target restores', () => daemons.length === 2);
    const listed = nodes.map((node) => node.migrations().map(({ role, phase }) => `${role} ${phase}`));
    assert.equal(listed.slice(0, 2), [['source transferring'], ['target restoring']]);
    assert.equal(
      nodes[2]!.migrations().map(({ role, origin: whose, source, target }) => ({ role, whose, source, target })),
      [{ role: 'orchestrator', whose: origin, source: 1n, target: 2n }],
    );
    goOn();
    await handle.wait({ timeout: 5_000 });
    await eventually('all lists are empty', () => nodes.every((node) => node.migrations().length === 0));
  }),
);

migration('`wait` gives up when told to, and the migration goes on', () =>
  inWorld(async ({ nodes, origin }) => {
    const handle = nodes[2]!.startMigration(origin, 1n, 2n);
    await refusal('timed-out', () => handle.wait({ timeout: 0 }));
    await handle.wait({ timeout: 5_000 });
  }),
);

migration(
  'an event at which the daemon throws is counted, reported and passed over, at the source and in the replay',
  () =>
    inWorld(async ({ nodes, daemons, origin, errors }) => {
      const picky = (daemon: Recorder) => {
        let count = 0;
        daemon.before = (call) => {
          if (call === 'process' && ++count % 2 === 0) throw new Error('an even one');
        };
      };
      picky(daemons[0]!);
      let goOn!: () => void;
      const held = new Promise<void>((resolve) => {
        goOn = resolve;
      });
      nodes[1]!.registerFactory('recorder', () => {
        const daemon = new Recorder();
        picky(daemon);
        const { before } = daemon;
        daemon.before = (call) => (call === 'restore' ? held : before(call));
        daemons.push(daemon);
        return daemon;
      });
      await nodes[0]!.deliver(origin, events(PUBLISHER, 1, 4));
      const handle = nodes[2]!.startMigration(origin, 1n, 2n);
      await eventually('the target restores', () => daemons.length === 2);
      await nodes[0]!.deliver(origin, events(PUBLISHER, 5, 4));
      goOn();
      await handle.wait({ timeout: 5_000 });
      const { failures } = nodes[1]!.counts(origin);
      assert.is(errors.length, 4);
      assert.match(errors[0]!.message, /daemon "recorder" threw at event 2 of origin 77: an even one/);
      assert.is(failures, 2);
      assert.is(daemons[1]!.seen.length, 4);
    }),
);

migration('a daemon cannot be spawned twice, and a name can be used again after its end', () =>
  inWorld(async ({ nodes }) => {
    const { id, originHash } = EntityKeypair.generate();
    await nodes[0]!.spawn('recorder', EntityKeypair.fromEntityId(id));
    await refusal('already-exists', () => nodes[1]!.spawn('recorder', EntityKeypair.fromEntityId(id)));
    await nodes[0]!.stop(originHash);
    await nodes[1]!.spawn('recorder', EntityKeypair.fromEntityId(id));
    await refusal('daemon-not-found', () => nodes[0]!.stop(originHash));
  }),
);

migration('what is no event is refused with all that came beside it: none of them counts as seen', () =>
  inWorld(async ({ nodes, origin, daemons }) => {
    const [first, second] = events(PUBLISHER, 1, 2);
    for (const wrong of [
      {},
      null,
      { ...second, link: {} },
      { ...second, payload: 'text' },
      { ...second, receivedAt: 1 },
    ]) {
      try {
        await nodes[0]!.deliver(origin, [first, wrong] as never);
        assert.unreachable();
      } catch (error) {
        assert.instance(error, TypeError);
        assert.match((error as Error).message, /^events\[1\]/);
      }
    }
    assert.equal(daemons[0]!.seen, []);
    assert.throws(() => nodes[1]!.publisher(1 as never, 1n), /origin must be a bigint/);
    assert.throws(() => nodes[1]!.publisher(origin, 1 as never), /node must be a bigint/);
    assert.equal(await nodes[0]!.deliver(origin, [first!, second!]), {
      accepted: 2,
      duplicates: 0,
      refusal: undefined,
    });
    assert.equal(daemons[0]!.seen, [1n, 2n]);
  }),
);

migration('what is missing of a publisher can be asked for, travels along, and closes when it comes', () =>
  inWorld(async ({ nodes, origin, daemons }) => {
    await nodes[0]!.deliver(origin, [
      ...events(PUBLISHER, 1, 2),
      ...events(PUBLISHER, 5, 1),
      ...events(PUBLISHER, 9, 2),
    ]);
    const gaps = [
      [3n, 4n],
      [6n, 8n],
    ];
    assert.equal(nodes[0]!.missing(origin, PUBLISHER), gaps);
    assert.equal(nodes[0]!.missing(origin, PUBLISHER + 1n), []);
    await nodes[2]!.startMigration(origin, 1n, 2n).wait({ timeout: 5_000 });
    assert.equal(nodes[1]!.missing(origin, PUBLISHER), gaps);
    await refusal('daemon-not-found', () => nodes[2]!.missing(origin, PUBLISHER));
    await nodes[1]!.deliver(origin, [...events(PUBLISHER, 3, 2), ...events(PUBLISHER, 6, 3)]);
    assert.equal(nodes[1]!.missing(origin, PUBLISHER), []);
    assert.is(daemons[1]!.seen.length, 10);
  }),
);
