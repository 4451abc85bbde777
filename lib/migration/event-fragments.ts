import { MigrationError } from '../errors.js';
import type { MigrationCodec } from '../wire/codec.js';
import type { EventLog } from '../wire/event-log.js';
import type { CausalEvent, CausalLink } from '../wire/link.js';
import { MAX_SNAPSHOT_CHUNK_SIZE as PIECE } from '../wire/message.js';
import type { Trailer } from '../wire/trailer.js';

/** Bytes of fragments on their way to the target, at the most. */
const WINDOW_BYTES = 1024 * 1024;
/** The target says what it has whenever so many more bytes have come: well before the window is used up. */
const TOLD_BYTES = 256 * 1024;
/** Of an event in fragments (PROTOCOL.md §7: a log holds no more). */
export const MAX_EVENT_BYTES = 64 * 1024 * 1024;
/** An event's memory grows as it comes: a peer that declares much and sends little costs little. */
const FIRST_BYTES = 64 * 1024;

/** A part of a logged event that no frame takes whole (PROTOCOL.md §8): it is cut every 7,000 bytes, like a snapshot. */
export interface EventFragment {
  /** The event's number in the source's log. */
  readonly number: bigint;
  readonly link: CausalLink;
  readonly receivedAt: bigint;
  /** Bytes of the event's payload. */
  readonly length: number;
  /** Where in the payload these bytes begin: a multiple of 7,000. */
  readonly offset: number;
  /** 7,000; of the last one what is left. */
  readonly bytes: Uint8Array;
}

export function encodeFragment(codec: MigrationCodec, fragment: EventFragment): Trailer {
  const { number, link, receivedAt, length, offset, bytes } = fragment;
  return {
    logFrom: number,
    eventLink: codec.encodeLink(link),
    receivedAt,
    eventLength: BigInt(length),
    fragmentOffset: BigInt(offset),
    fragment: bytes,
  };
}

/**
 * @throws MigrationError `truncated` where a field is missing, `empty-chunk`, `chunk-too-large`, `chunk-index-out-of-range`
 * where it is no part of the event, `event-too-large` where no log holds that
 */
export function decodeFragment(codec: MigrationCodec, origin: bigint, trailer: Trailer): EventFragment {
  const { logFrom, eventLink, receivedAt, eventLength, fragmentOffset, fragment: bytes } = trailer;
  if (
    logFrom === undefined ||
    eventLink === undefined ||
    receivedAt === undefined ||
    eventLength === undefined ||
    fragmentOffset === undefined ||
    bytes === undefined
  )
    throw refused('truncated', origin, 'lacks one of its fields');
  if (bytes.length === 0) throw refused('empty-chunk', origin, 'has no bytes');
  if (eventLength > BigInt(MAX_EVENT_BYTES))
    throw refused(
      'event-too-large',
      origin,
      `is of an event of ${eventLength} bytes, and ${MAX_EVENT_BYTES} are allowed`,
    );
  const [length, offset] = [Number(eventLength), Number(fragmentOffset)];
  if (offset >= length || offset % PIECE !== 0)
    throw refused('chunk-index-out-of-range', origin, `begins at byte ${fragmentOffset} of ${length}, where none does`);
  if (bytes.length !== Math.min(PIECE, length - offset))
    throw refused(
      'chunk-too-large',
      origin,
      `has ${bytes.length} bytes at byte ${offset} of ${length}, where ${Math.min(PIECE, length - offset)} belong`,
    );
  return { number: logFrom, link: codec.decodeLink(eventLink), receivedAt, length, offset, bytes };
}

function refused(
  kind:
    | 'truncated'
    | 'empty-chunk'
    | 'chunk-too-large'
    | 'chunk-index-out-of-range'
    | 'event-too-large'
    | 'total-chunks-mismatch',
  origin: bigint,
  what: string,
): MigrationError {
  return new MigrationError(kind, `an EventFragment for daemon ${origin} ${what}`, { details: { origin } });
}

/** An event of which bytes are on their way. */
interface OnItsWay {
  readonly number: bigint;
  readonly length: number;
}

/** The source's side: sends large events in their place in the log, a bounded number of bytes ahead of what the target has. */
export class FragmentSender {
  /** Those of which bytes have left that the target has not told of, oldest first. */
  #onTheirWay: OnItsWay[] = [];
  /** Bytes of the last of them that have left. */
  #sent = 0;
  /** The target has everything before this number, and so many bytes of it. */
  #arrived = { number: 0n, offset: 0 };
  /** The one that was last begun, and has not left whole. */
  #current: { readonly number: bigint; readonly event: CausalEvent } | undefined;
  /** It is to begin again, from what has arrived of it. */
  #isRewound = false;

  /** Whether the target has not told of all that has left. */
  get isWaiting(): boolean {
    return this.#onTheirWay.length > 0;
  }

  /** How much the target has of the event that it waits for. */
  get arrivedBytes(): number {
    return this.#arrived.offset;
  }

  /** Whether the event of that number has begun to leave, and has not left whole. */
  isSending(number: bigint): boolean {
    return this.#current?.number === number && !this.#isRewound;
  }

  /**
   * Sends as much as may be on its way.
   *
   * @param event of that number, asked for once
   * @returns whether all of it has left
   */
  send(number: bigint, event: () => CausalEvent, emit: (fragment: EventFragment) => void): boolean {
    if (!this.isSending(number)) this.#begin(number, event);
    const { link, receivedAt, payload } = this.#current!.event;
    const { length } = payload;
    const isHere = this.#arrived.number > number;
    for (let room = WINDOW_BYTES - this.#bytes(); this.#sent < length && room > 0 && !isHere; ) {
      const bytes = payload.subarray(this.#sent, this.#sent + PIECE);
      emit({ number, link, receivedAt, length, offset: this.#sent, bytes });
      this.#sent += bytes.length;
      room -= bytes.length;
    }
    if (this.#sent < length && !isHere) return false;
    this.#current = undefined;
    return true;
  }

  /** What the target says that it has. @returns whether that is more than it had */
  heard(number: bigint, offset: number): boolean {
    const { number: last, offset: lastOffset } = this.#arrived;
    if (number < last || (number === last && offset <= lastOffset)) return false;
    this.#arrived = { number, offset };
    this.#onTheirWay = this.#onTheirWay.filter((event) => event.number >= number);
    return true;
  }

  /** What is on its way counts as lost. @returns the number of the event before which the target has everything */
  rewind(): bigint {
    this.#onTheirWay = [];
    this.#isRewound = true;
    return this.#arrived.number;
  }

  #begin(number: bigint, event: () => CausalEvent): void {
    this.#isRewound = false;
    // One that begins again is not copied out of the log again.
    if (this.#current?.number !== number) this.#current = { number, event: event() };
    const { length } = this.#current.event.payload;
    this.#onTheirWay.push({ number, length });
    this.#sent = this.#offset(number, length);
  }

  /** How much of it the target has; never all, so that it is told of the last bytes again. */
  #offset(number: bigint, length: number): number {
    const { number: arrived, offset } = this.#arrived;
    return number === arrived && offset < length ? offset : 0;
  }

  #bytes(): number {
    const before = this.#onTheirWay.slice(0, -1).reduce((sum, { length }) => sum + length, 0);
    const [first] = this.#onTheirWay;
    return before + this.#sent - (first ? this.#offset(first.number, first.length) : 0);
  }
}

/**
 * The target's side: puts large events together, one after another. A fragment has its place, so what overtakes another is kept,
 * as far as the source sends ahead.
 */
export class FragmentReceiver {
  #first: EventFragment | undefined;
  #bytes = new Uint8Array(0);
  /** Everything before it is here. */
  #filled = 0;
  /** Where fragments begin that are here behind a gap. */
  readonly #ahead = new Set<number>();
  /** Bytes that have come since the source was told what is here, new or not. */
  #untold = 0;
  /** Whether the source was told of this place. */
  #isTold = false;
  /** What came is here already: the source has not heard of it. */
  #isAsked = false;

  /** So many bytes of the event of that number are here, from its first on. */
  offset(number: bigint): number {
    return this.#first?.number === number ? this.#filled : 0;
  }

  /** Whether the source should be told what is here: so much has come that it should send more, or it sends what is here. */
  get isTellingDue(): boolean {
    return this.#untold >= TOLD_BYTES || this.#isAsked;
  }

  /** The source has been told. */
  told(): void {
    this.#untold = 0;
    this.#isTold = true;
    this.#isAsked = false;
  }

  /**
   * Takes a fragment of the event that comes next in the log. What is here already, what is of another event, and what is too far
   * ahead, is passed over.
   *
   * @param log must have room for the whole event when its first fragment comes
   * @returns the event, where it is whole now
   * @throws MigrationError `total-chunks-mismatch` where it is of another event than those before it; `buffer-full`
   */
  take(origin: bigint, fragment: EventFragment, log: EventLog): CausalEvent | undefined {
    const { number, link, receivedAt, length, offset, bytes } = fragment;
    this.#untold += bytes.length;
    const end = offset + bytes.length;
    const isHere = number < log.nextNumber || end <= this.offset(number);
    // Once for each place, because many come together; and at an event's end, which comes alone where it is short.
    this.#isAsked = isHere && (!this.#isTold || end === length);
    if (number !== log.nextNumber) return undefined;
    if (this.#first?.number !== number) {
      log.ensureRoom(length);
      this.#drop();
      this.#first = { ...fragment, bytes: this.#bytes };
    } else if (!isSameEvent(this.#first, fragment))
      throw refused('total-chunks-mismatch', origin, `says something else of event ${number} than the one before it`);
    if (offset < this.#filled || offset > this.#filled + WINDOW_BYTES || this.#ahead.has(offset)) return undefined;
    this.#reserve(end, length);
    this.#bytes.set(bytes, offset);
    this.#ahead.add(offset);
    const before = this.#filled;
    while (this.#ahead.delete(this.#filled)) this.#filled = Math.min(this.#filled + PIECE, length);
    if (this.#filled > before) this.#isTold = false;
    if (this.#filled < length) return undefined;
    const event = { link, payload: this.#bytes, receivedAt };
    this.#drop();
    return event;
  }

  #reserve(length: number, whole: number): void {
    if (this.#bytes.length >= length) return;
    const larger = new Uint8Array(Math.min(whole, Math.max(length, FIRST_BYTES, 2 * this.#bytes.length)));
    larger.set(this.#bytes);
    this.#bytes = larger;
  }

  #drop(): void {
    this.#first = undefined;
    this.#bytes = new Uint8Array(0);
    this.#filled = 0;
    this.#ahead.clear();
  }
}

function isSameEvent(a: EventFragment, b: EventFragment): boolean {
  return (
    a.length === b.length &&
    a.receivedAt === b.receivedAt &&
    a.link.originHash === b.link.originHash &&
    a.link.horizon === b.link.horizon &&
    a.link.sequence === b.link.sequence &&
    a.link.parentHash === b.link.parentHash
  );
}
