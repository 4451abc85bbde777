import * as assert from 'uvu/assert';
import { encodeFlight, FLIGHT_SIZE } from '../../examples/flights/flight.js';
import { FlightsDaemon, flightsIn } from '../../examples/flights/flights-daemon.js';
import { type FlightBatch, FlightSender, type Home } from '../../examples/flights/sender.js';
import { DaemonRuntime, EntityKeypair, InProcessMesh } from '../../lib/index.js';
import { refusal, suite } from '../support.js';

const sending = suite('the sender of flights');
const COUNT = 100;

function batch(first: number): FlightBatch {
  const payloads = new Uint8Array(COUNT * FLIGHT_SIZE);
  const flight = { date: new Date(0), delay: 5, distance: 100, origin: 'ABQ', destination: 'ALB' };
  for (let n = 0; n < COUNT; n++) encodeFlight(payloads, n * FLIGHT_SIZE, flight);
  return { first, payloads };
}

/** A daemon that has processed three batches on node 2, which ends then; a copy of it from behind the first batch is on node 3. */
async function crashed(find: (daemon: bigint) => Promise<Home | undefined>, isFollowed = true) {
  const mesh = new InProcessMesh();
  const [here, second, third] = [1n, 2n, 3n].map((id) => {
    const runtime = new DaemonRuntime({ mesh: mesh.join(id) });
    const config = { channel: 'flights', padding: 0, fail: undefined };
    runtime.registerFactory('flights', () => new FlightsDaemon(config));
    runtime.start();
    return runtime;
  }) as [DaemonRuntime, DaemonRuntime, DaemonRuntime];
  const keypair = EntityKeypair.generate();
  const daemon = await second.spawn('flights', keypair.clone());
  const sender = new FlightSender({
    runtime: here,
    daemon,
    nodeId: 2n,
    originHash: 7n,
    ...(isFollowed && { find: () => find(daemon) }),
  });
  await sender.send(batch(1));
  await sender.flush();
  const snapshot = await second.snapshot(daemon);
  await sender.send(batch(1 + COUNT));
  await sender.send(batch(1 + 2 * COUNT));
  await sender.flush();
  await second.shutdown();
  await third.spawnFromSnapshot('flights', keypair, snapshot);
  const end = async () => {
    for (const node of [here, third]) await node.shutdown();
  };
  return { sender, third, daemon, end };
}

sending('sends again what the copy that is left has not seen, and goes on', async () => {
  const { sender, third, daemon, end } = await crashed(async () => ({ nodeId: 3n, processed: COUNT }));
  await sender.send(batch(1 + 3 * COUNT));
  await sender.flush();
  assert.is(flightsIn(await third.state(daemon)), 4 * COUNT);
  assert.is(sender.resent, 3 * COUNT, 'the last one was on its way');
  assert.ok(sender.longestWaitMs > 0);
  await end();
});

sending('sends nothing more to a daemon that is lost', async () => {
  let asked = 0;
  const { sender, third, daemon, end } = await crashed(async () => {
    asked++;
    return undefined;
  });
  await sender.send(batch(1 + 3 * COUNT));
  await sender.flush();
  await sender.send(batch(1 + 4 * COUNT));
  assert.is(asked, 1);
  assert.is(flightsIn(await third.state(daemon)), COUNT);
  await end();
});

sending('fails where nobody tells it where the daemon is', async () => {
  const { sender, end } = await crashed(async () => undefined, false);
  await refusal('target-unavailable', async () => {
    await sender.send(batch(1 + 3 * COUNT));
    await sender.flush();
  });
  await end();
});
