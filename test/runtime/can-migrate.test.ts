import * as assert from 'uvu/assert';
import {
  type CanMigrateOptions,
  DaemonRuntime,
  type DaemonRuntimeOptions,
  EntityKeypair,
  InProcessMesh,
  type Mesh,
  type MeshDaemon,
} from '../../lib/index.js';
import { Recorder, suite } from '../support.js';
import { ManualEnvironment } from './manual-environment.js';

const can = suite('whether a daemon can migrate');

interface Setup {
  /** Of each node in turn. Default: all trust 1, 2 and 3, and make recorders. */
  readonly nodes?: Partial<Record<1 | 2 | 3, Omit<Partial<DaemonRuntimeOptions>, 'mesh'>>>;
  readonly kinds?: Partial<Record<1 | 2 | 3, string>>;
  readonly idle?: readonly number[];
  /** Nodes whose mesh does not tell their keys. */
  readonly keyless?: readonly number[];
  readonly daemon?: () => MeshDaemon;
  readonly keypair?: EntityKeypair;
}

interface World {
  readonly nodes: Record<1 | 2 | 3, DaemonRuntime>;
  readonly mesh: InProcessMesh;
  readonly origin: bigint;
  /** What node 3 is told of a migration from 1 to 2. */
  readonly asked: (options?: CanMigrateOptions, target?: bigint) => Promise<string[]>;
}

function withoutKeys(mesh: Mesh): Mesh {
  return new Proxy(mesh, {
    get(target, name) {
      if (name === 'announce') return () => {};
      const value = Reflect.get(target, name, target) as unknown;
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** A daemon on node 1; node 3 asks whether it can go to node 2. */
async function inWorld(setup: Setup, run: (world: World) => Promise<void>) {
  const mesh = new InProcessMesh();
  const make = (id: 1 | 2 | 3) => {
    const runtime = new DaemonRuntime({
      orchestrators: [1n, 2n, 3n],
      ...setup.nodes?.[id],
      mesh: setup.keyless?.includes(id) ? withoutKeys(mesh.join(BigInt(id))) : mesh.join(BigInt(id)),
    });
    runtime.registerFactory(setup.kinds?.[id] ?? 'recorder', setup.daemon ?? (() => new Recorder()));
    if (!setup.idle?.includes(id)) runtime.start();
    return runtime;
  };
  const nodes = { 1: make(1), 2: make(2), 3: make(3) };
  const kind = setup.kinds?.[1] ?? 'recorder';
  const origin = await nodes[1].spawn(kind, setup.keypair ?? EntityKeypair.generate());
  const asked = async (options?: CanMigrateOptions, target = 2n) => {
    const obstacles = await nodes[3].canMigrate(origin, target, options);
    for (const { message } of obstacles) assert.ok(message.length > 20, message);
    return obstacles.map(({ kind, where }) => `${kind} ${where}`);
  };
  try {
    await run({ nodes, mesh, origin, asked });
  } finally {
    for (const node of Object.values(nodes)) await node.shutdown();
  }
}

can('be told beforehand, from any node, and then it goes', () =>
  inWorld({}, async ({ nodes, origin, asked }) => {
    assert.equal(await asked(), []);
    assert.equal(await asked({ source: 1n }), []);
    assert.equal(await nodes[1].canMigrate(origin, 2n), []);
    assert.equal(await nodes[2].canMigrate(origin, 2n), []);
    await nodes[3].startMigration(origin, 1n, 2n).wait({ timeout: 5_000 });
    assert.equal(await asked({}, 1n), [], 'where it is now the register tells');
    assert.equal(await asked({ source: 1n }, 3n), ['daemon-not-found source']);
    const [gone] = await nodes[3].canMigrate(origin, 3n, { source: 1n });
    assert.match(gone!.message, /it went to node 2/);
  }),
);

can('be told of a node that has just joined, and whose key comes a moment later', () =>
  inWorld({}, async ({ nodes, mesh, origin, asked }) => {
    const seat = mesh.join(4n);
    const asking = asked({}, 4n);
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    const late = new DaemonRuntime({ mesh: seat, orchestrators: [3n] });
    late.registerFactory('recorder', () => new Recorder());
    late.start();
    assert.equal(await asking, []);
    await nodes[3].startMigration(origin, 1n, 4n).wait({ timeout: 5_000 });
    await late.shutdown();
  }),
);

can('be refused for what the source says', async () => {
  const pinned = () => Object.assign(new Recorder(), { movable: false });
  await inWorld({ daemon: pinned }, async ({ asked }) => assert.equal(await asked(), ['pinned source']));
  await inWorld({ nodes: { 1: { orchestrators: [] } } }, async ({ asked }) =>
    assert.equal(await asked(), ['not-authorised source']),
  );
  await inWorld({ keypair: EntityKeypair.generate().publicOnly() }, async ({ asked }) => {
    assert.equal(await asked(), ['identity-transport-failed source']);
    assert.equal(await asked({ transportIdentity: false }), []);
  });
});

can('be refused for what the target says', async () => {
  await inWorld({ idle: [2] }, async ({ asked }) =>
    assert.equal(await asked({ transportIdentity: false }), ['not-ready target']),
  );
  await inWorld({ nodes: { 2: { orchestrators: [] } } }, async ({ asked }) =>
    assert.equal(await asked(), ['not-authorised target']),
  );
  await inWorld({ kinds: { 2: 'another' } }, async ({ asked, nodes, origin }) => {
    assert.equal(await asked(), ['factory-not-found target']);
    nodes[2].expectMigration('nowhere registered', origin);
    assert.equal(await asked(), ['factory-not-found target']);
    nodes[2].expectMigration('another', origin, undefined, { orchestrator: 1n });
    assert.equal(await asked(), ['not-authorised target']);
    nodes[2].expectMigration('another', origin);
    assert.equal(await asked(), []);
  });
});

can('be refused for a key that the target has not told', () =>
  inWorld({ keyless: [2] }, async ({ asked }) => {
    assert.equal(await asked(), ['identity-transport-failed source']);
    assert.equal(await asked({}, 3n), []);
  }),
);

can('be refused for a target that has not started, until it has', () =>
  inWorld({ idle: [2] }, async ({ asked, nodes }) => {
    assert.equal(await asked(), ['not-ready target']);
    nodes[2].start();
    assert.equal(await asked(), []);
  }),
);

can('be refused for all at once, and never for a factory of a kind that nobody told', () =>
  inWorld({ kinds: { 2: 'another' }, nodes: { 1: { orchestrators: [] } }, idle: [2] }, async ({ asked }) =>
    assert.equal(await asked(), ['not-authorised source', 'not-ready target']),
  ),
);

can('be refused where the nodes make no sense', () =>
  inWorld({}, async ({ nodes, origin, asked }) => {
    assert.equal(await asked({}, 1n), ['same-node orchestrator']);
    assert.equal(await asked({}, 9n), ['identity-transport-failed source', 'target-unavailable target']);
    assert.equal(await asked({ source: 9n }), ['source-unavailable source']);
    assert.equal(await asked({ source: 2n }, 1n), ['daemon-not-found source', 'already-exists target']);
    const nowhere = await nodes[3].canMigrate(origin + 1n, 2n);
    assert.equal(
      nowhere.map(({ kind, where }) => [kind, where]),
      [['daemon-not-found', 'orchestrator']],
    );
  }),
);

can('be refused while it migrates, even between two attempts', () =>
  inWorld({ idle: [2] }, async ({ nodes, origin, asked }) => {
    const handle = nodes[3].startMigration(origin, 1n, 2n, { transportIdentity: false });
    while (handle.state !== 'retrying') await new Promise((resolve) => setImmediate(resolve));
    assert.equal(await asked({ transportIdentity: false }), ['already-migrating orchestrator', 'not-ready target']);
    await handle.cancel();
  }),
);

can('be refused where the source moves it already, whoever leads that', async () => {
  let goOn = () => {};
  const wait = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  const made: Recorder[] = [];
  const daemon = () => {
    const recorder = new Recorder();
    recorder.before = (call) => (call === 'restore' ? wait : undefined);
    made.push(recorder);
    return recorder;
  };
  await inWorld({ daemon }, async ({ nodes, origin, asked }) => {
    const handle = nodes[1].startMigration(origin, 1n, 2n);
    while (made.length < 2) await new Promise((resolve) => setImmediate(resolve));
    const inWay = await asked();
    assert.ok(inWay.includes('already-migrating source'), inWay.join());
    assert.ok(inWay.includes('already-migrating target'), inWay.join());
    goOn();
    await handle.wait({ timeout: 5_000 });
  });
});

can('not be told by a node that says nothing: then that is the answer', async () => {
  const environment = new ManualEnvironment();
  await inWorld({ nodes: { 3: { environment } } }, async ({ mesh, nodes, origin, asked }) => {
    mesh.join(4n);
    let told: string[] | undefined;
    const asking = asked({ transportIdentity: false, timeout: 2_000 }, 4n).then((obstacles) => {
      told = obstacles;
    });
    await environment.advance(1_900);
    assert.is(told, undefined);
    await environment.advance(200);
    await asking;
    assert.equal(told, ['no-answer target']);
    const ending = nodes[3].canMigrate(origin, 4n, { transportIdentity: false });
    await environment.advance(100);
    await nodes[3].shutdown();
    assert.equal(
      (await ending).map(({ kind, where }) => `${kind} ${where}`),
      ['not-ready orchestrator'],
    );
    assert.is(environment.timers, 0, 'timers left behind');
    const after = await nodes[3].canMigrate(origin, 2n);
    assert.equal(
      after.map(({ kind }) => kind),
      ['not-ready'],
    );
  });
});

can('not be asked with a time that is none', () =>
  inWorld({}, async ({ nodes, origin }) => {
    for (const timeout of [Number.NaN, -1, '5' as unknown as number]) {
      try {
        await nodes[3].canMigrate(origin, 2n, { timeout });
        assert.unreachable(String(timeout));
      } catch (error) {
        assert.instance(error, RangeError);
      }
    }
  }),
);

can('be asked without taking a snapshot, or changing anything', async () => {
  const calls: string[] = [];
  const daemon = () => {
    const recorder = new Recorder();
    recorder.before = (call) => void calls.push(call);
    return recorder;
  };
  await inWorld({ daemon }, async ({ nodes, asked }) => {
    for (let i = 0; i < 3; i++) assert.equal(await asked(), []);
    assert.equal(calls, []);
    for (const node of Object.values(nodes)) assert.is(node.refusedFrames, 0);
  });
});
