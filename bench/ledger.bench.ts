import type { MigrationCodec } from '../lib/wire/codec.js';
import type { SubscriptionLedger } from '../lib/wire/ledger.js';
import { mustBe, mustBeBytes } from './harness/check.js';
import type { BenchDefinition, BenchOptions, BenchReport, Goal } from './harness/definition.js';
import { loadEngines } from './harness/engines.js';
import { atLeast, atMost } from './harness/goals.js';
import { type Contender, checksMade, interleave, type Measured, nanosecondsPer, type Plan } from './harness/measure.js';
import { PseudoRandom } from './harness/pseudo-random.js';

export const definition: BenchDefinition = {
  name: 'ledger',
  order: 80,
  title: 'The subscription ledger: 100,000 subscriptions',
  method:
    'Subscriptions of 80 bytes on average (in the reference’s figure: 83), each with a token of 32 bytes. Record: one ' +
    'call per subscription into an empty ledger. Write: `encode`. Parse: `createLedger(bytes)`. Difference: against a ledger in ' +
    'which one in a hundred was dropped, one in a hundred added, and one in a hundred has another token; every entry of the three lists ' +
    'is then read. The limit is a memcpy of the same bytes into a fresh array. Written bytes are compared, parsed ledgers are written again and ' +
    'compared, differences are compared with what was changed.',
  quoted: [
    { what: 'bindings of 10,000 subscriptions (829 KB), write', value: '118–135 µs: 12–14 ns per subscription' },
    { what: 'bindings of 10,000 subscriptions (829 KB), read', value: '1.5–2.5 ms: 150–250 ns per subscription' },
  ],
};

interface Subscription {
  readonly publisher: bigint;
  readonly channel: string;
  readonly token: Uint8Array;
}

/** One subscription in so many is dropped, added, or has another token in the ledger that is wanted. */
const CHANGED_EVERY = 100;

function makeSubscriptions(count: number): Subscription[] {
  const random = new PseudoRandom(29);
  const kinds = ['orders', 'flights', 'telemetry', 'prices'];
  return Array.from({ length: count }, (_, i) => ({
    publisher: random.u64(),
    channel: `region-${random.below(16)}/${kinds[i % kinds.length]}/stream-${String(i).padStart(8, '0')}/v2`,
    token: random.bytes(32),
  }));
}

/** What a ledger becomes: dropped ones are gone, others stand at the end, some tokens are new. */
function changed(subscriptions: readonly Subscription[]): Subscription[] {
  const random = new PseudoRandom(31);
  const kept = subscriptions.filter((_, i) => i % CHANGED_EVERY !== 0);
  const renewed = kept.map((one, i) => (i % CHANGED_EVERY === 50 ? { ...one, token: random.bytes(32) } : one));
  const added = subscriptions
    .filter((_, i) => i % CHANGED_EVERY === 0)
    .map((one) => ({ ...one, channel: `${one.channel}/moved` }));
  return [...renewed, ...added];
}

function filled(codec: MigrationCodec, subscriptions: readonly Subscription[]): SubscriptionLedger {
  const ledger = codec.createLedger();
  for (const { publisher, channel, token } of subscriptions) ledger.record(publisher, channel, token);
  return ledger;
}

interface Work {
  readonly subscriptions: readonly Subscription[];
  readonly wanted: readonly Subscription[];
  /** What all engines must write. */
  readonly bytes: Uint8Array;
}

function makeWork(codec: MigrationCodec, count: number): Work {
  const subscriptions = makeSubscriptions(count);
  const ledger = filled(codec, subscriptions);
  const bytes = new Uint8Array(ledger.encode());
  ledger.dispose();
  return { subscriptions, wanted: changed(subscriptions), bytes };
}

function records(codec: MigrationCodec, { subscriptions, bytes }: Work): Contender {
  let ledger: SubscriptionLedger | undefined;
  return {
    name: codec.engine,
    run() {
      ledger?.dispose();
      ledger = filled(codec, subscriptions);
      return undefined;
    },
    check: () => mustBeBytes(ledger!.encode(), bytes, `${codec.engine}, recorded`),
  };
}

function writes(codec: MigrationCodec, { subscriptions, bytes }: Work): Contender {
  const ledger = filled(codec, subscriptions);
  let written: Uint8Array | undefined;
  return {
    name: codec.engine,
    run() {
      written = ledger.encode();
      return undefined;
    },
    check: () => mustBeBytes(written!, bytes, `${codec.engine}, written`),
  };
}

function parses(codec: MigrationCodec, { subscriptions, bytes }: Work): Contender {
  let ledger: SubscriptionLedger | undefined;
  return {
    name: codec.engine,
    run() {
      ledger?.dispose();
      ledger = codec.createLedger(bytes);
      return undefined;
    },
    check() {
      mustBe(ledger!.size, subscriptions.length, `${codec.engine}, parsed`);
      const { publisher, channel, token } = subscriptions.at(-1)!;
      mustBeBytes(ledger!.get(publisher, channel)!.token!, token, `${codec.engine}, token of the last`);
      mustBeBytes(ledger!.encode(), bytes, `${codec.engine}, parsed and written again`);
    },
  };
}

function copies({ bytes }: Work): Contender {
  let copy: Uint8Array | undefined;
  return {
    name: 'limit: memcpy of the bytes',
    run() {
      copy = new Uint8Array(bytes.length);
      copy.set(bytes);
      return undefined;
    },
    check: () => mustBeBytes(copy!, bytes, 'copy'),
  };
}

function differs(codec: MigrationCodec, work: Work): Contender {
  const ledger = filled(codec, work.subscriptions);
  const wanted = filled(codec, work.wanted);
  const expected = work.subscriptions.length / CHANGED_EVERY;
  const sums = { add: 0, drop: 0, tokenChanged: 0 };
  const channelBytes = { added: 0, dropped: 0 };
  return {
    name: codec.engine,
    run() {
      const difference = ledger.difference(wanted);
      channelBytes.added = 0;
      channelBytes.dropped = 0;
      for (const { channel } of difference.add) channelBytes.added += channel.length;
      for (const { channel } of difference.drop) channelBytes.dropped += channel.length;
      let tokens = 0;
      for (const { token } of difference.tokenChanged) tokens += token!.length;
      sums.add = difference.add.length;
      sums.drop = difference.drop.length;
      sums.tokenChanged = tokens / 32;
      return undefined;
    },
    check() {
      mustBe(sums.add, expected, `${codec.engine}, added`);
      mustBe(sums.drop, expected, `${codec.engine}, dropped`);
      const kept = work.subscriptions.length - expected;
      mustBe(sums.tokenChanged, Math.floor((kept + 49) / CHANGED_EVERY), `${codec.engine}, with another token`);
      const moved = channelBytes.added - channelBytes.dropped;
      mustBe(moved, expected * '/moved'.length, `${codec.engine}, channels added less channels dropped`);
    },
  };
}

export async function run({ quick, engines }: BenchOptions): Promise<BenchReport> {
  const { full: codecs, unavailable } = loadEngines(engines);
  if (codecs[0] === undefined) return { measurements: [], goals: [], notes: [], checked: 0, unavailable };
  const count = quick ? 2_000 : 100_000;
  const work = makeWork(codecs[0], count);
  const plan = (what: string): Plan => ({
    subject: `${what}, ${count.toLocaleString('en-US')} subscriptions`,
    unit: 'ns per subscription',
    convert: nanosecondsPer(count),
    rounds: quick ? 2 : 11,
    sliceMs: quick ? 0 : 100,
  });
  const each = (contender: (codec: MigrationCodec, work: Work) => Contender) =>
    codecs.map((codec) => contender(codec, work));
  const recorded = await interleave(plan('record'), each(records));
  const written = await interleave(plan('write'), [...each(writes), copies(work)]);
  const parsed = await interleave(plan('parse'), [...each(parses), copies(work)]);
  const compared = await interleave(plan('difference'), each(differs));
  return {
    measurements: [recorded, written, parsed, compared],
    goals: goalsOf(written, parsed, compared),
    notes: [`The bindings have ${work.bytes.length.toLocaleString('en-US')} bytes.`],
    checked: checksMade(),
    unavailable,
  };
}

function goalsOf(written: Measured, parsed: Measured, compared: Measured): Goal[] {
  const times = { unit: '×', how: 'median of the ratios within each round' };
  const fiveTimes = (what: string, measured: Measured) =>
    atLeast(5, {
      ...times,
      goal: `native, ${what}: 5 times typescript`,
      measured: measured.ratio('typescript', 'native'),
    });
  return [
    ...fiveTimes('write', written),
    ...fiveTimes('parse', parsed),
    ...fiveTimes('difference', compared),
    ...atMost(150, {
      goal: "native, parse: under the reference's 150–250 ns per subscription (another machine)",
      measured: parsed.median('native'),
      unit: 'ns',
      how: 'median, against the lower end',
    }),
  ];
}
