import type { FrameCodec, MigrationCodec } from '../lib/wire/codec.js';
import type { EventColumns } from '../lib/wire/columns.js';
import type { EventLog } from '../lib/wire/event-log.js';
import { type CausalEvent, type CausalLink, genesisLink } from '../lib/wire/link.js';
import type { MigrationMessage } from '../lib/wire/message.js';
import { mustBe, mustBeBytes } from './harness/check.js';
import type { BenchDefinition, BenchOptions, BenchReport, Goal } from './harness/definition.js';
import { loadEngines } from './harness/engines.js';
import { atLeast, atMost } from './harness/goals.js';
import { type Contender, checksMade, interleave, type Measured, nanosecondsPer, type Plan } from './harness/measure.js';
import { PseudoRandom } from './harness/pseudo-random.js';

export const definition: BenchDefinition = {
  name: 'events',
  order: 90,
  title: 'A million events of 100 bytes',
  method:
    'One chain of events, each link naming the hash of the one before. Appended: one `append` per event into an event log. Encoded ' +
    'from the log: `encodeFrame` of all events held, which is how the runtime sends them. Encoded from objects: `encode` of a ' +
    'BufferedEvents message that holds an object per event. Decoded: `decodeEvents` into columns, links and payloads left where they are; ' +
    'and `decode`, an object per event. Chain check: `verifyFrameChain` over the frame. The limit is a memcpy of the frame into ' +
    'memory that is warm; encoding and decoding into columns move as many bytes. Before each turn that makes a frame or columns in fresh ' +
    'memory, processes take twice the frame in common and in huge pages and end, so that every contender finds free memory that the host of a ' +
    'virtual machine has not taken back. Frames are compared byte for byte, columns by their ' +
    'sums, and a chain with one changed byte must break at that event.',
  quoted: [
    { what: 'BufferedEvents, 10,000 events of 100 bytes, encode', value: '111–127 µs: 11–13 ns per event' },
    { what: 'BufferedEvents, 10,000 events of 100 bytes, decode', value: '591–736 µs: 59–74 ns per event' },
    { what: 'parent hash over 100 bytes', value: '38–43 ns' },
  ],
  execArgv: ['--max-old-space-size=8192'],
};

const PAYLOAD_BYTES = 100;
const ORIGIN = 0xfeed_face_cafe_beefn;
const NO_PAYLOAD = new Uint8Array(0);

interface Work {
  readonly events: readonly CausalEvent[];
  readonly message: MigrationMessage;
  readonly frame: Uint8Array;
  /** The sum of receivedAt over all events, mod 2^64. */
  readonly sum: bigint;
}

function makeWork(codec: MigrationCodec, count: number): Work {
  const random = new PseudoRandom(37);
  const payloads = random.bytes(count * PAYLOAD_BYTES);
  const events: CausalEvent[] = [];
  let link: CausalLink = genesisLink(ORIGIN);
  let before: Uint8Array = NO_PAYLOAD;
  let sum = 0n;
  for (let i = 0; i < count; i++) {
    link = codec.nextLink(link, before, 0n);
    before = payloads.subarray(i * PAYLOAD_BYTES, (i + 1) * PAYLOAD_BYTES);
    const receivedAt = random.u64();
    sum = BigInt.asUintN(64, sum + receivedAt);
    events.push({ link, payload: before, receivedAt });
  }
  const message: MigrationMessage = { kind: 'BufferedEvents', daemonOrigin: ORIGIN, events };
  return { events, message, frame: codec.encode(message), sum };
}

function logOf(codec: MigrationCodec, events: readonly CausalEvent[]): EventLog {
  const log = codec.createEventLog({ maxEvents: 1_000_000, maxBytes: 2 ** 40 });
  for (const event of events) log.append(event);
  return log;
}

function wholeFrame(log: EventLog): Uint8Array {
  return log.encodeFrame(ORIGIN, 1n, 2 ** 32 - 1, 1_000_000).frame;
}

function appends(codec: MigrationCodec, { events, frame }: Work): Contender {
  let log: EventLog | undefined;
  return {
    name: codec.engine,
    run() {
      log?.dispose();
      log = logOf(codec, events);
      return undefined;
    },
    check() {
      mustBeBytes(wholeFrame(log!), frame, `${codec.engine}, frame of the log`);
      log!.dispose();
    },
  };
}

function encodesLog(codec: MigrationCodec, { events, frame }: Work): Contender {
  const log = logOf(codec, events);
  let encoded: Uint8Array | undefined;
  return {
    name: codec.engine,
    run() {
      encoded = undefined;
      encoded = wholeFrame(log);
      return undefined;
    },
    check() {
      mustBeBytes(encoded!, frame, `${codec.engine}, frame of the log`);
      encoded = undefined;
    },
  };
}

function encodesObjects(codec: MigrationCodec, { message, frame }: Work): Contender {
  let encoded: Uint8Array | undefined;
  return {
    name: codec.engine,
    run() {
      encoded = undefined;
      encoded = codec.encode(message);
      return undefined;
    },
    check() {
      mustBeBytes(encoded!, frame, `${codec.engine}, frame of the objects`);
      encoded = undefined;
    },
  };
}

function decodesColumns(codec: MigrationCodec, { events, frame, sum }: Work): Contender {
  let columns: EventColumns | undefined;
  return {
    name: codec.engine,
    run() {
      columns = codec.decodeEvents(frame);
      return undefined;
    },
    check() {
      const { count, receivedAt, sequence, parentHash, payloadOffset, payloadLength } = columns!;
      mustBe(count, events.length, `${codec.engine}, events decoded`);
      let got = 0n;
      for (let i = 0; i < count; i++) got = BigInt.asUintN(64, got + receivedAt[i]!);
      mustBe(got, sum, `${codec.engine}, sum of receivedAt`);
      const last = events.at(-1)!;
      mustBe(sequence[count - 1], last.link.sequence, `${codec.engine}, last sequence`);
      mustBe(parentHash[count - 1], last.link.parentHash, `${codec.engine}, last parent hash`);
      const at = payloadOffset[count - 1]!;
      mustBeBytes(frame.subarray(at, at + payloadLength[count - 1]!), last.payload, `${codec.engine}, last payload`);
      columns = undefined;
    },
  };
}

function decodesObjects(codec: FrameCodec, { events, frame, sum }: Work): Contender {
  let message: MigrationMessage | undefined;
  return {
    name: codec.engine,
    run() {
      message = undefined;
      message = codec.decode(frame);
      return undefined;
    },
    check() {
      const decoded = message?.kind === 'BufferedEvents' ? message.events : [];
      mustBe(decoded.length, events.length, `${codec.engine}, events decoded`);
      const got = decoded.reduce((total, { receivedAt }) => BigInt.asUintN(64, total + receivedAt), 0n);
      mustBe(got, sum, `${codec.engine}, sum of receivedAt`);
      mustBeBytes(decoded.at(-1)!.payload, events.at(-1)!.payload, `${codec.engine}, last payload`);
      message = undefined;
    },
  };
}

function checksChain(codec: MigrationCodec, { events, frame }: Work): Contender {
  const genesis = genesisLink(ORIGIN);
  let holds = 0;
  return {
    name: codec.engine,
    run() {
      holds = codec.verifyFrameChain(genesis, NO_PAYLOAD, frame);
      return undefined;
    },
    check() {
      mustBe(holds, events.length, `${codec.engine}, events whose chain holds`);
      const changed = frame.slice();
      const broken = Math.floor(events.length / 2);
      // A byte of its payload: the next event's link does not hold any more.
      const at = 13 + broken * (PAYLOAD_BYTES + 44) + 40;
      changed[at] = changed[at]! ^ 1;
      const until = codec.verifyFrameChain(genesis, NO_PAYLOAD, changed);
      mustBe(until, broken + 1, `${codec.engine}, events before the break`);
    },
  };
}

function copies({ frame }: Work): Contender {
  const target = new Uint8Array(frame.length);
  return {
    name: 'limit: memcpy of the frame',
    run() {
      target.set(frame);
      return undefined;
    },
    check() {
      mustBeBytes(target, frame, 'copy');
      target.fill(0);
    },
  };
}

export async function run({ quick, engines }: BenchOptions): Promise<BenchReport> {
  const { frames, full: codecs, unavailable } = loadEngines(engines);
  if (codecs[0] === undefined) return { measurements: [], goals: [], notes: [], checked: 0, unavailable };
  const count = quick ? 2_000 : 1_000_000;
  const work = makeWork(codecs[0], count);
  const plan = (what: string): Plan => ({
    subject: `${what}, ${count.toLocaleString('en-US')} events`,
    unit: 'ns per event',
    convert: nanosecondsPer(count),
    rounds: quick ? 2 : 7,
    sliceMs: 0,
  });
  const intoFresh = (what: string): Plan => ({ ...plan(what), freshBytes: 2 * work.frame.length });
  const each = (contender: (codec: MigrationCodec, work: Work) => Contender) =>
    codecs.map((codec) => contender(codec, work));
  const measured = {
    append: await interleave(plan('append to the log'), each(appends)),
    encodeLog: await interleave(intoFresh('encode from the log'), [...each(encodesLog), copies(work)]),
    encodeObjects: await interleave(plan('encode from objects'), each(encodesObjects)),
    decodeColumns: await interleave(intoFresh('decode into columns'), [...each(decodesColumns), copies(work)]),
    decodeObjects: await interleave(
      plan('decode to objects'),
      frames.map((codec) => decodesObjects(codec, work)),
    ),
    chain: await interleave(plan('chain check'), [...each(checksChain), copies(work)]),
  };
  return {
    measurements: Object.values(measured),
    goals: goalsOf(measured.encodeLog, measured.decodeColumns, measured.chain),
    notes: [],
    checked: checksMade(),
    unavailable,
  };
}

function goalsOf(encoded: Measured, decoded: Measured, chain: Measured): Goal[] {
  const times = { unit: '×', how: 'median of the ratios within each round' };
  const threeTimes = (what: string, measured: Measured) =>
    atLeast(3, {
      ...times,
      goal: `native, ${what}: 3 times typescript`,
      measured: measured.ratio('typescript', 'native'),
    });
  return [
    ...threeTimes('encode from the log', encoded),
    ...threeTimes('decode into columns', decoded),
    ...threeTimes('chain check', chain),
    ...atMost(59, {
      goal: "native, decode: under the reference's 59–74 ns per event (another machine)",
      measured: decoded.median('native'),
      unit: 'ns',
      how: 'median, against the lower end',
    }),
  ];
}
