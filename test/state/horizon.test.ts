import * as assert from 'uvu/assert';
import { Horizon } from '../../lib/state/horizon.js';
import { countedTurns, refusal, suite } from '../support.js';

const horizon = suite('horizon');
const link = (sequence: bigint, originHash = 7n, parentHash = 0n) => ({
  originHash,
  horizon: 0n,
  sequence,
  parentHash,
});

function encoded(seen: Horizon): Uint8Array {
  return seen.frozen().encode() as Uint8Array;
}

horizon('tells new events from those that it has seen, per origin', () => {
  const seen = new Horizon();
  assert.is(seen.observe(link(5n)), 'new');
  assert.is(seen.observe(link(6n)), 'new');
  assert.is(seen.observe(link(5n)), 'duplicate');
  assert.is(seen.observe(link(4n)), 'duplicate', 'below the first one seen');
  assert.is(seen.observe(link(5n, 8n)), 'new', 'of another origin');
  assert.is(seen.through(7n), 6n);
  assert.is(seen.through(9n), undefined);
});

horizon('passes over a gap that nobody closes, the first one first', () => {
  const seen = new Horizon();
  for (const n of [1n, 4n, 5n, 8n]) seen.observe(link(n));
  assert.is(seen.has(link(3n)), false);
  assert.is(seen.has(link(4n)), true);
  assert.is(seen.has(link(4n, 8n)), false, 'of another origin');
  assert.is(seen.passOver(7n), true);
  assert.is(seen.through(7n), 5n);
  assert.is(seen.has(link(3n)), true);
  assert.is(seen.observe(link(3n)), 'duplicate');
  assert.equal(seen.missing(7n), [[6n, 7n]]);
  assert.is(seen.passOver(7n), true);
  assert.is(seen.through(7n), 8n);
  assert.is(seen.passOver(7n), false);
  assert.is(seen.passOver(9n), false, 'never seen');
});

horizon('keeps what came above a gap, names what is missing, and closes the gap', () => {
  const seen = new Horizon();
  for (const n of [1n, 4n, 6n]) assert.is(seen.observe(link(n)), 'new');
  assert.is(seen.through(7n), 1n);
  assert.equal(seen.missing(7n), [
    [2n, 3n],
    [5n, 5n],
  ]);
  assert.is(seen.observe(link(4n)), 'duplicate');
  assert.is(seen.observe(link(3n)), 'new');
  assert.is(seen.observe(link(2n)), 'new');
  assert.is(seen.through(7n), 4n);
  assert.is(seen.observe(link(5n)), 'new');
  assert.is(seen.through(7n), 6n);
  assert.equal(seen.missing(7n), []);
});

horizon('notices a known number with another link, as long as it remembers', () => {
  const seen = new Horizon();
  assert.is(seen.observe(link(1n, 7n, 11n)), 'new');
  assert.is(seen.observe(link(1n, 7n, 12n)), 'conflict');
  assert.is(seen.observe(link(1n, 7n, 11n)), 'duplicate');
  for (let n = 2n; n <= 1_025n; n++) seen.observe(link(n));
  assert.is(seen.observe(link(1n, 7n, 12n)), 'duplicate', 'forgotten after 1,024 others');
  assert.is(seen.observe(link(2n, 7n, 12n)), 'conflict');
});

horizon('refuses more above a gap than it can keep, and changes nothing then', async () => {
  const seen = new Horizon();
  seen.observe(link(1n));
  for (let n = 3n; n < 3n + 4_096n; n++) seen.observe(link(n));
  const error = await refusal('sequence-gap', () => seen.observe(link(9_000n)));
  assert.is(error.details.missing, 2n);
  assert.ok(error.retriable);
  assert.is(seen.observe(link(2n)), 'new');
  assert.is(seen.through(7n), 4_098n);
  assert.is(seen.observe(link(4_099n)), 'new');
});

horizon('is the same after its bytes have travelled', () => {
  const seen = new Horizon();
  for (let n = 1n; n <= 1_500n; n++) seen.observe(link(n, 7n, n));
  for (const n of [40n, 42n, 2n ** 64n - 1n]) seen.observe(link(n, 8n));
  const arrived = Horizon.decode(encoded(seen)) as Horizon;
  assert.equal(encoded(arrived), encoded(seen));
  assert.is(arrived.size, 2);
  assert.is(arrived.observe(link(1_500n, 7n, 1_500n)), 'duplicate');
  assert.is(arrived.observe(link(480n, 7n, 1n)), 'conflict', 'the oldest of those remembered');
  assert.is(arrived.observe(link(479n, 7n, 1n)), 'duplicate');
  // What is remembered next must push out the oldest, as it would have here.
  arrived.observe(link(1_501n, 7n));
  assert.is(arrived.observe(link(480n, 7n, 1n)), 'duplicate');
});

horizon('that is frozen shows nothing that is observed later', () => {
  const seen = new Horizon();
  for (const n of [1n, 2n, 5n, 6n]) for (const origin of [7n, 8n]) seen.observe(link(n, origin));
  const frozen = seen.frozen();
  const before = frozen.encode();
  seen.observe(link(3n, 7n));
  seen.observe(link(4n, 7n));
  seen.observe(link(9n, 8n));
  seen.passOver(8n);
  seen.observe(link(1n, 9n));
  assert.equal(frozen.encode(), before);
  assert.is(seen.through(7n), 6n);
  assert.is(seen.through(8n), 6n);
  const arrived = Horizon.decode(before as Uint8Array) as Horizon;
  assert.is(arrived.through(7n), 2n);
  assert.equal(arrived.missing(8n), [[3n, 4n]]);
  assert.is(arrived.size, 2);
});

horizon('of many origins, and of many numbers above a gap, is written and read in slices', async () => {
  const seen = new Horizon();
  for (let origin = 1n; origin <= 10_000n; origin++) seen.observe(link(1n, origin));
  for (let n = 3n; n <= 3_000n; n++) for (const origin of [4n, 5n]) seen.observe(link(n, origin));
  const turns = countedTurns();
  const bytes = await seen.frozen().encode(turns.turn);
  assert.ok(turns.count >= 6, `${turns.count} turns to write`);
  assert.equal(bytes, encoded(seen), 'as in one turn');
  turns.count = 0;
  const arrived = await Horizon.decode(bytes, turns.turn);
  assert.ok(turns.count >= 6, `${turns.count} turns to read`);
  assert.equal(encoded(arrived), bytes);
});

horizon('refuses damaged bytes with where they are damaged', async () => {
  const seen = new Horizon();
  for (const n of [1n, 3n]) seen.observe(link(n));
  const bytes = encoded(seen);
  for (let length = 0; length < bytes.length; length++) {
    const error = await refusal('truncated', () => Horizon.decode(bytes.subarray(0, length)));
    assert.is(typeof error.details.offset, 'number');
  }
  await refusal('trailing-bytes', () => Horizon.decode(Uint8Array.of(...bytes, 0)));
  const huge = bytes.slice();
  new DataView(huge.buffer).setUint32(0, 0xffff_ffff, true);
  await refusal('truncated', () => Horizon.decode(huge));
});

horizon('takes no more numbers above a gap than it would remember', async () => {
  const seen = new Horizon();
  seen.observe(link(1n));
  for (let n = 3n; n < 3n + 4_096n; n++) seen.observe(link(n));
  const bytes = encoded(seen);
  assert.is(((await Horizon.decode(bytes)) as Horizon).missing(7n).length, 1);
  const [ahead, over] = [24, 24 + 8 * 4_096];
  const more = Uint8Array.of(...bytes.subarray(0, over), ...bytes.subarray(ahead, ahead + 8), ...bytes.subarray(over));
  new DataView(more.buffer).setUint32(20, 4_097, true);
  const error = await refusal('sequence-gap', () => Horizon.decode(more));
  assert.match(error.message, /origin 7 .* 4097 .* at most 4096/);
});
