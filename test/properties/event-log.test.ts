import { blake3 } from '@noble/hashes/blake3.js';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { EventLog } from '../../lib/wire/event-log.js';
import { type CausalEvent, genesisLink } from '../../lib/wire/link.js';
import { typescriptCodec } from '../../lib/wire/typescript/index.js';
import { comparable } from '../conformance/frames.js';
import * as any from './arbitraries.js';
import { agree, codecs, holds, outcome } from './support.js';

const test = suite(`event logs on ${codecs.map((codec) => codec.engine).join(', ')}`);

const U64_MAX = 2n ** 64n - 1n;

interface Limits {
  readonly maxEvents: number;
  readonly maxBytes: number;
}

/** The log as a plain array of what is held, with all that the digest takes. */
class Model {
  held: { number: bigint; event: CausalEvent }[] = [];
  next = 1n;
  digested: Uint8Array[] = [];

  get bytes(): number {
    return this.held.reduce((sum, { event }) => sum + event.payload.length, 0);
  }

  append(event: CausalEvent, limits: Limits): bigint | undefined {
    const bytes = this.bytes + event.payload.length;
    if (this.held.length + 1 > limits.maxEvents || bytes > limits.maxBytes) return undefined;
    const number = this.next++;
    this.held.push({ number, event });
    const head = Buffer.alloc(44);
    head.writeBigUInt64LE(number);
    head.set(typescriptCodec.encodeLink(event.link), 8);
    head.writeUInt32LE(event.payload.length, 40);
    this.digested.push(head, event.payload);
    return number;
  }

  /** What a frame holds, or the kind of refusal. */
  frame(from: bigint, maxBytes: number, maxCount: number, renumber?: bigint): { events: CausalEvent[] } | string {
    const events: CausalEvent[] = [];
    let length = 13;
    for (const { number, event } of this.held) {
      if (number < from) continue;
      const size = 44 + event.payload.length;
      if (event.payload.length > 7_000) {
        if (events.length === 0) return 'event-too-large';
        break;
      }
      if (events.length === maxCount || (events.length > 0 && length + size > maxBytes)) break;
      length += size;
      events.push(event);
    }
    if (renumber === undefined) return { events };
    if (events.length > 0 && renumber + BigInt(events.length - 1) > U64_MAX) return 'sequence-overflow';
    const renumbered = events.map((event, i) => ({
      ...event,
      link: { ...event.link, sequence: renumber + BigInt(i) },
    }));
    return { events: renumbered };
  }
}

const logged = fc.record({ link: any.link, payload: any.mostlyShort(9_000), receivedAt: any.u64 });
const near = fc.oneof(fc.nat({ max: 70 }).map(BigInt), fc.constantFrom(0n, U64_MAX));

type Operation =
  | { readonly op: 'append'; readonly event: CausalEvent }
  | { readonly op: 'truncate' | 'get'; readonly number: bigint }
  | { readonly op: 'clear' }
  | {
      readonly op: 'frame';
      readonly from: bigint;
      readonly maxBytes: number;
      readonly maxCount: number;
      readonly renumber: bigint | undefined;
    };

const operation: fc.Arbitrary<Operation> = fc.oneof(
  { weight: 12, arbitrary: fc.record({ op: fc.constant('append' as const), event: logged }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constantFrom('truncate' as const, 'get' as const), number: near }) },
  {
    weight: 3,
    arbitrary: fc.record({
      op: fc.constant('frame' as const),
      from: near,
      maxBytes: fc.oneof(fc.nat({ max: 500 }), fc.nat({ max: 40_000 })),
      maxCount: fc.oneof(fc.integer({ min: 1, max: 10 }), fc.constant(2 ** 32 - 1)),
      renumber: fc.option(any.u64, { nil: undefined }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc
      .nat({ max: 9 })
      .map((n) => (n === 0 ? { op: 'clear' as const } : { op: 'get' as const, number: BigInt(n) })),
  },
);

function run(log: EventLog, model: Model, one: Operation, limits: Limits): void {
  switch (one.op) {
    case 'append': {
      const number = model.append(one.event, limits);
      const expected = number === undefined ? { refused: 'buffer-full' } : { value: number };
      const room = number === undefined ? expected : { value: undefined };
      assert.equal(
        outcome(() => log.ensureRoom(one.event.payload.length)),
        room,
        'ensureRoom',
      );
      assert.equal(
        outcome(() => log.append(one.event)),
        expected,
        'append',
      );
      return;
    }
    case 'truncate': {
      const kept = model.held.filter(({ number }) => number > one.number);
      assert.is(log.truncate(one.number), model.held.length - kept.length, 'truncate');
      model.held = kept;
      return;
    }
    case 'get': {
      const expected = model.held.find(({ number }) => number === one.number)?.event;
      assert.equal(comparable(log.get(one.number)), comparable(expected), 'get');
      return;
    }
    case 'clear':
      log.clear();
      model.held = [];
      model.next = 1n;
      model.digested = [];
      return;
    case 'frame':
      frame(log, model, one);
      return;
  }
}

function frame(log: EventLog, model: Model, one: Extract<Operation, { op: 'frame' }>): void {
  const { from, maxBytes, maxCount, renumber } = one;
  const expected = model.frame(from, maxBytes, maxCount, renumber);
  const call = () => log.encodeFrame(5n, from, maxBytes, maxCount, renumber);
  if (typeof expected === 'string') {
    assert.equal(outcome(call), { refused: expected }, 'encodeFrame');
    return;
  }
  const { frame, next } = call();
  const message = typescriptCodec.decode(frame);
  const wanted = { kind: 'BufferedEvents', daemonOrigin: 5n, events: expected.events };
  assert.equal(comparable(message), comparable(wanted), 'encodeFrame');
  const first = model.held[0]?.number ?? model.next;
  assert.is(next, (from > first ? from : first) + BigInt(expected.events.length), 'encodeFrame next');
}

test('any operations: every engine holds what an array holds', () => {
  const limits = fc.record({
    maxEvents: fc.oneof(fc.nat({ max: 20 }), fc.constant(1_000_000)),
    maxBytes: fc.oneof(fc.nat({ max: 20_000 }), fc.constant(2 ** 26)),
  });
  holds(fc.tuple(limits, fc.array(operation, { maxLength: 60, size: 'max' })), ([limits, operations]) => {
    agree(codecs, (codec) => {
      const log = codec.createEventLog(limits);
      const model = new Model();
      for (const one of operations) run(log, model, one, limits);
      assert.equal([log.count, log.bytes, log.nextNumber], [model.held.length, model.bytes, model.next]);
      assert.is(log.firstNumber, model.held[0]?.number ?? model.next, 'firstNumber');
      assert.equal(comparable(log.digest()), comparable(blake3(Buffer.concat(model.digested))), 'digest');
      log.dispose();
      return log.count;
    });
  });
});

test('payloads are copied in and out', () => {
  for (const codec of codecs) {
    const log = codec.createEventLog();
    const payload = Uint8Array.of(1, 2, 3);
    log.append({ link: genesisLink(1n), payload, receivedAt: 0n });
    payload[0] = 9;
    log.get(1n)!.payload[1] = 9;
    assert.equal([...log.get(1n)!.payload], [1, 2, 3], codec.engine);
  }
});

test('what is refused names the events and bytes held', () => {
  for (const codec of codecs) {
    const log = codec.createEventLog({ maxEvents: 2, maxBytes: 100 });
    const event = (length: number) => ({ link: genesisLink(1n), payload: new Uint8Array(length), receivedAt: 0n });
    log.append(event(60));
    const isFull = (error: { kind?: string; details?: Record<string, unknown> }) =>
      error.kind === 'buffer-full' && Number(error.details?.events) === 1 && Number(error.details?.bytes) === 60;
    assert.throws(() => log.append(event(41)), isFull, codec.engine);
    assert.is(log.append(event(40)), 2n);
  }
});

test('a log that was disposed of refuses', () => {
  for (const codec of codecs) {
    const log = codec.createEventLog();
    log.append({ link: genesisLink(1n), payload: new Uint8Array(3), receivedAt: 0n });
    log.dispose();
    log.dispose();
    assert.is(log.count, 0);
    const calls: (() => unknown)[] = [
      () => log.append({ link: genesisLink(1n), payload: new Uint8Array(3), receivedAt: 0n }),
      () => log.get(1n),
      () => log.ensureRoom(1),
      () => log.encodeFrame(1n, 1n, 100, 1),
      () => log.digest(),
      () => log.truncate(1n),
      () => log.clear(),
    ];
    calls.forEach((call, i) => {
      assert.throws(call, (error: { kind?: string }) => error.kind === 'disposed', `${codec.engine}, call ${i}`);
    });
  }
});

test.run();
