import type { Acceptance } from '../daemon/host.js';
import { isMigrationErrorKind, MigrationError } from '../errors.js';
import { MAX_EVENT_BYTES } from '../migration/event-fragments.js';
import { shortened } from '../migration/failure.js';
import type { MigrationCodec } from '../wire/codec.js';
import { CAUSAL_LINK_SIZE, type CausalEvent } from '../wire/link.js';
import { MAX_SNAPSHOT_CHUNK_SIZE } from '../wire/message.js';
import { checkEvents } from '../wire/typescript/frame.js';

/** Events for a daemon on another node, and the answers. A vendor id of the mesh's subprotocols. */
export const SUBPROTOCOL_DELIVERY = 0x1501;

/** Bytes before the outcome of an answer: type, id. */
const HEADER_SIZE = 9;
/** Bytes before the events (a BufferedEvents frame) of a delivery: type, id, stream, round, index. */
const EVENTS_HEADER_SIZE = 21;
const TYPE_EVENTS = 0;
const TYPE_ANSWER = 1;
const TYPE_LARGE = 2;
/** Bytes before a large delivery's events: origin, count. */
const LARGE_HEADER_SIZE = 12;
/** Bytes of a large delivery's event around its payload: link, length; and behind it the time. */
const LARGE_EVENT_SIZE = CAUSAL_LINK_SIZE + 4 + 8;
const NO_NODE = 2n ** 64n - 1n;

/**
 * Where a batch stands among its publisher's. Once one of a round is refused, or does not come, all later ones of that round are
 * refused, so that nothing overtakes it; the publisher sends them again in the next round.
 */
export interface DeliveryPlace {
  /** Names the batch in its answer. */
  readonly id: bigint;
  /** u32: the publisher, unique on its node. */
  readonly stream: number;
  /** u32. */
  readonly round: number;
  /** u32: which batch of its round it is, from 0. */
  readonly index: number;
}

export type DeliveryFrame =
  | { readonly kind: 'events' | 'large-events'; readonly place: DeliveryPlace; readonly events: Uint8Array }
  | { readonly kind: 'answer'; readonly id: bigint; readonly acceptance: Acceptance };

/** What a delivery holds. */
export interface DeliveredEvents {
  readonly daemonOrigin: bigint;
  readonly events: readonly CausalEvent[];
}

/**
 * `type 0 | id u64 | stream u32 | round u32 | index u32 | BufferedEvents frame`. Where an event is larger than such a frame takes, type 2,
 * and in its place `origin u64 | count u32`, and per event `link | length u32 | payload | receivedAt u64`.
 * Each has been looked at by `requireDeliverable`.
 */
export function encodeDelivery(codec: MigrationCodec, place: DeliveryPlace, delivered: DeliveredEvents): Uint8Array {
  if (largestOf(delivered.events) <= MAX_SNAPSHOT_CHUNK_SIZE)
    return framed(TYPE_EVENTS, place, codec.encode({ kind: 'BufferedEvents', ...delivered }));
  return framed(TYPE_LARGE, place, encodeLarge(codec, delivered));
}

/** The events of a delivery: payloads are views of it. @throws MigrationError with a codec kind where it is refused */
export function decodeDelivered(
  codec: MigrationCodec,
  { kind, events }: Extract<DeliveryFrame, { kind: 'events' | 'large-events' }>,
): DeliveredEvents {
  if (kind === 'large-events') return decodeLarge(codec, events);
  const message = codec.decode(events);
  if (message.kind === 'BufferedEvents') return message;
  throw new MigrationError('unknown-type', `a delivery holds ${message.kind} instead of BufferedEvents`);
}

function encodeLarge(codec: MigrationCodec, { daemonOrigin, events }: DeliveredEvents): Uint8Array {
  const size = events.reduce((sum, { payload }) => sum + LARGE_EVENT_SIZE + payload.length, LARGE_HEADER_SIZE);
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, daemonOrigin, true);
  view.setUint32(8, events.length, true);
  let at = LARGE_HEADER_SIZE;
  for (const { link, payload, receivedAt } of events) {
    bytes.set(codec.encodeLink(link), at);
    view.setUint32(at + CAUSAL_LINK_SIZE, payload.length, true);
    bytes.set(payload, at + CAUSAL_LINK_SIZE + 4);
    at += LARGE_EVENT_SIZE + payload.length;
    view.setBigUint64(at - 8, receivedAt, true);
  }
  return bytes;
}

function decodeLarge(codec: MigrationCodec, bytes: Uint8Array): DeliveredEvents {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < LARGE_HEADER_SIZE) throw cutOff(bytes.length);
  const events: CausalEvent[] = [];
  let at = LARGE_HEADER_SIZE;
  for (let left = view.getUint32(8, true); left > 0; left--) {
    if (bytes.length - at < LARGE_EVENT_SIZE) throw cutOff(at);
    const length = view.getUint32(at + CAUSAL_LINK_SIZE, true);
    if (length > bytes.length - at - LARGE_EVENT_SIZE) throw cutOff(at);
    const link = codec.decodeLink(bytes.subarray(at, at + CAUSAL_LINK_SIZE));
    const payloadAt = at + CAUSAL_LINK_SIZE + 4;
    const payload = bytes.subarray(payloadAt, payloadAt + length);
    at += LARGE_EVENT_SIZE + length;
    events.push({ link, payload, receivedAt: view.getBigUint64(at - 8, true) });
  }
  return { daemonOrigin: view.getBigUint64(0, true), events };
}

function cutOff(at: number): MigrationError {
  return new MigrationError('truncated', `a delivery of large events is cut off in what begins at byte ${at}`);
}

/** @throws TypeError where one is no event; MigrationError `event-too-large` where one is over 64 MiB, which no log takes */
export function requireDeliverable(events: readonly CausalEvent[]): void {
  checkEvents(events, 'events');
  const size = largestOf(events);
  if (size <= MAX_EVENT_BYTES) return;
  throw new MigrationError(
    'event-too-large',
    `an event has ${size} bytes, and at most ${MAX_EVENT_BYTES} are delivered to another node; cut it smaller`,
    { details: { size, limit: MAX_EVENT_BYTES } },
  );
}

function largestOf(events: readonly CausalEvent[]): number {
  return events.reduce((most, { payload }) => Math.max(most, payload.length), 0);
}

function framed(type: number, { id, stream, round, index }: DeliveryPlace, events: Uint8Array): Uint8Array {
  const frame = new Uint8Array(EVENTS_HEADER_SIZE + events.length);
  const view = new DataView(frame.buffer);
  frame[0] = type;
  view.setBigUint64(1, id, true);
  view.setUint32(9, stream, true);
  view.setUint32(13, round, true);
  view.setUint32(17, index, true);
  frame.set(events, EVENTS_HEADER_SIZE);
  return frame;
}

/** `type 1 | id u64 | accepted u32 | duplicates u32 | target u64 | kind (u8 length, text) | message (rest, text)`. */
export function encodeDeliveryAnswer(id: bigint, acceptance: Acceptance): Uint8Array {
  const { accepted, duplicates, refusal } = acceptance;
  const kind = Buffer.from(refusal?.kind ?? '');
  const message = Buffer.from(shortened(refusal?.message ?? ''));
  const target = refusal?.details.target;
  const frame = Buffer.alloc(HEADER_SIZE + 17 + kind.length + message.length);
  frame[0] = TYPE_ANSWER;
  frame.writeBigUInt64LE(id, 1);
  frame.writeUInt32LE(accepted, 9);
  frame.writeUInt32LE(duplicates, 13);
  frame.writeBigUInt64LE(typeof target === 'bigint' ? target : NO_NODE, 17);
  frame[25] = kind.length;
  kind.copy(frame, 26);
  message.copy(frame, 26 + kind.length);
  return frame;
}

/** @throws MigrationError `truncated` or `unknown-type` */
export function decodeDelivery(frame: Uint8Array): DeliveryFrame {
  const bytes = Buffer.from(frame.buffer, frame.byteOffset, frame.byteLength);
  const short = (at: number) =>
    new MigrationError('truncated', `a delivery frame ends at byte ${frame.length}; more was expected at ${at}`);
  if (bytes.length < HEADER_SIZE) throw short(0);
  const id = bytes.readBigUInt64LE(1);
  if (bytes[0] === TYPE_EVENTS || bytes[0] === TYPE_LARGE) {
    if (bytes.length < EVENTS_HEADER_SIZE) throw short(HEADER_SIZE);
    const place = {
      id,
      stream: bytes.readUInt32LE(9),
      round: bytes.readUInt32LE(13),
      index: bytes.readUInt32LE(17),
    };
    const kind = bytes[0] === TYPE_EVENTS ? 'events' : 'large-events';
    return { kind, place, events: frame.subarray(EVENTS_HEADER_SIZE) };
  }
  if (bytes[0] !== TYPE_ANSWER)
    throw new MigrationError('unknown-type', `a delivery frame has type ${bytes[0]}; 0, 1 and 2 are known`);
  if (bytes.length < 26 || bytes.length < 26 + bytes[25]!) throw short(HEADER_SIZE);
  const kind = bytes.toString('latin1', 26, 26 + bytes[25]!);
  const target = bytes.readBigUInt64LE(17);
  const refusal =
    kind === ''
      ? undefined
      : new MigrationError(
          isMigrationErrorKind(kind) ? kind : 'state-failed',
          bytes.toString('utf8', 26 + bytes[25]!),
          {
            details: target === NO_NODE ? {} : { target },
          },
        );
  return {
    kind: 'answer',
    id,
    acceptance: { accepted: bytes.readUInt32LE(9), duplicates: bytes.readUInt32LE(13), refusal },
  };
}
