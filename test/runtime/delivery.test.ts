import * as assert from 'uvu/assert';
import { type Acceptance, moving } from '../../lib/daemon/host.js';
import { type CausalEvent, createCodec, InProcessMesh, MigrationError } from '../../lib/index.js';
import type { MaybePromise } from '../../lib/maybe-promise.js';
import { type DeliveryFrame, decodeDelivery, encodeDeliveryAnswer } from '../../lib/runtime/delivery.js';
import { DeliveryEndpoint } from '../../lib/runtime/delivery-endpoint.js';
import { systemEnvironment } from '../../lib/runtime/environment.js';
import { EventPublisher } from '../../lib/runtime/publisher.js';
import { Horizon } from '../../lib/state/horizon.js';
import { events, eventually, refusal, suite } from '../support.js';

const delivery = suite('delivery between nodes');
const DAEMON = 100n;
const PUBLISHER = 7n;

type Deliver = (events: readonly CausalEvent[]) => MaybePromise<Acceptance>;

/** No frame here is to be refused. */
function unexpected(error: Error): never {
  throw error;
}

/** A hundred times as impatient as the system's. */
const impatient = {
  ...systemEnvironment,
  after: (ms: number, run: () => void) => systemEnvironment.after(ms / 100, run),
};

/**
 * Node 1 publishes; node 2 takes events as `deliver` says, and what reached it is in `reached`. What node 1 sends goes to
 * `meet`, which passes it on as often as it likes.
 */
function inPair(meet = (pass: () => void, _frame: DeliveryFrame) => pass(), environment = systemEnvironment) {
  const mesh = new InProcessMesh();
  const seat = mesh.join(1n);
  const send = seat.send.bind(seat);
  seat.send = (to, subprotocol, frame) => meet(() => send(to, subprotocol, frame), decodeDelivery(frame));
  const codec = createCodec({ engine: 'typescript' });
  const reached: bigint[] = [];
  const world = {
    reached,
    deliver: accept as Deliver,
    stream,
    deliverTo: () => publisher.stream(DAEMON),
    lose: () => {},
    onCrowded: () => {},
  };
  const publisher = new DeliveryEndpoint(
    codec,
    seat,
    () => accept([]),
    unexpected,
    () => {},
    environment,
  );
  const daemon = new DeliveryEndpoint(
    codec,
    mesh.join(2n),
    (_, batch) => {
      reached.push(...batch.map(({ link }) => link.sequence));
      return world.deliver(batch);
    },
    unexpected,
    () => world.onCrowded(),
  );
  publisher.listen();
  daemon.listen();
  function stream() {
    const deliver = publisher.stream(DAEMON);
    return (round: number, first: number, count = 2) => deliver(2n, round, events(PUBLISHER, first, count));
  }
  world.lose = () => publisher.peerGone(2n);
  return world;
}

function accept(batch: readonly CausalEvent[]): Acceptance {
  return { accepted: batch.length, duplicates: 0, refusal: undefined };
}

function refuse(): Acceptance {
  return { accepted: 0, duplicates: 0, refusal: moving(DAEMON, 3n) };
}

/** Refuses the batches that begin with one of these sequences. */
function refusing(...first: bigint[]): Deliver {
  return (batch) => (first.includes(batch[0]!.link.sequence) ? refuse() : accept(batch));
}

delivery('batches reach the daemon in order, and answers come back', async () => {
  const { stream, reached } = inPair();
  const send = stream();
  const answers = await Promise.all([send(0, 1), send(0, 3)]);
  assert.equal(answers, [accept(events(PUBLISHER, 1, 2)), accept(events(PUBLISHER, 3, 2))]);
  assert.equal(reached, [1n, 2n, 3n, 4n]);
});

delivery('what stands behind a refused batch is refused in its round, and never reaches the daemon', async () => {
  const world = inPair();
  world.deliver = refusing(3n);
  const send = world.stream();
  const answers = await Promise.all([send(0, 1), send(0, 3), send(0, 5), send(0, 7)]);
  assert.equal(
    answers.map(({ accepted, refusal }) => [accepted, refusal?.kind, refusal?.details.target]),
    [
      [2, undefined, undefined],
      [0, 'moving', 3n],
      [0, 'moving', 3n],
      [0, 'moving', 3n],
    ],
  );
  assert.equal(world.reached, [1n, 2n, 3n, 4n]);
  const late = await send(0, 9);
  assert.is(late.refusal?.kind, 'moving');
  assert.equal(world.reached, [1n, 2n, 3n, 4n]);
});

delivery('the next round is taken', async () => {
  const world = inPair();
  world.deliver = refusing(1n);
  const send = world.stream();
  await Promise.all([send(4, 1), send(4, 3)]);
  world.deliver = accept;
  assert.is((await send(5, 1)).accepted, 2);
  assert.is((await send(5, 3)).accepted, 2);
  assert.equal(world.reached, [1n, 2n, 1n, 2n, 3n, 4n]);
});

delivery('a refusal holds back the batches of its own publisher alone', async () => {
  const world = inPair();
  world.deliver = refusing(1n);
  const [one, other] = [world.stream(), world.stream()];
  const answers = await Promise.all([one(0, 1), other(0, 11), one(0, 3)]);
  assert.equal(
    answers.map(({ accepted }) => accepted),
    [0, 2, 0],
  );
  assert.equal(world.reached, [1n, 2n, 11n, 12n]);
});

delivery('nothing is accepted behind a batch that is refused later', async () => {
  const world = inPair();
  let answer = (_: Acceptance) => {};
  world.deliver = (batch) =>
    batch[0]!.link.sequence === 1n ? new Promise((resolve) => (answer = resolve)) : accept(batch);
  const send = world.stream();
  const outcomes = Promise.all([send(0, 1), send(0, 3)]);
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
  answer(refuse());
  assert.equal(
    (await outcomes).map(({ accepted }) => accepted),
    [0, 0],
  );
  assert.not.ok(world.reached.includes(3n));
});

delivery('who waits for a node that is gone gets an answer', async () => {
  const world = inPair();
  world.deliver = () => new Promise(() => {});
  const outcome = world.stream()(0, 1);
  world.lose();
  assert.is((await outcome).refusal?.kind, 'target-unavailable');
});

/** What the publisher sends, by its place in its round. */
function meeting(places: Record<string, (pass: () => void) => void>) {
  return (pass: () => void, frame: DeliveryFrame) => {
    const place = frame.kind === 'events' ? `${frame.place.round}/${frame.place.index}` : '';
    (places[place] ?? ((go) => go()))(pass);
  };
}

delivery('behind a batch that is lost nothing is taken, and all of it is sent again in the next round', async () => {
  const { stream, reached } = inPair(meeting({ '0/0': () => {} }), impatient);
  const send = stream();
  const first = await Promise.all([send(0, 1), send(0, 3), send(0, 5)]);
  assert.equal(
    first.map(({ accepted, refusal }) => [accepted, refusal?.kind]),
    [
      [0, 'timed-out'],
      [0, 'sequence-gap'],
      [0, 'sequence-gap'],
    ],
  );
  assert.equal(reached, []);
  await Promise.all([send(1, 1), send(1, 3), send(1, 5)]);
  assert.equal(reached, [1n, 2n, 3n, 4n, 5n, 6n]);
});

delivery(
  'a batch that overtakes another waits for the next round; one that comes twice is answered twice',
  async () => {
    let late = () => {};
    const { stream, reached } = inPair(
      meeting({
        '0/1': (pass) => {
          late = pass;
        },
        '1/0': (pass) => [pass, pass].map((go) => go()),
      }),
    );
    const send = stream();
    const first = [send(0, 1), send(0, 3), send(0, 5)];
    assert.is((await first[2]!).refusal?.kind, 'sequence-gap');
    late();
    assert.is((await first[1]!).accepted, 0);
    assert.equal(reached, [1n, 2n]);
    await Promise.all([send(1, 3), send(1, 5)]);
    // A late one of an earlier round changes nothing.
    late();
    await send(1, 7);
    assert.equal(reached.slice(2), [3n, 4n, 3n, 4n, 5n, 6n, 7n, 8n]);
  },
);

/** Which of all frames with events that are sent. */
const LOST = new Set([1, 4, 5, 11, 20, 21, 22, 40]);

delivery('a publisher sends again what was lost, in order, and counts it once', async () => {
  let sent = 0;
  const world = inPair((pass, frame) => {
    if (frame.kind !== 'events' || !LOST.has(++sent)) pass();
  }, impatient);
  const seen = new Horizon();
  const taken: bigint[] = [];
  world.deliver = (batch) => {
    for (const { link } of batch) if (seen.observe(link) === 'new') taken.push(link.sequence);
    return accept(batch);
  };
  const send = world.stream();
  let base = 0;
  const publisher = new EventPublisher(
    2n,
    (_, round, batch) => send(round, Number(batch[0]!.link.sequence), batch.length),
    {
      nowMs: () => ++base,
      after: impatient.after,
    },
  );
  for (let n = 1; n <= 60; n += 2) await publisher.send(events(PUBLISHER, n, 2));
  await publisher.flush();
  assert.is(publisher.accepted, 60);
  assert.equal(
    taken,
    Array.from({ length: 60 }, (_, i) => BigInt(i + 1)),
  );
});

/** A publisher on node 1 of a daemon on node 2. */
function publisherOf(world: ReturnType<typeof inPair>): EventPublisher {
  const send = world.deliverTo();
  return new EventPublisher(2n, send, systemEnvironment);
}

delivery('an event that no log takes is refused by `send`, and the publisher goes on without it', async () => {
  const world = inPair();
  const publisher = publisherOf(world);
  const [event] = events(PUBLISHER, 2, 1) as [CausalEvent];
  await publisher.send(events(PUBLISHER, 1, 1));
  const large = { ...event, payload: new Uint8Array(64 * 1024 * 1024 + 1) };
  await refusal('event-too-large', () => publisher.send([...events(PUBLISHER, 3, 1), large]));
  await publisher.send([event]);
  await publisher.flush();
  assert.equal(world.reached, [1n, 2n]);
  assert.is(publisher.accepted, 2);
});

delivery(
  'tells that a link is crowded, once more than half of what it carries waits, and again only behind what is answered',
  async () => {
    const world = inPair();
    let crowded = 0;
    let answerAll: Array<() => void> = [];
    world.onCrowded = () => crowded++;
    world.deliver = (batch) =>
      new Promise((resolve) => {
        answerAll.push(() => resolve(accept(batch)));
      });
    const deliver = [0, 1, 2].map(() => world.deliverTo());
    const large = (n: number) => [{ ...events(PUBLISHER, n + 1, 1)[0]!, payload: new Uint8Array(400_000) }];
    const first = deliver.slice(0, 2).map((send, n) => send(2n, 0, large(n)));
    await eventually('two wait', () => answerAll.length === 2);
    assert.is(crowded, 0);
    const third = deliver[2]!(2n, 0, large(2));
    await eventually('the third waits', () => answerAll.length === 3);
    assert.is(crowded, 1);
    for (const answer of answerAll.splice(0)) answer();
    await Promise.all([...first, third]);
    answerAll = [];
    const fourth = deliver[0]!(2n, 0, large(3));
    await eventually('the fourth waits', () => answerAll.length === 1);
    assert.is(crowded, 1);
    answerAll[0]!();
    assert.is((await fourth).accepted, 1);
  },
);

delivery('what is no event is refused by `send`, by its name, and the publisher goes on', async () => {
  const world = inPair();
  const publisher = publisherOf(world);
  for (const wrong of [[{}], [null], 'events', [{ ...events(PUBLISHER, 1, 1)[0], payload: 'text' }]]) {
    const error = await publisher.send(wrong as never).catch((thrown: unknown) => thrown);
    assert.instance(error, TypeError);
    assert.match((error as Error).message, /^events/);
  }
  await publisher.send(events(PUBLISHER, 1, 2));
  await publisher.flush();
  assert.equal(world.reached, [1n, 2n]);
});

delivery('an answer carries no endless text, and no kind that is none', () => {
  const answered = (refusal: MigrationError) => {
    const frame = encodeDeliveryAnswer(1n, { accepted: 0, duplicates: 0, refusal });
    assert.ok(frame.length < 64 * 1024);
    const answer = decodeDelivery(frame) as Extract<DeliveryFrame, { readonly kind: 'answer' }>;
    return answer.acceptance.refusal!;
  };
  const long = answered(new MigrationError('moving', 'ü'.repeat(1_000_000), { details: { target: 3n } }));
  assert.equal([long.kind, long.details.target, long.message.slice(0, 3)], ['moving', 3n, 'üüü']);
  const strange = answered(new MigrationError('no-such-kind' as never, 'why'));
  assert.equal([strange.kind, strange.message], ['state-failed', 'why']);
});
