import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { RebindState, SubscriptionBinding, SubscriptionLedger } from '../../lib/wire/ledger.js';
import { typescriptCodec } from '../../lib/wire/typescript/index.js';
import { comparable } from '../conformance/frames.js';
import * as any from './arbitraries.js';
import { agree, codecs, holds } from './support.js';

const test = suite(`subscription ledgers on ${codecs.map((codec) => codec.engine).join(', ')}`);

interface Entry {
  readonly publisher: bigint;
  readonly channel: string;
  token: Uint8Array | undefined;
  rebind: RebindState;
}

/** The ledger as a plain map, in the order of recording. */
class Model {
  readonly entries = new Map<string, Entry>();

  key(publisher: bigint, channel: string): string {
    return `${publisher} ${channel}`;
  }

  record(publisher: bigint, channel: string, token: Uint8Array | undefined): void {
    const known = this.entries.get(this.key(publisher, channel));
    if (known !== undefined) known.token = token;
    else this.entries.set(this.key(publisher, channel), { publisher, channel, token, rebind: { state: 'idle' } });
  }

  get bindings(): SubscriptionBinding[] {
    return [...this.entries.values()].map(({ publisher, channel, token }) => ({ publisher, channel, token }));
  }

  mark(publisher: bigint, channel: string, change: (rebind: RebindState) => RebindState | undefined): boolean {
    const entry = this.entries.get(this.key(publisher, channel));
    const rebind = entry && change(entry.rebind);
    if (rebind === undefined) return false;
    entry!.rebind = rebind;
    return true;
  }
}

const triesOf = (rebind: RebindState) => (rebind.state === 'idle' ? 0 : rebind.tries);

type Operation =
  | { readonly op: 'record'; readonly token: Uint8Array | undefined }
  | { readonly op: 'forget' | 'tried' | 'done' | 'begin' }
  | { readonly op: 'failed'; readonly reason: string }
  | { readonly op: 'pending'; readonly limit: number };

const operation: fc.Arbitrary<Operation> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ op: fc.constant('record' as const), token: any.token }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('forget' as const) }) },
  { weight: 4, arbitrary: fc.record({ op: fc.constantFrom('tried' as const, 'done' as const) }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('begin' as const) }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('failed' as const), reason: fc.string({ unit: 'binary' }) }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('pending' as const), limit: fc.nat({ max: 5 }) }) },
);

/** Few publishers and channels, so that operations meet the same entries. */
const keyed = fc.tuple(fc.constantFrom(0n, 1n, 2n ** 64n - 1n), fc.constantFrom('a', 'a/b', 'b'), operation);

function run(ledger: SubscriptionLedger, model: Model, publisher: bigint, channel: string, one: Operation): void {
  switch (one.op) {
    case 'record':
      ledger.record(publisher, channel, one.token);
      model.record(publisher, channel, one.token);
      return;
    case 'forget':
      assert.is(ledger.forget(publisher, channel), model.entries.delete(model.key(publisher, channel)), 'forget');
      return;
    case 'begin':
      ledger.beginRebind();
      for (const entry of model.entries.values()) entry.rebind = { state: 'pending', tries: 0 };
      return;
    case 'tried': {
      const change = (rebind: RebindState): RebindState | undefined =>
        rebind.state === 'pending' || rebind.state === 'failed'
          ? { state: 'pending', tries: rebind.tries + 1 }
          : undefined;
      assert.is(ledger.markTried(publisher, channel), model.mark(publisher, channel, change), 'markTried');
      return;
    }
    case 'done': {
      const change = (rebind: RebindState): RebindState => ({ state: 'done', tries: triesOf(rebind) });
      assert.is(ledger.markDone(publisher, channel), model.mark(publisher, channel, change), 'markDone');
      return;
    }
    case 'failed': {
      const { reason } = one;
      const change = (rebind: RebindState): RebindState => ({ state: 'failed', tries: triesOf(rebind), reason });
      const marked = model.mark(publisher, channel, change);
      assert.is(ledger.markFailed(publisher, channel, reason), marked, 'markFailed');
      return;
    }
    case 'pending': {
      const pending = model.bindings.filter((_, i) => [...model.entries.values()][i]!.rebind.state === 'pending');
      const expected = comparable(pending.slice(0, one.limit));
      assert.equal(comparable([...ledger.pendingRebinds(one.limit)]), expected, 'pendingRebinds');
      return;
    }
  }
}

/** That a ledger holds what the model holds. */
function same(ledger: SubscriptionLedger, model: Model): void {
  assert.is(ledger.size, model.entries.size, 'size');
  assert.equal(comparable([...ledger.entries()]), comparable(model.bindings), 'entries');
  const counts = { idle: 0, pending: 0, done: 0, failed: 0 };
  for (const { publisher, channel, token, rebind } of model.entries.values()) {
    counts[rebind.state]++;
    assert.equal(comparable(ledger.get(publisher, channel)), comparable({ publisher, channel, token }), 'get');
    assert.equal(ledger.rebindState(publisher, channel), rebind, 'rebindState');
  }
  assert.equal({ ...ledger.rebindCounts }, counts, 'rebindCounts');
}

test('any operations: every engine holds what a map holds', () => {
  holds(fc.array(keyed, { maxLength: 80, size: 'max' }), (operations) => {
    agree(codecs, (codec) => {
      const ledger = codec.createLedger();
      const model = new Model();
      for (const [publisher, channel, one] of operations) run(ledger, model, publisher, channel, one);
      same(ledger, model);
      const read = codec.createLedger(ledger.encode());
      assert.equal(comparable([...read.entries()]), comparable(model.bindings), 'encode and read again');
      return ledger.encode();
    });
  });
});

const subscriptions = fc.array(
  fc.tuple(fc.oneof(fc.constantFrom(1n, 2n), any.u64), fc.oneof(fc.constantFrom('a', 'b'), any.channel), any.token),
  { maxLength: 40, size: 'max' },
);

test('many entries come, go and come again in order', () => {
  const rounds = fc.tuple(fc.integer({ min: 1, max: 400 }), fc.integer({ min: 2, max: 7 }));
  holds(
    rounds,
    ([count, step]) => {
      for (const codec of codecs) {
        const ledger = codec.createLedger();
        const model = new Model();
        for (let i = 0; i < count; i++)
          run(ledger, model, BigInt(i), 'a', { op: 'record', token: any.noise(i, i % 9) });
        run(ledger, model, 0n, 'a', { op: 'begin' });
        for (let i = 0; i < count; i++) {
          if (i % step !== 0) run(ledger, model, BigInt(i), 'a', { op: 'forget' });
          else if (i % 3 === 0) run(ledger, model, BigInt(i), 'a', { op: 'done' });
        }
        run(ledger, model, 1n, 'a', { op: 'record', token: undefined });
        run(ledger, model, 0n, 'a', { op: 'failed', reason: 'no' });
        run(ledger, model, 0n, 'a', { op: 'tried' });
        run(ledger, model, 0n, 'a', { op: 'pending', limit: 3 });
        same(ledger, model);
      }
    },
    0.02,
  );
});

test('the difference of two ledgers turns the one into the other', () => {
  holds(fc.tuple(subscriptions, subscriptions), ([mine, theirs]) => {
    agree(codecs, (codec) => {
      const [own, wanted] = [codec.createLedger(), codec.createLedger()];
      for (const [publisher, channel, token] of mine) own.record(publisher, channel, token);
      for (const [publisher, channel, token] of theirs) wanted.record(publisher, channel, token);
      const { add, drop, tokenChanged } = own.difference(wanted);
      for (const { publisher, channel } of drop) assert.ok(own.forget(publisher, channel), 'what is dropped was there');
      for (const { publisher, channel, token } of add) {
        assert.is(own.get(publisher, channel), undefined, 'what is added was not there');
        own.record(publisher, channel, token);
      }
      for (const { publisher, channel, token } of tokenChanged) {
        assert.is.not(comparable(own.get(publisher, channel)?.token), comparable(token), 'the token was another');
        own.record(publisher, channel, token);
      }
      const left = own.difference(wanted);
      assert.equal([left.add.length, left.drop.length, left.tokenChanged.length], [0, 0, 0], 'no difference is left');
      for (const list of [add, drop, tokenChanged]) {
        const one = (_: unknown, i: number) => list.at(i);
        assert.equal(comparable(Array.from({ length: list.length }, one)), comparable([...list]), 'at');
      }
      return [[...add], [...drop], [...tokenChanged]];
    });
  });
});

test('tokens are copied in and out', () => {
  for (const codec of codecs) {
    const token = Uint8Array.of(1, 2, 3);
    const ledger = codec.createLedger();
    ledger.record(1n, 'a', token);
    token[0] = 9;
    const out = ledger.get(1n, 'a')!.token!;
    assert.equal([...out], [1, 2, 3]);
    out[0] = 8;
    const bindings = ledger.encode();
    const read = codec.createLedger(bindings);
    bindings.fill(0);
    read.get(1n, 'a')!.token![0] = 7;
    assert.equal([...read.get(1n, 'a')!.token!], [1, 2, 3]);
  }
});

test('any bytes, and mutated valid ones: engines agree', () => {
  const valid = subscriptions.map((all) => {
    const ledger = typescriptCodec.createLedger();
    for (const [publisher, channel, token] of all) ledger.record(publisher, channel, token);
    return ledger.encode();
  });
  holds(fc.oneof(any.mutated(valid), any.mutated(valid), any.bytes(60)), (bindings) => {
    agree(codecs, (codec) => {
      const ledger = codec.createLedger(bindings);
      return [ledger.size, [...ledger.entries()], ledger.encode()];
    });
  });
});

test('any name: engines agree whether it is one', () => {
  holds(any.anyName, (name) => {
    agree(codecs, (codec) => codec.validateChannelName(name));
    agree(codecs, (codec) => codec.channelHash(name));
    agree(codecs, (codec) => codec.createLedger().record(1n, name));
  });
});

test('a ledger that was disposed of refuses', () => {
  for (const codec of codecs) {
    const ledger = codec.createLedger();
    ledger.record(1n, 'a');
    ledger.dispose();
    ledger.dispose();
    assert.is(ledger.size, 0);
    const calls: (() => unknown)[] = [
      () => ledger.record(1n, 'a'),
      () => ledger.forget(1n, 'a'),
      () => ledger.get(1n, 'a'),
      () => [...ledger.entries()],
      () => ledger.encode(),
      () => ledger.difference(codec.createLedger()),
      () => codec.createLedger().difference(ledger),
      () => ledger.beginRebind(),
      () => ledger.pendingRebinds(1),
      () => ledger.markTried(1n, 'a'),
      () => ledger.markDone(1n, 'a'),
      () => ledger.markFailed(1n, 'a', ''),
      () => ledger.rebindState(1n, 'a'),
    ];
    calls.forEach((call, i) => {
      assert.throws(call, (error: { kind?: string }) => error.kind === 'disposed', `${codec.engine}, call ${i}`);
    });
  }
});

test.run();
