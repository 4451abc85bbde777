import * as assert from 'uvu/assert';
import {
  DaemonFactoryRegistry,
  DaemonRuntime,
  EntityKeypair,
  InProcessMesh,
  NodeKeys,
  secureMemoryStatus,
} from '../../lib/index.js';
import { events, Recorder, refusal, suite } from '../support.js';

const [SOURCE, TARGET] = [1n, 2n];

/** Loosely typed, as JavaScript calls it. */
// biome-ignore lint/suspicious/noExplicitAny: what types keep out is what is tested
type Any = any;
const Runtime = DaemonRuntime as Any;

/** What was thrown or rejected with, at once: a TypeError or RangeError of these words. */
async function says(words: RegExp, run: () => unknown): Promise<void> {
  let thrown: unknown;
  try {
    await run();
  } catch (error) {
    thrown = error;
  }
  assert.ok(thrown instanceof TypeError || thrown instanceof RangeError, `${words}: ${String(thrown)}`);
  assert.match((thrown as Error).message, words);
}

const wrong = suite('a wrong argument');

const seat = () => new InProcessMesh().join();
const nodeKeys = NodeKeys.generate();
const RUNTIME: ReadonlyArray<readonly [options: () => unknown, words: RegExp]> = [
  [() => undefined, /^options must be an object, as \{ mesh \}, got undefined/],
  [() => null, /^options must be an object, as \{ mesh \}, got null/],
  [() => ({}), /^mesh must be one node's place in a mesh.*got undefined/],
  [() => ({ mesh: new InProcessMesh() }), /^mesh must be .*got the mesh itself; give its join\(\)/],
  [
    () => ({ mesh: Object.assign(Object.create(seat()), { peer: 5 }) }),
    /^mesh\.peer must be a function, got the number 5/,
  ],
  [() => ({ mesh: { ...methods(), nodeId: 1n } }), /^mesh\.register must be an OwnershipRegister, got undefined/],
  [() => ({ mesh: { ...methods(), nodeId: 1 } }), /^mesh\.nodeId must be a bigint/],
  ...Object.entries({
    orchestrators: [
      [5, /^orchestrators must be an array, got the number 5/],
      ['1', /^orchestrators must be an array/],
      [[1], /^each of orchestrators must be a bigint from 0 to 2\^64 - 1, got the number 1/],
      [[-1n], /^each of orchestrators must be .* below 0/],
    ],
    authorize: [[true, /^authorize must be a function, got a boolean/]],
    onError: [['x', /^onError must be a function, got a string/]],
    eventLog: [
      [5, /^eventLog must be an object, got the number 5/],
      [{ maxEvents: '10' }, /^eventLog\.maxEvents must be an integer/],
      [{ maxEvents: -1 }, /^eventLog\.maxEvents must be an integer/],
      [{ maxBytes: 1e30 }, /^eventLog\.maxBytes must be an integer/],
      [{ maxByte: 1 }, /^eventLog\.maxByte is not known; eventLog takes maxEvents, maxBytes/],
    ],
    maxConcurrentMigrations: [['3', /^maxConcurrentMigrations must be a whole number/]],
    maxConcurentMigrations: [[3, /^options\.maxConcurentMigrations is not known; options takes mesh, /]],
    maxBytesPerSecond: [['1', /^maxBytesPerSecond must be a number of at least 7000/]],
    environment: [
      [{}, /^environment\.nowMs must be a function, got undefined/],
      [null, /^environment must be an object with the functions of an Environment, got null/],
    ],
    nodeKeys: [[{}, /^nodeKeys must be NodeKeys/]],
    spool: [
      [5, /^spool must be a folder's path, or an object/],
      ['', /^spool must be a folder's path, or an object/],
      [{}, /^spool\.take must be a function, got undefined/],
    ],
    policy: [
      [5, /^policy must be an object/],
      [{ sorce: {} }, /^policy\.sorce is not known; policy takes orchestrator, source, target/],
      [{ source: 5 }, /^policy\.source must be an object/],
      [{ source: { patienceMs: 'x' } }, /^policy\.source\.patienceMs must be a number of at least 1, got x/],
      [{ source: { maxSnapshotBytes: 1 } }, /^policy\.source\.maxSnapshotBytes is not known/],
      [{ target: { maxSnapshotBytes: 'x' } }, /^policy\.target\.maxSnapshotBytes must be an integer/],
      [{ target: { maxPendingBytes: -1 } }, /^policy\.target\.maxPendingBytes must be an integer/],
      [{ orchestrator: { phases: { Foo: {} } } }, /^policy\.orchestrator\.phases\.Foo is not known/],
      [
        { orchestrator: { phases: { Restore: { tries: 0 } } } },
        /^policy\.orchestrator\.phases\.Restore\.tries must be/,
      ],
    ],
    rebind: [
      [5, /^rebind must be an object/],
      [{ deadlineMs: 'x' }, /^rebind\.deadlineMs must be a number/],
      [{ deadline: 5 }, /^rebind\.deadline is not known; rebind takes deadlineMs, /],
    ],
  } satisfies Record<string, ReadonlyArray<readonly [unknown, RegExp]>>).flatMap(([key, cases]) =>
    cases.map(
      ([value, words]) =>
        [() => ({ mesh: seat(), ...(key === 'spool' && { nodeKeys }), [key]: value }), words] as const,
    ),
  ),
];

/** A place in a mesh without what is no function. */
function methods(): object {
  const names = 'peer announce send stream ready listen publish subscribe forget onPeerGone close'.split(' ');
  return Object.fromEntries(names.map((name) => [name, () => {}]));
}

for (const [options, words] of RUNTIME) {
  wrong(`of a new runtime: ${words.source}`, async () => {
    const { secrets } = secureMemoryStatus();
    await says(words, () => new Runtime(options()));
    assert.is(secureMemoryStatus().secrets, secrets, 'no key is left of it');
  });
}

wrong('of a new runtime leaves its place in the mesh free; a runtime that runs does not', async () => {
  const mesh = new InProcessMesh();
  const place = mesh.join();
  await says(/^onError/, () => new Runtime({ mesh: place, onError: 5 }));
  const runtime = new DaemonRuntime({ mesh: place });
  await runtime.start();
  await says(
    /^mesh must be of this runtime alone, and another one is node 1 on it/,
    () => new Runtime({ mesh: place }),
  );
  runtime.registerFactory('recorder', () => new Recorder());
  const origin = await runtime.spawn('recorder', EntityKeypair.generate());
  assert.is((await runtime.deliver(origin, events(7n, 1, 2))).accepted, 2);
  await runtime.shutdown();
  const next = new DaemonRuntime({ mesh: place });
  await next.shutdown();
});

/** Two nodes; a daemon on the first. */
async function world(run: (a: Any, b: Any, origin: bigint) => Promise<void>): Promise<void> {
  const mesh = new InProcessMesh();
  const [a, b] = [SOURCE, TARGET].map((id) => new DaemonRuntime({ mesh: mesh.join(id), orchestrators: [SOURCE] }));
  for (const runtime of [a!, b!]) {
    runtime.registerFactory('recorder', () => new Recorder());
    await runtime.start();
  }
  const origin = await a!.spawn('recorder', EntityKeypair.generate());
  await run(a, b, origin);
  for (const runtime of [a!, b!]) await runtime.shutdown();
}

const CALLS: Readonly<Record<string, (a: Any, b: Any, origin: bigint) => unknown>> = {
  'options must be an object, as { orchestrator: 7n }, got a bigint': (_, b, o) =>
    b.expectMigration('recorder', o, undefined, 7n),
  'options must be an object, as { orchestrator: 7n }, got null': (_, b, o) =>
    b.expectMigration('recorder', o, undefined, null),
  'orchestrator must be a bigint from 0 to 2^64 - 1, got the number 7': (_, b, o) =>
    b.expectMigration('recorder', o, undefined, { orchestrator: 7 }),
  'options.orchestrater is not known; options takes orchestrator': (_, b, o) =>
    b.expectMigration('recorder', o, undefined, { orchestrater: 7n }),
  'origin must be a bigint from 0 to 2^64 - 1, got the number': (_, b, o) =>
    b.expectMigration('recorder', Number(o), undefined, { orchestrator: 7n }),
  'kind must be a string that is not empty, got undefined': (_, b, o) =>
    b.expectMigration(undefined, o, undefined, { orchestrator: 7n }),
  'kind must be a string that is not empty': (_, b, o) => b.expectMigration('', o, undefined, { orchestrator: 7n }),
  'options must be an object, as { orchestrator: 7n }, got the number 7': (_, b) =>
    b.registerMigrationTargetIdentity(EntityKeypair.generate(), 'recorder', undefined, 7),
  'orchestrator must be a bigint from 0 to 2^64 - 1, got a string': (_, b) =>
    b.registerMigrationTargetIdentity(EntityKeypair.generate(), 'recorder', undefined, { orchestrator: '7' }),
  'kind must be a string that is not empty, got the number 5': (_, b) =>
    b.registerMigrationTargetIdentity(EntityKeypair.generate(), 5),
  "options must be an object, as { mode: 'live' }, got a string": (a, _, o) =>
    a.startMigration(o, SOURCE, TARGET, 'live'),
  "options must be an object, as { mode: 'live' }, got null": (a, _, o) => a.startMigration(o, SOURCE, TARGET, null),
  "options must be an object, as { mode: 'live' }, got the number 5": (a, _, o) =>
    a.startMigration(o, SOURCE, TARGET, 5),
  'options.retryNotRedy is not known': (a, _, o) => a.startMigration(o, SOURCE, TARGET, { retryNotRedy: 1 }),
  'transportIdentity must be a boolean, got the number 0': (a, _, o) =>
    a.startMigration(o, SOURCE, TARGET, { transportIdentity: 0 }),
  'retryNotReady must be': (a, _, o) => a.startMigration(o, SOURCE, TARGET, { retryNotReady: 'x' }),
  'signal must be an AbortSignal, got null': (a, _, o) => a.startMigration(o, SOURCE, TARGET, { signal: null }),
  'onProgress must be a function, got the number 5': (a, _, o) =>
    a.startMigration(o, SOURCE, TARGET, { onProgress: 5 }),
  'options must be an object, as { source: 1n }, got null': (a, _, o) => a.canMigrate(o, TARGET, null),
  'options must be an object, as { source: 1n }, got the number 5': (a, _, o) => a.canMigrate(o, TARGET, 5),
  'transportIdentity must be a boolean, got a string': (a, _, o) => a.canMigrate(o, TARGET, { transportIdentity: 'x' }),
  'options must be an object, as { token }, got null': (a, _, o) => a.subscribeChannel(o, SOURCE, 'x', null),
  'options must be an object, as { token }, got a string': (a, _, o) => a.subscribeChannel(o, SOURCE, 'x', 'x'),
  'options must be an object, as { deadlineMs: 5_000 }, got null': (a) => a.shutdown(null),
  'options must be an object, as { deadlineMs: 5_000 }, got the number 5': (a) => a.shutdown(5),
  'options.timeout is not known; options takes deadlineMs': (a) => a.shutdown({ timeout: 5 }),
  'options must be an object, as { force: true }, got a boolean': (a, _, o) => a.recover(o, true),
  'force must be a boolean, got a string': (a, _, o) => a.forget(o, { force: 'no' }),
  'origin must be a bigint from 0 to 2^64 - 1, got the number 5': (a) => a.recover(5),
  'origin must be a bigint from 0 to 2^64 - 1, got the number 6': (a) => a.stop(6),
  'origin must be a bigint from 0 to 2^64 - 1, got a string': (a) => a.has('6'),
};

for (const [message, call] of Object.entries(CALLS)) {
  wrong(`of a call: ${message}`, () =>
    world(async (a, b, origin) => {
      await says(new RegExp(`^${message.replace(/[.^{}()]/g, '\\$&')}`), () => call(a, b, origin));
      assert.ok(a.isReady && b.isReady);
      assert.equal([...a.migrations(), ...b.migrations()], []);
      await a.startMigration(origin, SOURCE, TARGET).wait({ timeout: 5_000 });
    }),
  );
}

wrong('of an expectation leaves the binding that was there before', () =>
  world(async (a, b, origin) => {
    b.expectMigration('recorder', origin, undefined, { orchestrator: 7n });
    await says(/^orchestrator/, () => b.expectMigration('recorder', origin, undefined, { orchestrator: 1 }));
    await refusal('not-authorised', () => a.startMigration(origin, SOURCE, TARGET).wait({ timeout: 5_000 }));
  }),
);

wrong('of an expectation without a runtime', async () => {
  const factories = new DaemonFactoryRegistry() as Any;
  await says(/^origin/, () => factories.expect('recorder', 5));
  await says(/^options must/, () => factories.expect('recorder', 5n, undefined, null));
  await says(/^keypair must be an EntityKeypair/, () => factories.expect('recorder', 5n, undefined, { keypair: {} }));
  await says(/^orchestrator/, () => factories.expect('recorder', 5n, undefined, { orchestrator: 1 }));
  assert.is(factories.isExpected(5n), false);
  factories.expect('recorder', 5n);
  await says(/^orchestrator/, () => factories.bindOrchestrator(5n, 1));
  assert.is(factories.expectedOrchestrator(5n), undefined);
});

wrong('of wait', () =>
  world(async (a, _, origin) => {
    const handle = a.startMigration(origin, SOURCE, TARGET);
    await says(/^options must be an object, as \{ timeout: 5_000 \}, got the number 5/, () => handle.wait(5));
    await says(/^timeout must be/, () => handle.wait({ timeout: 'x' }));
    await handle.wait();
  }),
);

const FACTORIES: Readonly<Record<string, readonly [factory: () => unknown, words: RegExp]>> = {
  nothing: [() => undefined, /it gave undefined$/],
  null: [() => null, /it gave null$/],
  'a string': [() => 'daemon', /it gave a string$/],
  'a promise': [async () => new Recorder(), /it gave a promise: /],
  'a promise that rejects': [async () => Promise.reject(new Error('no')), /it gave a promise: /],
  'an object without process': [() => ({ name: 'x' }), /it gave an object whose process is undefined$/],
};
for (const [what, [factory, words]] of Object.entries(FACTORIES)) {
  wrong(`of a factory, that gives ${what}: no daemon comes to life`, () =>
    world(async (a, b, origin) => {
      a.registerFactory('bad', factory);
      b.registerFactory('recorder', factory);
      const { secrets } = secureMemoryStatus();
      const keypair = EntityKeypair.generate();
      const error = await refusal('state-failed', () => a.spawn('bad', keypair));
      assert.match(error.message, /^the factory of kind "bad" must give a daemon/);
      assert.match(error.message, words);
      assert.is(keypair.canSign, true, 'the key is its owner’s still');
      assert.is(a.has(keypair.originHash), false);
      assert.is(await a.spawn('recorder', keypair), keypair.originHash, 'nor does the register know it');
      await a.stop(keypair.originHash);
      const failed = await refusal('state-failed', () =>
        a.startMigration(origin, SOURCE, TARGET).wait({ timeout: 5_000 }),
      );
      assert.match(failed.message, /the factory of kind "recorder" must give a daemon/);
      assert.is(a.has(origin), true);
      assert.throws(() => b.keypair(origin), /is not on this node/);
      assert.is(secureMemoryStatus().secrets, secrets, 'nor is a key left');
    }),
  );
}
