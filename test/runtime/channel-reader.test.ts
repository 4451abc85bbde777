import * as assert from 'uvu/assert';
import { DaemonHost } from '../../lib/daemon/host.js';
import { createCodec, EntityKeypair } from '../../lib/index.js';
import { ChannelReader, ReadAhead } from '../../lib/runtime/channel-reader.js';
import { systemEnvironment } from '../../lib/runtime/environment.js';
import { events, Recorder, suite } from '../support.js';
import { settled } from './manual-environment.js';

const PUBLISHER = 7n;
const CHANNEL = 'feed';
const [START, MIDDLE, END] = [0, 1, 2].map((n) => Uint8Array.of(n)) as [Uint8Array, Uint8Array, Uint8Array];

/** One reader of a copy whose daemon takes its time where `work` says so. */
function reading({ aheadBytes = 1 << 20, work }: { readonly aheadBytes?: number; readonly work?: Promise<void> } = {}) {
  const daemon = new Recorder();
  if (work) daemon.before = (call) => (call === 'process' ? work : undefined);
  const keypair = EntityKeypair.generate();
  const codec = createCodec({ engine: 'typescript' });
  const host = new DaemonHost({ codec, keypair, kind: 'recorder', daemon, publish: () => {} });
  const ahead = new ReadAhead(aheadBytes);
  const deliver = host.accept.bind(host);
  const reader = new ChannelReader(
    { publisher: PUBLISHER, channel: CHANNEL, token: undefined },
    { host, deliver, environment: systemEnvironment, report: () => assert.unreachable(), ahead },
  );
  reader.attach({ position: START, unsubscribe: () => {} });
  return { reader, host, daemon, position: () => host.positions.get(PUBLISHER, CHANNEL) };
}

const readers = suite('the reader of a channel');

readers('moves no position by reading ahead: what it holds is read again by whoever takes over', async () => {
  const { reader, daemon, position } = reading();
  void reader.read(events(PUBLISHER, 1, 2), MIDDLE);
  void reader.read(events(PUBLISHER, 3, 2), END);
  assert.equal(position(), START);
  assert.equal(daemon.seen, []);
  reader.close();
  assert.equal(position(), START);
});

readers('moves it behind what has been taken', async () => {
  const { reader, daemon, position } = reading();
  void reader.read(events(PUBLISHER, 1, 2), MIDDLE);
  reader.goLive();
  await settled();
  assert.equal(position(), MIDDLE);
  await reader.read(events(PUBLISHER, 3, 2), END);
  assert.equal(position(), END);
  assert.equal(daemon.seen, [1n, 2n, 3n, 4n]);
});

readers('moves it not before that, and not at all where it is closed meanwhile', async () => {
  let done!: () => void;
  const work = new Promise<void>((resolve) => {
    done = resolve;
  });
  const { reader, position } = reading({ work });
  reader.goLive();
  await settled();
  const taken = reader.read(events(PUBLISHER, 1, 1), END);
  await settled();
  assert.equal(position(), START);
  reader.close();
  done();
  await taken;
  assert.equal(position(), START);
});

readers('lets go of what the log has brought, and of nothing else', async () => {
  const { reader, host, position } = reading({ aheadBytes: 1 });
  void reader.read(events(PUBLISHER, 1, 2), MIDDLE);
  void reader.read(events(PUBLISHER, 3, 2), END);
  assert.equal(position(), START);
  await host.replay(events(PUBLISHER, 1, 3));
  reader.prune();
  assert.equal(position(), MIDDLE, 'event 4 has not been seen');
  assert.is(reader.heldEvents, 2);
});
