import * as assert from 'uvu/assert';
import type { Acceptance } from '../../lib/daemon/host.js';
import { moving } from '../../lib/daemon/host.js';
import { MigrationError } from '../../lib/errors.js';
import { HeldDeliveries } from '../../lib/runtime/held-deliveries.js';
import { EventPublisher } from '../../lib/runtime/publisher.js';
import { events, refusal, suite } from '../support.js';
import { ManualEnvironment, settled } from './manual-environment.js';
import { NEXT, PhaseWorld, SOURCE, TARGET } from './phase-world.js';

const held = suite('deliveries to a held copy');
const DAEMON = 1n;
const PUBLISHER = 9n;
const turn = () => new Promise((resolve) => setImmediate(resolve));

function waiting(deliveries: HeldDeliveries, origin: bigint, count = 2) {
  const state = { over: false };
  const wait = deliveries.wait(origin, events(PUBLISHER, 1, count));
  void wait?.then(() => {
    state.over = true;
  });
  return { state, waits: wait !== undefined };
}

held('wait for their daemon, and for no other', async () => {
  const deliveries = new HeldDeliveries(new ManualEnvironment());
  const [first, second, other] = [DAEMON, DAEMON, 2n].map((origin) => waiting(deliveries, origin));
  await turn();
  assert.equal([first!.state.over, second!.state.over, other!.state.over], [false, false, false]);
  deliveries.release(DAEMON);
  await turn();
  assert.equal([first!.state.over, second!.state.over, other!.state.over], [true, true, false]);
  deliveries.releaseAll();
  await turn();
  assert.is(other!.state.over, true);
});

held('wait for a while, and leave no timer', async () => {
  const environment = new ManualEnvironment();
  const deliveries = new HeldDeliveries(environment);
  const { state } = waiting(deliveries, DAEMON);
  await environment.advance(150);
  assert.is(state.over, false);
  await environment.advance(100);
  assert.is(state.over, true);
  waiting(deliveries, DAEMON);
  deliveries.release(DAEMON);
  assert.is(environment.timers, 0);
});

held('take up a bounded number of bytes, over all daemons', async () => {
  const deliveries = new HeldDeliveries(new ManualEnvironment());
  let taken = 0;
  while (waiting(deliveries, BigInt(taken), 100).waits) taken++;
  assert.ok(taken >= 10 && taken <= 300, `${taken} batches of 100 events wait`);
  deliveries.release(0n);
  assert.is(waiting(deliveries, DAEMON, 100).waits, true);
});

/** A publisher whose daemon lives where `answer` says; what it asked, and how often it waited before it asked again. */
function following(answer: (node: bigint, asked: number) => Acceptance, where?: () => Promise<bigint | undefined>) {
  const asked: bigint[] = [];
  let pauses = 0;
  let now = 0;
  const environment = {
    nowMs: () => now,
    after: (ms: number, run: () => void) => {
      pauses++;
      now += ms;
      setImmediate(run);
      return () => {};
    },
  };
  const deliver = async (node: bigint) => answer(node, asked.push(node));
  return { publisher: new EventPublisher(1n, deliver, environment, where), asked, pauses: () => pauses };
}

const accepted: Acceptance = { accepted: 2, duplicates: 0, refusal: undefined };
const sentTo = (target: bigint | undefined): Acceptance => ({
  accepted: 0,
  duplicates: 0,
  refusal: moving(DAEMON, target),
});

held('a publisher goes at once where it is sent on to', async () => {
  const { publisher, asked, pauses } = following((node) => (node === 1n ? sentTo(2n) : accepted));
  await publisher.send(events(PUBLISHER, 1, 2));
  await publisher.flush();
  assert.equal([asked, pauses()], [[1n, 2n], 0]);
  await publisher.send(events(PUBLISHER, 3, 2));
  await publisher.flush();
  assert.equal([asked, pauses()], [[1n, 2n, 2n], 0]);
});

held('a publisher goes at once each time that its daemon moves', async () => {
  let home = 1n;
  const { publisher, pauses } = following((node) => (node === home ? accepted : sentTo(home)));
  for (const next of [2n, 3n, 1n]) {
    home = next;
    await publisher.send(events(PUBLISHER, 1, 2));
    await publisher.flush();
  }
  assert.equal([publisher.node, pauses()], [1n, 0]);
});

const goneFrom = (node: bigint): Acceptance => ({
  accepted: 0,
  duplicates: 0,
  refusal: new MigrationError('target-unavailable', `node ${node} is gone`, { details: { node } }),
});

held(
  'a publisher whose target is gone before it took anything goes back to the source, once the register has the daemon there',
  async () => {
    let asks = 0;
    // First out of reach, then not recovered yet.
    const owners = [() => Promise.reject(new Error('no answer')), async () => 2n, async () => 1n];
    const { publisher, asked } = following(
      (node, count) => (count === 1 ? sentTo(2n) : node === 2n ? goneFrom(2n) : accepted),
      () => owners[Math.min(asks++, 2)]!(),
    );
    await publisher.send(events(PUBLISHER, 1, 2));
    await publisher.flush();
    assert.equal([publisher.node, publisher.accepted, asks], [1n, 2, 3]);
    assert.equal(asked.at(-1), 1n);
  },
);

held('a publisher gives up where nobody has the daemon, and after a while where its owner stays away', async () => {
  const ended = following(goneFrom, async () => undefined);
  await ended.publisher.send(events(PUBLISHER, 1, 2));
  await refusal('target-unavailable', () => ended.publisher.flush());
  assert.is(ended.asked.length, 1);
  const away = following(
    (node) => (node === 1n ? sentTo(2n) : goneFrom(2n)),
    async () => 2n,
  );
  await away.publisher.send(events(PUBLISHER, 1, 2));
  await refusal('target-unavailable', () => away.publisher.flush());
  assert.ok(away.asked.length > 100 && away.asked.length < 300, `asked ${away.asked.length} times in 10 s`);
});

held('a publisher says so when a node is gone that had accepted something, whoever has the daemon now', async () => {
  let isGone = false;
  const { publisher, asked } = following(
    (node) => (node === 1n ? sentTo(2n) : isGone ? goneFrom(2n) : accepted),
    async () => 1n,
  );
  await publisher.send(events(PUBLISHER, 1, 2));
  await publisher.flush();
  isGone = true;
  await publisher.send(events(PUBLISHER, 3, 2));
  await refusal('target-unavailable', () => publisher.flush());
  assert.equal(asked, [1n, 2n, 2n]);
});

held('a publisher that is sent to and fro, or nowhere, waits in between', async () => {
  const circle = following((node, asked) => (asked < 8 ? sentTo(node === 1n ? 2n : 1n) : accepted));
  await circle.publisher.send(events(PUBLISHER, 1, 2));
  await circle.publisher.flush();
  assert.equal([circle.asked.length, circle.pauses()], [8, 6]);
  const nowhere = following((_, asked) => (asked < 4 ? sentTo(undefined) : accepted));
  await nowhere.publisher.send(events(PUBLISHER, 1, 2));
  await nowhere.publisher.flush();
  assert.equal([nowhere.asked, nowhere.pauses()], [[1n, 1n, 1n, 1n], 3]);
});

held('a publisher that comes to the target before the daemon is live there is answered once it is', () =>
  PhaseWorld.run(async (world) => {
    world.hold('write 2');
    const handle = world.move();
    await world.until('the target claims', () => world.waiting('write 2') === 1);
    const publisher = world.nodes.get(NEXT)!.publisher(world.origin, SOURCE);
    const sentAt = world.environment.nowMs();
    await publisher.send(events(77n, 1, 2));
    const flushed = publisher.flush();
    await settled(20);
    assert.equal([publisher.node, publisher.accepted], [TARGET, 0]);
    world.release();
    await flushed;
    assert.equal([publisher.accepted, world.homes], [2, [TARGET]]);
    // It has not asked again: no time has passed in which it could.
    assert.is(world.environment.nowMs(), sentAt);
    await world.outcome('it has moved', handle.wait());
  }),
);

held('a publisher that waits at a target whose copy is dropped finds the daemon at its source', () =>
  PhaseWorld.run(async (world) => {
    world.hold('write 2', 'read 2');
    const handle = world.move();
    await world.until('the target is about to claim', () => world.waiting('read 2') + world.waiting('write 2') > 0);
    const publisher = world.nodes.get(NEXT)!.publisher(world.origin, SOURCE);
    await publisher.send(events(77n, 1, 2));
    const flushed = publisher.flush();
    await settled(20);
    assert.is(publisher.node, TARGET);
    const cancelled = handle.cancel();
    await world.until('the source goes on', () => world.homes.includes(SOURCE));
    world.release();
    const outcome = await world.outcome('the publisher is done', flushed);
    assert.equal([outcome.status, publisher.accepted, world.homes], ['fulfilled', 2, [SOURCE]]);
    await world.outcome('it is cancelled', cancelled);
  }),
);

held('what waits at a target leaves room on the link for what would make the daemon live', () =>
  PhaseWorld.run(async (world) => {
    world.hold('write 2');
    const handle = world.move();
    await world.until('the target claims', () => world.waiting('write 2') === 1);
    let heard = 0;
    world.seats.get(TARGET)!.listen(0x1999, () => void heard++);
    const publisher = world.nodes.get(NEXT)!.publisher(world.origin, TARGET);
    await publisher.send(events(77n, 1, 1));
    for (let n = 2; n <= 8; n++) await publisher.send([{ ...events(77n, n, 1)[0]!, payload: new Uint8Array(400_000) }]);
    await settled(30);
    world.seats.get(NEXT)!.send(TARGET, 0x1999, new Uint8Array(1));
    await settled(30);
    assert.is(heard, 1);
    world.release();
    const outcome = await world.outcome('the publisher is done', publisher.flush());
    assert.equal([outcome.status, publisher.accepted], ['fulfilled', 8]);
    await world.outcome('it has moved', handle.wait());
  }),
);

held('offer and claim do not wait for the register to be read, once it was read ahead', () =>
  PhaseWorld.run(async (world) => {
    world.hold('CutoverNotify 3→1', 'ActivateTarget 3→2');
    const handle = world.move();
    await world.until('the source is about to stop', () => world.waiting('CutoverNotify 3→1') > 0);
    world.hold('read 1');
    world.release('CutoverNotify 3→1');
    await world.until('the target is about to claim', () => world.waiting('ActivateTarget 3→2') > 0);
    assert.is(world.waiting('read 1'), 0, 'the source has not read');
    world.hold('read 2');
    world.release('ActivateTarget 3→2');
    await world.until('the daemon is live', () => world.homes.includes(TARGET));
    assert.is(world.waiting('read 2'), 0, 'the target has not read');
    world.release();
    await world.outcome('it has moved', handle.wait());
  }),
);
