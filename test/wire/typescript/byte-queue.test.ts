import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { genesisLink } from '../../../lib/wire/link.js';
import { ByteQueue } from '../../../lib/wire/typescript/byte-queue.js';
import { createEventLog } from '../../../lib/wire/typescript/event-log.js';
import { noise } from '../../properties/arbitraries.js';
import { holds } from '../../properties/support.js';

const BLOCK = 65_536;

const test = suite('byte queue');

test('reads what was appended, however much was forgotten', () => {
  const step = fc.tuple(fc.nat({ max: 150_000 }), fc.nat({ max: 100 }));
  holds(
    fc.array(step, { maxLength: 12, size: 'max' }),
    (steps) => {
      const queue = new ByteQueue();
      let all = Buffer.alloc(0);
      let kept = 0;
      steps.forEach(([length, percent], i) => {
        const part = noise(i, length);
        queue.reserve(length);
        queue.append(part);
        all = Buffer.concat([all, part]);
        kept = Math.max(kept, Math.floor((all.length * percent) / 100));
        queue.dropBefore(kept);
        const out = new Uint8Array(all.length - kept);
        queue.read(kept, out.length, out, 0);
        assert.is(Buffer.compare(out, all.subarray(kept)), 0);
        assert.ok(queue.capacity <= out.length + 2 * BLOCK, `${queue.capacity} bytes for ${out.length}`);
      });
      assert.is(queue.end, all.length);
    },
    0.1,
  );
});

test('an event log takes at most 64 bytes over the payload of each event', () => {
  const log = createEventLog();
  const before = process.memoryUsage().arrayBuffers;
  const count = 100_000;
  const event = { link: genesisLink(1n), payload: new Uint8Array(10), receivedAt: 0n };
  for (let i = 0; i < count; i++) log.append(event);
  const each = (process.memoryUsage().arrayBuffers - before - 4 * BLOCK) / count - 10;
  assert.ok(each <= 64, `${each} bytes over the payload`);
  log.truncate(BigInt(count));
  assert.is(log.count, 0);
});

test.run();
