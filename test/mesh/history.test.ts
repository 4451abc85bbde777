import * as assert from 'uvu/assert';
import type { MigrationError } from '../../lib/index.js';
import type { ChannelLimits } from '../../lib/mesh/channel-history.js';
import { Channels } from '../../lib/mesh/channels.js';
import { settled } from '../runtime/manual-environment.js';
import { events, refusal, suite } from '../support.js';

const history = suite('what channels keep');
const DAEMON = 5n;

interface Heard {
  readonly sequences: bigint[];
  readonly positions: Uint8Array[];
}

/** Channels on which so many events have been published, and a way to read them. */
function published(count: number, limits: ChannelLimits = {}) {
  const all = new Channels(limits);
  const publish = (first: number, number: number) => all.publish('out', 1n, events(DAEMON, first, number));
  publish(1, count);
  const read = async (after?: Uint8Array, batchBytes = 1): Promise<Heard> => {
    const heard: Heard = { sequences: [], positions: [] };
    const options = after ? { after, batchBytes } : { batchBytes };
    all.subscribe('out', options, (_, batch, position) => {
      for (const { link } of batch) heard.sequences.push(link.sequence);
      heard.positions.push(position);
    });
    await settled(30);
    return heard;
  };
  return { all, publish, read };
}

function numbers(first: number, last: number): bigint[] {
  return Array.from({ length: last - first + 1 }, (_, i) => BigInt(first + i));
}

const OLDEST = new Uint8Array(0);

history('begins with what comes next, with the oldest, or behind a position', async () => {
  const { publish, read } = published(10);
  const next = await read();
  assert.equal(next.sequences, []);
  const all = await read(OLDEST);
  assert.equal(all.sequences, numbers(1, 10));
  assert.equal((await read(all.positions[6])).sequences, numbers(8, 10));
  assert.equal((await read(all.positions[9])).sequences, []);
  publish(11, 2);
  assert.equal(next.sequences, numbers(11, 12));
  assert.equal((await read(all.positions[9])).sequences, numbers(11, 12));
});

history('tells the position at which a subscription begins, before any event', async () => {
  const { all, publish, read } = published(3);
  const { position } = all.subscribe('out', {}, () => {});
  const empty = all.subscribe('never', {}, () => {});
  publish(4, 2);
  assert.equal((await read(position)).sequences, numbers(4, 5));
  assert.ok(position.length > 0 && position.length <= 64 && empty.position.length <= 64);
});

for (const [what, limits] of [
  ['events', { keepEvents: 4 }],
  ['bytes', { keepBytes: 4 * (8 + 128) }],
] as const) {
  history(`keeps the last ${what}, and names the range that is left for a position before it`, async () => {
    const { all, publish, read } = published(3, limits);
    const { positions } = await read(OLDEST);
    publish(4, 4);
    assert.equal((await read(OLDEST)).sequences, numbers(4, 7));
    assert.equal((await read(positions[2])).sequences, numbers(4, 7), 'the next one is the oldest');
    const error = await refusal('position-expired', () => all.subscribe('out', { after: positions[1]! }, () => {}));
    assert.is(error.details.oldest, 4n);
    assert.is(error.details.newest, 7n);
    assert.is(error.details.channel, 'out');
    assert.is(error.retriable, false);
  });
}

history('refuses a position of another channel, of another mesh, and of no mesh', async () => {
  const { all, read } = published(3);
  const { positions } = await read(OLDEST);
  const other = new Channels();
  other.publish('out', 1n, events(DAEMON, 1, 3));
  for (const [where, name, after] of [
    [all, 'elsewhere', positions[0]],
    [other, 'out', positions[0]],
    [all, 'out', Uint8Array.of(1)],
    [all, 'out', new Uint8Array(65)],
  ] as const) {
    await refusal('position-expired', () => where.subscribe(name, { after: after! }, () => {}));
  }
});

history('a reader that takes its time gets everything, in order, and holds no other up', async () => {
  const { all, publish } = published(0);
  const slow: bigint[] = [];
  const fast: bigint[] = [];
  let calls = 0;
  let goOn = () => {};
  all.subscribe('out', { batchBytes: 500 }, (_, batch) => {
    calls++;
    for (const { link } of batch) slow.push(link.sequence);
    return new Promise<void>((resolve) => {
      goOn = resolve;
    });
  });
  all.subscribe('out', {}, (_, batch) => {
    for (const { link } of batch) fast.push(link.sequence);
  });
  for (let first = 1; first <= 1_000; first += 10) publish(first, 10);
  await settled();
  assert.equal(fast, numbers(1, 1_000));
  assert.is(calls, 1, 'it is not called again before it is done');
  while (slow.length < 1_000) {
    goOn();
    await settled(1);
  }
  assert.equal(slow, numbers(1, 1_000));
});

history('a reader slower than the channel forgets is told so once, and called no more', async () => {
  const { all, publish } = published(0, { keepEvents: 10 });
  let goOn = () => {};
  let calls = 0;
  const expired: MigrationError[] = [];
  all.subscribe('out', { onExpired: (error) => expired.push(error) }, () => {
    calls++;
    return new Promise<void>((resolve) => {
      goOn = resolve;
    });
  });
  publish(1, 1);
  publish(2, 11);
  goOn();
  await settled();
  publish(13, 1);
  await settled();
  assert.is(calls, 1);
  assert.equal(
    expired.map(({ kind, details }) => [kind, details.oldest, details.newest]),
    [['position-expired', 3n, 12n]],
  );
});

history('is not the publisher’s memory', async () => {
  const { all, read } = published(0);
  const batch = events(DAEMON, 1, 1);
  all.publish('out', 1n, batch);
  batch[0]!.payload.fill(255);
  const heard: Uint8Array[] = [];
  all.subscribe('out', { after: OLDEST }, (_, [event]) => void heard.push(event!.payload));
  await read();
  assert.equal(heard[0], events(DAEMON, 1, 1)[0]!.payload);
});

history('daemons that answer each other do not keep the event loop', async () => {
  const all = new Channels();
  let rounds = 0;
  const answer = (from: string, to: string, origin: bigint) =>
    all.subscribe(from, {}, () => all.publish(to, 1n, events(origin, ++rounds, 1)));
  const readers = [answer('ping', 'pong', 1n), answer('pong', 'ping', 2n)];
  all.publish('ping', 1n, events(3n, 1, 1));
  const before = rounds;
  await settled(2);
  for (const reader of readers) reader.unsubscribe();
  assert.ok(rounds > before && before >= 10 && before < 1_000, `${before} rounds in one turn`);
});

history('of channels that nobody publishes on or reads any more, those that are idle longest are emptied', async () => {
  const all = new Channels();
  const made = Array.from({ length: 1_026 }, (_, n) => {
    const before = all.subscribe(`idle/${n}`, {}, () => {});
    all.publish(`idle/${n}`, 1n, events(BigInt(n), 1, 1));
    const after = all.subscribe(`idle/${n}`, {}, () => {});
    return { before, after };
  });
  made.forEach(({ before, after }, n) => {
    all.forget(BigInt(n));
    before.unsubscribe();
    // One that is read is not idle.
    if (n !== 1) after.unsubscribe();
  });
  const read = (n: number, { position }: { position: Uint8Array }) =>
    all.subscribe(`idle/${n}`, { after: position }, () => {});
  await refusal('position-expired', () => read(0, made[0]!.before));
  read(0, made[0]!.after);
  for (const n of [1, 2, 1_025]) read(n, made[n]!.before);
});

history('a channel stays for a while when its last publisher has ended', async () => {
  const { all, read } = published(3);
  const { position, unsubscribe } = all.subscribe('out', {}, () => {});
  unsubscribe();
  all.forget(DAEMON);
  all.publish('out', 1n, events(DAEMON, 1, 2));
  assert.equal((await read(position)).sequences, numbers(1, 2), 'the daemon began anew, the channel went on');
});

history('refuses limits that are none', () => {
  for (const limits of [{ keepEvents: 0 }, { keepBytes: 1.5 }, { keepEvents: Number.NaN }])
    assert.throws(() => new Channels(limits), /must be a whole number of at least 1/);
});

history('a burst larger than what is kept reaches who keeps up', () => {
  const { all, publish } = published(0, { keepEvents: 10 });
  const heard: bigint[] = [];
  all.subscribe('out', {}, (_, batch) => {
    for (const { link } of batch) heard.push(link.sequence);
  });
  publish(1, 95);
  assert.equal(heard, numbers(1, 95));
});
