import * as assert from 'uvu/assert';
import { Channels } from '../../lib/mesh/channels.js';
import { events, suite } from '../support.js';

const channels = suite('channels');
const DAEMON = 5n;

/** Channels, and the sequences that a listener on `out` has heard. */
function listening() {
  const all = new Channels();
  const heard: bigint[] = [];
  const subscription = all.subscribe('out', {}, (_, published) => {
    for (const { link } of published) heard.push(link.sequence);
  });
  return { all, heard, subscription };
}

channels('pass an output on once, however often it is published', () => {
  const { all, heard } = listening();
  all.publish('out', 1n, events(DAEMON, 1, 3));
  all.publish('out', 1n, events(DAEMON, 1, 3));
  all.publish('out', 1n, events(DAEMON, 3, 1));
  assert.equal(heard, [1n, 2n, 3n]);
});

channels('pass on of a batch what is new in it', () => {
  const { all, heard } = listening();
  all.publish('out', 1n, events(DAEMON, 1, 3));
  all.publish('out', 1n, events(DAEMON, 2, 4));
  assert.equal(heard, [1n, 2n, 3n, 4n, 5n]);
});

channels('know a repeated output in a newer epoch too', () => {
  const { all, heard } = listening();
  all.publish('out', 1n, events(DAEMON, 1, 3));
  all.publish('out', 2n, events(DAEMON, 2, 3));
  assert.equal(heard, [1n, 2n, 3n, 4n]);
});

channels('drop what an older epoch publishes, though its sequence is new', () => {
  const { all, heard } = listening();
  all.publish('out', 2n, events(DAEMON, 1, 1));
  all.publish('out', 1n, events(DAEMON, 2, 3));
  assert.equal(heard, [1n]);
  all.publish('out', 2n, events(DAEMON, 2, 1));
  assert.equal(heard, [1n, 2n]);
});

channels('call nobody where a batch holds nothing new', () => {
  const { all } = listening();
  let calls = 0;
  all.subscribe('out', {}, () => void calls++);
  all.publish('out', 1n, events(DAEMON, 1, 2));
  all.publish('out', 1n, events(DAEMON, 1, 2));
  all.publish('out', 0n, events(DAEMON, 3, 2));
  assert.is(calls, 1);
});

channels('keep daemons apart', () => {
  const { all, heard } = listening();
  all.publish('out', 7n, events(DAEMON, 9, 1));
  all.publish('out', 1n, events(DAEMON + 1n, 1, 2));
  assert.equal(heard, [9n, 1n, 2n]);
});

channels('stop calling who has unsubscribed, and call only those of the channel', () => {
  const { all, heard, subscription } = listening();
  all.publish('elsewhere', 1n, events(DAEMON + 1n, 1, 1));
  assert.equal(heard, []);
  subscription.unsubscribe();
  all.publish('out', 1n, events(DAEMON, 1, 1));
  assert.equal(heard, []);
});
