import { MigrationError } from '../errors.js';
import { wholeFromOne } from '../limits.js';
import type { CausalEvent } from '../wire/link.js';

/** How much of a channel is kept for who reads later. */
export interface ChannelLimits {
  /** Events per channel. Default: 65,536. */
  readonly keepEvents?: number;
  /** Bytes of their payloads per channel, 128 more per event. Default: 64 MiB. */
  readonly keepBytes?: number;
}

/** Bytes that an event takes beside its payload, roughly. */
export const EVENT_OVERHEAD = 128;
/** Of a channel's id. */
export const ID_SIZE = 8;
const POSITION_SIZE = ID_SIZE + 8;

/** Consecutive events, and where they end. */
export interface HistorySlice {
  readonly events: readonly CausalEvent[];
  /** The number of the last one. */
  readonly through: number;
}

/**
 * The last events of one channel, numbered 1, 2, 3 … in the order in which they were published. A position names the
 * channel, for as long as it is kept, and the number of an event: `id 8 | number u64 LE`.
 */
export class ChannelHistory {
  readonly keepEvents: number;
  readonly #name: string;
  readonly #keepBytes: number;
  readonly #id: Uint8Array;
  #events: Array<CausalEvent | undefined> = [];
  /** Where the oldest event stands in the array; what is before it is gone. */
  #head = 0;
  #bytes = 0;
  #dropped = 0;

  /**
   * @param id 8 bytes, never given twice: a channel that is made anew under the same name must not take the positions of the
   * old one for its own
   * @throws RangeError where a limit is not a whole number of at least 1
   */
  constructor(name: string, id: Uint8Array, { keepEvents = 65_536, keepBytes = 64 * 1024 * 1024 }: ChannelLimits = {}) {
    this.#name = name;
    this.#id = id;
    this.keepEvents = wholeFromOne(keepEvents, 'keepEvents');
    this.#keepBytes = wholeFromOne(keepBytes, 'keepBytes');
  }

  /** The number of the last event that is gone; 0 while none is. */
  get dropped(): number {
    return this.#dropped;
  }

  /** The number of the newest event; 0 before the first. */
  get newest(): number {
    return this.#dropped + this.#events.length - this.#head;
  }

  /** Forgets all events; positions behind the newest hold on. */
  clear(): void {
    this.#dropped = this.newest;
    this.#events = [];
    this.#head = 0;
    this.#bytes = 0;
  }

  append(event: CausalEvent): void {
    // A copy: the payload may be a view of something larger, and is its publisher's.
    this.#events.push({ ...event, payload: new Uint8Array(event.payload) });
    this.#bytes += cost(event);
    while (this.#events.length - this.#head > this.keepEvents || this.#bytes > this.#keepBytes) this.#dropOldest();
  }

  /** What follows an event, up to so many bytes, one event at least where there is one. */
  after(number: number, maxEvents: number, maxBytes: number): HistorySlice {
    const events: CausalEvent[] = [];
    const first = this.#head + number - this.#dropped;
    for (let at = first, bytes = 0; at < this.#events.length && events.length < maxEvents; at++) {
      const event = this.#events[at]!;
      bytes += cost(event);
      if (events.length > 0 && bytes > maxBytes) break;
      events.push(event);
    }
    return { events, through: number + events.length };
  }

  /** Behind the event of that number. */
  position(number: number): Uint8Array {
    const position = new Uint8Array(POSITION_SIZE);
    position.set(this.#id);
    new DataView(position.buffer).setBigUint64(ID_SIZE, BigInt(number), true);
    return position;
  }

  /**
   * The number of the event that a position stands behind; an empty position: before the oldest event that is left.
   *
   * @throws MigrationError `position-expired` where what follows it is no longer held, or it is of another channel
   */
  numberOf(position: Uint8Array): number {
    if (position.length === 0) return this.#dropped;
    const isOurs = position.length === POSITION_SIZE && this.#id.every((byte, i) => position[i] === byte);
    if (!isOurs) throw this.#expired('the position is of a channel that this mesh no longer holds');
    const view = new DataView(position.buffer, position.byteOffset, position.byteLength);
    const number = Number(view.getBigUint64(ID_SIZE, true));
    if (number > this.newest) throw this.#expired(`the position stands behind event ${number}, which never was`);
    this.requireHeld(number);
    return number;
  }

  /** @throws MigrationError `position-expired` where what follows that event is no longer held */
  requireHeld(number: number): void {
    if (number < this.#dropped) throw this.#expired(`events ${number + 1} to ${this.#dropped} are gone`);
  }

  #expired(why: string): MigrationError {
    const { newest } = this;
    const oldest = this.#dropped + 1;
    const left = oldest > newest ? 'none is left' : `${oldest} to ${newest} are left`;
    return new MigrationError(
      'position-expired',
      `channel "${this.#name}": ${why}; ${left}. Subscribe after an empty position to begin with the oldest, or without one to begin with what comes next`,
      { details: { channel: this.#name, oldest: BigInt(oldest), newest: BigInt(newest) } },
    );
  }

  #dropOldest(): void {
    this.#bytes -= cost(this.#events[this.#head]!);
    // Moved together now and then, so that dropping one costs nothing on the whole.
    this.#head++;
    this.#dropped++;
    if (this.#head < 1_024 || this.#head * 2 < this.#events.length) {
      // Its payload must not be held by a place that nobody looks at any more.
      this.#events[this.#head - 1] = undefined;
      return;
    }
    this.#events = this.#events.slice(this.#head);
    this.#head = 0;
  }
}

function cost({ payload }: CausalEvent): number {
  return payload.length + EVENT_OVERHEAD;
}
