import * as assert from 'uvu/assert';
import { ChannelPositions } from '../../lib/state/channel-positions.js';
import { suite } from '../support.js';

const positions = suite('channel positions');

positions('are one per publisher and channel, the last that was set', () => {
  const read = new ChannelPositions();
  read.set(1n, 'b', Uint8Array.of(2));
  read.set(1n, 'a', Uint8Array.of(1));
  read.set(2n, 'a', Uint8Array.of(3));
  read.set(1n, 'a', Uint8Array.of(4));
  read.delete(1n, 'b');
  read.delete(3n, 'b');
  assert.equal(read.list(), [
    { publisher: 2n, channel: 'a', position: Uint8Array.of(3) },
    { publisher: 1n, channel: 'a', position: Uint8Array.of(4) },
  ]);
  assert.is(read.get(1n, 'b'), undefined);
  assert.equal(read.get(2n, 'a'), Uint8Array.of(3), 'it has moved up in the list');
  read.set(2n, 'a', Uint8Array.of(5));
  read.delete(1n, 'a');
  assert.equal(read.list(), [{ publisher: 2n, channel: 'a', position: Uint8Array.of(5) }]);
});

positions('that are set later do not show in a list', () => {
  const read = new ChannelPositions();
  read.set(1n, 'a', Uint8Array.of(1));
  read.set(1n, 'b', Uint8Array.of(2));
  const list = read.list();
  read.set(1n, 'a', Uint8Array.of(3));
  read.delete(1n, 'b');
  assert.equal(list, [
    { publisher: 1n, channel: 'a', position: Uint8Array.of(1) },
    { publisher: 1n, channel: 'b', position: Uint8Array.of(2) },
  ]);
});

positions('have 64 bytes at the most', () => {
  const read = new ChannelPositions();
  read.set(1n, 'a', new Uint8Array(64));
  assert.throws(() => read.set(1n, 'a', new Uint8Array(65)), /has 65 bytes; it may have 64/);
});
