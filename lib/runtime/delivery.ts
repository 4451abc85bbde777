import type { Acceptance } from '../daemon/host.js';
import { MigrationError, type MigrationErrorKind } from '../errors.js';

/** Events for a daemon on another node, and the answers. A vendor id of the mesh's subprotocols. */
export const SUBPROTOCOL_DELIVERY = 0x1501;

/** Bytes before the outcome of an answer: type, id. */
const HEADER_SIZE = 9;
/** Bytes before the events (a BufferedEvents frame) of a delivery: type, id, stream, round, index. */
const EVENTS_HEADER_SIZE = 21;
const TYPE_EVENTS = 0;
const TYPE_ANSWER = 1;
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
  | { readonly kind: 'events'; readonly place: DeliveryPlace; readonly events: Uint8Array }
  | { readonly kind: 'answer'; readonly id: bigint; readonly acceptance: Acceptance };

/** `type 0 | id u64 | stream u32 | round u32 | index u32 | BufferedEvents frame`. */
export function encodeDelivery({ id, stream, round, index }: DeliveryPlace, events: Uint8Array): Uint8Array {
  const frame = new Uint8Array(EVENTS_HEADER_SIZE + events.length);
  const view = new DataView(frame.buffer);
  frame[0] = TYPE_EVENTS;
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
  const message = Buffer.from(refusal?.message ?? '');
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
  if (bytes[0] === TYPE_EVENTS) {
    if (bytes.length < EVENTS_HEADER_SIZE) throw short(HEADER_SIZE);
    const place = {
      id,
      stream: bytes.readUInt32LE(9),
      round: bytes.readUInt32LE(13),
      index: bytes.readUInt32LE(17),
    };
    return { kind: 'events', place, events: frame.subarray(EVENTS_HEADER_SIZE) };
  }
  if (bytes[0] !== TYPE_ANSWER)
    throw new MigrationError('unknown-type', `a delivery frame has type ${bytes[0]}; 0 and 1 are known`);
  if (bytes.length < 26 || bytes.length < 26 + bytes[25]!) throw short(HEADER_SIZE);
  const kind = bytes.toString('utf8', 26, 26 + bytes[25]!);
  const target = bytes.readBigUInt64LE(17);
  const refusal =
    kind === ''
      ? undefined
      : new MigrationError(kind as MigrationErrorKind, bytes.toString('utf8', 26 + bytes[25]!), {
          details: target === NO_NODE ? {} : { target },
        });
  return {
    kind: 'answer',
    id,
    acceptance: { accepted: bytes.readUInt32LE(9), duplicates: bytes.readUInt32LE(13), refusal },
  };
}
