import * as assert from 'uvu/assert';
import { type CausalEvent, createCodec, DaemonRuntime, EntityKeypair, InProcessMesh } from '../../lib/index.js';
import { events, eventually, Recorder, refusal, suite } from '../support.js';

const live = suite('live mode');
const PUBLISHER = 77n;

function numbers(first: number, last: number): bigint[] {
  return Array.from({ length: last - first + 1 }, (_, i) => BigInt(first + i));
}

/** Two nodes and a recorder on the first; what it published, in order. The second copy's restore waits for `release`. */
async function world(make: () => Recorder = () => new Recorder()) {
  const mesh = new InProcessMesh();
  const daemons: Recorder[] = [];
  const outputs: CausalEvent[] = [];
  let release = () => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  const seats = [mesh.join(1n), mesh.join(2n)];
  const publishedByTarget: bigint[] = [];
  const publish = seats[1]!.publish.bind(seats[1]);
  seats[1]!.publish = (channel, epoch, published) => {
    for (const { link } of published) publishedByTarget.push(link.sequence);
    return publish(channel, epoch, published);
  };
  const [a, b] = seats.map((seat) => {
    const runtime = new DaemonRuntime({ mesh: seat, orchestrators: [1n, 2n] });
    runtime.registerFactory('recorder', () => {
      const daemon = make();
      if (daemons.length === 1) daemon.before = (call) => (call === 'restore' ? released : undefined);
      daemons.push(daemon);
      return daemon;
    });
    runtime.start();
    return runtime;
  }) as [DaemonRuntime, DaemonRuntime];
  await seats[0]!.subscribe('recorder', {}, (_, published) => void outputs.push(...published));
  const origin = await a.spawn('recorder', EntityKeypair.generate());
  const oneChain = (count: number) => {
    const genesis = { originHash: origin, horizon: 0n, sequence: 0n, parentHash: 0n };
    assert.is(outputs.length, count, 'outputs');
    assert.is(createCodec().verifyChain(genesis, new Uint8Array(0), outputs), count, 'one chain');
  };
  const end = () => Promise.all([a.shutdown(), b.shutdown()]);
  return { a, b, origin, daemons, outputs, publishedByTarget, release, oneChain, end };
}

live('goes on processing and publishing until it stops; what the replay puts out is not published again', async () => {
  const { a, b, origin, daemons, outputs, publishedByTarget, release, oneChain, end } = await world();
  await a.deliver(origin, events(PUBLISHER, 1, 50));
  const handle = a.startMigration(origin, 1n, 2n, { mode: 'live' });
  await eventually('the copy is there', () => daemons.length === 2);
  await a.deliver(origin, events(PUBLISHER, 51, 300));
  assert.equal(daemons[0]!.seen, numbers(1, 350), 'the source goes on');
  assert.is(outputs.length, 350, 'and publishes');
  release();
  const publisher = a.publisher(origin, 1n);
  for (let n = 351; n <= 850; n += 50) await publisher.send(events(PUBLISHER, n, 50));
  await handle.wait({ timeout: 5_000 });
  await publisher.flush();
  assert.is(b.has(origin), true);
  await eventually('all are out', () => outputs.length === 850);
  assert.equal(daemons[1]!.seen, numbers(1, 850));
  oneChain(850);
  // The mesh would pass over what comes again.
  assert.equal(publishedByTarget, numbers(851 - publishedByTarget.length, 850));
  assert.ok(publishedByTarget.length < 850 - 350, 'none of what its source has published');
  assert.is(handle.status.pauseMs < 5_000, true);
  await end();
});

/** Gives something else each time it is asked. */
class Restless extends Recorder {
  override process(event: CausalEvent) {
    super.process(event);
    return [Uint8Array.from({ length: 8 }, () => Math.floor(Math.random() * 256))];
  }
}

live('a daemon that is not deterministic goes on at its source, with every event processed once', async () => {
  const { a, b, origin, daemons, release, oneChain, end } = await world(() => new Restless());
  await a.deliver(origin, events(PUBLISHER, 1, 20));
  const handle = a.startMigration(origin, 1n, 2n, { mode: 'live' });
  await eventually('the copy is there', () => daemons.length === 2);
  await a.deliver(origin, events(PUBLISHER, 21, 20));
  release();
  const error = await refusal('state-failed', () => handle.wait({ timeout: 5_000 }));
  assert.match(error.message, /not deterministic/);
  assert.is(a.has(origin), true);
  assert.is(b.has(origin), false);
  await a.deliver(origin, events(PUBLISHER, 41, 20));
  assert.equal(daemons[0]!.seen, numbers(1, 60));
  oneChain(60);
  await end();
});

live('a difference in the last output alone is one', async () => {
  const { a, b, origin, release, oneChain, end } = await world(() => new Restless());
  await a.deliver(origin, events(PUBLISHER, 1, 20));
  const handle = a.startMigration(origin, 1n, 2n, { mode: 'live' });
  await eventually('the snapshot is taken', () => handle.phase !== 'Snapshot');
  await a.deliver(origin, events(PUBLISHER, 21, 1));
  release();
  const error = await refusal('state-failed', () => handle.wait({ timeout: 5_000 }));
  assert.match(error.message, /not deterministic/);
  assert.is(b.has(origin), false);
  await a.deliver(origin, events(PUBLISHER, 22, 1));
  oneChain(22);
  await end();
});

live('cancelled on its way, it has processed each event once, and may move afterwards', async () => {
  const { a, b, origin, daemons, release, oneChain, end } = await world();
  await a.deliver(origin, events(PUBLISHER, 1, 20));
  const handle = a.startMigration(origin, 1n, 2n, { mode: 'live' });
  await eventually('the copy is there', () => daemons.length === 2);
  await a.deliver(origin, events(PUBLISHER, 21, 20));
  assert.is(await handle.cancel(), 'cancelled');
  release();
  await a.deliver(origin, events(PUBLISHER, 41, 20));
  assert.equal(daemons[0]!.seen, numbers(1, 60));
  oneChain(60);
  await a.startMigration(origin, 1n, 2n).wait({ timeout: 5_000 });
  assert.is(b.has(origin), true);
  assert.equal(daemons.at(-1)!.seen, numbers(1, 60));
  await end();
});

live('another mode is a TypeError', async () => {
  const { a, origin, end } = await world();
  assert.throws(
    () => a.startMigration(origin, 1n, 2n, { mode: 'fast' as never }),
    (error: unknown) => error instanceof TypeError && /mode/.test(error.message),
  );
  await end();
});
