import { MigrationError } from '../../errors.js';
import { checkBytes, checkInteger, checkObject, checkU32, checkU64, wrongType } from '../arguments.js';
import type { EventLog, EventLogOptions } from '../event-log.js';
import type { CausalEvent, CausalLink } from '../link.js';
import { MAX_BUFFERED_EVENTS, MIN_EVENT_WIRE_SIZE } from '../message.js';
import { readU32, readU64, writeU32, writeU64 } from '../typescript/bytes.js';
import { allocate, checkLink, readLink, writeLink } from '../typescript/frame.js';
import { EVENT_HEADER_SIZE } from '../typescript/scan.js';
import type { Addon } from './addon.js';
import type { NativeEventLog } from './binding.js';
import { refusal } from './refusal.js';

const DEFAULT_MAX_EVENTS = MAX_BUFFERED_EVENTS;
const DEFAULT_MAX_BYTES = 64 * 1024 * 1024;
const DIGEST_BYTES = 32;

/**
 * Events wait here, as they stand on the wire, and cross together: a crossing costs more than the writing of an event. All
 * logs of a thread share the one staging area, so that many small logs take no memory each; who appends while another
 * log's events wait sends those over first.
 */
const STAGING_BYTES = 16 * 1024;
/** A larger event crosses on its own. */
const STAGED_EVENT_BYTES_MAX = STAGING_BYTES / 4;

const staging = new Uint8Array(STAGING_BYTES);
let staged = 0;
let stagedBy: EventLogOverAddon | undefined;

/** An event without a payload: what crosses in front of a large one. */
const head = new Uint8Array(MIN_EVENT_WIRE_SIZE);

/** {@link EventLog} over the addon. */
class EventLogOverAddon implements EventLog {
  #native: NativeEventLog | undefined;
  readonly #maxEvents: number;
  readonly #maxBytes: number;
  /** Numbers of the first event held and of the next one; a log does not live to 2^53 events. */
  #first = 1;
  #next = 1;
  #bytes = 0;

  constructor(addon: Addon, options: EventLogOptions) {
    const { maxEvents = DEFAULT_MAX_EVENTS, maxBytes = DEFAULT_MAX_BYTES } = options;
    checkU32(maxEvents, 'options.maxEvents');
    checkInteger(maxBytes, 'options.maxBytes', 0, Number.MAX_SAFE_INTEGER);
    this.#maxEvents = maxEvents;
    this.#maxBytes = maxBytes;
    this.#native = new addon.NativeEventLog(maxEvents, maxBytes);
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
    this.#alive();
    checkU32(payloadLength, 'payloadLength');
    if (this.count + 1 > this.#maxEvents || this.#bytes + payloadLength > this.#maxBytes) {
      throw this.#full(payloadLength);
    }
  }

  append(event: CausalEvent): bigint {
    const native = this.#alive();
    checkObject(event, 'event');
    const { link, payload, receivedAt } = event;
    checkLink(link, 'event.link');
    checkBytes(payload, 'event.payload');
    checkU64(receivedAt, 'event.receivedAt');
    const { length } = payload;
    this.ensureRoom(length);
    if (length > STAGED_EVENT_BYTES_MAX) this.#appendLarge(native, link, payload, receivedAt);
    else this.#stage(link, payload, receivedAt);
    this.#bytes += length;
    return BigInt(this.#next++);
  }

  #stage(link: CausalLink, payload: Uint8Array, receivedAt: bigint): void {
    const size = MIN_EVENT_WIRE_SIZE + payload.length;
    if ((stagedBy !== undefined && stagedBy !== this) || staged + size > STAGING_BYTES) sendStaged();
    stagedBy = this;
    writeLink(staging, staged, link);
    writeU32(staging, staged + 32, payload.length);
    staging.set(payload, staged + EVENT_HEADER_SIZE);
    writeU64(staging, staged + EVENT_HEADER_SIZE + payload.length, receivedAt);
    staged += size;
  }

  #appendLarge(native: NativeEventLog, link: CausalLink, payload: Uint8Array, receivedAt: bigint): void {
    this.#send();
    writeLink(head, 0, link);
    writeU64(head, EVENT_HEADER_SIZE, receivedAt);
    try {
      native.appendLarge(head, payload);
    } catch (error) {
      throw refusal(error);
    }
  }

  /** Takes over what was staged. @returns how many bytes were taken; fewer than `length` where memory ran out */
  take(events: Uint8Array, length: number): number {
    return this.#alive().append(events, length);
  }

  /** What this log has staged goes over: before anything that looks at what is held. */
  #send(): void {
    if (stagedBy === this) sendStaged();
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

  get(number: bigint): CausalEvent | undefined {
    const native = this.#alive();
    checkU64(number, 'number');
    if (number < this.#first || number >= this.#next) return undefined;
    this.#send();
    const bytes = native.get(Number(number));
    if (bytes === null) return undefined;
    const length = readU32(bytes, 32);
    return {
      link: readLink(bytes, 0),
      payload: bytes.subarray(EVENT_HEADER_SIZE, EVENT_HEADER_SIZE + length),
      receivedAt: readU64(bytes, EVENT_HEADER_SIZE + length),
    };
  }

  encodeFrame(
    daemonOrigin: bigint,
    from: bigint,
    maxFrameBytes: number,
    maxCount: number,
    renumberFrom?: bigint,
  ): { readonly frame: Uint8Array; readonly next: bigint } {
    const native = this.#alive();
    checkU64(daemonOrigin, 'daemonOrigin');
    checkU64(from, 'from');
    checkU32(maxFrameBytes, 'maxFrameBytes');
    checkInteger(maxCount, 'maxCount', 1, 0xffff_ffff);
    if (renumberFrom !== undefined) checkU64(renumberFrom, 'renumberFrom');
    this.#send();
    const start = Math.max(this.#first, Math.min(this.#next, Number(from)));
    try {
      const frame = allocate(native.planFrame(start, maxFrameBytes, maxCount));
      const count = native.writeFrame(frame, daemonOrigin, renumberFrom);
      return { frame, next: count > 0 || from < this.#first ? BigInt(start + count) : from };
    } catch (error) {
      throw refusal(error);
    }
  }

  digest(): Uint8Array {
    const native = this.#alive();
    this.#send();
    const digest = new Uint8Array(DIGEST_BYTES);
    native.digest(digest);
    return digest;
  }

  truncate(through: bigint): number {
    const native = this.#alive();
    checkU64(through, 'through');
    const first = Math.max(this.#first, Math.min(this.#next, Number(through) + 1));
    const dropped = first - this.#first;
    if (dropped === 0) return 0;
    this.#send();
    native.truncate(first - 1);
    this.#first = first;
    this.#bytes = native.bytes;
    return dropped;
  }

  clear(): void {
    this.#alive();
    this.#empty();
  }

  #empty(): void {
    if (stagedBy === this) unstage();
    this.#native?.clear();
    this.#first = 1;
    this.#next = 1;
    this.#bytes = 0;
  }

  dispose(): void {
    this.#empty();
    this.#native = undefined;
  }

  #alive(): NativeEventLog {
    if (this.#native === undefined) {
      throw new MigrationError('disposed', 'this event log was disposed of: make a new one');
    }
    return this.#native;
  }
}

function unstage(): void {
  staged = 0;
  stagedBy = undefined;
}

/** Sends over what is staged. What memory did not suffice for stays staged, in order, and is tried again next time. */
function sendStaged(): void {
  const taken = stagedBy?.take(staging, staged) ?? staged;
  if (taken === staged) {
    unstage();
    return;
  }
  staging.copyWithin(0, taken, staged);
  staged -= taken;
  throw new MigrationError('out-of-memory', `no memory to log ${staged} bytes of events: they wait and are not lost`, {
    details: { length: staged },
  });
}

export function eventLogFactory(
  addon: Addon,
): (options?: { readonly maxEvents?: number; readonly maxBytes?: number }) => EventLog {
  return (options = {}) => {
    if (typeof options !== 'object' || options === null) throw wrongType('options', 'an object', options);
    return new EventLogOverAddon(addon, options);
  };
}
