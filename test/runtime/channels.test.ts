import * as assert from 'uvu/assert';
import { MigrationError } from '../../lib/index.js';
import { refusal, suite } from '../support.js';
import { ChannelWorld, type WorldOptions } from './channel-world.js';
import { settled } from './manual-environment.js';

const moving = suite('channels of a daemon that moves');

const inWorld = (test: (world: ChannelWorld) => Promise<void>, options: WorldOptions = {}) =>
  ChannelWorld.run(options, test);

/** The first byte of a frame. */
const ACTIVATE_TARGET = 8;

function away(): never {
  throw new MigrationError('target-unavailable', 'the publisher is away');
}

for (const mode of ['pause', 'live'] as const) {
  moving(`go with it there, back and onwards, and every event is processed once, in order; mode: ${mode}`, () =>
    inWorld(async (world) => {
      world.keepPublishing();
      await world.environment.advance(10);
      for (const [from, to] of [
        [1, 2],
        [2, 1],
        [1, 3],
        [3, 2],
      ] as const) {
        const { rebind } = await world.moved(from, to, 3, mode);
        assert.equal([rebind.done, rebind.retrying, rebind.failed], [4, 0, 0]);
        assert.equal(
          rebind.subscriptions.map(({ publisher, channel, state, tries, reason }) => [
            publisher,
            channel,
            state,
            tries,
            reason,
          ]),
          world.channels.map((channel) => [9n, channel, 'done', 1, undefined]),
        );
        assert.equal(world.seats[from - 1]!.subscribed, [], 'the old node reads no more');
        assert.equal([...world.seats[to - 1]!.subscribed].sort(), world.channels);
      }
      await world.assertExactlyOnce(2);
      assert.equal(world.errors, []);
    }),
  );
}

moving('a restore that fails costs nothing, and the next try works', () =>
  inWorld(async (world) => {
    world.keepPublishing();
    world.beforeNext = (call) => {
      if (call === 'restore') throw new Error('no disk');
    };
    await refusal('state-failed', () => world.moved(1, 2));
    world.daemons.splice(1);
    assert.equal(world.seats[1]!.subscribed, []);
    await world.environment.advance(50);
    await world.moved(1, 2);
    await world.assertExactlyOnce(2);
  }),
);

for (const phase of ['Snapshot', 'Transfer', 'Restore', 'Replay'] as const) {
  moving(`a cancellation in phase ${phase} leaves the daemon where it was, and it may move elsewhere`, () =>
    inWorld(async (world) => {
      world.keepPublishing();
      // What ends that phase is lost: TakeSnapshot, SnapshotReady, RestoreComplete; or the first empty BufferedEvents.
      const lost = { Snapshot: 0, Transfer: 1, Restore: 2, Replay: 7 }[phase];
      for (const { lost: frames } of world.seats) frames.add(lost);
      const handle = world.move(1, 2);
      await world.environment.advance(100);
      const cancelled = handle.cancel();
      for (const { lost: frames } of world.seats) frames.clear();
      await world.until('it is cancelled', () => handle.state === 'cancelled');
      assert.is(await cancelled, 'cancelled');
      await world.until('the target has let go', () => world.seats[1]!.subscribed.length === 0);
      assert.is(world.seats[0]!.subscribed.length, 4);
      world.daemons.splice(1);
      await world.environment.advance(50);
      await world.moved(1, 3);
      await world.assertExactlyOnce(3);
    }),
  );
}

moving('a source that goes on behind cutover subscribes again from its own positions, before it goes on', () =>
  inWorld(async (world) => {
    world.keepPublishing();
    world.seats[2]!.lost.add(ACTIVATE_TARGET);
    const handle = world.move(1, 2);
    await world.until('the source has stopped', () => world.seats[0]!.subscribed.length === 0);
    await world.environment.advance(100);
    assert.is(handle.phase, 'Cutover');
    assert.is(world.seats[1]!.subscribed.length, 4, 'the target reads already');
    const cancelled = handle.cancel();
    await world.until('it is cancelled', () => handle.state === 'cancelled');
    assert.is(await cancelled, 'cancelled');
    world.seats[2]!.lost.clear();
    await world.until('the target has let go', () => world.seats[1]!.subscribed.length === 0);
    assert.equal([...world.seats[0]!.subscribed].sort(), world.channels);
    assert.is(world.nodes[0]!.rebind(world.origin)!.done, 4);
    world.daemons.splice(1);
    await world.environment.advance(50);
    await world.moved(1, 3);
    await world.assertExactlyOnce(3);
  }),
);

moving('a source that goes on tries a channel that is away again too', () =>
  inWorld(async (world) => {
    world.keepPublishing();
    world.seats[2]!.lost.add(ACTIVATE_TARGET);
    const handle = world.move(1, 2);
    await world.until('the source has stopped', () => world.seats[0]!.subscribed.length === 0);
    let tries = 0;
    world.seats[0]!.before = (channel) => {
      if (channel === 'feed/2' && ++tries <= 2) away();
    };
    void handle.cancel();
    await world.until('it is cancelled', () => handle.state === 'cancelled');
    world.daemons.splice(1);
    await world.until('all are back', () => world.nodes[0]!.rebind(world.origin)!.done === 4);
    assert.is(tries, 3);
    await world.assertExactlyOnce(1);
  }),
);

for (const leader of [1, 2, 3]) {
  moving(
    `one that rejects twice is tried until it works, behind the migration’s end; node ${leader} leads and is told`,
    () =>
      inWorld(async (world) => {
        world.keepPublishing();
        let tries = 0;
        world.seats[1]!.before = (channel) => {
          if (channel === 'feed/1' && ++tries <= 2) away();
        };
        const handle = await world.moved(1, 2, leader);
        const { done, retrying, subscriptions } = handle.rebind;
        assert.equal([done, retrying], [3, 1]);
        assert.equal(
          subscriptions.find(({ channel }) => channel === 'feed/1'),
          { publisher: 9n, channel: 'feed/1', state: 'retrying', tries: 1, reason: 'the publisher is away' },
        );
        await world.until('it works', () => handle.rebind.done === 4);
        assert.is(handle.rebind.subscriptions.find(({ channel }) => channel === 'feed/1')?.tries, 3);
        await world.assertExactlyOnce(2);
        assert.equal(world.errors, []);
      }),
  );
}

moving(
  'one that gives no answer holds neither the others nor the migration, and a late answer counts for nothing',
  () =>
    inWorld(async (world) => {
      world.keepPublishing(5, 5);
      const late: Array<() => void> = [];
      world.seats[1]!.before = (channel) =>
        channel === 'feed/1' && late.length < 2
          ? new Promise((resolve) => {
              late.push(resolve);
            })
          : undefined;
      const handle = await world.moved(1, 2);
      assert.equal([handle.rebind.done, handle.rebind.retrying], [3, 1]);
      await world.until('it works', () => handle.rebind.done === 4);
      assert.is(late.length, 2);
      for (const answer of late) answer();
      await settled();
      assert.equal([...world.seats[1]!.subscribed].sort(), world.channels);
      await world.assertExactlyOnce(2);
    }),
);

const [REBIND_STATUS, REBIND_ACK] = [0x88, 0x89];

/** How often a node's reports of subscriptions have been sent so far, arriving or not. */
function countReports(world: ChannelWorld, node: number): () => number {
  const { mesh } = world.seats[node - 1]!;
  const send = mesh.send.bind(mesh);
  let sent = 0;
  mesh.send = (to, subprotocol, frame) => {
    if (frame[0] === REBIND_STATUS) sent++;
    send(to, subprotocol, frame);
  };
  return () => sent;
}

moving('is told to the node that leads until it has heard it, though reports are lost', () =>
  inWorld(async (world) => {
    const sent = countReports(world, 2);
    world.seats[1]!.lost.add(REBIND_STATUS);
    const handle = await world.moved(1, 2);
    await world.environment.advance(3_000);
    assert.is(handle.rebind.done, 0, 'nothing has been heard');
    world.seats[1]!.lost.clear();
    await world.until('it is heard', () => handle.rebind.done === 4);
    await world.environment.advance(100);
    const heard = sent();
    await world.environment.advance(20_000);
    assert.is(sent(), heard, 'no more is said');
  }),
);

for (const leader of [1, 2, 3]) {
  moving(`is told no more than ten times where nobody says that it is heard; node ${leader} leads`, () =>
    inWorld(async (world) => {
      const sent = countReports(world, 2);
      world.seats[leader - 1]!.lost.add(REBIND_ACK);
      const handle = await world.moved(1, 2, leader);
      await world.until('it is heard', () => handle.rebind.done === 4);
      await world.environment.advance(30_000);
      // A node tells itself without a frame.
      assert.is(sent(), leader === 2 ? 0 : 10);
      assert.is(handle.rebind.done, 4);
    }),
  );
}

moving('a gap that was passed over while the daemon moved is passed over in its replay alike', () =>
  inWorld(async (world) => {
    world.publish(0, 10);
    await world.until('they are seen', () => world.daemons[0]!.of(world.publisher(0)).length === 10);
    let goOn = () => {};
    const held = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    world.beforeNext = (call) => (call === 'restore' ? held : undefined);
    const handle = world.move(1, 2);
    await world.until('the target restores', () => world.daemons.length === 2);
    // One is missing, for ever: when 4,096 later ones have come, it is waited for no longer.
    world.published[0]!++;
    world.publish(0, 4_200);
    await world.until('it is reported', () => world.errors.some(({ kind }) => kind === 'sequence-gap'));
    await world.environment.advance(100);
    goOn();
    await world.until('the migration is over', () => handle.state !== 'running');
    await handle.wait();
    world.publish(0, 5);
    await world.environment.advance(500);
    const expected = Array.from({ length: 4_216 }, (_, i) => BigInt(i + 1)).filter((sequence) => sequence !== 11n);
    assert.equal(world.daemons.at(-1)!.of(world.publisher(0)), expected);
    assert.equal(
      world.errors.map(({ kind }) => kind),
      ['sequence-gap'],
    );
    await world.assertExactlyOnce(2, [0]);
  }),
);

moving('one that is away for ever fails at the deadline, with the reason, and the others go on', () =>
  inWorld(async (world) => {
    world.keepPublishing(5, 50);
    world.seats[1]!.before = (channel) => (channel === 'feed/1' ? away() : undefined);
    world.seats[2]!.before = world.seats[1]!.before;
    const handle = await world.moved(1, 2);
    await world.environment.advance(55_000);
    assert.is(handle.rebind.retrying, 1);
    await world.environment.advance(5_100);
    const { done, retrying, failed, subscriptions } = handle.rebind;
    assert.equal([done, retrying, failed], [3, 0, 1]);
    const [{ state, reason, tries }] = subscriptions.filter(({ channel }) => channel === 'feed/1') as [
      (typeof subscriptions)[0],
    ];
    assert.equal([state, reason], ['failed', 'the publisher is away']);
    assert.ok(tries > 10 && tries < 30, `${tries} tries`);
    assert.equal(
      world.errors.map(({ kind }) => kind),
      ['timed-out'],
    );
    assert.match(
      world.errors[0]!.message,
      /1 of 4 subscriptions .* channel "feed\/1" of node 9: the publisher is away/,
    );
    assert.is(world.nodes[1]!.subscriptions(world.origin).length, 4, 'it stays in the ledger');
    await world.assertExactlyOnce(2, [1]);
  }),
);

moving('onwards while one is still away: it is tried at the next node, from where it was', () =>
  inWorld(async (world) => {
    world.keepPublishing();
    world.seats[1]!.before = (channel) => (channel === 'feed/1' ? away() : undefined);
    await world.moved(1, 2);
    await world.environment.advance(300);
    const { rebind } = await world.moved(2, 3);
    assert.equal([rebind.done, rebind.retrying], [4, 0]);
    await world.assertExactlyOnce(3);
  }),
);

moving('a position that the channel no longer holds fails that subscription at once, with the range that is left', () =>
  inWorld(
    async (world) => {
      for (let n = 0; n < 4; n++) world.publish(n, 5);
      world.seats[1]!.before = (channel) => (channel === 'feed/1' ? away() : undefined);
      const handle = await world.moved(1, 2);
      world.publish(1, 30);
      world.seats[1]!.before = () => {};
      await world.until('it has failed', () => handle.rebind.failed === 1);
      const failed = handle.rebind.subscriptions.find(({ state }) => state === 'failed')!;
      assert.is(failed.channel, 'feed/1');
      assert.match(failed.reason!, /events 6 to 15 are gone; 16 to 35 are left/);
      const [error] = world.errors as [MigrationError];
      assert.equal([error.kind, error.details.oldest, error.details.newest], ['position-expired', 16n, 35n]);
      await refusal('position-expired', () => world.nodes[1]!.subscribeChannel(world.origin, 9n, 'feed/1'));
      await world.nodes[1]!.subscribeChannel(world.origin, 9n, 'feed/1', { after: new Uint8Array(0) });
      await settled();
      const seen = world.daemons.at(-1)!.of(world.publisher(1));
      assert.equal(seen, [1n, 2n, 3n, 4n, 5n, ...Array.from({ length: 20 }, (_, i) => BigInt(16 + i))]);
      assert.is(world.nodes[1]!.rebind(world.origin)!.failed, 0);
      await world.assertExactlyOnce(2, [1]);
    },
    { limits: { keepEvents: 20 } },
  ),
);

moving('a target reads ahead no more than it may, and what the log has brought makes room', () =>
  inWorld(
    async (world) => {
      world.keepPublishing(20);
      let restored = () => {};
      world.beforeNext = (call) =>
        call === 'process'
          ? undefined
          : new Promise((resolve) => {
              restored = resolve;
            });
      const handle = world.move(1, 2);
      await world.until('it is restoring', () => world.daemons.length === 2);
      await world.environment.advance(100);
      world.seats[2]!.lost.add(ACTIVATE_TARGET);
      restored();
      await world.until('the source has stopped', () => world.seats[0]!.subscribed.length === 0);
      const seat = world.seats[1]!;
      await world.until('what the log has brought is read past', () => seat.given > 4 * 80 * 20);
      await world.environment.advance(50);
      const { given } = seat;
      await world.environment.advance(100);
      assert.is(seat.given, given, 'then it waits');
      const published = 4 * world.published[0]!;
      assert.ok(published - given > 4 * 50 * 20, `${given} of ${published} events were read ahead`);
      world.stopPublishing();
      world.seats[2]!.lost.clear();
      await world.until('it is over', () => handle.state === 'completed');
      await world.assertExactlyOnce(2);
      assert.equal(world.errors, []);
    },
    // Far less than what is published in one restore.
    { rebind: { aheadBytes: 10_000 }, limits: { keepEvents: 6_000 } },
  ),
);

moving('a daemon that takes its time loses nothing', () =>
  inWorld(async (world) => {
    const slow = () => settled(1);
    world.daemons[0]!.before = (call) => (call === 'process' ? slow() : undefined);
    world.beforeNext = world.daemons[0]!.before;
    for (let round = 0; round < 20; round++) for (let n = 0; n < 4; n++) world.publish(n, 10);
    await settled(20);
    const before = world.daemons[0]!.seen.length / 2;
    assert.ok(before > 0 && before < 800, `${before} of 800 are processed when it begins to move`);
    const handle = world.move(1, 2);
    await world.until('it is over', () => handle.state === 'completed');
    await world.until('all is processed', () => world.daemons[1]!.seen.length === 2 * 800);
    await world.assertExactlyOnce(2);
  }),
);

moving('10,000 subscriptions go there and back', () =>
  inWorld(
    async (world) => {
      for (let n = 0; n < world.channels.length; n++) world.publish(n, 1);
      await settled(200);
      const { rebind } = await world.moved(1, 2);
      assert.equal([rebind.done, rebind.retrying, rebind.failed], [10_000, 0, 0]);
      assert.is(rebind.subscriptions.length, 0, 'of so many those that are done are not listed');
      for (let n = 0; n < world.channels.length; n++) world.publish(n, 1);
      await settled(200);
      await world.moved(2, 1);
      for (let n = 0; n < world.channels.length; n++) world.publish(n, 1);
      await settled(200);
      const { seen } = world.daemons.at(-1)!;
      const each = new Map<bigint, bigint[]>();
      seen.forEach((origin, i) => {
        if (i % 2 === 0) each.set(origin, [...(each.get(origin) ?? []), seen[i + 1]!]);
      });
      assert.is(each.size, 10_000);
      for (const sequences of each.values()) assert.equal(sequences, [1n, 2n, 3n]);
    },
    { channels: 10_000 },
  ),
);

const subscribing = suite('subscribing a daemon');

subscribing('is refused where the name, the token, the position or the daemon is none', () =>
  inWorld(async ({ nodes, origin }) => {
    const node = nodes[0]!;
    await refusal('channel-name-invalid-char', () => node.subscribeChannel(origin, 9n, 'feed 1'));
    await refusal('channel-name-invalid-format', () => node.subscribeChannel(origin, 9n, 'feed//1'));
    await refusal('channel-name-empty', () => node.subscribeChannel(origin, 9n, ''));
    await refusal('channel-name-too-long', () => node.subscribeChannel(origin, 9n, 'x'.repeat(256)));
    await refusal('token-too-long', () => node.subscribeChannel(origin, 9n, 'x', { token: new Uint8Array(65_536) }));
    await refusal('position-expired', () => node.subscribeChannel(origin, 9n, 'x', { after: Uint8Array.of(1) }));
    await refusal('daemon-not-found', () => node.subscribeChannel(5n, 9n, 'x'));
    for (const [wrong, message] of [
      [() => node.subscribeChannel(origin, 9 as never, 'x'), /publisher must be/],
      [() => node.subscribeChannel(origin, 9n, 5 as never), /channel must be/],
      [() => node.subscribeChannel(origin, 9n, 'x', { token: 'x' as never }), /token must be/],
      [() => node.subscribeChannel(origin, 9n, 'x', { after: 'x' as never }), /after must be/],
      [() => node.subscribeChannel(origin, 9n, 'x', { after: new Uint8Array(65) }), /after must be at most 64/],
    ] as const) {
      let error: unknown;
      await wrong().catch((thrown) => {
        error = thrown;
      });
      assert.instance(error, TypeError);
      assert.match((error as Error).message, message);
    }
    assert.is(node.subscriptions(origin).length, 4);
  }),
);

subscribing('again replaces the token, and the reader; unsubscribing ends it', () =>
  inWorld(async (world) => {
    const { nodes, seats, origin } = world;
    const node = nodes[0]!;
    world.publish(0, 3);
    await node.subscribeChannel(origin, 9n, 'feed/0', { token: Uint8Array.of(7) });
    world.publish(0, 3);
    await world.assertExactlyOnce(1);
    assert.equal(node.subscriptions(origin)[0], { publisher: 9n, channel: 'feed/0', token: Uint8Array.of(7) });
    assert.equal([...seats[0]!.subscribed].sort(), world.channels);
    assert.is(node.unsubscribeChannel(origin, 9n, 'feed/0'), true);
    assert.is(node.unsubscribeChannel(origin, 9n, 'feed/0'), false);
    assert.equal([...seats[0]!.subscribed].sort(), world.channels.slice(1));
    world.publish(0, 3);
    assert.is(world.daemons[0]!.of(world.publisher(0)).length, 6);
    const { rebind } = await world.moved(1, 2);
    assert.is(rebind.done, 3);
  }),
);

subscribing('after a while begins with the next event: what was missed is reported, and holds nothing up', () =>
  inWorld(async (world) => {
    const { nodes, origin } = world;
    world.publish(0, 3);
    nodes[0]!.unsubscribeChannel(origin, 9n, 'feed/0');
    world.publish(0, 10);
    await nodes[0]!.subscribeChannel(origin, 9n, 'feed/0');
    for (let n = 0; n < 100; n++) world.publish(0, 100);
    await settled(20);
    const seen = world.daemons[0]!.of(world.publisher(0));
    assert.equal(seen, [1n, 2n, 3n, ...Array.from({ length: 10_000 }, (_, i) => BigInt(14 + i))]);
    assert.equal(
      world.errors.map(({ kind, details }) => [kind, details.missing]),
      [['sequence-gap', 4n]],
    );
  }),
);

subscribing('is refused while the daemon migrates, and where it has moved away from', () =>
  inWorld(async (world) => {
    const { nodes, origin } = world;
    let restored = () => {};
    world.beforeNext = () =>
      new Promise((resolve) => {
        restored = resolve;
      });
    const handle = world.move(1, 2);
    await world.until('it is restoring', () => world.daemons.length === 2);
    await refusal('already-migrating', () => nodes[0]!.subscribeChannel(origin, 9n, 'x'));
    await refusal('already-migrating', () => nodes[0]!.unsubscribeChannel(origin, 9n, 'feed/0'));
    restored();
    world.daemons[1]!.before = () => {};
    await world.until('it is over', () => handle.state === 'completed');
    const error = await refusal('moving', () => nodes[0]!.subscribeChannel(origin, 9n, 'x'));
    assert.is(error.details.target, 2n);
  }),
);

subscribing('that is not answered before the daemon migrates has not happened', () =>
  inWorld(async (world) => {
    const { nodes, seats, origin } = world;
    let answer = () => {};
    seats[0]!.before = () =>
      new Promise((resolve) => {
        answer = resolve;
      });
    const subscribed = nodes[0]!.subscribeChannel(origin, 9n, 'x');
    await world.moved(1, 2);
    answer();
    await refusal('already-migrating', () => subscribed);
    assert.equal(seats[0]!.subscribed, []);
    assert.is(nodes[1]!.subscriptions(origin).length, 4);
  }),
);

subscribing('a daemon that is made of a snapshot reads on behind the positions in there', () =>
  inWorld(async (world) => {
    const { nodes, origin } = world;
    for (let n = 0; n < 4; n++) world.publish(n, 5);
    const keypair = nodes[0]!.keypair(origin).clone();
    const snapshot = await nodes[0]!.snapshot(origin);
    for (let n = 0; n < 4; n++) world.publish(n, 5);
    await nodes[0]!.stop(origin);
    world.outputs.length = 20;
    await nodes[1]!.spawnFromSnapshot('watcher', keypair, snapshot);
    await settled();
    assert.is(nodes[1]!.rebind(origin)!.done, 4);
    world.publish(0, 5);
    await world.assertExactlyOnce(2);
  }),
);

subscribing('a daemon that ends reads no more', () =>
  inWorld(async ({ nodes, seats, origin }) => {
    await nodes[0]!.stop(origin);
    assert.equal(seats[0]!.subscribed, []);
  }),
);
