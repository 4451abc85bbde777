import * as assert from 'uvu/assert';
import { type CausalEvent, DaemonRuntime, EntityKeypair, InProcessMesh, type Mesh } from '../../lib/index.js';
import type { OwnershipRegister } from '../../lib/mesh/register.js';
import { events, eventually, Recorder, refusal, suite } from '../support.js';
import { type Sent, withoutConfirmations } from './held-confirmations.js';

const PUBLISHER = 77n;
const [SOURCE, TARGET, OTHER] = [1n, 2n, 3n];

interface WorldOptions {
  /** The source's mesh, as it meets it. */
  readonly sourceMesh?: (mesh: Mesh) => Mesh;
  /** How long the source waits for a confirmation before it looks into the register. */
  readonly patienceMs?: number;
}

/** A daemon that has moved from node 1 to node 2, of which node 1 has not heard: its copy is the backup. */
async function world({ sourceMesh = (mesh) => mesh, patienceMs = 30_000 }: WorldOptions = {}) {
  const mesh = new InProcessMesh();
  const held: Sent[] = [];
  const seats = [SOURCE, TARGET, OTHER].map((id) => mesh.join(id));
  const outputs: CausalEvent[] = [];
  await seats[0]!.subscribe('recorder', {}, (_, published) => void outputs.push(...published));
  const daemons: Recorder[] = [];
  const nodes = seats.map((seat) => {
    const wrapped = seat.nodeId === TARGET ? withoutConfirmations(seat, (sent) => held.push(sent)) : sourceMesh(seat);
    const policy = { source: { patienceMs, repeatMs: 50 } };
    const runtime = new DaemonRuntime({ mesh: wrapped, orchestrators: [SOURCE, OTHER], policy });
    runtime.registerFactory('recorder', () => {
      daemons.push(new Recorder());
      return daemons.at(-1)!;
    });
    runtime.start();
    return runtime;
  });
  const [source, target, other] = nodes as [DaemonRuntime, DaemonRuntime, DaemonRuntime];
  const origin = await source.spawn('recorder', EntityKeypair.generate());
  await source.deliver(origin, events(PUBLISHER, 1, 10));
  await source.startMigration(origin, SOURCE, TARGET).wait({ timeout: 5_000 });
  await eventually('the target has confirmed', () => held.length > 0);
  const end = async () => {
    for (const node of nodes) await node.shutdown().catch(() => {});
  };
  return { source, target, other, seats, daemons, origin, outputs, end };
}

const numbers = (last: number) => Array.from({ length: last }, (_, i) => BigInt(i + 1));
const recovery = suite('a daemon whose new node is gone');

recovery('comes back by itself where the mesh knows that, before its source had heard of the activation', async () => {
  const { source, seats, daemons, origin, outputs, end } = await world();
  assert.is(source.has(origin), false);
  await seats[1]!.close();
  await eventually('the source has it again', () => source.has(origin));
  const entry = (await seats[0]!.register.read(origin))!.entry;
  assert.is(entry.owner, SOURCE);
  assert.is(entry.epoch, 3n, 'spawned in 1, claimed in 2, recovered in 3');
  await source.deliver(origin, events(PUBLISHER, 11, 5));
  assert.equal(daemons[0]!.seen, numbers(15));
  await eventually('its outputs go on', () => outputs.length === 15);
  await source.startMigration(origin, SOURCE, OTHER).wait({ timeout: 5_000 });
  await end();
});

/** A daemon whose only copy is lost with its node, which is started again. */
async function lostDaemon() {
  const mesh = new InProcessMesh();
  const start = (id: bigint) => {
    const seat = mesh.join(id);
    const runtime = new DaemonRuntime({ mesh: seat });
    runtime.registerFactory('recorder', () => new Recorder());
    runtime.start();
    return { seat, runtime };
  };
  const [first, other] = [start(SOURCE), start(OTHER)];
  const keypair = EntityKeypair.generate();
  const origin = await first.runtime.spawn('recorder', keypair.clone());
  await first.runtime.deliver(origin, events(PUBLISHER, 1, 3));
  return { origin, keypair, first, other: other.runtime, restart: () => start(SOURCE).runtime };
}

recovery('of which no copy is left is given up, and spawned anew by who asks for that', async () => {
  const { origin, keypair, first, other, restart } = await lostDaemon();
  await refusal('already-exists', () => other.forget(origin));
  await refusal('already-exists', () => first.runtime.forget(origin));
  await first.seat.close();
  const again = restart();
  const error = await refusal('already-exists', () => again.spawn('recorder', keypair.clone()));
  assert.match(error.message, /forget\(\) gives it up/);
  await refusal('already-exists', () => other.forget(origin));
  await again.forget(origin);
  await refusal('daemon-not-found', () => again.forget(origin));
  assert.is(await other.spawn('recorder', keypair.clone()), origin);
  await other.deliver(origin, events(PUBLISHER, 1, 2));
  assert.is(other.counts(origin).processed, 2, 'it has seen nothing yet');
  await Promise.all([again, other, first.runtime].map((node) => node.shutdown().catch(() => {})));
});

recovery('of which no copy is left is given up elsewhere only when its node is gone, or by force', async () => {
  const { origin, keypair, first, other, restart } = await lostDaemon();
  await first.seat.close();
  await other.forget(origin);
  const again = restart();
  await again.spawn('recorder', keypair.clone());
  await refusal('already-exists', () => other.forget(origin));
  await other.forget(origin, { force: true });
  assert.ok(await other.spawn('recorder', keypair.clone()));
  await Promise.all([again, other, first.runtime].map((node) => node.shutdown().catch(() => {})));
});

recovery('is not recovered while its owner is in the mesh, unless somebody answers for that', async () => {
  const { source, target, origin, end } = await world();
  const error = await refusal('already-exists', () => source.recover(origin));
  assert.match(error.message, /node 2, which is in the mesh/);
  assert.is(source.has(origin), false);
  assert.is(target.has(origin), true);
  await source.recover(origin, { force: true });
  assert.is(source.has(origin), true);
  await end();
});

recovery('is not recovered over one that has moved on meanwhile; the old copy goes', async () => {
  const { source, target, other, seats, origin, end } = await world();
  await other.startMigration(origin, TARGET, OTHER).wait({ timeout: 5_000 });
  assert.is(other.has(origin), true);
  assert.is(target.has(origin), false);
  await seats[1]!.close();
  // What its target’s end prompts is over when the old copy has gone.
  await eventually('the backup has gone', () => !isKnown(source, origin));
  assert.is(other.has(origin), true);
  assert.is((await seats[0]!.register.read(origin))!.entry.owner, OTHER);
  await end();
});

recovery('is recovered once, however many ask for it at the same time, and all of them hear of it', async () => {
  const { source, origin, end } = await world();
  const asked = [1, 2, 3].map(() => source.recover(origin, { force: true }));
  const heard = await Promise.race([Promise.all(asked), new Promise((resolve) => setTimeout(resolve, 2_000))]);
  assert.equal(
    heard,
    [1, 2, 3].map(() => ({ epoch: 3n, isWhole: true })),
  );
  assert.is(source.has(origin), true);
  await end();
});

recovery('cannot be recovered where no copy waits', async () => {
  const { source, other, origin, end } = await world();
  await refusal('daemon-not-found', () => other.recover(origin, { force: true }));
  await refusal('daemon-not-found', () => source.recover(12_345n));
  await end();
});

/** The same mesh, except that the answer to the write that makes node 1 the owner again gets lost. */
function withoutAnswer(mesh: Mesh, onLost: () => void): Mesh {
  const { register } = mesh;
  const lossy: OwnershipRegister = {
    read: (origin) => register.read(origin),
    compareAndSet: async (origin, expected, entry) => {
      const written = await register.compareAndSet(origin, expected, entry);
      if (entry?.owner !== SOURCE || entry.epoch !== 3n || !written) return written;
      onLost();
      throw new Error('no answer came');
    },
  };
  return new Proxy(mesh, {
    get(target, name) {
      if (name === 'register') return lossy;
      const value = Reflect.get(target, name, target) as unknown;
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

recovery('comes back also where the register took the recovery and its answer was lost', async () => {
  let lost = 0;
  const { source, seats, daemons, origin, end } = await world({
    sourceMesh: (mesh) => (mesh.nodeId === SOURCE ? withoutAnswer(mesh, () => lost++) : mesh),
  });
  await seats[1]!.close();
  await eventually('the source has it again', () => source.has(origin));
  assert.is(lost, 1);
  assert.is((await seats[0]!.register.read(origin))!.entry.epoch, 3n);
  await source.deliver(origin, events(PUBLISHER, 11, 5));
  assert.equal(daemons[0]!.seen, numbers(15));
  await end();
});

recovery('is let go of where it has moved on, though no confirmation ever comes; it may come home then', async () => {
  const { source, other, origin, end } = await world({ patienceMs: 200 });
  await other.startMigration(origin, TARGET, OTHER).wait({ timeout: 5_000 });
  await eventually('the backup has gone', () => !isKnown(source, origin));
  await other.startMigration(origin, OTHER, SOURCE).wait({ timeout: 5_000 });
  assert.is(source.has(origin), true);
  await end();
});

recovery('is kept while it is the backup: its node takes no other copy, of whatever try', async () => {
  const { source, target, other, daemons, origin, end } = await world();
  await target.deliver(origin, events(PUBLISHER, 11, 5));
  const error = await refusal('already-exists', () =>
    other.startMigration(origin, TARGET, SOURCE).wait({ timeout: 5_000 }),
  );
  assert.match(error.message, /is on this node already/);
  assert.is(target.has(origin), true);
  await source.recover(origin, { force: true });
  assert.equal(daemons[0]!.seen, numbers(10), 'the copy that it had');
  await end();
});

recovery('is let go of where it has ended, though no confirmation ever comes', async () => {
  const { source, target, origin, end } = await world({ patienceMs: 200 });
  await target.stop(origin);
  await eventually('the backup has gone', () => !isKnown(source, origin));
  await end();
});

/** Whether a copy, live or not, is on a node. */
function isKnown(node: DaemonRuntime, origin: bigint): boolean {
  try {
    node.counts(origin);
    return true;
  } catch {
    return false;
  }
}
