import { createReadStream, mkdtempSync, type ReadStream, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { MemoryKeep, type StateKeep } from '../../lib/daemon/state-keep.js';
import type { StateReader } from '../../lib/daemon/state-reader.js';
import { StateStream } from '../../lib/daemon/state-stream.js';
import type { MigrationError } from '../../lib/errors.js';
import type { StateChunks, StreamedState } from '../../lib/index.js';
import { refusal, suite } from '../support.js';

const stream = suite('a streamed state');
const MIB = 2 ** 20;
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

function streamOf(chunks: StreamedState['chunks'], byteLength: number): StateStream {
  return new StateStream('daemon "test" cannot be moved', { byteLength, chunks });
}

/** Numbered bytes, in pieces of these lengths. */
function pieces(lengths: readonly number[]): Uint8Array[] {
  let next = 0;
  return lengths.map((length) => Uint8Array.from({ length }, () => next++ & 255));
}

const sum = (lengths: readonly number[]) => lengths.reduce((all, length) => all + length, 0);

async function* later(chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  for (const chunk of chunks) {
    await turn();
    yield chunk;
  }
}

/** Counts what an iterator is asked for. */
class Counted implements AsyncIterator<Uint8Array>, AsyncIterable<Uint8Array> {
  asked = 0;
  closed = 0;

  constructor(
    private readonly next_: (asked: number) => IteratorResult<Uint8Array> | Promise<IteratorResult<Uint8Array>>,
  ) {}

  async next(): Promise<IteratorResult<Uint8Array>> {
    return this.next_(this.asked++);
  }

  async return(): Promise<IteratorResult<Uint8Array>> {
    this.closed++;
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

/** All of a reading, a few bytes at a time. */
async function readAll(reader: StateReader, length: number, step = 7_000): Promise<Uint8Array> {
  const all = new Uint8Array(length);
  for (let at = 0; at < length || !reader.isOver; ) {
    const count = Math.min(step, reader.available(), length - at);
    reader.take(all, at, count);
    at += count;
    if (count === 0 && !reader.isOver) await new Promise<void>((resolve) => reader.onReady(resolve)).then(turn);
  }
  return all;
}

const LENGTHS = [0, 1, 2, 6_999, 7_000, 0, 0, 7_001, 16_383, 16_384, 65_536, 3, 300_000, 1, 0];

for (const [how, open] of [
  ['synchronous', (all: readonly Uint8Array[]): StateChunks => all],
  ['asynchronous', (all: readonly Uint8Array[]): StateChunks => later(all)],
] as const) {
  stream(`comes whole from ${how} pieces of any size, also empty ones`, async () => {
    const all = pieces(LENGTHS);
    const length = sum(LENGTHS);
    for (const step of [1_000, 7_000, 100_000]) {
      const bytes = await readAll(streamOf(open(all), length).read(), length, step);
      assert.is(Buffer.compare(bytes, Buffer.concat(all)), 0, `in steps of ${step}`);
    }
  });
}

stream('of no bytes is opened too, and may hold empty pieces', async () => {
  const empty = new Counted((asked) =>
    asked < 3 ? { done: false, value: new Uint8Array(0) } : { done: true, value: undefined },
  );
  const reader = streamOf(empty, 0).read();
  await readAll(reader, 0);
  assert.is(empty.asked, 4);
  assert.ok(reader.isOver);
});

stream('is read no further ahead than 1 MiB and the piece that passes it', async () => {
  for (const size of [1_000, 64 * 1024, 700_000, 3 * MIB]) {
    const endless = new Counted(() => ({ done: false, value: new Uint8Array(size) }));
    const reader = streamOf(endless, 2 ** 40).read();
    reader.available();
    await until(() => endless.asked * size >= MIB);
    for (let i = 0; i < 50; i++) await turn();
    assert.is(endless.asked, Math.ceil(MIB / size), `pieces of ${size} bytes`);
    // What is taken makes room for as much.
    reader.take(new Uint8Array(2 * size), 0, Math.min(size, reader.available()));
    reader.available();
    await turn();
    assert.ok(endless.asked <= Math.ceil(MIB / size) + 1);
    reader.close();
    assert.is(endless.closed, 1);
  }
});

async function until(holds: () => boolean): Promise<void> {
  for (let i = 0; i < 10_000 && !holds(); i++) await turn();
  assert.ok(holds());
}

stream('in pieces of one byte takes no more than its bytes', async () => {
  const count = 300_000;
  const bytes = new Counted((asked) =>
    asked < count ? { done: false, value: Uint8Array.of(asked & 255) } : { done: true, value: undefined },
  );
  const reader = streamOf(bytes, count).read();
  globalThis.gc!();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  for (let last = -1; bytes.asked !== last || last < count; ) {
    last = bytes.asked;
    if (reader.available() === count) break;
    await new Promise<void>((resolve) => reader.onReady(resolve)).then(turn);
  }
  globalThis.gc!();
  const after = process.memoryUsage();
  const grown = after.heapUsed - heapUsed + after.arrayBuffers - arrayBuffers;
  assert.ok(grown < 1.5 * MIB, `${grown} bytes for ${count}`);
  assert.equal([...(await readAll(reader, count)).subarray(250, 260)], [250, 251, 252, 253, 254, 255, 0, 1, 2, 3]);
});

for (const [how, make] of [
  ['synchronous', (value: Uint8Array) => forEver(value)],
  ['asynchronous', (value: Uint8Array) => new Counted(() => ({ done: false, value }))],
] as const) {
  stream(`in small ${how} pieces leaves others their turn`, async () => {
    const reader = streamOf(make(Uint8Array.of(1)), 10 * MIB).read();
    let longest = 0;
    for (let taken = 0; taken < 200_000; ) {
      const here = reader.available();
      reader.skip(here);
      taken += here;
      longest = Math.max(longest, here);
      if (here === 0) await new Promise<void>((resolve) => reader.onReady(resolve));
      await turn();
    }
    assert.ok(longest <= 4_096, `${longest} pieces in one turn`);
    reader.close();
  });
}

function* forEver(value: Uint8Array): Generator<Uint8Array> {
  for (;;) yield value;
}

stream('in one large piece is there at once', async () => {
  const large = new Uint8Array(64 * MIB).fill(3);
  const reader = streamOf([large], large.length).read();
  assert.is(reader.available(), large.length);
  for (let i = 0; i < 100; i++) reader.take(new Uint8Array(7_000), 0, 7_000);
  assert.is(reader.available(), large.length - 700_000);
});

const cause = new Error('the disk is gone');

const BROKEN: ReadonlyArray<readonly [what: string, steps: Array<unknown>, says: RegExp]> = [
  ['fewer bytes', [new Uint8Array(99)], /ended after 99 bytes, and its byteLength says 100/],
  ['nothing', [], /ended after 0 bytes, and its byteLength says 100/],
  ['more bytes', [new Uint8Array(50), new Uint8Array(51)], /gave more than the 100 bytes/],
  ['one byte more at its end', [new Uint8Array(100), new Uint8Array(1)], /gave more than the 100 bytes/],
  ['text', [new Uint8Array(50), 'text'], /gave a string instead of a Uint8Array/],
  ['null', [null], /gave null instead of a Uint8Array/],
  ['a number', [7], /gave the number 7 instead of a Uint8Array/],
  ['another array', [new Uint16Array(50)], /gave an object \(Uint16Array\) instead of a Uint8Array/],
  [
    'empty pieces without end',
    [...Array.from({ length: 10_001 }, () => new Uint8Array(0))],
    /10000 empty pieces in a row/,
  ],
  ['an error at first', [cause], /threw: the disk is gone/],
  ['an error in its midst', [new Uint8Array(50), cause], /threw: the disk is gone/],
  ['an error at its end', [new Uint8Array(100), cause], /threw: the disk is gone/],
];

for (const [what, steps, says] of BROKEN) {
  for (const isAsync of [false, true]) {
    stream(`that gives ${what}${isAsync ? ', later,' : ''} is refused and closed`, async () => {
      let closed = 0;
      const step = (asked: number): IteratorResult<Uint8Array> => {
        const value = steps[asked];
        if (value === cause) throw cause;
        return asked < steps.length ? { done: false, value: value as Uint8Array } : { done: true, value: undefined };
      };
      let asked = 0;
      const now = {
        [Symbol.iterator]: () => ({
          next: () => step(asked++),
          return: () => {
            closed++;
            return { done: true as const, value: undefined };
          },
        }),
      };
      const counted = new Counted(step);
      const reader = streamOf(isAsync ? counted : () => now, 100).read();
      const error = await refusal('state-failed', () => readAll(reader, 100, 10));
      assert.match(error.message, /^daemon "test" cannot be moved: its streamed state /);
      assert.match(error.message, says);
      assert.is(error.cause, steps.includes(cause) ? cause : undefined);
      // One that has ended or thrown is over by itself.
      const isOver = steps.includes(cause) || /ended/.test(error.message);
      assert.is(isAsync ? counted.closed : closed, isOver ? 0 : 1);
      await refusal('state-failed', () => reader.available());
      reader.close();
      assert.is(isAsync ? counted.closed : closed, isOver ? 0 : 1);
    });
  }
}

stream('is refused at once where it is none', () => {
  const none = (state: unknown, says: RegExp) => {
    try {
      new StateStream('daemon "test" cannot be moved', state as StreamedState);
      assert.unreachable();
    } catch (error) {
      assert.is((error as MigrationError).kind, 'state-failed');
      assert.match((error as MigrationError).message, says);
    }
  };
  for (const byteLength of [-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, 4n, '4', undefined])
    none({ byteLength, chunks: [] }, /no byteLength of a whole number of bytes/);
  for (const chunks of [undefined, null, 'text', 4]) none({ byteLength: 4, chunks }, /no chunks that are an iterable/);
});

stream('whose chunks give no iterable is refused when it is read', async () => {
  for (const chunks of [{}, () => ({}), () => undefined]) {
    const reader = streamOf(chunks as never, 4).read();
    await refusal('state-failed', () => reader.available());
  }
});

stream('can be read again where it is a function or makes new iterators, and not where nobody can say', async () => {
  const [one] = pieces([10]);
  assert.ok(streamOf([one!], 10).canReopen);
  assert.ok(streamOf(new Set([one!]), 10).canReopen);
  assert.ok(
    streamOf(
      {
        *[Symbol.iterator]() {
          yield one!;
        },
      },
      10,
    ).canReopen,
  );
  assert.ok(streamOf(() => later([one!]), 10).canReopen);
  assert.not(streamOf([one!][Symbol.iterator](), 10).canReopen);
  assert.not(streamOf(forEver(one!), 10).canReopen);
  assert.not(streamOf(later([one!]), 10).canReopen);
  assert.not(
    streamOf(
      {
        async *[Symbol.asyncIterator]() {
          yield one!;
        },
      },
      10,
    ).canReopen,
  );
  const again = streamOf([one!], 10);
  for (let i = 0; i < 3; i++) assert.equal(await readAll(again.read(), 10), one);
});

stream('that nobody reads is closed', () => {
  const once = new Counted(() => ({ done: true, value: undefined }));
  const unread = streamOf(once, 4);
  unread.close();
  unread.close();
  assert.is(once.closed, 1);
  let opened = 0;
  const reopened = streamOf(() => {
    opened++;
    return [];
  }, 4);
  reopened.close();
  assert.is(opened, 0);
});

stream('whose iterator throws or hangs in closing is let go all the same', async () => {
  for (const end of [
    () => {
      throw cause;
    },
    () => Promise.reject(cause),
    () => new Promise(() => {}),
  ]) {
    const source = { next: () => new Promise<never>(() => {}), return: end };
    const reader = streamOf({ [Symbol.asyncIterator]: () => source } as never, 4).read();
    reader.available();
    let isWoken = false;
    reader.onReady(() => {
      isWoken = true;
    });
    reader.close();
    assert.ok(isWoken);
    await turn();
  }
});

stream('that ends its own reading is closed', () => {
  let closed = 0;
  const chunks = {
    [Symbol.iterator]: () => ({
      next() {
        reader.close();
        return { done: false as const, value: new Uint8Array(1) };
      },
      return() {
        closed++;
        return { done: true as const, value: undefined };
      },
    }),
  };
  const reader: StateReader = streamOf(() => chunks, 4).read();
  assert.is(reader.available(), 0);
  assert.ok(closed >= 1);
});

stream('comes from a file, by a function again, and leaves none open', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'state-stream-'));
  const path = join(folder, 'state');
  const content = Buffer.concat(pieces([500_000]));
  writeFileSync(path, content);
  const opened: ReadStream[] = [];
  const open = () => {
    opened.push(createReadStream(path));
    return opened.at(-1)!;
  };
  try {
    const again = streamOf(open, content.length);
    for (let i = 0; i < 2; i++) assert.is(Buffer.compare(await readAll(again.read(), content.length), content), 0);
    const cut = again.read();
    await until(() => cut.available() > 0);
    cut.close();
    const unread = streamOf(open(), content.length);
    assert.not(unread.canReopen);
    const once = unread.read(new MemoryKeep());
    await until(() => once.available() > 0);
    once.close();
    await until(() => opened.every(({ destroyed, closed }) => destroyed && closed));
    assert.is(opened.length, 4);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

stream('is collected whole, in turns', async () => {
  const lengths = [1, 9 * MIB, 0, 7];
  let turns = 0;
  const bytes = await streamOf(later(pieces(lengths)), sum(lengths)).collect(
    async () => void turns++,
    () => {},
  );
  assert.is(Buffer.compare(bytes, Buffer.concat(pieces(lengths))), 0);
  assert.ok(turns >= 2);
});

stream('that is closed while it is collected is refused', async () => {
  const hangs = new Counted(() => new Promise(() => {}));
  let reading: StateReader | undefined;
  const collected = streamOf(hangs, 4).collect(undefined, (reader) => {
    reading = reader;
  });
  await turn();
  reading!.close();
  assert.match((await refusal('state-failed', () => collected)).message, /was closed before it had been read/);
  assert.is(hangs.closed, 1);
});

stream('that fits into no array is refused, and closed', async () => {
  const once = new Counted(() => ({ done: true, value: undefined }));
  await refusal('state-failed', () => streamOf(once, Number.MAX_SAFE_INTEGER).collect(undefined, () => {}));
  assert.is(once.closed, 1);
});

stream('that ends its own reading while it is asked is not waited for', async () => {
  let reading: StateReader | undefined;
  const ending = streamOf(function* () {
    yield new Uint8Array(10);
    reading!.close();
    yield new Uint8Array(10);
  }, 20);
  const collected = ending.collect(turn, (reader) => {
    reading = reader;
  });
  const never = new Promise((resolve) => setTimeout(resolve, 2_000, 'waits for ever'));
  const error = await refusal('state-failed', () => Promise.race([collected, never]));
  assert.match(error.message, /was closed before it had been read/);
});

const keep = suite('what is kept of a streamed state');

keep('in memory is all of it, from any byte on, however it came', () => {
  for (const lengths of [LENGTHS, [256 * 1024, 256 * 1024], [300_000, 1, 2, 300_000], [1], []]) {
    const all = Buffer.concat(pieces(lengths));
    const kept = new MemoryKeep();
    for (const piece of pieces(lengths)) kept.append(piece);
    for (const from of [0, 1, 7_000, all.length - 1, all.length].filter((at) => at >= 0 && at <= all.length))
      assert.is(Buffer.compare(Buffer.concat([...kept.chunks(from)]), all.subarray(from)), 0, `from ${from}`);
    kept.dispose();
    assert.equal([...kept.chunks(0)], []);
  }
});

keep('in memory takes its bytes and one block, also of pieces that are parts of larger arrays', async () => {
  globalThis.gc!();
  await turn();
  const before = process.memoryUsage().arrayBuffers;
  const kept = new MemoryKeep();
  for (let i = 0; i < 1_000; i++) kept.append(new Uint8Array(100_000).subarray(0, 1_000));
  let grown = Number.POSITIVE_INFINITY;
  // What is garbage may be freed some turns after it was collected.
  for (let i = 0; i < 20 && grown > 1_300_000; i++) {
    globalThis.gc!();
    await turn();
    grown = process.memoryUsage().arrayBuffers - before;
  }
  assert.ok(grown <= 1_300_000, `${grown} bytes`);
  kept.dispose();
});

keep('waits for a store that takes its time, which holds the stream back', async () => {
  const waiting: Array<() => void> = [];
  const taken: number[] = [];
  const store: StateKeep = {
    append: (chunk) =>
      new Promise((resolve) => {
        taken.push(chunk.length);
        waiting.push(resolve);
      }),
    chunks: () => [],
    dispose: () => {},
  };
  const counted = new Counted(() => ({ done: false, value: new Uint8Array(1_000) }));
  const reader = streamOf(counted, MIB).read(store);
  assert.is(reader.available(), 0);
  for (let i = 0; i < 20; i++) await turn();
  assert.is(counted.asked, 1);
  assert.is(reader.available(), 0, 'nothing is sent before it is kept');
  waiting.shift()!();
  for (let i = 0; i < 20; i++) await turn();
  assert.is(reader.available(), 1_000);
  assert.is(counted.asked, 2);
  reader.close();
});

keep('that cannot be kept fails the stream, and closes it', async () => {
  for (const append of [
    () => {
      throw cause;
    },
    () => Promise.reject(cause),
  ]) {
    const counted = new Counted(() => ({ done: false, value: new Uint8Array(1_000) }));
    const reader = streamOf(counted, MIB).read({ append, chunks: () => [], dispose: () => {} });
    const error = await refusal('state-failed', () => readAll(reader, MIB));
    assert.match(error.message, /could not be kept: the disk is gone/);
    assert.is(error.cause, cause);
    assert.is(counted.closed, 1);
  }
});
