import * as assert from 'uvu/assert';
import { CODEC_ERROR_KINDS } from '../../lib/errors.js';
import type { FrameCodec } from '../../lib/wire/codec.js';
import { FrameColumns } from '../../lib/wire/columns.js';
import type { CausalEvent } from '../../lib/wire/link.js';
import { encodedLength, MessageType, type MigrationMessage } from '../../lib/wire/message.js';
import { refusal, sameBytes } from './check.js';
import { isMigrationCodec } from './runner.js';

/** How one frame goes through an engine, on its own and in a batch. */

/** Bytes before the frame in a batch, so that offsets that are counted from the wrong place show. */
const START = 3;
const columns = new FrameColumns(2);

/** The frame as a batch: some bytes, the frame behind its length, and the beginning of one that is not whole. */
function batchOf(frame: Uint8Array): Uint8Array {
  const batch = new Uint8Array(START + 4 + frame.length + 6).fill(0xee);
  new DataView(batch.buffer).setUint32(START, frame.length, true);
  batch.set(frame, START + 4);
  new DataView(batch.buffer).setUint32(START + 4 + frame.length, 1_000, true);
  return batch;
}

function decodeOne(codec: FrameCodec, batch: Uint8Array, frame: Uint8Array): void {
  for (const column of [columns.index, columns.total, columns.payloadOffset, columns.payloadLength]) column.fill(77);
  columns.origin.fill(77n);
  columns.word.fill(77n);
  const next = codec.decodeBatch(batch, columns, START);
  assert.is(next, START + 4 + frame.length, 'decodeBatch goes on behind the frame');
  assert.is(columns.count, 1, 'decodeBatch fills one row');
  assert.is(columns.frameOffset[0], START + 4, 'row frameOffset');
  assert.is(columns.frameLength[0], frame.length, 'row frameLength');
  assert.is(columns.type[0], frame[0] ?? 0, 'row type');
}

/** That both ways of decoding refuse the frame, with the same kind. */
export function refusesFrame(codec: FrameCodec, frame: Uint8Array): ReturnType<typeof refusal> {
  const error = refusal(() => codec.decode(frame), 'the frame', frame);
  decodeOne(codec, batchOf(frame), frame);
  assert.is(CODEC_ERROR_KINDS[columns.status[0]! - 1], error.kind, 'row status');
  for (const column of [
    columns.baseLength,
    columns.index,
    columns.total,
    columns.payloadOffset,
    columns.payloadLength,
  ]) {
    assert.is(column[0], 0, 'a refused row holds only the frame');
  }
  assert.is(columns.origin[0], 0n, 'a refused row holds no origin');
  assert.is(columns.word[0], 0n, 'a refused row holds no word');
  return error;
}

/** The second u64 of a message, and what its variable part is. */
function partsOf(message: MigrationMessage): { word: bigint; index: number; total: number; at: number } {
  switch (message.kind) {
    case 'TakeSnapshot':
    case 'CutoverNotify':
      return { word: message.targetNode, index: 0, total: 0, at: 0 };
    case 'SnapshotReady':
      return { word: message.seqThrough, index: message.chunkIndex, total: message.totalChunks, at: 29 };
    case 'RestoreComplete':
      return { word: message.restoredSeq, index: 0, total: 0, at: 0 };
    case 'ReplayComplete':
      return { word: message.replayedSeq, index: 0, total: 0, at: 17 };
    case 'ActivateAck':
      return { word: message.replayedSeq, index: 0, total: 0, at: 0 };
    case 'MigrationFailed': {
      const { reason } = message;
      const attempts = reason.kind === 'NotReadyTimeout' ? reason.attempts : 0;
      return { word: 0n, index: reason.code, total: attempts, at: 'message' in reason ? 13 : 0 };
    }
    case 'BufferedEvents':
      return { word: 0n, index: message.events.length, total: 0, at: 13 };
    default:
      return { word: 0n, index: 0, total: 0, at: 0 };
  }
}

const FIXED_SIZE = new Set([
  'TakeSnapshot',
  'RestoreComplete',
  'CutoverNotify',
  'CleanupComplete',
  'ActivateTarget',
  'ActivateAck',
]);

/** That both ways of decoding give `message`, whose base fields are the first `baseLength` bytes of the frame. */
export function acceptsFrame(
  codec: FrameCodec,
  frame: Uint8Array,
  message: MigrationMessage,
  baseLength: number,
): void {
  const decoded = codec.decode(frame);
  sameMessage(decoded, message);
  assert.is(encodedLength(decoded), baseLength, 'encodedLength');
  const batch = batchOf(frame);
  decodeOne(codec, batch, frame);
  const { word, index, total, at } = partsOf(message);
  const frameAt = START + 4;
  assert.is(columns.status[0], 0, 'row status');
  assert.is(columns.origin[0], message.daemonOrigin, 'row origin');
  assert.is(columns.word[0], word, 'row word');
  assert.is(columns.baseLength[0], baseLength, 'row baseLength');
  assert.is(columns.index[0], index, 'row index');
  assert.is(columns.total[0], total, 'row total');
  assert.is(columns.payloadOffset[0], at === 0 ? 0 : frameAt + at, 'row payloadOffset');
  assert.is(columns.payloadLength[0], at === 0 ? 0 : baseLength - at, 'row payloadLength');
  if (FIXED_SIZE.has(message.kind)) {
    const target = new Uint8Array(4 + baseLength);
    assert.is(codec.encodeBatch(columns, target), 4 + baseLength, 'encodeBatch length');
    assert.is(new DataView(target.buffer).getUint32(0, true), baseLength, 'encodeBatch prefix');
    sameBytes(target.subarray(4), frame.subarray(0, baseLength), 'encodeBatch');
  }
  if (message.kind === 'BufferedEvents' && isMigrationCodec(codec)) {
    sameColumns(codec.decodeEvents(frame), frame, message.events);
  }
}

function sameColumns(
  columns: ReturnType<import('../../lib/wire/codec.js').MigrationCodec['decodeEvents']>,
  frame: Uint8Array,
  events: readonly CausalEvent[],
): void {
  assert.is(columns.count, events.length, 'decodeEvents count');
  events.forEach((event, i) => {
    const { link, payload, receivedAt } = event;
    assert.is(columns.originHash[i], link.originHash, `decodeEvents originHash ${i}`);
    assert.is(columns.horizon[i], link.horizon, `decodeEvents horizon ${i}`);
    assert.is(columns.sequence[i], link.sequence, `decodeEvents sequence ${i}`);
    assert.is(columns.parentHash[i], link.parentHash, `decodeEvents parentHash ${i}`);
    assert.is(columns.receivedAt[i], receivedAt, `decodeEvents receivedAt ${i}`);
    const at = columns.payloadOffset[i]!;
    sameBytes(frame.subarray(at, at + columns.payloadLength[i]!), payload, `decodeEvents payload ${i}`);
  });
}

/** Field by field, byte arrays by their bytes. */
export function sameMessage(actual: MigrationMessage, expected: MigrationMessage): void {
  assert.equal(comparable(actual), comparable(expected), 'the decoded message');
}

/** A value with its byte arrays as hex: a view, a Buffer and an array of its own are equal then. */
export function comparable(value: unknown): unknown {
  if (value instanceof Uint8Array) return `0x${Buffer.from(value).toString('hex')}`;
  if (Array.isArray(value)) return value.map(comparable);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, comparable(part)]));
}

/** The message's type byte. */
export function typeOf(message: MigrationMessage): number {
  return MessageType[message.kind];
}
