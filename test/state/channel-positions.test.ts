import * as assert from 'uvu/assert';
import { ChannelPositions } from '../../lib/state/channel-positions.js';
import { suite } from '../support.js';

const positions = suite('channel positions');

positions('are one per publisher and channel, the last that was set', () => {
  const read = new ChannelPositions([{ publisher: 1n, channel: 'a', position: Uint8Array.of(1) }]);
  read.set(1n, 'b', Uint8Array.of(2));
  read.set(2n, 'a', Uint8Array.of(3));
  read.set(1n, 'a', Uint8Array.of(4));
  read.delete(1n, 'b');
  read.delete(3n, 'b');
  assert.equal(
    [...read],
    [
      { publisher: 1n, channel: 'a', position: Uint8Array.of(4) },
      { publisher: 2n, channel: 'a', position: Uint8Array.of(3) },
    ],
  );
  assert.is(read.get(1n, 'b'), undefined);
});

positions('have 64 bytes at the most', () => {
  const read = new ChannelPositions();
  read.set(1n, 'a', new Uint8Array(64));
  assert.throws(() => read.set(1n, 'a', new Uint8Array(65)), /has 65 bytes; it may have 64/);
});
