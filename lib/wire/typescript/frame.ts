import { MigrationError } from '../../errors.js';
import {
  checkArray,
  checkBytes,
  checkInteger,
  checkObject,
  checkString,
  checkU32,
  checkU64,
  isBytes,
  isObject,
  isU64,
  wrongType,
} from '../arguments.js';
import { MigrationFailureReason } from '../failure.js';
import type { CausalEvent, CausalLink } from '../link.js';
import {
  MAX_BUFFERED_EVENTS,
  MAX_SNAPSHOT_CHUNK_SIZE,
  MAX_TOTAL_CHUNKS,
  MessageType,
  MIN_EVENT_WIRE_SIZE,
  type MigrationMessage,
  SNAPSHOT_READY_HEADER_SIZE,
  type SnapshotReady,
} from '../message.js';
import { readU16, readU32, readU64, view, writeU16, writeU32, writeU64 } from './bytes.js';
import { EVENT_HEADER_SIZE, EVENTS_HEADER_SIZE, FAILURE_HEADER_SIZE, found, scanError, scanFrame } from './scan.js';

const MAX_TEXT_BYTES = 0xffff;
const text = new TextEncoder();

function fixed(type: number, origin: bigint, word: bigint): Uint8Array {
  const bytes = new Uint8Array(17);
  bytes[0] = type;
  writeU64(bytes, 1, origin);
  writeU64(bytes, 9, word);
  return bytes;
}

function short(type: number, origin: bigint): Uint8Array {
  const bytes = new Uint8Array(9);
  bytes[0] = type;
  writeU64(bytes, 1, origin);
  return bytes;
}

/** {@link MigrationCodec.encode} in plain TypeScript. */
export function encodeFrame(message: MigrationMessage): Uint8Array {
  checkObject(message, 'message');
  const origin = message.daemonOrigin;
  checkU64(origin, 'message.daemonOrigin');
  switch (message.kind) {
    case 'TakeSnapshot':
    case 'CutoverNotify':
      checkU64(message.targetNode, 'message.targetNode');
      return fixed(MessageType[message.kind], origin, message.targetNode);
    case 'RestoreComplete':
      checkU64(message.restoredSeq, 'message.restoredSeq');
      return fixed(MessageType.RestoreComplete, origin, message.restoredSeq);
    case 'ActivateAck':
      checkU64(message.replayedSeq, 'message.replayedSeq');
      return fixed(MessageType.ActivateAck, origin, message.replayedSeq);
    case 'CleanupComplete':
    case 'ActivateTarget':
      return short(MessageType[message.kind], origin);
    case 'SnapshotReady':
      return encodeSnapshotReady(message);
    case 'ReplayComplete':
      return encodeReplayComplete(origin, message.replayedSeq, message.targetHead);
    case 'MigrationFailed':
      return encodeFailure(origin, message.reason);
    case 'BufferedEvents':
      return encodeEvents(origin, message.events);
    default:
      throw wrongType('message.kind', 'the name of a message', (message as { kind: unknown }).kind);
  }
}

function encodeSnapshotReady(message: SnapshotReady): Uint8Array {
  const { seqThrough, chunkIndex, totalChunks, snapshotBytes } = message;
  checkU64(seqThrough, 'message.seqThrough');
  checkU32(chunkIndex, 'message.chunkIndex');
  checkU32(totalChunks, 'message.totalChunks');
  checkBytes(snapshotBytes, 'message.snapshotBytes');
  checkChunkNumbers(chunkIndex, totalChunks);
  const length = snapshotBytes.length;
  if (length > MAX_SNAPSHOT_CHUNK_SIZE) {
    throw new MigrationError(
      'chunk-too-large',
      `message.snapshotBytes has ${length} bytes, a chunk has at most ${MAX_SNAPSHOT_CHUNK_SIZE}: cut it smaller`,
      { details: { field: 'snapshotBytes', length, max: MAX_SNAPSHOT_CHUNK_SIZE } },
    );
  }
  const bytes = new Uint8Array(SNAPSHOT_READY_HEADER_SIZE + length);
  writeChunkHeader(bytes, 0, message.daemonOrigin, seqThrough, chunkIndex, totalChunks, length);
  bytes.set(snapshotBytes, SNAPSHOT_READY_HEADER_SIZE);
  return bytes;
}

/** What PROTOCOL.md §3 says of a chunk's number and the total; reassembly checks the same, in the same order. */
export function checkChunkNumbers(chunkIndex: number, totalChunks: number): void {
  if (totalChunks === 0) {
    throw new MigrationError('zero-total-chunks', 'totalChunks is 0, a snapshot has at least one chunk', {
      details: { field: 'totalChunks', totalChunks },
    });
  }
  if (totalChunks > MAX_TOTAL_CHUNKS) {
    throw new MigrationError(
      'total-chunks-too-large',
      `totalChunks is ${totalChunks}, at most ${MAX_TOTAL_CHUNKS} are taken`,
      { details: { field: 'totalChunks', totalChunks, max: MAX_TOTAL_CHUNKS } },
    );
  }
  if (chunkIndex >= totalChunks) {
    throw new MigrationError(
      'chunk-index-out-of-range',
      `chunkIndex is ${chunkIndex}, but totalChunks is ${totalChunks}`,
      { details: { field: 'chunkIndex', chunkIndex, totalChunks } },
    );
  }
}

/** The 29 bytes of a SnapshotReady before its chunk. */
export function writeChunkHeader(
  bytes: Uint8Array,
  at: number,
  origin: bigint,
  seqThrough: bigint,
  chunkIndex: number,
  totalChunks: number,
  length: number,
): void {
  bytes[at] = MessageType.SnapshotReady;
  writeU64(bytes, at + 1, origin);
  writeU64(bytes, at + 9, seqThrough);
  writeU32(bytes, at + 17, chunkIndex);
  writeU32(bytes, at + 21, totalChunks);
  writeU32(bytes, at + 25, length);
}

function encodeReplayComplete(origin: bigint, replayedSeq: bigint, targetHead: CausalLink): Uint8Array {
  checkU64(replayedSeq, 'message.replayedSeq');
  checkLink(targetHead, 'message.targetHead');
  const bytes = new Uint8Array(49);
  bytes[0] = MessageType.ReplayComplete;
  writeU64(bytes, 1, origin);
  writeU64(bytes, 9, replayedSeq);
  writeLink(bytes, 17, targetHead);
  return bytes;
}

function isLink(link: CausalLink): boolean {
  return (
    isObject(link) && isU64(link.originHash) && isU64(link.horizon) && isU64(link.sequence) && isU64(link.parentHash)
  );
}

/** The types of a link's four fields. */
export function checkLink(link: CausalLink, argument: string): void {
  if (isLink(link)) return;
  checkObject(link, argument);
  checkU64(link.originHash, `${argument}.originHash`);
  checkU64(link.horizon, `${argument}.horizon`);
  checkU64(link.sequence, `${argument}.sequence`);
  checkU64(link.parentHash, `${argument}.parentHash`);
}

export function writeLink(bytes: Uint8Array, at: number, link: CausalLink): void {
  writeU64(bytes, at, link.originHash);
  writeU64(bytes, at + 8, link.horizon);
  writeU64(bytes, at + 16, link.sequence);
  writeU64(bytes, at + 24, link.parentHash);
}

export function readLink(bytes: Uint8Array, at: number): CausalLink {
  return {
    originHash: readU64(bytes, at),
    horizon: readU64(bytes, at + 8),
    sequence: readU64(bytes, at + 16),
    parentHash: readU64(bytes, at + 24),
  };
}

function encodeFailure(origin: bigint, reason: MigrationFailureReason): Uint8Array {
  checkObject(reason, 'message.reason');
  switch (reason.kind) {
    case 'NotReady':
      return failure(origin, 0, 0);
    case 'FactoryNotFound':
      return failure(origin, 1, 0);
    case 'ComputeNotSupported':
      return failure(origin, 2, 0);
    case 'StateFailed':
      return failureWithText(origin, 3, reason.message);
    case 'AlreadyMigrating':
      return failure(origin, 4, 0);
    case 'IdentityTransportFailed':
      return failureWithText(origin, 5, reason.message);
    case 'NotReadyTimeout': {
      checkInteger(reason.attempts, 'message.reason.attempts', 0, 255);
      const bytes = failure(origin, 6, 1);
      bytes[FAILURE_HEADER_SIZE] = reason.attempts;
      return bytes;
    }
    default:
      throw wrongType('message.reason.kind', 'the name of a failure', (reason as { kind: unknown }).kind);
  }
}

function failure(origin: bigint, code: number, extra: number): Uint8Array {
  const bytes = new Uint8Array(FAILURE_HEADER_SIZE + extra);
  bytes[0] = MessageType.MigrationFailed;
  writeU64(bytes, 1, origin);
  writeU16(bytes, 9, code);
  return bytes;
}

function failureWithText(origin: bigint, code: number, message: string): Uint8Array {
  checkString(message, 'message.reason.message');
  const length = Buffer.byteLength(message, 'utf8');
  if (length > MAX_TEXT_BYTES) {
    throw new MigrationError(
      'text-too-long',
      `message.reason.message has ${length} bytes of UTF-8, at most ${MAX_TEXT_BYTES} are taken: shorten it`,
      { details: { field: 'reason.message', length, max: MAX_TEXT_BYTES } },
    );
  }
  const bytes = failure(origin, code, 2 + length);
  writeU16(bytes, FAILURE_HEADER_SIZE, length);
  text.encodeInto(message, view(bytes, FAILURE_HEADER_SIZE + 2, length));
  return bytes;
}

export function eventTooLarge(field: string, length: number): MigrationError {
  return new MigrationError(
    'event-too-large',
    `${field} has ${length} bytes, a buffered event has at most ${MAX_SNAPSHOT_CHUNK_SIZE}`,
    { details: { field, length, max: MAX_SNAPSHOT_CHUNK_SIZE } },
  );
}

/** Bytes of the events on the wire, once each is of the right type and small enough. */
function measureEvents(events: readonly CausalEvent[]): number {
  checkArray(events, 'message.events');
  const count = events.length;
  if (count > MAX_BUFFERED_EVENTS) {
    throw new MigrationError(
      'event-count-too-large',
      `message.events holds ${count} events, at most ${MAX_BUFFERED_EVENTS} are taken: send them in several messages`,
      { details: { field: 'events', count, max: MAX_BUFFERED_EVENTS } },
    );
  }
  let length = 0;
  for (let i = 0; i < count; i++) {
    const event = events[i]!;
    checkEvent(event, 'message.events', i);
    const bytes = event.payload.length;
    if (bytes > MAX_SNAPSHOT_CHUNK_SIZE) throw eventTooLarge(`message.events[${i}].payload`, bytes);
    length += MIN_EVENT_WIRE_SIZE + bytes;
  }
  return length;
}

/** The types of an event's fields. The name of what is wrong is put together only when something is. */
export function checkEvent(event: CausalEvent, events: string, index: number): void {
  if (isObject(event) && isLink(event.link) && isBytes(event.payload) && isU64(event.receivedAt)) return;
  const argument = `${events}[${index}]`;
  checkObject(event, argument);
  checkLink(event.link, `${argument}.link`);
  checkBytes(event.payload, `${argument}.payload`);
  checkU64(event.receivedAt, `${argument}.receivedAt`);
}

/** The types of events that a caller hands in. */
export function checkEvents(events: readonly CausalEvent[], argument: string): void {
  checkArray(events, argument);
  for (let i = 0; i < events.length; i++) checkEvent(events[i]!, argument, i);
}

function encodeEvents(origin: bigint, events: readonly CausalEvent[]): Uint8Array {
  const length = EVENTS_HEADER_SIZE + measureEvents(events);
  const bytes = allocate(length);
  bytes[0] = MessageType.BufferedEvents;
  writeU64(bytes, 1, origin);
  writeU32(bytes, 9, events.length);
  let at = EVENTS_HEADER_SIZE;
  for (const { link, payload, receivedAt } of events) {
    writeLink(bytes, at, link);
    writeU32(bytes, at + 32, payload.length);
    bytes.set(payload, at + EVENT_HEADER_SIZE);
    at += EVENT_HEADER_SIZE + payload.length;
    writeU64(bytes, at, receivedAt);
    at += 8;
  }
  return bytes;
}

/** Memory for an encoding; what the machine cannot give is an error of ours, not a bare RangeError. */
export function allocate(length: number): Uint8Array {
  try {
    return new Uint8Array(length);
  } catch (cause) {
    throw new MigrationError('out-of-memory', `no memory for ${length} bytes`, { details: { length }, cause });
  }
}

/** {@link MigrationCodec.decode} in plain TypeScript. */
export function decodeFrame(frame: Uint8Array): MigrationMessage {
  checkBytes(frame, 'frame');
  const status = scanFrame(frame, 0, frame.length);
  if (status !== 0) throw scanError(frame, 0, status);
  const daemonOrigin = readU64(frame, 1);
  switch (frame[0]) {
    case 0:
      return { kind: 'TakeSnapshot', daemonOrigin, targetNode: readU64(frame, 9) };
    case 1:
      return {
        kind: 'SnapshotReady',
        daemonOrigin,
        seqThrough: readU64(frame, 9),
        chunkIndex: found.index,
        totalChunks: found.total,
        snapshotBytes: view(frame, found.payloadOffset, found.payloadLength),
      };
    case 2:
      return { kind: 'RestoreComplete', daemonOrigin, restoredSeq: readU64(frame, 9) };
    case 3:
      return { kind: 'ReplayComplete', daemonOrigin, replayedSeq: readU64(frame, 9), targetHead: readLink(frame, 17) };
    case 4:
      return { kind: 'CutoverNotify', daemonOrigin, targetNode: readU64(frame, 9) };
    case 5:
      return { kind: 'CleanupComplete', daemonOrigin };
    case 6:
      return { kind: 'MigrationFailed', daemonOrigin, reason: readFailure(frame) };
    case 7:
      return { kind: 'BufferedEvents', daemonOrigin, events: readEvents(frame, found.index) };
    case 8:
      return { kind: 'ActivateTarget', daemonOrigin };
    default:
      return { kind: 'ActivateAck', daemonOrigin, replayedSeq: readU64(frame, 9) };
  }
}

/** The reason of a frame that was scanned just before. */
function readFailure(frame: Uint8Array): MigrationFailureReason {
  switch (found.index) {
    case 0:
      return MigrationFailureReason.notReady();
    case 1:
      return MigrationFailureReason.factoryNotFound();
    case 2:
      return MigrationFailureReason.computeNotSupported();
    case 3:
      return MigrationFailureReason.stateFailed(readText(frame));
    case 4:
      return MigrationFailureReason.alreadyMigrating();
    case 5:
      return MigrationFailureReason.identityTransportFailed(readText(frame));
    default:
      return MigrationFailureReason.notReadyTimeout(found.total);
  }
}

function readText(frame: Uint8Array): string {
  const length = readU16(frame, FAILURE_HEADER_SIZE);
  return Buffer.from(frame.buffer, frame.byteOffset + FAILURE_HEADER_SIZE + 2, length).toString('utf8');
}

function readEvents(frame: Uint8Array, count: number): CausalEvent[] {
  const events: CausalEvent[] = [];
  let at = EVENTS_HEADER_SIZE;
  for (let i = 0; i < count; i++) {
    const length = readU32(frame, at + 32);
    const link = readLink(frame, at);
    const payload = view(frame, at + EVENT_HEADER_SIZE, length);
    at += EVENT_HEADER_SIZE + length;
    events.push({ link, payload, receivedAt: readU64(frame, at) });
    at += 8;
  }
  return events;
}
