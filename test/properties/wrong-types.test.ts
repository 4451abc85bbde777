import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { FrameCodec, MigrationCodec } from '../../lib/wire/codec.js';
import { FrameColumns } from '../../lib/wire/columns.js';
import { type CausalLink, genesisLink } from '../../lib/wire/link.js';
import type { MigrationMessage } from '../../lib/wire/message.js';
import { typescriptCodec } from '../../lib/wire/typescript/index.js';
import { codecs, frameCodecs } from './support.js';

function detached(): Uint8Array {
  const bytes = new Uint8Array(40);
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
  return bytes;
}

/** Wrong values by what is wanted. Each call makes them anew, so that no test spoils another's. */
const WRONG = {
  bytes: () => ({
    'a string': '00',
    'a number': 5,
    null: null,
    undefined: undefined,
    'an array': [1, 2],
    'an ArrayBuffer': new ArrayBuffer(32),
    'a DataView': new DataView(new ArrayBuffer(32)),
    'a Uint16Array': new Uint16Array(32),
    'a detached array': detached(),
    'a shared array': new Uint8Array(new SharedArrayBuffer(32)),
    'a shared Buffer': Buffer.from(new SharedArrayBuffer(32)),
    'an object with a length': { length: 32 },
  }),
  u64: () => ({
    'a number': 5,
    'a string': '5',
    '-1n': -1n,
    '2n ** 64n': 2n ** 64n,
    '-(2n ** 64n)': -(2n ** 64n),
    null: null,
    undefined: undefined,
    'an object': {},
  }),
  u32: () => ({
    'a bigint': 5n,
    'a string': '5',
    '-1': -1,
    '1.5': 1.5,
    NaN: Number.NaN,
    Infinity: Number.POSITIVE_INFINITY,
    '2 ** 32': 2 ** 32,
    null: null,
    'an object': {},
  }),
  size: () => ({ 'a bigint': 5n, 'a string': '5', '-1': -1, '1.5': 1.5, NaN: Number.NaN, null: null, undefined }),
  milliseconds: () => ({ 'a bigint': 5n, 'a string': '5', NaN: Number.NaN, null: null }),
  text: () => ({
    'a number': 5,
    'a Uint8Array': new Uint8Array(1),
    null: null,
    undefined: undefined,
    'an array': ['a'],
  }),
  object: () => ({ 'a number': 5, 'a string': 'x', null: null, undefined: undefined, 'an array': [] }),
  options: () => ({ 'a number': 5, 'a string': 'x', null: null }),
  list: () => ({ 'a number': 5, 'a string': 'xy', null: null, undefined: undefined, 'an object': { length: 1 } }),
  flag: () => ({ 'a number': 1, 'a string': 'true', null: null }),
  columns: () => ({ 'an object': {}, null: null, undefined: undefined, 'a Uint8Array': new Uint8Array(460) }),
} as const;

/** A call with one argument to be wrong: `argument` is how the error must name it. */
interface Case<C> {
  readonly argument: string;
  readonly wants: keyof typeof WRONG;
  // biome-ignore lint/suspicious/noExplicitAny: a wrong type is the point
  readonly call: (codec: C, wrong: any) => unknown;
}

const link = genesisLink(1n);
const one = Uint8Array.of(1);
const event = { link, payload: one, receivedAt: 0n };
const takeSnapshot: MigrationMessage = { kind: 'TakeSnapshot', daemonOrigin: 1n, targetNode: 2n };
const chunk = {
  kind: 'SnapshotReady',
  daemonOrigin: 1n,
  seqThrough: 1n,
  chunkIndex: 0,
  totalChunks: 1,
  snapshotBytes: one,
};

/** A batch of one SnapshotReady, decoded. */
function decodedChunk(): { batch: Uint8Array; columns: FrameColumns } {
  const frame = typescriptCodec.encode(chunk as MigrationMessage);
  const batch = new Uint8Array(Buffer.concat([Uint8Array.of(frame.length, 0, 0, 0), frame]));
  const columns = new FrameColumns(2);
  typescriptCodec.decodeBatch(batch, columns);
  return { batch, columns };
}

const FRAME_CASES: readonly Case<FrameCodec>[] = [
  { argument: 'message', wants: 'object', call: (c, wrong) => c.encode(wrong) },
  { argument: 'message.kind', wants: 'text', call: (c, wrong) => c.encode({ ...takeSnapshot, kind: wrong }) },
  {
    argument: 'message.daemonOrigin',
    wants: 'u64',
    call: (c, wrong) => c.encode({ ...takeSnapshot, daemonOrigin: wrong }),
  },
  {
    argument: 'message.targetNode',
    wants: 'u64',
    call: (c, wrong) => c.encode({ ...takeSnapshot, targetNode: wrong }),
  },
  ...encodeCases('CutoverNotify', { targetNode: 'u64' }),
  ...encodeCases('RestoreComplete', { restoredSeq: 'u64' }),
  ...encodeCases('ActivateAck', { replayedSeq: 'u64' }),
  ...encodeCases('SnapshotReady', { seqThrough: 'u64', chunkIndex: 'u32', totalChunks: 'u32', snapshotBytes: 'bytes' }),
  ...encodeCases('ReplayComplete', { replayedSeq: 'u64', targetHead: 'object' }),
  ...linkFields<FrameCodec>('message.targetHead', (c, targetHead) =>
    c.encode({ kind: 'ReplayComplete', daemonOrigin: 1n, replayedSeq: 1n, targetHead }),
  ),
  ...encodeCases('MigrationFailed', { reason: 'object' }),
  {
    argument: 'message.reason.message',
    wants: 'text',
    call: (c, message) => encodeReason(c, { kind: 'StateFailed', code: 3, retriable: false, message }),
  },
  {
    argument: 'message.reason.attempts',
    wants: 'u32',
    call: (c, attempts) => encodeReason(c, { kind: 'NotReadyTimeout', code: 6, retriable: false, attempts }),
  },
  { argument: 'message.reason.kind', wants: 'text', call: (c, kind) => encodeReason(c, { kind }) },
  ...encodeCases('BufferedEvents', { events: 'list' }),
  { argument: 'message.events[1]', wants: 'object', call: (c, wrong) => encodeEvents(c, wrong) },
  {
    argument: 'message.events[1].payload',
    wants: 'bytes',
    call: (c, payload) => encodeEvents(c, { ...event, payload }),
  },
  {
    argument: 'message.events[1].receivedAt',
    wants: 'u64',
    call: (c, wrong) => encodeEvents(c, { ...event, receivedAt: wrong }),
  },
  {
    argument: 'message.events[1].link',
    wants: 'object',
    call: (c, wrong) => encodeEvents(c, { ...event, link: wrong }),
  },
  ...linkFields<FrameCodec>('message.events[1].link', (c, link) => encodeEvents(c, { ...event, link })),
  { argument: 'frame', wants: 'bytes', call: (c, wrong) => c.decode(wrong) },
  { argument: 'batch', wants: 'bytes', call: (c, wrong) => c.decodeBatch(wrong, new FrameColumns(1)) },
  { argument: 'columns', wants: 'columns', call: (c, wrong) => c.decodeBatch(one, wrong) },
  { argument: 'start', wants: 'u32', call: (c, wrong) => c.decodeBatch(one, new FrameColumns(1), wrong) },
  { argument: 'columns', wants: 'columns', call: (c, wrong) => c.encodeBatch(wrong, one) },
  { argument: 'target', wants: 'bytes', call: (c, wrong) => c.encodeBatch(new FrameColumns(1), wrong) },
  { argument: 'headers', wants: 'bytes', call: (c, wrong) => c.writeChunkHeaders(wrong, 1n, 1n, 1, 0, 1) },
  {
    argument: 'daemonOrigin',
    wants: 'u64',
    call: (c, wrong) => c.writeChunkHeaders(new Uint8Array(29), wrong, 1n, 1, 0, 1),
  },
  {
    argument: 'seqThrough',
    wants: 'u64',
    call: (c, wrong) => c.writeChunkHeaders(new Uint8Array(29), 1n, wrong, 1, 0, 1),
  },
  {
    argument: 'firstIndex',
    wants: 'u32',
    call: (c, wrong) => c.writeChunkHeaders(new Uint8Array(29), 1n, 1n, 1, wrong, 1),
  },
  { argument: 'count', wants: 'u32', call: (c, wrong) => c.writeChunkHeaders(new Uint8Array(29), 1n, 1n, 1, 0, wrong) },
  { argument: 'options', wants: 'options', call: (c, wrong) => c.createReassembler(wrong) },
  { argument: 'options.digest', wants: 'flag', call: (c, wrong) => c.createReassembler({ digest: wrong }) },
  ...reassemblerCases(),
];

function encodeCases(kind: string, fields: Readonly<Record<string, keyof typeof WRONG>>): Case<FrameCodec>[] {
  const whole = { ...chunk, kind, targetNode: 1n, restoredSeq: 1n, replayedSeq: 1n, targetHead: link };
  return Object.entries(fields).map(([field, wants]) => ({
    argument: `message.${field}`,
    wants,
    call: (c, wrong) => c.encode({ ...whole, [field]: wrong } as unknown as MigrationMessage),
  }));
}

function linkFields<C>(argument: string, call: (codec: C, link: CausalLink) => unknown): Case<C>[] {
  return ['originHash', 'horizon', 'sequence', 'parentHash'].map((field) => ({
    argument: `${argument}.${field}`,
    wants: 'u64',
    call: (codec, wrong) => call(codec, { ...link, [field]: wrong }),
  }));
}

function encodeReason(codec: FrameCodec, reason: object): unknown {
  return codec.encode({ kind: 'MigrationFailed', daemonOrigin: 1n, reason } as unknown as MigrationMessage);
}

function encodeEvents(codec: FrameCodec, second: unknown): unknown {
  return codec.encode({
    kind: 'BufferedEvents',
    daemonOrigin: 1n,
    events: [event, second],
  } as unknown as MigrationMessage);
}

function reassemblerCases(): Case<FrameCodec>[] {
  const { batch, columns } = decodedChunk();
  return [
    { argument: 'daemonOrigin', wants: 'u64', call: (c, wrong) => c.createReassembler().feed(wrong, 1n, 0, 1, one, 0) },
    { argument: 'seqThrough', wants: 'u64', call: (c, wrong) => c.createReassembler().feed(1n, wrong, 0, 1, one, 0) },
    { argument: 'chunkIndex', wants: 'u32', call: (c, wrong) => c.createReassembler().feed(1n, 1n, wrong, 1, one, 0) },
    { argument: 'totalChunks', wants: 'u32', call: (c, wrong) => c.createReassembler().feed(1n, 1n, 0, wrong, one, 0) },
    { argument: 'chunk', wants: 'bytes', call: (c, wrong) => c.createReassembler().feed(1n, 1n, 0, 1, wrong, 0) },
    {
      argument: 'nowMs',
      wants: 'milliseconds',
      call: (c, wrong) => c.createReassembler().feed(1n, 1n, 0, 1, one, wrong),
    },
    { argument: 'batch', wants: 'bytes', call: (c, wrong) => c.createReassembler().feedBatch(wrong, columns, 0, 1) },
    { argument: 'columns', wants: 'columns', call: (c, wrong) => c.createReassembler().feedBatch(batch, wrong, 0, 1) },
    { argument: 'from', wants: 'u32', call: (c, wrong) => c.createReassembler().feedBatch(batch, columns, wrong, 1) },
    { argument: 'to', wants: 'u32', call: (c, wrong) => c.createReassembler().feedBatch(batch, columns, 0, wrong) },
    {
      argument: 'nowMs',
      wants: 'milliseconds',
      call: (c, wrong) => c.createReassembler().feedBatch(batch, columns, 0, 1, wrong),
    },
    { argument: 'daemonOrigin', wants: 'u64', call: (c, wrong) => c.createReassembler().progress(wrong) },
    { argument: 'daemonOrigin', wants: 'u64', call: (c, wrong) => c.createReassembler().missing(wrong, 1) },
    { argument: 'limit', wants: 'u32', call: (c, wrong) => c.createReassembler().missing(1n, wrong) },
    { argument: 'daemonOrigin', wants: 'u64', call: (c, wrong) => c.createReassembler().cancel(wrong) },
    { argument: 'daemonOrigin', wants: 'u64', call: (c, wrong) => c.createReassembler().forget(wrong) },
    { argument: 'nowMs', wants: 'milliseconds', call: (c, wrong) => c.createReassembler().sweep(wrong) },
    { argument: 'maxIdleMs', wants: 'milliseconds', call: (c, wrong) => c.createReassembler().sweep(0, wrong) },
  ];
}

const id = new Uint8Array(32);
const snapshot = {
  entityId: id,
  throughSeq: 0n,
  chainLink: genesisLink(typescriptCodec.originHash(id)),
  createdAt: 0n,
  state: one,
  bindings: new Uint8Array(0),
  identityEnvelope: undefined,
};
const eventsFrame = typescriptCodec.encode({ kind: 'BufferedEvents', daemonOrigin: 1n, events: [event] });

function snapshotCases(): Case<MigrationCodec>[] {
  const fields = {
    entityId: 'bytes',
    throughSeq: 'u64',
    chainLink: 'object',
    createdAt: 'u64',
    state: 'bytes',
    bindings: 'bytes',
  } as const;
  const field = (name: string, wants: keyof typeof WRONG): Case<MigrationCodec>[] => [
    { argument: `snapshot.${name}`, wants, call: (c, wrong) => c.encodeSnapshot({ ...snapshot, [name]: wrong }) },
    {
      argument: `snapshot.${name}`,
      wants,
      call: (c, wrong) => c.encodeSnapshotParts({ ...snapshot, [name]: wrong }, 1),
    },
  ];
  return Object.entries(fields).flatMap(([name, wants]) => {
    const [whole, parts] = field(name, wants);
    // the parts are made without the state
    return name === 'state' ? [whole!] : [whole!, parts!];
  });
}

const CODEC_CASES: readonly Case<MigrationCodec>[] = [
  { argument: 'frame', wants: 'bytes', call: (c, wrong) => c.decodeEvents(wrong) },
  { argument: 'link', wants: 'object', call: (c, wrong) => c.encodeLink(wrong) },
  ...linkFields<MigrationCodec>('link', (c, link) => c.encodeLink(link)),
  { argument: 'bytes', wants: 'bytes', call: (c, wrong) => c.decodeLink(wrong) },
  { argument: 'link', wants: 'object', call: (c, wrong) => c.parentHash(wrong, one) },
  ...linkFields<MigrationCodec>('link', (c, link) => c.parentHash(link, one)),
  { argument: 'payload', wants: 'bytes', call: (c, wrong) => c.parentHash(link, wrong) },
  { argument: 'link', wants: 'object', call: (c, wrong) => c.nextLink(wrong, one, 0n) },
  { argument: 'payload', wants: 'bytes', call: (c, wrong) => c.nextLink(link, wrong, 0n) },
  { argument: 'horizon', wants: 'u64', call: (c, wrong) => c.nextLink(link, one, wrong) },
  { argument: 'previous', wants: 'object', call: (c, wrong) => c.verifyChain(wrong, one, []) },
  { argument: 'previousPayload', wants: 'bytes', call: (c, wrong) => c.verifyChain(link, wrong, []) },
  { argument: 'events', wants: 'list', call: (c, wrong) => c.verifyChain(link, one, wrong) },
  { argument: 'events[0]', wants: 'object', call: (c, wrong) => c.verifyChain(link, one, [wrong]) },
  {
    argument: 'events[0].payload',
    wants: 'bytes',
    call: (c, payload) => c.verifyChain(link, one, [{ ...event, payload }]),
  },
  { argument: 'previous', wants: 'object', call: (c, wrong) => c.verifyFrameChain(wrong, one, eventsFrame) },
  { argument: 'previousPayload', wants: 'bytes', call: (c, wrong) => c.verifyFrameChain(link, wrong, eventsFrame) },
  { argument: 'frame', wants: 'bytes', call: (c, wrong) => c.verifyFrameChain(link, one, wrong) },
  { argument: 'originHash', wants: 'u64', call: (c, wrong) => c.horizonBits(wrong) },
  { argument: 'entityId', wants: 'bytes', call: (c, wrong) => c.originHash(wrong) },
  { argument: 'entityId', wants: 'bytes', call: (c, wrong) => c.nodeId(wrong) },
  { argument: 'key', wants: 'bytes', call: (c, wrong) => c.blake2sMac(wrong, one) },
  { argument: 'message', wants: 'bytes', call: (c, wrong) => c.blake2sMac(one, wrong) },
  { argument: 'bytes', wants: 'bytes', call: (c, wrong) => c.xxh3(wrong) },
  { argument: 'bytes', wants: 'bytes', call: (c, wrong) => c.blake3(wrong) },
  { argument: 'bytes', wants: 'bytes', call: (c, wrong) => c.createBlake3().update(wrong) },
  { argument: 'stateLength', wants: 'size', call: (c, wrong) => c.encodeSnapshotParts(snapshot, wrong) },
  { argument: 'payloadLength', wants: 'u32', call: (c, wrong) => c.createEventLog().ensureRoom(wrong) },
  { argument: 'name', wants: 'text', call: (c, wrong) => c.validateChannelName(wrong) },
  { argument: 'name', wants: 'text', call: (c, wrong) => c.channelHash(wrong) },
  { argument: 'snapshot', wants: 'object', call: (c, wrong) => c.encodeSnapshot(wrong) },
  { argument: 'snapshot', wants: 'object', call: (c, wrong) => c.encodeSnapshotParts(wrong, 1) },
  ...snapshotCases(),
  ...linkFields<MigrationCodec>('snapshot.chainLink', (c, chainLink) => c.encodeSnapshot({ ...snapshot, chainLink })),
  { argument: 'bytes', wants: 'bytes', call: (c, wrong) => c.decodeSnapshot(wrong) },
  { argument: 'publisher', wants: 'u64', call: (c, wrong) => c.createLedger().record(wrong, 'a') },
  { argument: 'channel', wants: 'text', call: (c, wrong) => c.createLedger().record(1n, wrong) },
  { argument: 'publisher', wants: 'u64', call: (c, wrong) => c.createLedger().forget(wrong, 'a') },
  { argument: 'channel', wants: 'text', call: (c, wrong) => c.createLedger().forget(1n, wrong) },
  { argument: 'publisher', wants: 'u64', call: (c, wrong) => c.createLedger().get(wrong, 'a') },
  { argument: 'channel', wants: 'text', call: (c, wrong) => c.createLedger().get(1n, wrong) },
  { argument: 'wanted', wants: 'object', call: (c, wrong) => c.createLedger().difference(wrong) },
  { argument: 'limit', wants: 'u32', call: (c, wrong) => c.createLedger().pendingRebinds(wrong) },
  { argument: 'publisher', wants: 'u64', call: (c, wrong) => c.createLedger().markTried(wrong, 'a') },
  { argument: 'channel', wants: 'text', call: (c, wrong) => c.createLedger().markTried(1n, wrong) },
  { argument: 'publisher', wants: 'u64', call: (c, wrong) => c.createLedger().markDone(wrong, 'a') },
  { argument: 'channel', wants: 'text', call: (c, wrong) => c.createLedger().markDone(1n, wrong) },
  { argument: 'publisher', wants: 'u64', call: (c, wrong) => c.createLedger().markFailed(wrong, 'a', '') },
  { argument: 'channel', wants: 'text', call: (c, wrong) => c.createLedger().markFailed(1n, wrong, '') },
  { argument: 'reason', wants: 'text', call: (c, wrong) => c.createLedger().markFailed(1n, 'a', wrong) },
  { argument: 'publisher', wants: 'u64', call: (c, wrong) => c.createLedger().rebindState(wrong, 'a') },
  { argument: 'channel', wants: 'text', call: (c, wrong) => c.createLedger().rebindState(1n, wrong) },
  { argument: 'options', wants: 'options', call: (c, wrong) => c.createEventLog(wrong) },
  { argument: 'options.maxEvents', wants: 'u32', call: (c, wrong) => c.createEventLog({ maxEvents: wrong }) },
  { argument: 'event', wants: 'object', call: (c, wrong) => c.createEventLog().append(wrong) },
  { argument: 'event.link', wants: 'object', call: (c, wrong) => c.createEventLog().append({ ...event, link: wrong }) },
  ...linkFields<MigrationCodec>('event.link', (c, link) => c.createEventLog().append({ ...event, link })),
  { argument: 'event.payload', wants: 'bytes', call: (c, payload) => c.createEventLog().append({ ...event, payload }) },
  {
    argument: 'event.receivedAt',
    wants: 'u64',
    call: (c, wrong) => c.createEventLog().append({ ...event, receivedAt: wrong }),
  },
  { argument: 'number', wants: 'u64', call: (c, wrong) => c.createEventLog().get(wrong) },
  { argument: 'daemonOrigin', wants: 'u64', call: (c, wrong) => c.createEventLog().encodeFrame(wrong, 1n, 1, 1) },
  { argument: 'from', wants: 'u64', call: (c, wrong) => c.createEventLog().encodeFrame(1n, wrong, 1, 1) },
  { argument: 'maxFrameBytes', wants: 'u32', call: (c, wrong) => c.createEventLog().encodeFrame(1n, 1n, wrong, 1) },
  { argument: 'maxCount', wants: 'u32', call: (c, wrong) => c.createEventLog().encodeFrame(1n, 1n, 1, wrong) },
  { argument: 'through', wants: 'u64', call: (c, wrong) => c.createEventLog().truncate(wrong) },
];

/** Where `undefined` is an answer of its own, the argument may be left out. */
const MAY_BE_LEFT_OUT: readonly Case<MigrationCodec>[] = [
  { argument: 'bindings', wants: 'bytes', call: (c, wrong) => c.createLedger(wrong) },
  { argument: 'token', wants: 'bytes', call: (c, wrong) => c.createLedger().record(1n, 'a', wrong) },
  {
    argument: 'snapshot.identityEnvelope',
    wants: 'bytes',
    call: (c, wrong) => c.encodeSnapshot({ ...snapshot, identityEnvelope: wrong }),
  },
  { argument: 'renumberFrom', wants: 'u64', call: (c, wrong) => c.createEventLog().encodeFrame(1n, 1n, 1, 1, wrong) },
];

function refusesWrong<C extends FrameCodec>(codec: C, one: Case<C>, skip: readonly string[]): number {
  let refused = 0;
  for (const [what, wrong] of Object.entries(WRONG[one.wants]())) {
    if (skip.includes(what)) continue;
    const where = `${codec.engine}: ${one.argument} as ${what} in ${one.call}`;
    try {
      one.call(codec, wrong);
    } catch (error) {
      assert.instance(error, TypeError, `${where}: ${error}`);
      const { message } = error as TypeError;
      const named = message === one.argument || message.startsWith(`${one.argument} `);
      assert.ok(named, `${where}: "${message}" does not name the argument`);
      refused++;
      continue;
    }
    assert.unreachable(`${where} was accepted`);
  }
  return refused;
}

/** That an engine still does what it did before it was given what it cannot take. */
function stillWorks(codec: FrameCodec): void {
  const frame = codec.encode(takeSnapshot);
  assert.equal(codec.decode(frame), takeSnapshot, `${codec.engine} still works`);
  assert.is(codec.createReassembler().feed(1n, 1n, 0, 1, frame, 0)!.bytes.length, 17, `${codec.engine} still works`);
}

const test = suite(`wrong types on ${frameCodecs.map((codec) => codec.engine).join(', ')}`);

for (const codec of frameCodecs) {
  test(`${codec.engine} names the argument of every call on frames and chunks`, () => {
    for (const one of FRAME_CASES) {
      assert.ok(refusesWrong(codec, one, []) >= 3, one.argument);
      stillWorks(codec);
    }
  });
}

for (const codec of codecs) {
  test(`${codec.engine} names the argument of every other call`, () => {
    for (const one of CODEC_CASES) {
      assert.ok(refusesWrong(codec, one, []) >= 3, one.argument);
      stillWorks(codec);
    }
    for (const one of MAY_BE_LEFT_OUT) refusesWrong(codec, one, ['undefined']);
  });

  test(`${codec.engine} names an argument of the right type and the wrong size`, () => {
    const calls: Readonly<Record<string, () => unknown>> = {
      entityId: () => codec.originHash(new Uint8Array(31)),
      'snapshot.entityId': () => codec.encodeSnapshot({ ...snapshot, entityId: new Uint8Array(33) }),
      'snapshot.identityEnvelope': () => codec.encodeSnapshot({ ...snapshot, identityEnvelope: new Uint8Array(208) }),
      key: () => codec.blake2sMac(new Uint8Array(33), one),
      headers: () => codec.writeChunkHeaders(new Uint8Array(28), 1n, 1n, 1, 0, 1),
      start: () => codec.decodeBatch(one, new FrameColumns(1), 2),
      maxCount: () => codec.createEventLog().encodeFrame(1n, 1n, 1, 0),
      'options.maxSnapshotBytes': () => codec.createReassembler({ maxSnapshotBytes: 2 ** 32 + 1 }),
      'options.maxPendingBytes': () => codec.createReassembler({ maxPendingBytes: -1 }),
      wanted: () => codec.createLedger().difference(otherLedger(codec)),
    };
    for (const [argument, call] of Object.entries(calls)) {
      const named = (error: Error) => error instanceof TypeError && error.message.startsWith(`${argument} `);
      assert.throws(call, named, `${codec.engine}: ${argument}`);
    }
    const { columns } = decodedChunk();
    columns.type[0] = 0;
    const short = (error: Error) => error instanceof TypeError && error.message.startsWith('target ');
    assert.throws(() => codec.encodeBatch(columns, new Uint8Array(20)), short, 'target');
  });
}

/** A ledger that is not of this engine. */
function otherLedger(codec: MigrationCodec) {
  const other = codecs.find((candidate) => candidate.engine !== codec.engine);
  return other === undefined ? ({ size: 0 } as never) : other.createLedger();
}

test('columns whose memory was transferred away are refused by name', () => {
  for (const codec of frameCodecs) {
    const { batch, columns } = decodedChunk();
    const memory = columns.buffer.buffer as ArrayBuffer;
    structuredClone(memory, { transfer: [memory] });
    const calls: (() => unknown)[] = [
      () => codec.decodeBatch(batch, columns),
      () => codec.encodeBatch(columns, new Uint8Array(100)),
      () => codec.createReassembler().feedBatch(batch, columns, 0, columns.count),
    ];
    calls.forEach((call, i) => {
      const named = (error: Error) => error instanceof TypeError && error.message.startsWith('columns.buffer ');
      assert.throws(call, named, `${codec.engine}, call ${i}`);
    });
  }
});

test('an empty Uint8Array is no detached one', () => {
  for (const codec of codecs) {
    assert.is(codec.createLedger(new Uint8Array(0)).size, 0);
    assert.is(codec.createLedger(new Uint8Array(new ArrayBuffer(8), 8)).size, 0);
    assert.is(codec.xxh3(new Uint8Array(0)), 0x2d06800538d394c2n);
  }
});

test.run();
