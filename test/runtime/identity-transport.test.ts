import { inspect } from 'node:util';
import * as assert from 'uvu/assert';
import {
  DaemonRuntime,
  EntityKeypair,
  InProcessMesh,
  type Mesh,
  MigrationError,
  NodeKeys,
  secureMemoryStatus,
} from '../../lib/index.js';
import { SecretSearch } from '../identity/traces/patterns.js';
import { events, eventually, Recorder, refusal, suite } from '../support.js';

const MESSAGE = Buffer.from('signed by the daemon');
const PUBLISHER = 77n;
const [SOURCE, TARGET] = [1n, 2n];

interface World {
  readonly source: DaemonRuntime;
  readonly target: DaemonRuntime;
  readonly sourceDaemon: Recorder;
  readonly targetDaemon: Recorder;
  readonly errors: MigrationError[];
  readonly keypair: EntityKeypair;
  readonly origin: bigint;
}

interface Nodes {
  /** Of the target; the runtime's own where there are none. */
  readonly nodeKeys?: NodeKeys;
  /** What the target tells its peers in place of its X25519 key. */
  readonly announced?: Uint8Array;
  readonly keypair?: EntityKeypair;
}

function announcing(mesh: Mesh, staticKey: Uint8Array): Mesh {
  return new Proxy(mesh, {
    get(target, name) {
      if (name === 'announce') return () => target.announce(staticKey);
      const value = Reflect.get(target, name, target) as unknown;
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

async function inWorld(nodes: Nodes, run: (world: World) => Promise<void>): Promise<void> {
  const mesh = new InProcessMesh();
  const errors: MigrationError[] = [];
  const onError = (error: MigrationError) => void errors.push(error);
  const source = new DaemonRuntime({ mesh: mesh.join(SOURCE), onError });
  const seat = mesh.join(TARGET);
  const target = new DaemonRuntime({
    mesh: nodes.announced ? announcing(seat, nodes.announced) : seat,
    orchestrators: [SOURCE],
    onError,
    ...(nodes.nodeKeys ? { nodeKeys: nodes.nodeKeys } : {}),
  });
  const [sourceDaemon, targetDaemon] = [new Recorder(), new Recorder()];
  source.registerFactory('recorder', () => sourceDaemon);
  target.registerFactory('recorder', () => targetDaemon);
  for (const node of [source, target]) node.start();
  const keypair = nodes.keypair ?? EntityKeypair.generate();
  const origin = await source.spawn('recorder', keypair);
  try {
    await run({ source, target, sourceDaemon, targetDaemon, errors, keypair, origin });
  } finally {
    for (const node of [source, target]) await node.shutdown();
  }
}

/** The daemon lives at the source, with its key, and takes events. */
async function goesOn({ source, target, keypair, origin, sourceDaemon }: World): Promise<void> {
  await eventually('the daemon goes on', () => source.has(origin));
  assert.is(target.has(origin), false);
  await refusal('daemon-not-found', () => target.keypair(origin));
  assert.ok(keypair.id.verify(MESSAGE, source.keypair(origin).sign(MESSAGE)));
  const before = sourceDaemon.seen.length;
  await source.deliver(origin, events(PUBLISHER, before + 1, 3));
  await eventually('its events are processed', () => sourceDaemon.seen.length === before + 3);
}

const transport = suite('a daemon’s key that cannot arrive');

transport('since the target has disposed of its node keys: the migration fails and says so, the daemon goes on', () => {
  const nodeKeys = NodeKeys.generate();
  return inWorld({ nodeKeys }, async (world) => {
    const { source, origin } = world;
    nodeKeys.dispose();
    const before = secureMemoryStatus().secrets;
    const error = await refusal('identity-transport-failed', () =>
      source.startMigration(origin, SOURCE, TARGET).wait({ timeout: 5_000 }),
    );
    assert.match(error.message, /was disposed of/);
    await goesOn(world);
    assert.is(secureMemoryStatus().secrets, before);
  });
});

/** X25519's points of small order: RFC 7748 §6.1, and those of the twist. */
const LOW_ORDER = [
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
  '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
].map((hex) => Uint8Array.from(Buffer.from(hex, 'hex')));

transport('since the target announces a key of low order: nothing is sealed to it, and the start fails', async () => {
  for (const announced of LOW_ORDER) {
    await inWorld({ announced }, async (world) => {
      const { source, sourceDaemon, origin } = world;
      let snapshots = 0;
      sourceDaemon.before = (call) => {
        if (call === 'snapshot') snapshots++;
      };
      const error = await refusal('identity-transport-failed', () =>
        source.startMigration(origin, SOURCE, TARGET).wait({ timeout: 5_000 }),
      );
      assert.match(error.message, /X25519 public key of target node 2 is of low order/);
      assert.is(snapshots, 0);
      await goesOn(world);
    });
  }
});

transport('since somebody announced another key: it opens for nobody, and the daemon goes on', () => {
  // Disposed of here: its secrets must not be collected while others are counted.
  using other = NodeKeys.generate();
  return inWorld({ announced: other.staticPublic }, async (world) => {
    const before = secureMemoryStatus().secrets;
    const error = await refusal('identity-transport-failed', () =>
      world.source.startMigration(world.origin, SOURCE, TARGET).wait({ timeout: 5_000 }),
    );
    assert.match(error.message, /sealed to another key than this node's/);
    await goesOn(world);
    assert.is(secureMemoryStatus().secrets, before);
  });
});

transport('since its owner wiped it in the daemon’s own snapshot(): the migration fails, the daemon goes on', () =>
  inWorld({}, async ({ source, target, sourceDaemon, keypair, origin }) => {
    sourceDaemon.before = (call) => {
      if (call === 'snapshot') keypair.wipeSecret();
    };
    const error = await refusal('identity-transport-failed', () =>
      source.startMigration(origin, SOURCE, TARGET).wait({ timeout: 5_000 }),
    );
    assert.match(error.message, /public-only/);
    await eventually('the daemon goes on', () => source.has(origin));
    assert.is(target.has(origin), false);
  }),
);

const told = suite('what a runtime tells of its errors');

/** Everything that anybody may have printed while `run` ran. */
async function printed(run: (says: unknown[]) => Promise<void>): Promise<Buffer> {
  const says: unknown[] = [];
  const warned = (warning: Error) => void says.push(warning);
  process.on('warning', warned);
  try {
    await run(says);
  } finally {
    process.off('warning', warned);
  }
  const texts = says.flatMap((one) => [
    inspect(one, { showHidden: true, depth: 20, getters: true, maxArrayLength: null }),
    inspect(one, { showHidden: true, depth: 20, customInspect: false, maxArrayLength: null }),
    String((one as Error).stack),
    JSON.stringify(one, (_, value) => (typeof value === 'bigint' ? value.toString() : value)),
  ]);
  return Buffer.from(texts.join('\n'));
}

/** Each world has one way to fail, and says all that it knows. */
async function failInEveryWay(seed: Uint8Array, nodeSeed: Uint8Array, says: unknown[]): Promise<void> {
  const ways: ((world: World, nodeKeys: NodeKeys) => void | Promise<void>)[] = [
    // A daemon that puts all it has into its errors.
    async ({ source, sourceDaemon, origin, keypair, errors }) => {
      sourceDaemon.before = () => {
        throw Object.assign(new Error(`${inspect(keypair)} ${JSON.stringify(keypair)}`), { keypair });
      };
      await source.deliver(origin, events(PUBLISHER, 1, 3));
      await eventually('three errors are told', () => errors.length === 3);
    },
    ({ targetDaemon, keypair }, nodeKeys) => {
      targetDaemon.before = () => {
        throw Object.assign(new Error('no'), { keypair, nodeKeys });
      };
    },
    (_, nodeKeys) => nodeKeys.dispose(),
  ];
  for (const prepare of ways) {
    const nodeKeys = NodeKeys.fromSeed(nodeSeed);
    await inWorld({ nodeKeys, keypair: EntityKeypair.fromSeed(seed) }, async (world) => {
      await prepare(world, nodeKeys);
      const move = world.source.startMigration(world.origin, SOURCE, TARGET);
      const error = await move.wait({ timeout: 5_000 }).catch((thrown: unknown) => thrown);
      assert.instance(error, MigrationError);
      says.push(error, ...world.errors, world.source, world.target);
    });
    nodeKeys.dispose();
  }
}

async function warnInEveryWay(seed: Uint8Array): Promise<void> {
  const keypair = EntityKeypair.fromSeed(seed);
  const daemon = new Recorder();
  await using node = new DaemonRuntime({ mesh: new InProcessMesh().join() });
  node.registerFactory('recorder', () => daemon);
  node.start();
  daemon.before = () => {
    throw Object.assign(new Error(`of ${inspect(keypair, { showHidden: true })}`), { keypair });
  };
  const origin = await node.spawn('recorder', keypair);
  await node.deliver(origin, events(PUBLISHER, 1, 1));
  await new Promise((resolve) => setImmediate(resolve));
}

told('holds no secret, in onError, in refusals, in warnings', async () => {
  const [seed, nodeSeed] = [0, 1].map((which) =>
    Uint8Array.from({ length: 32 }, (_, i) => (i * 37 + which * 91 + 5) & 255),
  );
  const search = new SecretSearch(
    new Map([
      ['daemon', seed!],
      ['node', nodeSeed!],
    ]),
  );
  const text = await printed(async (says) => {
    await failInEveryWay(seed!, nodeSeed!, says);
    await warnInEveryWay(seed!);
    assert.ok(says.length > 8, `${says.length} things were said`);
    assert.ok(
      says.some((one) => one instanceof Error && /threw at event 1/.test(one.message) && 'code' in one),
      'a warning',
    );
  });
  const { id } = EntityKeypair.fromSeed(seed!);
  assert.ok(text.includes(id.hex), 'what is public is told');
  assert.equal(search.in(text), []);
  for (const leak of [Buffer.from(seed!).toString('hex'), JSON.stringify([...seed!])]) {
    assert.ok(search.in(Buffer.concat([text, Buffer.from(leak)])).length > 0, 'the search finds what is there');
  }
});
