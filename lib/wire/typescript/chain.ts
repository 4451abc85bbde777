import { MigrationError } from '../../errors.js';
import { checkArray, checkBytes, checkU64 } from '../arguments.js';
import type { EventColumns } from '../columns.js';
import { CAUSAL_LINK_SIZE, type CausalEvent, type CausalLink } from '../link.js';
import { MessageType } from '../message.js';
import { copyU64, readU32, readU64, writeU64 } from './bytes.js';
import { checkEvent, checkLink, readLink, writeLink } from './frame.js';
import { hashAfter, hashAfterBytes } from './hashes.js';
import { EVENT_HEADER_SIZE, EVENTS_HEADER_SIZE, found, scanError, scanFrame } from './scan.js';
import { xxh3 } from './xxh3.js';

const U64_MAX = 0xffff_ffff_ffff_ffffn;

export function encodeLink(link: CausalLink): Uint8Array {
  checkLink(link, 'link');
  const bytes = new Uint8Array(CAUSAL_LINK_SIZE);
  writeLink(bytes, 0, link);
  return bytes;
}

/** A link that is cut short is bytes gone wrong; one that is too long is refused alike, since a link has no trailer. */
export function decodeLink(bytes: Uint8Array): CausalLink {
  checkBytes(bytes, 'bytes');
  const { length } = bytes;
  if (length !== CAUSAL_LINK_SIZE) {
    throw new MigrationError(
      length < CAUSAL_LINK_SIZE ? 'truncated' : 'trailing-bytes',
      `link refused at byte ${Math.min(length, CAUSAL_LINK_SIZE)}: it has ${length} bytes, a link has ${CAUSAL_LINK_SIZE}`,
      { details: { offset: Math.min(length, CAUSAL_LINK_SIZE), length, needed: CAUSAL_LINK_SIZE } },
    );
  }
  return readLink(bytes, 0);
}

export function parentHash(link: CausalLink, payload: Uint8Array): bigint {
  checkLink(link, 'link');
  checkBytes(payload, 'payload');
  return hashAfter(link, payload, 0, payload.length);
}

export function nextLink(link: CausalLink, payload: Uint8Array, horizon: bigint): CausalLink {
  checkLink(link, 'link');
  checkBytes(payload, 'payload');
  checkU64(horizon, 'horizon');
  const { originHash, sequence } = link;
  if (sequence === U64_MAX) {
    throw new MigrationError('sequence-overflow', `link.sequence is ${sequence}, the last one: no link can follow`, {
      details: { field: 'sequence', sequence },
    });
  }
  return { originHash, horizon, sequence: sequence + 1n, parentHash: hashAfter(link, payload, 0, payload.length) };
}

function continues(link: CausalLink, previous: CausalLink, hash: bigint): boolean {
  return (
    link.parentHash === hash && link.originHash === previous.originHash && link.sequence === previous.sequence + 1n
  );
}

export function verifyChain(previous: CausalLink, previousPayload: Uint8Array, events: readonly CausalEvent[]): number {
  checkLink(previous, 'previous');
  checkBytes(previousPayload, 'previousPayload');
  checkArray(events, 'events');
  let link = previous;
  let payload = previousPayload;
  for (let i = 0; i < events.length; i++) {
    const event = events[i]!;
    checkEvent(event, 'events', i);
    if (!continues(event.link, link, hashAfter(link, payload, 0, payload.length))) return i;
    ({ link, payload } = event);
  }
  return events.length;
}

/** Scans a frame that must be BufferedEvents; its layout is in {@link found} then. */
function scanEventsFrame(frame: Uint8Array): void {
  checkBytes(frame, 'frame');
  const status = scanFrame(frame, 0, frame.length);
  if (status !== 0) throw scanError(frame, 0, status);
  if (frame[0] !== MessageType.BufferedEvents) {
    throw new MigrationError('unknown-type', `frame refused at byte 0: type ${frame[0]} is not BufferedEvents`, {
      details: { offset: 0, type: frame[0] },
    });
  }
}

export function verifyFrameChain(previous: CausalLink, previousPayload: Uint8Array, frame: Uint8Array): number {
  checkLink(previous, 'previous');
  checkBytes(previousPayload, 'previousPayload');
  scanEventsFrame(frame);
  const count = found.index;
  let hash = hashAfter(previous, previousPayload, 0, previousPayload.length);
  let sequence = previous.sequence;
  let at = EVENTS_HEADER_SIZE;
  for (let i = 0; i < count; i++) {
    sequence += 1n;
    const follows =
      readU64(frame, at + 24) === hash &&
      readU64(frame, at) === previous.originHash &&
      readU64(frame, at + 16) === sequence;
    if (!follows) return i;
    const length = readU32(frame, at + 32);
    hash = hashAfterBytes(frame, at, at + EVENT_HEADER_SIZE, length);
    at += EVENT_HEADER_SIZE + length + 8;
  }
  return count;
}

export function decodeEvents(frame: Uint8Array): EventColumns {
  scanEventsFrame(frame);
  const count = found.index;
  const memory = new ArrayBuffer(count * 48);
  const wide = new Uint32Array(memory, 0, count * 10);
  const columns = {
    count,
    originHash: new BigUint64Array(memory, 0, count),
    horizon: new BigUint64Array(memory, count * 8, count),
    sequence: new BigUint64Array(memory, count * 16, count),
    parentHash: new BigUint64Array(memory, count * 24, count),
    receivedAt: new BigUint64Array(memory, count * 32, count),
    payloadOffset: new Uint32Array(memory, count * 40, count),
    payloadLength: new Uint32Array(memory, count * 44, count),
  };
  let at = EVENTS_HEADER_SIZE;
  for (let i = 0; i < count; i++) {
    const length = readU32(frame, at + 32);
    for (let field = 0; field < 4; field++) copyU64(frame, at + 8 * field, wide, field * count + i);
    copyU64(frame, at + EVENT_HEADER_SIZE + length, wide, 4 * count + i);
    columns.payloadOffset[i] = at + EVENT_HEADER_SIZE;
    columns.payloadLength[i] = length;
    at += EVENT_HEADER_SIZE + length + 8;
  }
  return columns;
}

const originBytes = new Uint8Array(8);

/** Three bits from one hash of the origin, as u32 arithmetic wraps. */
export function horizonBits(originHash: bigint): bigint {
  checkU64(originHash, 'originHash');
  writeU64(originBytes, 0, originHash);
  const hash = xxh3(originBytes, 8);
  const first = Number(hash & 0xffff_ffffn);
  const step = (Number(hash >> 32n) | 1) >>> 0;
  let bits = 0n;
  for (let i = 0; i < 3; i++) bits |= 1n << BigInt((first + i * step) % 64);
  return bits;
}
