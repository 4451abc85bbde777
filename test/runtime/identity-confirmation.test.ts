import * as assert from 'uvu/assert';
import { DaemonRuntime, EntityKeypair, InProcessMesh, type Mesh, secureMemoryStatus } from '../../lib/index.js';
import { SUBPROTOCOL_MIGRATION } from '../../lib/wire/message.js';
import { events, eventually, Recorder, refusal, suite } from '../support.js';
import { type Sent, withoutConfirmations } from './held-confirmations.js';

const MESSAGE = Buffer.from('signed by the daemon');
const PUBLISHER = 77n;
const [SOURCE, TARGET, STRANGER] = [1n, 2n, 3n];

interface World {
  readonly source: DaemonRuntime;
  readonly target: DaemonRuntime;
  readonly seats: ReadonlyMap<bigint, Mesh>;
  readonly targetDaemon: Recorder;
  readonly keypair: EntityKeypair;
  readonly origin: bigint;
  /** Confirmations that the target has sent so far, and that nobody has received unless it was passed on. */
  readonly held: Sent[];
}

async function inWorld(run: (world: World) => Promise<void>): Promise<void> {
  const mesh = new InProcessMesh();
  const seats = new Map([SOURCE, TARGET, STRANGER].map((id) => [id, mesh.join(id)]));
  const held: Sent[] = [];
  const source = new DaemonRuntime({ mesh: seats.get(SOURCE)! });
  const target = new DaemonRuntime({
    mesh: withoutConfirmations(seats.get(TARGET)!, (sent) => held.push(sent)),
    orchestrators: [SOURCE],
  });
  const targetDaemon = new Recorder();
  source.registerFactory('recorder', () => new Recorder());
  target.registerFactory('recorder', () => targetDaemon);
  for (const node of [source, target]) node.start();
  const keypair = EntityKeypair.generate();
  const origin = await source.spawn('recorder', keypair);
  try {
    await run({ source, target, seats, targetDaemon, keypair, origin, held });
  } finally {
    // Some of them end with a source that will never hear of the activation.
    for (const node of [source, target]) await node.shutdown({ deadlineMs: 200 });
  }
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Whatever was sent before has arrived: events go to the source and come back refused. */
async function settled({ source, origin }: World): Promise<void> {
  for (let i = 0; i < 5; i++) await turn();
  await source.deliver(origin, events(PUBLISHER, 1, 1));
}

/** Until the target lives, and the source has not heard of it. */
async function claimed(world: World): Promise<void> {
  await world.source.startMigration(world.origin, SOURCE, TARGET).wait({ timeout: 5_000 });
  await eventually('the target has confirmed', () => world.held.length > 0);
  await settled(world);
}

const confirmation = suite('the key of a daemon that has moved');

confirmation('is kept by the source while the target lives and its confirmation is on the way', () =>
  inWorld(async (world) => {
    const { source, target, seats, keypair, origin, held } = world;
    await claimed(world);
    assert.ok(target.has(origin), 'the target lives');
    assert.is((await seats.get(STRANGER)!.register.read(origin))?.entry.owner, TARGET);
    assert.ok(keypair.id.verify(MESSAGE, target.keypair(origin).sign(MESSAGE)));
    assert.is(source.has(origin), false, 'the source does not');
    assert.is(keypair.canSign, true, 'its copy is the backup, key included');
    const before = secureMemoryStatus().secrets;

    const [{ to, frame }] = held as [Sent];
    assert.is(to, SOURCE);
    seats.get(TARGET)!.send(to, SUBPROTOCOL_MIGRATION, frame);
    await eventually('the source has wiped its half', () => !keypair.canSign);
    assert.is(secureMemoryStatus().secrets, before - 1);
    assert.is(keypair.originHash, origin, 'the public half stays');
    await refusal('public-only', () => keypair.sign(MESSAGE));
    assert.ok(target.keypair(origin).canSign);
  }),
);

confirmation('is not wiped at the word of anybody but the target', () =>
  inWorld(async (world) => {
    const { source, seats, keypair, held } = world;
    await claimed(world);
    const refused = source.refusedFrames;
    for (const from of [STRANGER, SOURCE]) seats.get(from)!.send(SOURCE, SUBPROTOCOL_MIGRATION, held[0]!.frame);
    await eventually('both are refused', () => source.refusedFrames === refused + 2);
    assert.is(keypair.canSign, true);
  }),
);

confirmation('is wiped at a later confirmation, which the target repeats, where the first was lost', () =>
  inWorld(async (world) => {
    const { seats, keypair, held } = world;
    await claimed(world);
    held.length = 0;
    await eventually('the target confirms again', () => held.length > 0);
    assert.is(keypair.canSign, true);
    const { to, frame } = held[0]!;
    for (let copies = 0; copies < 3; copies++) seats.get(TARGET)!.send(to, SUBPROTOCOL_MIGRATION, frame);
    await eventually('the source has wiped its half', () => !keypair.canSign);
  }),
);

confirmation('is not wiped by a late confirmation of a move that is over, once the daemon is back', () =>
  inWorld(async (world) => {
    const { source, target, seats, keypair, origin, held } = world;
    await claimed(world);
    const { to, frame } = held[0]!;
    seats.get(TARGET)!.send(to, SUBPROTOCOL_MIGRATION, frame);
    await eventually('the source has wiped its half', () => !keypair.canSign);
    await source.startMigration(origin, TARGET, SOURCE).wait({ timeout: 5_000 });
    assert.ok(source.keypair(origin).canSign, 'it has come back with its key');
    await eventually('the other has wiped its half', () => !target.has(origin));
    const refused = source.refusedFrames;
    seats.get(TARGET)!.send(to, SUBPROTOCOL_MIGRATION, frame);
    await eventually('it is refused', () => source.refusedFrames > refused);
    assert.ok(source.keypair(origin).canSign);
    assert.ok(keypair.id.verify(MESSAGE, source.keypair(origin).sign(MESSAGE)));
  }),
);

const failed = suite('the count of secrets');

failed('is what it was after a restore that failed, and after one more', () =>
  inWorld(async ({ source, targetDaemon, keypair, origin }) => {
    const before = secureMemoryStatus();
    let opened = 0;
    targetDaemon.before = (call) => {
      if (call !== 'restore') return;
      opened = secureMemoryStatus().secrets;
      throw new Error('no');
    };
    for (let tries = 0; tries < 2; tries++) {
      opened = 0;
      await refusal('state-failed', () => source.startMigration(origin, SOURCE, TARGET).wait({ timeout: 5_000 }));
      assert.is(opened, before.secrets + 1, 'the key had been opened');
      await eventually('it is wiped', () => secureMemoryStatus().secrets === before.secrets);
    }
    assert.equal(secureMemoryStatus(), before);
    assert.is(keypair.sign(MESSAGE).length, 64);
  }),
);
