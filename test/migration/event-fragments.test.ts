import * as fc from 'fast-check';
import * as assert from 'uvu/assert';
import { createCodec } from '../../lib/index.js';
import {
  decodeFragment,
  type EventFragment,
  encodeFragment,
  FragmentReceiver,
  FragmentSender,
  MAX_EVENT_BYTES,
} from '../../lib/migration/event-fragments.js';
import type { CausalEvent } from '../../lib/wire/link.js';
import { decodeTrailer, encodeTrailer, type Trailer } from '../../lib/wire/trailer.js';
import { refusal, suite } from '../support.js';
import {
  chunkFrames,
  codec,
  Node,
  ORCHESTRATOR,
  ORIGIN,
  REQUEST,
  SOURCE,
  START,
  STRANGER,
  type sent,
  TRY,
} from './harness.js';

const fragments = suite('fragments of large events');
const KIB = 1024;
const PUBLISHER = 77n;

function payloadOf(length: number, salt: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 7 + (i >> 8) + salt) & 255);
}

function eventOf(sequence: number, length: number): CausalEvent {
  const link = { originHash: PUBLISHER, horizon: 3n, sequence: BigInt(sequence), parentHash: BigInt(sequence) * 5n };
  return { link, payload: payloadOf(length, sequence), receivedAt: BigInt(sequence) * 1_000n };
}

/** All fragments of an event, whatever the window. */
function cut(number: bigint, event: CausalEvent): EventFragment[] {
  const all: EventFragment[] = [];
  const { length } = event.payload;
  for (let offset = 0; offset < length; offset += 7_000)
    all.push({ ...event, number, length, offset, bytes: event.payload.subarray(offset, offset + 7_000) });
  return all;
}

fragments('come through a trailer as they were', () => {
  for (const fragment of cut(2n ** 63n, eventOf(4, 20_000))) {
    const bytes = encodeTrailer({ try: 4n, ...encodeFragment(codec, fragment) });
    const {
      number,
      link,
      receivedAt,
      length,
      offset,
      bytes: part,
    } = decodeFragment(codec, ORIGIN, decodeTrailer(bytes, 0)!);
    assert.equal(
      { number, link, receivedAt, length, offset },
      {
        number: fragment.number,
        link: fragment.link,
        receivedAt: fragment.receivedAt,
        length: fragment.length,
        offset: fragment.offset,
      },
    );
    assert.equal(part, fragment.bytes);
  }
});

const GOOD = encodeFragment(codec, cut(1n, eventOf(1, 20_000))[1]!);
const U64_MAX = 2n ** 64n - 1n;
const ABSURD: ReadonlyArray<readonly [what: string, kind: string, wrong: Trailer]> = [
  ['no bytes', 'empty-chunk', { fragment: new Uint8Array(0) }],
  ['too many bytes', 'chunk-too-large', { fragment: new Uint8Array(7_001) }],
  ['too few bytes', 'chunk-too-large', { fragment: new Uint8Array(6_999) }],
  ['one byte', 'chunk-too-large', { fragment: new Uint8Array(1) }],
  ['more bytes than its event', 'chunk-too-large', { eventLength: 13_999n }],
  ['less than the end of its event', 'chunk-too-large', { fragmentOffset: 14_000n, fragment: new Uint8Array(5_999) }],
  ['an event of no bytes', 'chunk-index-out-of-range', { eventLength: 0n }],
  ['a place that is none', 'chunk-index-out-of-range', { fragmentOffset: 7_001n }],
  ['a place at the end of its event', 'chunk-index-out-of-range', { fragmentOffset: 14_000n, eventLength: 14_000n }],
  ['a place behind its event', 'chunk-index-out-of-range', { fragmentOffset: 21_000n }],
  ['a place of 2^64 - 1', 'chunk-index-out-of-range', { fragmentOffset: U64_MAX }],
  ['a place and a length of 2^64 - 1', 'event-too-large', { fragmentOffset: U64_MAX, eventLength: U64_MAX }],
  ['an event of one byte too many', 'event-too-large', { eventLength: BigInt(MAX_EVENT_BYTES) + 1n }],
];

for (const [what, kind, wrong] of ABSURD)
  fragments(`with ${what} are refused`, () =>
    refusal(kind as never, () => decodeFragment(codec, ORIGIN, { ...GOOD, ...wrong })),
  );

for (const field of ['logFrom', 'eventLink', 'receivedAt', 'eventLength', 'fragmentOffset', 'fragment'] as const) {
  fragments(`without ${field} are refused`, () => {
    const { [field]: _, ...rest } = GOOD;
    return refusal('truncated', () => decodeFragment(codec, ORIGIN, rest));
  });
}

fragments('of a declared 64 MiB take what has come, and no more', () => {
  const receiver = new FragmentReceiver();
  const log = codec.createEventLog();
  const event = eventOf(1, 7_000);
  globalThis.gc!();
  const before = process.memoryUsage().arrayBuffers;
  const many = Array.from({ length: 100 }, () => {
    const one = new FragmentReceiver();
    one.take(ORIGIN, { ...event, number: 1n, length: MAX_EVENT_BYTES, offset: 0, bytes: event.payload }, log);
    return one;
  });
  const grown = process.memoryUsage().arrayBuffers - before;
  assert.ok(grown < 100 * 70 * KIB, `${grown} bytes`);
  assert.is(many.length, 100);
  assert.is(receiver.offset(1n), 0);
});

fragments('of another event than those before are refused, and change nothing', async () => {
  const receiver = new FragmentReceiver();
  const log = codec.createEventLog();
  const [first, second, third] = cut(1n, eventOf(1, 20_000));
  receiver.take(ORIGIN, first!, log);
  for (const wrong of [
    { ...second!, length: 20_001 },
    { ...second!, receivedAt: 4n },
    { ...second!, link: { ...second!.link, originHash: 1n } },
    { ...second!, link: { ...second!.link, horizon: 1n } },
    { ...second!, link: { ...second!.link, sequence: 9n } },
    { ...second!, link: { ...second!.link, parentHash: 9n } },
  ])
    await refusal('total-chunks-mismatch', () => receiver.take(ORIGIN, wrong, log));
  assert.is(receiver.offset(1n), 7_000);
  receiver.take(ORIGIN, second!, log);
  assert.equal(receiver.take(ORIGIN, third!, log), eventOf(1, 20_000));
});

fragments('are taken once each, in any order, as far as the source sends ahead', () => {
  const receiver = new FragmentReceiver();
  const log = codec.createEventLog();
  const event = eventOf(1, 2_000_000);
  const all = cut(1n, event);
  const take = (index: number) => receiver.take(ORIGIN, all[index]!, log);
  take(2);
  take(1);
  take(2);
  assert.is(receiver.offset(1n), 0);
  take(0);
  assert.is(receiver.offset(1n), 21_000);
  take(0);
  assert.is(receiver.offset(1n), 21_000);
  // Behind what the window lets out: passed over.
  for (let index = all.length - 1; index > 3; index--) take(index);
  take(3);
  const furthest = Math.floor((21_000 + KIB * KIB) / 7_000) + 1;
  assert.is(receiver.offset(1n), furthest * 7_000);
  let whole: CausalEvent | undefined;
  for (let index = furthest; index < all.length; index++) whole = take(index);
  assert.equal(whole, event);
  assert.is(receiver.offset(1n), 0);
});

fragments('wait for room in the log, which is asked for at the first one', async () => {
  const receiver = new FragmentReceiver();
  const log = codec.createEventLog({ maxBytes: 20_000 });
  log.append(eventOf(1, 1));
  const [first] = cut(2n, eventOf(2, 20_000));
  await refusal('buffer-full', () => receiver.take(ORIGIN, first!, log));
  assert.is(receiver.offset(2n), 0);
  log.truncate(1n);
  receiver.take(ORIGIN, first!, log);
  assert.is(receiver.offset(2n), 7_000);
});

fragments('leave a bounded number of bytes ahead of what the target has', () => {
  const sender = new FragmentSender();
  const event = eventOf(1, 5_000_000);
  let [out, asked] = [0, 0];
  const send = (number: bigint) =>
    sender.send(
      number,
      () => {
        asked++;
        return event;
      },
      ({ bytes, offset }) => {
        assert.is(offset, out % 5_000_000);
        out += bytes.length;
      },
    );
  assert.not(send(1n));
  assert.ok(out >= KIB * KIB && out < KIB * KIB + 7_000, `${out} bytes`);
  assert.not(send(1n));
  assert.ok(out < KIB * KIB + 7_000);
  for (let here = 0; here < 5_000_000; here += 250_000) {
    sender.heard(1n, here);
    if (sender.isSending(1n)) send(1n);
    assert.ok(out - here <= KIB * KIB + 7_000);
  }
  assert.is(out, 5_000_000);
  assert.is(asked, 1);
  // The next one has only the room that is left.
  assert.not(send(2n));
  assert.ok(out - 4_750_000 <= KIB * KIB + 7_000);
  assert.ok(sender.isSending(2n));
  sender.heard(2n, 0);
  send(2n);
  assert.ok(out - 5_000_000 >= KIB * KIB);
});

fragments('of an event that the target has whole are not sent to their end', () => {
  const sender = new FragmentSender();
  const event = eventOf(1, 3_000_000);
  let count = 0;
  const send = () =>
    sender.send(
      1n,
      () => event,
      () => count++,
    );
  assert.not(send());
  sender.heard(1n, 700_000);
  send();
  sender.rewind();
  assert.not(send());
  const before = count;
  sender.heard(2n, 0);
  assert.ok(send());
  assert.is(count, before);
  assert.not(sender.isWaiting);
});

interface Step {
  readonly lost: boolean;
  readonly doubled: boolean;
  readonly late: boolean;
}

fragments('arrive whole and in order over any network that loses, doubles and delays them', () => {
  const lengths = fc.array(
    fc.oneof(fc.integer({ min: 7_001, max: 30_000 }), fc.integer({ min: 7_001, max: 300_000 })),
    { minLength: 1, maxLength: 5 },
  );
  const step: fc.Arbitrary<Step> = fc.record({
    lost: fc.integer({ min: 0, max: 9 }).map((n) => n < 2),
    doubled: fc.boolean(),
    late: fc.integer({ min: 0, max: 9 }).map((n) => n < 2),
  });
  fc.assert(
    fc.property(
      lengths,
      fc.array(step, { minLength: 1, maxLength: 60 }),
      fc.constantFrom('native', 'typescript'),
      (all, steps, engine) => {
        const events = all.map((length, i) => eventOf(i + 1, length));
        const sender = new FragmentSender();
        const receiver = new FragmentReceiver();
        const log = createCodec({ engine: engine as 'native' }).createEventLog();
        const late: EventFragment[] = [];
        let at = 0;
        let through = 0n;
        const arrive = (fragment: EventFragment) => {
          if (fragment.number !== log.nextNumber) return;
          const event = receiver.take(ORIGIN, fragment, log);
          if (event) log.append(event);
        };
        // The steps come round; in the end nothing is lost, so that it ends.
        for (let rounds = 0; log.count < events.length; rounds++) {
          assert.ok(rounds < 1_000);
          if (rounds % 3 === 2) {
            const here = sender.rewind() - 1n;
            through = here > 0n ? here : 0n;
          }
          while (through < BigInt(events.length)) {
            const number = through + 1n;
            const whole = sender.send(
              number,
              () => events[Number(number) - 1]!,
              (fragment) => {
                const {
                  lost,
                  doubled,
                  late: isLate,
                } = rounds > 50 ? { lost: false, doubled: false, late: false } : steps[at++ % steps.length]!;
                if (lost) return;
                if (isLate) late.push(fragment);
                else arrive(fragment);
                if (doubled) arrive(fragment);
                if (late.length > 3) late.splice(0).reverse().forEach(arrive);
              },
            );
            if (!whole) break;
            through = number;
          }
          if (rounds % 2 === 0 || rounds > 50) sender.heard(log.nextNumber, receiver.offset(log.nextNumber));
        }
        const other = createCodec({ engine: 'typescript' }).createEventLog();
        for (const event of events) other.append(event);
        assert.equal(log.digest(), other.digest());
        assert.equal(log.get(BigInt(events.length)), events.at(-1));
        log.dispose();
      },
    ),
    { numRuns: 60 },
  );
});

fragments('of any kind never break the receiver', () => {
  const fragment = fc.record({
    number: fc.bigInt({ min: 0n, max: 3n }),
    length: fc.integer({ min: 1, max: 30_000 }),
    place: fc.integer({ min: 0, max: 4 }),
  });
  fc.assert(
    fc.property(fc.array(fragment, { maxLength: 100 }), (all) => {
      const receiver = new FragmentReceiver();
      const log = codec.createEventLog({ maxBytes: 100_000 });
      for (const { number, length, place } of all) {
        const offset = 7_000 * place;
        const size = Math.min(7_000, length - offset);
        if (size <= 0) continue;
        const { link, receivedAt } = eventOf(Number(number), 0);
        try {
          const event = receiver.take(
            ORIGIN,
            { number, link, receivedAt, length, offset, bytes: payloadOf(size, 1) },
            log,
          );
          if (event) assert.is(event.payload.length, length);
        } catch (error) {
          assert.ok(['total-chunks-mismatch', 'buffer-full'].includes((error as { kind: string }).kind));
        }
        assert.ok(receiver.offset(number) <= 30_000);
      }
    }),
  );
});

/** A target that has restored. */
function holding(): Node {
  const node = new Node();
  for (const chunk of chunkFrames(100)) node.takesFrame(ORCHESTRATOR, chunk);
  assert.is(node.handler.list()[0]!.phase, 'holding');
  return node;
}

const FRAGMENT = { kind: 'EventFragment', daemonOrigin: ORIGIN } as const;
const give = (node: Node, fragment: EventFragment, from = SOURCE, attempt = TRY) =>
  node.takes(from, FRAGMENT, { try: attempt, ...encodeFragment(codec, fragment) });

fragments('stand in their place in the log, are applied whole, and are acknowledged', () => {
  const node = holding();
  const large = eventOf(2, 20_000);
  node.takes(
    SOURCE,
    { kind: 'BufferedEvents', daemonOrigin: ORIGIN, events: [eventOf(1, 10)] },
    { try: TRY, logFrom: 1n },
  );
  const [first, second, third] = cut(2n, large);
  assert.equal(give(node, first!), []);
  const [told] = give(node, first!);
  assert.equal([told!.to, told!.message.kind], [SOURCE, 'EventAck']);
  assert.equal([told!.trailer!.ackThrough, told!.trailer!.logFrom, told!.trailer!.fragmentOffset], [1n, 2n, 7_000n]);
  assert.equal(give(node, second!), []);
  // What comes behind the event waits for it.
  node.takes(
    SOURCE,
    { kind: 'BufferedEvents', daemonOrigin: ORIGIN, events: [eventOf(3, 10)] },
    { try: TRY, logFrom: 3n },
  );
  assert.is(node.replayed.length, 1);
  const [applied] = give(node, third!);
  assert.equal(
    [applied!.trailer!.ackThrough, applied!.trailer!.logFrom, applied!.trailer!.fragmentOffset],
    [2n, 3n, 0n],
  );
  assert.equal(node.replayed[1], large);
  const [again] = give(node, third!);
  assert.equal(again!.trailer!.ackThrough, 2n);
  assert.is(node.replayed.length, 2);
  node.takes(
    SOURCE,
    { kind: 'BufferedEvents', daemonOrigin: ORIGIN, events: [eventOf(3, 10)] },
    { try: TRY, logFrom: 3n },
  );
  assert.is(node.replayed.length, 3);
});

fragments('are acknowledged while their event comes, so that the source can send on', () => {
  const node = holding();
  const told = cut(1n, eventOf(1, 1_000_000)).flatMap((fragment) => give(node, fragment));
  assert.equal(
    told.map(({ trailer }) => Number(trailer!.fragmentOffset)),
    [266_000, 532_000, 798_000, 0],
  );
});

fragments('from anybody else, of another try or of none change nothing', async () => {
  const node = holding();
  const [first] = cut(1n, eventOf(1, 20_000));
  const before = node.handler.list();
  await refusal('wrong-peer', () => give(node, first!, STRANGER));
  await refusal('wrong-peer', () => give(node, first!, ORCHESTRATOR));
  assert.equal(give(node, first!, SOURCE, TRY - 1n), []);
  assert.equal(node.takes(SOURCE, FRAGMENT, encodeFragment(codec, first!)), []);
  assert.equal(node.takes(SOURCE, FRAGMENT), []);
  await refusal('truncated', () => node.takes(SOURCE, FRAGMENT, { try: TRY }));
  await refusal('daemon-not-found', () => node.takes(SOURCE, { ...FRAGMENT, daemonOrigin: 4n }, { try: TRY }));
  assert.equal(node.handler.list(), before);
  const [, ...others] = cut(1n, eventOf(1, 20_000));
  for (const other of others) assert.equal(give(node, other), [], 'nothing was kept of them');
});

fragments('are not believed to be here beyond what was sent', async () => {
  const node = new Node();
  const log = node.own();
  node.takes(
    ORCHESTRATOR,
    { kind: 'TakeSnapshot', daemonOrigin: ORIGIN, targetNode: 2n },
    { requestId: new Uint8Array(16).fill(1), transportIdentity: 0n },
  );
  const TARGET = 2n;
  const ack = (trailer: Trailer) =>
    node.takes(TARGET, { kind: 'EventAck', daemonOrigin: ORIGIN }, { try: TRY, ...trailer });
  log.append(eventOf(1, 3_000_000));
  log.append(eventOf(2, 10));
  const told = ack({ ackThrough: 0n });
  const fragmentsIn = (frames: ReturnType<typeof sent>) =>
    frames.filter(({ message }) => message.kind === 'EventFragment').length;
  assert.is(fragmentsIn(told), Math.ceil((KIB * KIB) / 7_000));
  assert.is(told.filter(({ message }) => message.kind === 'BufferedEvents').length, 0, 'what is behind it waits');
  await refusal('state-failed', () => ack({ ackThrough: 1n }));
  await refusal('state-failed', () => ack({ ackThrough: 0n, logFrom: 2n }));
  await refusal('state-failed', () => ack({ ackThrough: 0n, logFrom: U64_MAX }));
  assert.is(fragmentsIn(ack({ ackThrough: 0n, logFrom: 1n, fragmentOffset: 700_000n })), 100);
  assert.is(fragmentsIn(ack({ ackThrough: 0n, logFrom: 1n, fragmentOffset: 70_000n })), 0);
  const all = ack({ ackThrough: 0n, logFrom: 1n, fragmentOffset: 2_996_000n });
  assert.is(fragmentsIn(all) + 150 + 100, Math.ceil(3_000_000 / 7_000));
  assert.is(all.at(-1)!.message.kind, 'BufferedEvents');
});

fragments('that must wait hold the stop back, so that little is left behind it', () => {
  const node = new Node();
  const log = node.own();
  const TARGET = 2n;
  const take = { kind: 'TakeSnapshot', daemonOrigin: ORIGIN, targetNode: TARGET } as const;
  node.takes(ORCHESTRATOR, take, REQUEST);
  const ack = (trailer: Trailer) =>
    node.takes(TARGET, { kind: 'EventAck', daemonOrigin: ORIGIN }, { try: TRY, ...trailer });
  log.append(eventOf(1, 3_000_000));
  ack({ ackThrough: 0n });
  const cutover = { kind: 'CutoverNotify', daemonOrigin: ORIGIN, targetNode: TARGET } as const;
  node.takes(ORCHESTRATOR, cutover, { try: TRY });
  assert.is(node.asks('fence').length, 0);
  ack({ ackThrough: 0n, logFrom: 1n, fragmentOffset: 1_050_000n });
  assert.is(node.asks('fence').length, 0);
  ack({ ackThrough: 0n, logFrom: 1n, fragmentOffset: 2_100_000n });
  assert.is(node.asks('fence').length, 1);
});

fragments('that arrive count as progress at the orchestrator', () => {
  const node = new Node();
  node.handler.startMigration(ORIGIN, SOURCE, 2n, START);
  const status = (fragmentOffset: bigint) =>
    node.takes(
      SOURCE,
      { kind: 'SourceStatus', daemonOrigin: ORIGIN },
      { ...REQUEST, try: TRY, logCount: 1n, fragmentOffset },
    );
  for (let i = 1; i <= 10; i++) {
    node.handler.tick(20_000 * i);
    status(BigInt(i) * 700_000n);
  }
  assert.is(node.handler.list()[0]!.phase, 'Snapshot');
  for (let i = 11; i <= 13; i++) {
    status(7_000_000n);
    node.handler.tick(20_000 * i);
  }
  assert.is(node.handler.list().length, 0, 'given up where nothing moves');
});
