import * as assert from 'uvu/assert';
import { type CarriedState, encodeCarriedState, type SplitState, splitState } from '../../lib/state/carried-state.js';
import { Horizon } from '../../lib/state/horizon.js';
import { countedTurns, refusal, suite } from '../support.js';

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

function encoded(state: CarriedState, turn?: () => Promise<void>): Uint8Array {
  const parts = encodeCarriedState({ ...state, horizon: state.horizon.frozen() }, turn);
  return join(...(parts as Uint8Array[]));
}

carried('comes back as it was, and the daemon’s own bytes behind it', () => {
  const own = Uint8Array.of(1, 2, 3, 4);
  const split = splitState(join(encoded(sample()), own)) as SplitState;
  assert.equal(split.own, own);
  const { horizon, ...rest } = split.carried!;
  const { horizon: expectedHorizon, ...expected } = sample();
  assert.equal(rest, expected);
  assert.equal(horizon.frozen().encode(), expectedHorizon.frozen().encode());
});

carried('is not seen where a state does not begin with the magic', () => {
  for (const state of [new Uint8Array(0), Uint8Array.of(0x44, 0x4d), new Uint8Array(64)]) {
    assert.equal(splitState(state), { carried: undefined, own: state });
  }
});

carried('is refused where it is cut off', async () => {
  const bytes = encoded(sample());
  for (let length = 8; length < bytes.length; length++)
    await refusal('truncated', () => splitState(bytes.subarray(0, length)));
});

carried('with many positions is written and read in slices', async () => {
  const positions = Array.from({ length: 10_000 }, (_, n) => ({
    publisher: BigInt(n % 7),
    channel: `feed/${n}`,
    position: new Uint8Array(n % 65).fill(n),
  }));
  const many = { ...sample(), positions };
  const turns = countedTurns();
  const parts = await encodeCarriedState({ ...many, horizon: many.horizon.frozen() }, turns.turn);
  assert.ok(turns.count >= 9, `${turns.count} turns to write`);
  assert.equal(join(...parts), encoded(many), 'as in one turn');
  turns.count = 0;
  const { carried: arrived, own } = await splitState(join(...parts, Uint8Array.of(9)), turns.turn);
  assert.ok(turns.count >= 9, `${turns.count} turns to read`);
  assert.equal(arrived!.positions, positions);
  assert.equal(own, Uint8Array.of(9));
});
