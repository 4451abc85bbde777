import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { Deadlines } from '../../lib/migration/deadlines.js';
import { suite } from '../support.js';

const deadlines = suite('deadlines');

function takeAll<T>(heap: Deadlines<T>, now: number): T[] {
  const taken: T[] = [];
  for (let item = heap.take(now); item !== undefined; item = heap.take(now)) taken.push(item);
  return taken;
}

deadlines('give nothing before it is due, and at its very time', () => {
  const heap = new Deadlines<string>();
  assert.is(heap.take(Number.POSITIVE_INFINITY), undefined);
  heap.add(10, 'a');
  assert.is(heap.take(9.999), undefined);
  assert.is(heap.size, 1);
  assert.is(heap.take(10), 'a');
  assert.is(heap.size, 0);
  assert.is(heap.take(10), undefined);
});

deadlines('give one item as often as it stands in them', () => {
  const heap = new Deadlines<string>();
  for (const at of [3, 1, 2]) heap.add(at, 'a');
  assert.equal(takeAll(heap, 2), ['a', 'a']);
  assert.equal(takeAll(heap, 3), ['a']);
});

deadlines('give what is due in the order of time, whatever is added in between', () => {
  const step = fc.oneof(
    fc.record({ add: fc.integer({ min: -5, max: 60 }) }),
    fc.record({ take: fc.integer({ min: -5, max: 60 }) }),
  );
  const property = fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
    const heap = new Deadlines<number>();
    let model: number[] = [];
    for (const each of steps) {
      if ('add' in each) {
        heap.add(each.add, each.add);
        model.push(each.add);
      } else {
        const due = model.filter((at) => at <= each.take).sort((a, b) => a - b);
        model = model.filter((at) => at > each.take);
        assert.equal(takeAll(heap, each.take), due);
      }
      assert.is(heap.size, model.length);
    }
  });
  fc.assert(property, { numRuns: 500, seed: 6 });
});
