import * as assert from 'uvu/assert';
import { type CarriedState, encodeCarriedState, splitState } from '../../lib/state/carried-state.js';
import { Horizon } from '../../lib/state/horizon.js';
import { refusal, suite } from '../support.js';

const carried = suite('carried state');

function sample(): CarriedState {
  const horizon = new Horizon();
  horizon.observe({ originHash: 3n, horizon: 0n, sequence: 9n, parentHash: 0n });
  const positions = [{ publisher: 2n ** 64n - 1n, channel: 'sensors/lidar', position: Uint8Array.of(1, 2, 3) }];
  return { epoch: 4n, nextParent: 0x0908_0706_0504_0302n, observed: 0x490n, horizon, positions };
}

function join(...parts: Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

carried('comes back as it was, and the daemon’s own bytes behind it', () => {
  const own = Uint8Array.of(1, 2, 3, 4);
  const split = splitState(join(encodeCarriedState(sample()), own));
  assert.equal(split.own, own);
  const { horizon, ...rest } = split.carried!;
  const { horizon: expectedHorizon, ...expected } = sample();
  assert.equal(rest, expected);
  assert.equal(horizon.encode(), expectedHorizon.encode());
});

carried('is not seen where a state does not begin with the magic', () => {
  for (const state of [new Uint8Array(0), Uint8Array.of(0x44, 0x4d), new Uint8Array(64)]) {
    assert.equal(splitState(state), { carried: undefined, own: state });
  }
});

carried('is refused where it is cut off', async () => {
  const bytes = encodeCarriedState(sample());
  for (let length = 8; length < bytes.length; length++)
    await refusal('truncated', () => splitState(bytes.subarray(0, length)));
});
