import * as assert from 'uvu/assert';
import { BATCH_BYTES, type Batch, OutgoingLink } from '../../lib/mesh/link.js';
import { forEachFrame } from '../../lib/wire/batch.js';
import { suite } from '../support.js';

const link = suite('outgoing link');
const turns = async (n = 20) => {
  for (let i = 0; i < n; i++) await new Promise((resolve) => setImmediate(resolve));
};

function frames(batches: readonly Batch[]): Uint8Array[] {
  const all: Uint8Array[] = [];
  for (const { bytes } of batches) forEachFrame(bytes, (frame) => all.push(frame));
  return all;
}

/** Frames of one byte each, counting up. */
function producer(count: number, length: number) {
  let next = 0;
  return {
    get done() {
      return next === count;
    },
    get written() {
      return next;
    },
    maxFrameLength: length,
    writeNext(target: Uint8Array, at: number) {
      target.fill(next++ & 255, at, at + length);
      return length;
    },
  };
}

link('gathers frames of one turn into one batch, in order', async () => {
  const sent: Batch[] = [];
  const out = new OutgoingLink((batch) => sent.push(batch));
  for (let i = 0; i < 10; i++) out.send(5, Uint8Array.of(i));
  assert.is(sent.length, 0);
  await turns();
  assert.is(sent.length, 1);
  assert.equal(
    frames(sent).map(([byte]) => byte),
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
  );
});

link('keeps subprotocols apart, and their order', async () => {
  const sent: Batch[] = [];
  const out = new OutgoingLink((batch) => sent.push(batch));
  out.send(1, Uint8Array.of(1));
  out.send(2, Uint8Array.of(2));
  out.send(1, Uint8Array.of(3));
  await turns();
  assert.equal(
    sent.map(({ subprotocol }) => subprotocol),
    [1, 2, 1],
  );
});

link('takes a frame larger than a batch, and an empty one', async () => {
  const sent: Batch[] = [];
  const out = new OutgoingLink((batch) => sent.push(batch));
  const large = new Uint8Array(300_000).fill(7);
  out.send(1, large);
  out.send(1, new Uint8Array(0));
  await turns();
  assert.equal(
    frames(sent).map((frame) => frame.length),
    [300_000, 0],
  );
  assert.equal(frames(sent)[0], large);
});

link('sends no more of a stream than half the window until the peer has taken some, and loses nothing', async () => {
  const sent: Batch[] = [];
  const out = new OutgoingLink((batch) => sent.push(batch));
  const stream = producer(1_000, 7_000);
  out.stream(1, stream);
  await turns(100);
  const bytes = () => sent.reduce((sum, batch) => sum + batch.bytes.length, 0);
  assert.ok(bytes() >= 1024 * 1024 && bytes() < 1.2 * 1024 * 1024, `${bytes()} bytes without credit`);
  assert.ok(stream.written < 1_000);
  for (let credited = 0; credited < bytes(); await turns(50)) {
    const sentBytes = bytes();
    out.credit(sentBytes - credited);
    credited = sentBytes;
  }
  assert.ok(stream.done);
  assert.equal(
    frames(sent).map(([byte]) => byte),
    Array.from({ length: 1_000 }, (_, i) => i & 255),
  );
});

link(
  'sends on while nothing of a stream is taken, so that nodes that relay in a circle do not wait for each other',
  async () => {
    const sent: Batch[] = [];
    const out = new OutgoingLink((batch) => sent.push(batch));
    out.stream(1, producer(1_000, 7_000));
    await turns(100);
    const before = sent.length;
    // What is sent on is taken at once; the stream's bytes are not.
    for (let i = 0; i < 40; i++) {
      out.send(2, new Uint8Array(100_000));
      await turns(3);
      const { subprotocol, bytes } = sent.at(-1)!;
      assert.is(subprotocol, 2);
      out.credit(bytes.length);
    }
    assert.is(sent.slice(before).filter(({ subprotocol }) => subprotocol === 2).length, 40);
    assert.is(out.ready(), undefined);
  },
);

link('lets a short frame go before a stream that has just begun', async () => {
  const sent: Batch[] = [];
  const out = new OutgoingLink((batch) => sent.push(batch));
  out.stream(1, producer(5_000, 7_000));
  await turns(3);
  const before = sent.length;
  out.send(2, Uint8Array.of(9));
  out.credit(sent.reduce((sum, batch) => sum + batch.bytes.length, 0));
  await turns(3);
  const place = sent.slice(before).findIndex(({ subprotocol }) => subprotocol === 2);
  assert.ok(place >= 0 && place <= 2, `behind ${place} batches`);
});

link('`ready` waits for room, and a closed link keeps nobody waiting', async () => {
  const out = new OutgoingLink(() => {});
  assert.is(out.ready(), undefined);
  // Over the window and the queue: no credit comes.
  for (let i = 0; i < 40; i++) out.send(1, new Uint8Array(100_000));
  await turns();
  let woken = false;
  const waiting = Promise.resolve(out.ready()).then(() => {
    woken = true;
  });
  await turns();
  assert.is(woken, false);
  out.credit(2_000_000);
  await waiting;
  for (let i = 0; i < 40; i++) out.send(1, new Uint8Array(100_000));
  const again = out.ready();
  assert.ok(again);
  out.close();
  await again;
  out.send(1, Uint8Array.of(1));
  assert.is(out.ready(), undefined);
});

link('a stream that has ended unsent keeps none behind it from its turn', async () => {
  const sent: Batch[] = [];
  const out = new OutgoingLink((batch) => sent.push(batch));
  const ended = { done: true, maxFrameLength: 8, writeNext: () => 0 };
  out.stream(1, ended);
  out.stream(1, ended);
  out.stream(1, producer(3, 8));
  await turns();
  assert.is(frames(sent).length, 3);
});

link('small batches take no new memory, and a large transfer that of the batches that come back', async () => {
  const sent: Batch[] = [];
  const out = new OutgoingLink((batch) => sent.push(batch));
  const allocated = countingBatches(async () => {
    for (let i = 0; i < 100; i++) {
      out.send(1, Uint8Array.of(i));
      await turns(2);
    }
    assert.is(sent.length, 100);
  });
  assert.is(await allocated, 1);
  const stream = producer(3_000, 7_000);
  const received: number[] = [];
  const more = countingBatches(async () => {
    out.stream(1, stream);
    while (!stream.done || sent.length > 0) {
      await turns(2);
      for (const { bytes } of sent.splice(0)) {
        forEachFrame(bytes, (frame) => received.push(frame[0]!));
        // As over a port: the memory comes back as another array.
        out.credit(bytes.length, new Uint8Array(bytes.buffer, 0, bytes.length));
      }
    }
  });
  // Twenty times the window and the queue.
  assert.ok((await more) <= 24, `${await more} batches for 21 MB`);
  assert.equal(
    received.slice(-3_000),
    Array.from({ length: 3_000 }, (_, i) => i & 255),
  );
});

link('keeps little memory while it rests', async () => {
  const sent: Batch[] = [];
  const out = new OutgoingLink((batch) => sent.push(batch));
  const transfer = async () => {
    const stream = producer(1_000, 7_000);
    out.stream(1, stream);
    while (!stream.done || sent.length > 0) {
      await turns(2);
      for (const { bytes } of sent.splice(0)) out.credit(bytes.length, bytes);
    }
  };
  await transfer();
  const again = countingBatches(transfer);
  const made = await again;
  assert.ok(made >= 4 && made <= 24, `${made} batches had to be made anew`);
});

link('takes back no memory that is none of its batches', async () => {
  const sent: Batch[] = [];
  const out = new OutgoingLink((batch) => sent.push(batch));
  for (const bytes of [new Uint8Array(10), new Uint8Array(1024 * 1024), new Uint8Array(0)]) out.credit(0, bytes);
  out.send(1, Uint8Array.of(1));
  await turns();
  assert.equal(frames(sent), [Uint8Array.of(1)]);
});

/** How many arrays of a batch's size are made meanwhile. */
async function countingBatches(run: () => Promise<void>): Promise<number> {
  const original = globalThis.Uint8Array;
  let count = 0;
  globalThis.Uint8Array = new Proxy(original, {
    construct(target, args, newTarget) {
      if (args[0] === BATCH_BYTES) count++;
      return Reflect.construct(target, args, newTarget);
    },
  });
  try {
    await run();
  } finally {
    globalThis.Uint8Array = original;
  }
  return count;
}
