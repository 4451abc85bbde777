import { blake3 } from '@noble/hashes/blake3.js';
import { MigrationError } from '../../errors.js';
import { checkBytes, checkInteger, checkObject, checkU32, checkU64, wrongType } from '../arguments.js';
import type { EventLog, EventLogOptions } from '../event-log.js';
import type { CausalEvent } from '../link.js';
import { MAX_BUFFERED_EVENTS, MAX_SNAPSHOT_CHUNK_SIZE, MessageType, MIN_EVENT_WIRE_SIZE } from '../message.js';
import { ByteQueue } from './byte-queue.js';
import { readU32, readU64, writeU32, writeU64 } from './bytes.js';
import { allocate, checkLink, eventTooLarge, readLink, writeLink } from './frame.js';
import { EVENT_HEADER_SIZE, EVENTS_HEADER_SIZE } from './scan.js';

const DEFAULT_MAX_EVENTS = MAX_BUFFERED_EVENTS;
const DEFAULT_MAX_BYTES = 64 * 1024 * 1024;
const U64_MAX = 0xffff_ffff_ffff_ffffn;
/** An event's number, and the rest of what the digest takes before its payload. */
const DIGEST_HEADER_SIZE = 8 + EVENT_HEADER_SIZE;

/** Where an event begins takes eight bytes in its own queue, so that an event is found by its number at once. */
const PLACE_SIZE = 8;

/**
 * The event log in plain TypeScript. Events lie one behind the other as they stand in a BufferedEvents frame, so that a frame
 * is one copy: 44 bytes over the payload, and 8 for the place.
 */
class TypescriptEventLog implements EventLog {
  readonly #maxEvents: number;
  readonly #maxBytes: number;
  readonly #events = new ByteQueue();
  readonly #places = new ByteQueue();
  /** Numbers of the first event held and of the next one; a log does not live to 2^53 events. */
  #first = 1;
  #next = 1;
  #bytes = 0;
  #hasher = blake3.create();
  #disposed = false;
  /** Number, link and length as the digest takes them; from byte 8 on, as a frame does. */
  readonly #header = new Uint8Array(DIGEST_HEADER_SIZE);
  readonly #word = new Uint8Array(8);

  constructor(options: EventLogOptions) {
    const { maxEvents = DEFAULT_MAX_EVENTS, maxBytes = DEFAULT_MAX_BYTES } = options;
    checkU32(maxEvents, 'options.maxEvents');
    checkInteger(maxBytes, 'options.maxBytes', 0, Number.MAX_SAFE_INTEGER);
    this.#maxEvents = maxEvents;
    this.#maxBytes = maxBytes;
  }

  get count(): number {
    return this.#next - this.#first;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get nextNumber(): bigint {
    return BigInt(this.#next);
  }

  get firstNumber(): bigint {
    return BigInt(this.#first);
  }

  ensureRoom(payloadLength: number): void {
    this.#checkAlive();
    checkU32(payloadLength, 'payloadLength');
    if (this.count + 1 > this.#maxEvents || this.#bytes + payloadLength > this.#maxBytes)
      throw this.#full(payloadLength);
  }

  append(event: CausalEvent): bigint {
    this.#checkAlive();
    checkObject(event, 'event');
    const { link, payload, receivedAt } = event;
    checkLink(link, 'event.link');
    checkBytes(payload, 'event.payload');
    checkU64(receivedAt, 'event.receivedAt');
    const { length } = payload;
    this.ensureRoom(length);
    this.#reserve(length);
    const number = BigInt(this.#next);
    writeU64(this.#header, 0, number);
    writeLink(this.#header, 8, link);
    writeU32(this.#header, 40, length);
    this.#hasher.update(this.#header);
    this.#hasher.update(payload);
    writeU64(this.#word, 0, BigInt(this.#events.end));
    this.#places.append(this.#word);
    this.#events.append(this.#header.subarray(8));
    this.#events.append(payload);
    writeU64(this.#word, 0, receivedAt);
    this.#events.append(this.#word);
    this.#next++;
    this.#bytes += length;
    return number;
  }

  #full(incoming: number): MigrationError {
    return new MigrationError(
      'buffer-full',
      `the log holds ${this.count} events and ${this.#bytes} bytes, one more of ${incoming} bytes is over its limits of ` +
        `${this.#maxEvents} events and ${this.#maxBytes} bytes`,
      {
        details: {
          events: this.count,
          bytes: this.#bytes,
          incoming,
          maxEvents: this.#maxEvents,
          maxBytes: this.#maxBytes,
        },
      },
    );
  }

  #reserve(length: number): void {
    try {
      this.#events.reserve(MIN_EVENT_WIRE_SIZE + length);
      this.#places.reserve(PLACE_SIZE);
    } catch (cause) {
      throw new MigrationError('out-of-memory', `no memory to log an event of ${length} bytes`, {
        details: { length },
        cause,
      });
    }
  }

  /** Where the event of that number begins; for the next number, where the log ends. */
  #placeOf(number: number): number {
    if (number === this.#next) return this.#events.end;
    this.#places.read((number - 1) * PLACE_SIZE, PLACE_SIZE, this.#word, 0);
    return Number(readU64(this.#word, 0));
  }

  get(number: bigint): CausalEvent | undefined {
    this.#checkAlive();
    checkU64(number, 'number');
    if (number < this.#first || number >= this.#next) return undefined;
    const at = this.#placeOf(Number(number));
    this.#events.read(at, EVENT_HEADER_SIZE, this.#header, 8);
    const payload = allocate(readU32(this.#header, 40));
    this.#events.read(at + EVENT_HEADER_SIZE, payload.length, payload, 0);
    this.#events.read(at + EVENT_HEADER_SIZE + payload.length, 8, this.#word, 0);
    return { link: readLink(this.#header, 8), payload, receivedAt: readU64(this.#word, 0) };
  }

  encodeFrame(
    daemonOrigin: bigint,
    from: bigint,
    maxFrameBytes: number,
    maxCount: number,
    renumberFrom?: bigint,
  ): { readonly frame: Uint8Array; readonly next: bigint } {
    this.#checkAlive();
    checkU64(daemonOrigin, 'daemonOrigin');
    checkU64(from, 'from');
    checkU32(maxFrameBytes, 'maxFrameBytes');
    checkInteger(maxCount, 'maxCount', 1, 0xffff_ffff);
    if (renumberFrom !== undefined) checkU64(renumberFrom, 'renumberFrom');
    const start = Math.max(this.#first, Math.min(this.#next, Number(from)));
    const end = this.#frameEnd(start, maxFrameBytes, Math.min(maxCount, MAX_BUFFERED_EVENTS));
    const count = end - start;
    if (renumberFrom !== undefined && count > 0 && renumberFrom + BigInt(count - 1) > U64_MAX) {
      throw new MigrationError(
        'sequence-overflow',
        `${count} events numbered from ${renumberFrom} on would lead over 2^64 - 1`,
        { details: { renumberFrom, count } },
      );
    }
    const startAt = this.#placeOf(start);
    const length = this.#placeOf(end) - startAt;
    const frame = allocate(EVENTS_HEADER_SIZE + length);
    frame[0] = MessageType.BufferedEvents;
    writeU64(frame, 1, daemonOrigin);
    writeU32(frame, 9, count);
    this.#events.read(startAt, length, frame, EVENTS_HEADER_SIZE);
    if (renumberFrom !== undefined) renumber(frame, count, renumberFrom);
    return { frame, next: count > 0 || from < this.#first ? BigInt(end) : from };
  }

  /** The number behind the last event that goes into a frame beginning with `start`. */
  #frameEnd(start: number, maxFrameBytes: number, maxCount: number): number {
    let length = EVENTS_HEADER_SIZE;
    let place = this.#placeOf(start);
    let number = start;
    while (number < this.#next && number - start < maxCount) {
      const nextPlace = this.#placeOf(number + 1);
      const payload = nextPlace - place - MIN_EVENT_WIRE_SIZE;
      length += nextPlace - place;
      if (payload > MAX_SNAPSHOT_CHUNK_SIZE) {
        if (number === start) throw eventTooLarge(`event ${number}'s payload`, payload);
        break;
      }
      if (length > maxFrameBytes && number > start) break;
      place = nextPlace;
      number++;
    }
    return number;
  }

  digest(): Uint8Array {
    this.#checkAlive();
    return this.#hasher.clone().digest();
  }

  truncate(through: bigint): number {
    this.#checkAlive();
    checkU64(through, 'through');
    const first = Math.max(this.#first, Math.min(this.#next, Number(through) + 1));
    const dropped = first - this.#first;
    if (dropped === 0) return 0;
    const place = this.#placeOf(first);
    this.#bytes -= place - this.#placeOf(this.#first) - dropped * MIN_EVENT_WIRE_SIZE;
    this.#first = first;
    this.#events.dropBefore(place);
    this.#places.dropBefore((first - 1) * PLACE_SIZE);
    return dropped;
  }

  clear(): void {
    this.#checkAlive();
    this.#empty();
  }

  #empty(): void {
    this.#events.clear();
    this.#places.clear();
    this.#first = 1;
    this.#next = 1;
    this.#bytes = 0;
    this.#hasher = blake3.create();
  }

  dispose(): void {
    this.#empty();
    this.#disposed = true;
  }

  #checkAlive(): void {
    if (this.#disposed) throw new MigrationError('disposed', 'this event log was disposed of: make a new one');
  }
}

/** Replaces the sequences of a frame's events by `first`, `first + 1` … */
function renumber(frame: Uint8Array, count: number, first: bigint): void {
  let at = EVENTS_HEADER_SIZE;
  for (let i = 0; i < count; i++) {
    writeU64(frame, at + 16, first + BigInt(i));
    at += MIN_EVENT_WIRE_SIZE + readU32(frame, at + 32);
  }
}

export function createEventLog(options: EventLogOptions = {}): EventLog {
  if (typeof options !== 'object' || options === null) throw wrongType('options', 'an object', options);
  return new TypescriptEventLog(options);
}
