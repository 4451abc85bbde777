import * as assert from 'uvu/assert';
import { type Acceptance, moving } from '../../lib/daemon/host.js';
import { type CausalEvent, createCodec, InProcessMesh } from '../../lib/index.js';
import type { MaybePromise } from '../../lib/maybe-promise.js';
import { DeliveryEndpoint } from '../../lib/runtime/delivery-endpoint.js';
import { events, suite } from '../support.js';

const delivery = suite('delivery between nodes');
const DAEMON = 100n;
const PUBLISHER = 7n;

type Deliver = (events: readonly CausalEvent[]) => MaybePromise<Acceptance>;

/** No frame here is to be refused. */
function unexpected(error: Error): never {
  throw error;
}

/** Node 1 publishes; node 2 takes events as `deliver` says, and what reached it is in `reached`. */
function inPair() {
  const mesh = new InProcessMesh();
  const codec = createCodec({ engine: 'typescript' });
  const reached: bigint[] = [];
  const world = { reached, deliver: accept as Deliver, stream, lose: () => {} };
  const publisher = new DeliveryEndpoint(codec, mesh.join(1n), () => accept([]), unexpected);
  const daemon = new DeliveryEndpoint(
    codec,
    mesh.join(2n),
    (_, batch) => {
      reached.push(...batch.map(({ link }) => link.sequence));
      return world.deliver(batch);
    },
    unexpected,
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
