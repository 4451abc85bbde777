import * as assert from 'uvu/assert';
import { DaemonHost } from '../../lib/daemon/host.js';
import { type CausalEvent, createCodec, EntityKeypair } from '../../lib/index.js';
import { events, Recorder, refusal, suite } from '../support.js';

const host = suite('a daemon on its host');
const codec = createCodec({ engine: 'typescript' });
const PUBLISHER = 7n;
const TARGET = 3n;

function hosted() {
  const daemon = new Recorder();
  const published: Array<{ readonly outputs: readonly CausalEvent[]; readonly epoch: bigint }> = [];
  const copy = new DaemonHost({
    codec,
    keypair: EntityKeypair.generate(),
    kind: 'recorder',
    daemon,
    clock: () => 0n,
    turn: () => new Promise((resolve) => setImmediate(resolve)),
    publish: (outputs, epoch) => void published.push({ outputs, epoch }),
  });
  return { copy, daemon, published };
}

/** A state as a snapshot holds it. */
function whole(carried: readonly Uint8Array[], own: unknown): Uint8Array {
  return Buffer.concat([...carried, own as Uint8Array]);
}

host('a live copy processes and publishes', async () => {
  const { copy, daemon, published } = hosted();
  assert.equal(await copy.accept(events(PUBLISHER, 1, 3)), { accepted: 3, duplicates: 0, refusal: undefined });
  assert.equal(daemon.seen, [1n, 2n, 3n]);
  assert.is(published.flatMap(({ outputs }) => outputs).length, 3);
});

host('a fenced copy refuses all, names the target, and neither processes, logs nor notes them', async () => {
  const { copy, daemon, published } = hosted();
  copy.movingTo = TARGET;
  await copy.fence();
  const { accepted, refusal } = await copy.accept(events(PUBLISHER, 1, 3));
  assert.is(accepted, 0);
  assert.is(refusal?.kind, 'moving');
  assert.is(refusal?.details.target, TARGET);
  assert.ok(refusal?.retriable);
  assert.equal(daemon.seen, []);
  assert.is(copy.log.count, 0);
  assert.equal(published, []);
  await copy.resume();
  assert.equal(await copy.accept(events(PUBLISHER, 1, 3)), { accepted: 3, duplicates: 0, refusal: undefined });
  assert.equal(daemon.seen, [1n, 2n, 3n]);
});

host('a fence holds for what still waits behind slow work', async () => {
  const { copy, daemon } = hosted();
  let goOn = () => {};
  const blocked = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  daemon.before = () => blocked;
  const first = copy.accept(events(PUBLISHER, 1, 1));
  const second = copy.accept(events(PUBLISHER, 2, 1));
  const fenced = copy.fence();
  goOn();
  await fenced;
  assert.is((await first).accepted, 1);
  assert.is((await second).refusal?.kind, 'moving');
  assert.equal(daemon.seen, [1n]);
});

host('a fenced copy goes on with what it has logged, before anything newer', async () => {
  const { copy, daemon } = hosted();
  await copy.snapshot({ carry: true, intake: 'logging' });
  assert.is((await copy.accept(events(PUBLISHER, 1, 2))).accepted, 2);
  assert.equal(daemon.seen, []);
  await copy.fence();
  assert.is((await copy.accept(events(PUBLISHER, 3, 1))).accepted, 0);
  // Also what is handed in while it still processes that.
  daemon.before = () => new Promise((resolve) => setImmediate(resolve));
  const resumed = copy.resume();
  const accepted = copy.accept(events(PUBLISHER, 3, 1));
  await Promise.all([resumed, accepted]);
  assert.equal(daemon.seen, [1n, 2n, 3n]);
});

host('a held copy refuses all but what is replayed, and publishes nothing before it is live', async () => {
  const { copy, daemon, published } = hosted();
  copy.hold();
  const { accepted, refusal } = await copy.accept(events(PUBLISHER, 1, 3));
  assert.is(accepted, 0);
  assert.is(refusal?.kind, 'moving');
  assert.is(refusal?.details.target, undefined);
  assert.equal(daemon.seen, []);
  await copy.replay(events(PUBLISHER, 1, 2));
  assert.equal(daemon.seen, [1n, 2n]);
  assert.equal(published, []);
  assert.is((await copy.accept(events(PUBLISHER, 3, 1))).accepted, 0);
  copy.goLive(4n);
  assert.equal(
    published.map(({ outputs, epoch }) => [outputs.length, epoch]),
    [[2, 4n]],
  );
  assert.equal(await copy.accept(events(PUBLISHER, 2, 2)), { accepted: 2, duplicates: 1, refusal: undefined });
  assert.equal(daemon.seen, [1n, 2n, 3n]);
});

host('what is accepted while a large snapshot is written is not in it, and is logged', async () => {
  const MANY = 20_000;
  const { copy, daemon } = hosted();
  for (let n = 0; n < MANY; n++) copy.positions.set(9n, `feed/${n}`, Uint8Array.of(1));
  await copy.accept(events(PUBLISHER, 1, 3));
  const taking = copy.snapshot({ carry: true, intake: 'logging' });
  assert.instance(taking, Promise, 'it takes several turns');
  let isWritten = false;
  void Promise.resolve(taking).then(() => {
    isWritten = true;
  });
  await copy.accept([]);
  assert.equal(await copy.accept(events(PUBLISHER, 4, 2)), { accepted: 2, duplicates: 0, refusal: undefined });
  assert.not.ok(isWritten, 'nobody waits for that');
  copy.positions.set(9n, `feed/${MANY - 1}`, Uint8Array.of(2));
  const { fields, carried, own } = await taking;
  assert.equal(daemon.seen, [1n, 2n, 3n]);
  assert.is(copy.log.count, 2);

  const moved = hosted();
  const snapshot = codec.decodeSnapshot(codec.encodeSnapshot({ ...fields, state: whole(carried, own) }));
  const restoring = moved.copy.restore(snapshot);
  assert.instance(restoring, Promise, 'it takes several turns');
  await restoring;
  assert.equal(moved.daemon.seen, [1n, 2n, 3n]);
  assert.is(moved.copy.hasSeen(events(PUBLISHER, 4, 1)[0]!.link), false);
  assert.is(moved.copy.positions.list().length, MANY);
  assert.equal(moved.copy.positions.get(9n, `feed/${MANY - 1}`), Uint8Array.of(1));
});

host('a copy that is ended while it is restored takes up nothing', async () => {
  const source = hosted();
  for (let n = 0; n < 20_000; n++) source.copy.positions.set(9n, `feed/${n}`, Uint8Array.of(1));
  const { fields, carried, own } = await source.copy.snapshot({ carry: true });
  const moved = hosted();
  const snapshot = codec.decodeSnapshot(codec.encodeSnapshot({ ...fields, state: whole(carried, own) }));
  moved.daemon.before = () => assert.unreachable('its daemon is asked nothing');
  const restoring = moved.copy.restore(snapshot);
  moved.copy.dispose();
  await refusal('disposed', () => restoring);
});

host('a restored copy is held, with what its snapshot had seen', async () => {
  const source = hosted();
  await source.copy.accept(events(PUBLISHER, 1, 2));
  const { fields, carried, own } = await source.copy.snapshot({ carry: true, intake: 'logging' });
  const bytes = codec.encodeSnapshot({ ...fields, state: whole(carried, own) });
  const { copy, daemon } = hosted();
  await copy.restore(codec.decodeSnapshot(bytes));
  assert.is(copy.gate, 'held');
  assert.is((await copy.accept(events(PUBLISHER, 3, 1))).refusal?.kind, 'moving');
  assert.equal(daemon.seen, [1n, 2n]);
  await copy.replay(events(PUBLISHER, 1, 3));
  assert.equal(daemon.seen, [1n, 2n, 3n]);
});
