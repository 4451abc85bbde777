import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { NumberedEvents } from '../../lib/migration/numbered-events.js';
import type { CausalEvent } from '../../lib/wire/link.js';
import { events, suite } from '../support.js';
import { numberOf } from './cluster.js';

const numbered = suite('numbered events');
const PUBLISHER = 7n;
const sequences = (given: readonly CausalEvent[]) => given.map(({ link }) => link.sequence);
const span = (first: number, last: number) => events(PUBLISHER, first, last - first + 1);

numbered('come in order, each number once, from the one after seq_through on', () => {
  const waiting = new NumberedEvents(10n);
  waiting.add(span(9, 12));
  assert.equal(sequences(waiting.takeNext()), [11n, 12n]);
  waiting.add(span(12, 13));
  assert.equal(sequences(waiting.takeNext()), [13n]);
  waiting.add(span(13, 13));
  assert.equal(waiting.takeNext(), []);
});

numbered('wait for a lower number, until they are taken without it', () => {
  const waiting = new NumberedEvents(0n);
  waiting.add([...span(4, 5), ...span(2, 2)]);
  assert.equal(waiting.takeNext(), []);
  assert.equal(sequences(waiting.takeAll()), [2n, 4n, 5n]);
  assert.equal(waiting.takeAll(), []);
  waiting.add(span(1, 6));
  assert.equal(sequences(waiting.takeNext()), [6n], 'what was passed over does not come back');
});

numbered('wait for a lower number up to 64 MiB, and what is taken makes room', () => {
  const waiting = new NumberedEvents(0n);
  const large = span(2, 9_700).map((event) => ({ ...event, payload: new Uint8Array(7_000) }));
  waiting.add(large);
  const held = Math.floor((64 * 1024 * 1024) / 7_000);
  assert.is(waiting.takeAll().length, held);
  waiting.add(span(held + 3, held + 3));
  assert.is(waiting.takeAll().length, 1);
});

numbered('keep bytes of their own', () => {
  const waiting = new NumberedEvents(0n);
  const given = span(1, 2);
  waiting.add(given);
  for (const { payload } of given) payload.fill(0xff);
  assert.equal(waiting.takeNext().map(numberOf), [1n, 2n]);
});

numbered('keep the first that came under a number', () => {
  const waiting = new NumberedEvents(0n);
  waiting.add(span(2, 2));
  waiting.add([{ ...span(2, 2)[0]!, payload: new Uint8Array(8) }]);
  waiting.add(span(1, 1));
  assert.equal(waiting.takeNext().map(numberOf), [1n, 2n]);
});

numbered('reach to the last sequence there is', () => {
  const last = (1n << 64n) - 1n;
  const waiting = new NumberedEvents(last - 1n);
  const event = span(1, 1)[0]!;
  waiting.add([{ ...event, link: { ...event.link, sequence: last } }]);
  assert.equal(sequences(waiting.takeNext()), [last]);
  assert.equal(waiting.takeNext(), []);
});

numbered('are whole and in order, however their frames are cut, doubled and mixed', () => {
  const frame = fc.tuple(fc.integer({ min: 1, max: 40 }), fc.nat(12));
  const property = fc.property(fc.array(frame, { maxLength: 30 }), (frames) => {
    const waiting = new NumberedEvents(0n);
    const came = new Set<bigint>();
    const taken: bigint[] = [];
    for (const [first, more] of frames) {
      const given = span(first, first + more);
      for (const sequence of sequences(given)) came.add(sequence);
      waiting.add(given);
      taken.push(...sequences(waiting.takeNext()));
      let through = 0n;
      while (came.has(through + 1n)) through++;
      assert.equal(
        taken,
        [...came].filter((each) => each <= through).sort((a, b) => Number(a - b)),
      );
    }
    taken.push(...sequences(waiting.takeAll()));
    assert.equal(
      taken,
      [...came].sort((a, b) => Number(a - b)),
    );
  });
  fc.assert(property, { numRuns: 300, seed: 6 });
});
