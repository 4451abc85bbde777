import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ShortChunks } from '../../../lib/wire/typescript/short-chunks.js';
import { noise } from '../../properties/arbitraries.js';
import { holds } from '../../properties/support.js';

const test = suite('packed short chunks');

const operation = fc.tuple(fc.nat({ max: 30 }), fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 2_000 })), fc.nat());

test('hold what a map holds, in memory that follows what lives', () => {
  holds(fc.array(operation, { maxLength: 200, size: 'max' }), (operations) => {
    const chunks = new ShortChunks(31);
    const model = new Map<number, Uint8Array>();
    for (const [index, length, seed] of operations) {
      if (length === 0) {
        chunks.delete(index);
        model.delete(index);
      } else {
        chunks.put(index, noise(seed, length));
        model.set(index, noise(seed, length));
      }
    }
    assert.is(chunks.count, model.size);
    for (let index = 0; index < 31; index++) {
      const chunk = chunks.get(index);
      assert.is(chunks.lengthOf(index), model.get(index)?.length ?? 0);
      assert.is(chunk && Buffer.compare(chunk, model.get(index)!), model.has(index) ? 0 : undefined);
    }
  });
});

test('do not grow when the same chunk comes again and again, longer each time', () => {
  const chunks = new ShortChunks(2);
  for (let round = 0; round < 20; round++) {
    for (let length = 1; length < 7_000; length += 50) chunks.put(1, new Uint8Array(length));
    chunks.delete(1);
  }
  assert.ok(chunks.capacity <= 32_768, `${chunks.capacity} bytes reserved`);
});

test.run();
