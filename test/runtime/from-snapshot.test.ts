import * as assert from 'uvu/assert';
import {
  type CausalEvent,
  createCodec,
  DaemonRuntime,
  EntityKeypair,
  InProcessMesh,
  type StartMigrationOptions,
} from '../../lib/index.js';
import { joined } from '../../lib/runtime/joined.js';
import { events, eventually, Recorder, refusal, suite } from '../support.js';

const PUBLISHER = 77n;
const codec = createCodec({ engine: 'typescript' });

interface World {
  readonly a: DaemonRuntime;
  readonly b: DaemonRuntime;
  readonly daemons: Recorder[];
  readonly outputs: CausalEvent[];
  /** As the ownership register has it. */
  readonly epoch: (origin: bigint) => Promise<bigint | undefined>;
}

/** Nodes 1 and 2 that trust each other, and what recorders anywhere publish. */
async function inPair(run: (world: World) => Promise<void>) {
  const mesh = new InProcessMesh();
  const daemons: Recorder[] = [];
  const outputs: CausalEvent[] = [];
  const seats = [mesh.join(1n), mesh.join(2n)];
  const [a, b] = seats.map((seat) => {
    const node = new DaemonRuntime({ mesh: seat, orchestrators: [1n, 2n] });
    node.registerFactory('recorder', () => {
      daemons.push(new Recorder());
      return daemons.at(-1)!;
    });
    node.start();
    return node;
  }) as [DaemonRuntime, DaemonRuntime];
  await seats[1]!.subscribe('recorder', {}, (_, published) => void outputs.push(...published));
  try {
    const epoch = async (origin: bigint) => (await seats[0]!.register.read(origin))?.entry.epoch;
    await run({ a, b, daemons, outputs, epoch });
  } finally {
    await a.shutdown();
    await b.shutdown();
  }
}

const whole = suite('a daemon brought back from its snapshot');

whole('goes on elsewhere with its state, what it has seen, and its chain', () =>
  inPair(async ({ a, b, daemons, outputs }) => {
    const keypair = EntityKeypair.generate();
    const again = keypair.clone();
    const origin = await a.spawn('recorder', keypair);
    await a.deliver(origin, events(PUBLISHER, 1, 10));
    const snapshot = await a.snapshot(origin);
    const decoded = codec.decodeSnapshot(snapshot);
    assert.is(decoded.throughSeq, 10n);
    assert.is(decoded.identityEnvelope, undefined);
    assert.equal(await a.state(origin), daemons[0]!.snapshot(), 'the daemon’s own bytes');
    await a.stop(origin);

    assert.is(await b.spawnFromSnapshot('recorder', again, snapshot), origin);
    assert.ok(b.has(origin));
    assert.equal(daemons[1]!.seen, daemons[0]!.seen);
    const { accepted, duplicates } = await b.deliver(origin, events(PUBLISHER, 8, 5));
    assert.equal({ accepted, duplicates }, { accepted: 5, duplicates: 3 });
    assert.equal(daemons[1]!.seen.slice(-2), [11n, 12n]);
    await eventually('all outputs are out', () => outputs.length === 12);
    const genesis = { originHash: origin, horizon: 0n, sequence: 0n, parentHash: 0n };
    assert.is(codec.verifyChain(genesis, new Uint8Array(0), outputs), 12, 'one chain');
    assert.ok(b.keypair(origin).canSign);
  }),
);

whole('moves on, and back to a node where it was before it was stopped', () =>
  inPair(async ({ a, b, epoch }) => {
    const keypair = EntityKeypair.generate();
    const again = keypair.clone();
    const origin = await a.spawn('recorder', keypair);
    await a.startMigration(origin, 1n, 2n).wait({ timeout: 5_000 });
    await b.deliver(origin, events(PUBLISHER, 1, 3));
    const snapshot = await b.snapshot(origin);
    await b.stop(origin);
    assert.is(await epoch(origin), undefined);
    await a.spawnFromSnapshot('recorder', again, snapshot);
    assert.is(await epoch(origin), 3n, 'after those in which it has lived');
    await a.startMigration(origin, 1n, 2n).wait({ timeout: 5_000 });
    const { duplicates } = await b.deliver(origin, events(PUBLISHER, 1, 3));
    assert.is(duplicates, 3);
  }),
);

whole('lives once: while it lives anywhere it is refused, and its key stays the caller’s', () =>
  inPair(async ({ a, b }) => {
    const keypair = EntityKeypair.generate();
    const again = keypair.clone();
    const origin = await a.spawn('recorder', keypair);
    const snapshot = await a.snapshot(origin);
    await refusal('already-exists', () => b.spawnFromSnapshot('recorder', again, snapshot));
    await refusal('already-exists', () => a.spawnFromSnapshot('recorder', again, snapshot));
    assert.ok(again.canSign);
    assert.ok(a.has(origin) && !b.has(origin));
    await a.stop(origin);
    await b.spawnFromSnapshot('recorder', again, snapshot);
  }),
);

whole('is refused for another key, from damaged bytes, and where its restore throws; then nothing is there', () =>
  inPair(async ({ a, daemons }) => {
    const keypair = EntityKeypair.generate();
    const again = keypair.clone();
    const origin = await a.spawn('recorder', keypair);
    const snapshot = await a.snapshot(origin);
    await a.stop(origin);
    const other = EntityKeypair.generate();
    const error = await refusal('origin-mismatch', () => a.spawnFromSnapshot('recorder', other, snapshot));
    assert.match(error.message, new RegExp(other.id.hex));
    await refusal('truncated', () => a.spawnFromSnapshot('recorder', again, snapshot.subarray(0, 50)));
    await refusal('factory-not-found', () => a.spawnFromSnapshot('unknown', again, snapshot));
    a.registerFactory('broken', () => {
      const daemon = new Recorder();
      daemon.before = (call) => {
        if (call === 'restore') throw new Error('no');
      };
      return daemon;
    });
    await refusal('state-failed', () => a.spawnFromSnapshot('broken', again, snapshot));
    assert.not(a.has(origin));
    assert.ok(again.canSign);
    const made = daemons.length;
    await a.spawnFromSnapshot('recorder', again, snapshot);
    assert.is(daemons.length, made + 1);
  }),
);

whole('takes a snapshot that carries nothing of our host: the daemon’s own bytes alone', () =>
  inPair(async ({ a, daemons }) => {
    const keypair = EntityKeypair.generate();
    const chainLink = { originHash: keypair.originHash, horizon: 0n, sequence: 4n, parentHash: 9n };
    const snapshot = codec.encodeSnapshot({
      entityId: keypair.entityId,
      throughSeq: 4n,
      chainLink,
      createdAt: 0n,
      state: new Uint8Array(BigUint64Array.of(1n, 2n).buffer),
      bindings: new Uint8Array(0),
      identityEnvelope: undefined,
    });
    await a.spawnFromSnapshot('recorder', keypair, snapshot);
    assert.equal(daemons[0]!.seen, [1n, 2n]);
  }),
);

whole('is as long as its parts, in their order, however large they are', async () => {
  let turns = 0;
  const parts = [Uint8Array.of(1), new Uint8Array(9 * 1024 * 1024).fill(2), Uint8Array.of(3, 4)];
  const bytes = await joined(parts, () => Promise.resolve(void turns++));
  assert.is(bytes.length, 9 * 1024 * 1024 + 3);
  assert.equal([bytes[0], bytes[1], bytes.at(-3), bytes.at(-2), bytes.at(-1)], [1, 2, 2, 3, 4]);
  assert.is(Buffer.compare(bytes.subarray(1, -2), parts[1]!), 0);
  assert.is(turns, 2);
});

const identity = suite('a key that the target has itself');

const keyless: StartMigrationOptions = { transportIdentity: false };

identity('is the daemon’s where none travels along', () =>
  inPair(async ({ a, b }) => {
    const keypair = EntityKeypair.generate();
    const own = keypair.clone();
    const origin = await a.spawn('recorder', keypair);
    b.registerMigrationTargetIdentity(own, 'recorder');
    await a.startMigration(origin, 1n, 2n, keyless).wait({ timeout: 5_000 });
    assert.ok(b.keypair(origin).canSign);
    own.dispose();
    assert.ok(b.keypair(origin).canSign, 'a copy');
  }),
);

identity('is refused as one where it is not a key pair', () =>
  inPair(async ({ b }) => {
    assert.throws(
      () => b.registerMigrationTargetIdentity(1n as unknown as EntityKeypair, 'recorder'),
      (error: unknown) => error instanceof TypeError && /^keypair/.test(error.message),
    );
  }),
);

const expected = suite('a daemon that is expected from one orchestrator');

expected('is placed by that one alone', () =>
  inPair(async ({ a, b }) => {
    const origin = await a.spawn('recorder', EntityKeypair.generate());
    b.expectMigration('recorder', origin, undefined, { orchestrator: 2n });
    const asked = await a.canMigrate(origin, 2n, keyless);
    assert.equal(
      asked.map(({ kind, where }) => [kind, where]),
      [['not-authorised', 'target']],
    );
    await refusal('not-authorised', () => a.startMigration(origin, 1n, 2n, keyless).wait({ timeout: 5_000 }));
    assert.ok(a.has(origin));
    await b.startMigration(origin, 1n, 2n, keyless).wait({ timeout: 5_000 });
    assert.ok(b.has(origin));
  }),
);
