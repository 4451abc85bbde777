import { COPIED_PER_TURN } from '../slices.js';
import type { CausalEvent, CausalLink } from './link.js';

/** Caps of a log: events held at once, and their payload bytes. */
export interface EventLogOptions {
  /** u32. Default: 1,000,000. */
  readonly maxEvents?: number;
  /** Default: 64 MiB. */
  readonly maxBytes?: number;
}

/**
 * The events that a source has accepted since its snapshot, numbered 1, 2, 3 …, kept outside the JavaScript heap at no
 * more than 64 bytes over the payload each.
 *
 * Links are kept as they were given. Caps are counted in events and in payload bytes; one more event than they allow is
 * refused with `buffer-full`.
 */
export interface EventLog {
  /** Events held now. */
  readonly count: number;
  /** Payload bytes held now. */
  readonly bytes: number;
  /** The number that the next event gets; the first is 1. */
  readonly nextNumber: bigint;
  /** The number of the oldest event held; equals `nextNumber` when empty. */
  readonly firstNumber: bigint;

  /** Throws as `append` would for one more event of that payload; changes nothing. */
  ensureRoom(payloadLength: number): void;
  /** @returns the event's number. The payload is copied. @throws MigrationError `buffer-full` with events and bytes */
  append(event: CausalEvent): bigint;
  /** The event with that number, its payload copied; undefined where it is not held. */
  get(number: bigint): CausalEvent | undefined;
  /**
   * A BufferedEvents frame of the held events numbered `from` and over (those forgotten are not there), as many as fit into `maxFrameBytes` and `maxCount` (at least
   * one, whatever its size, unless its payload is over 7,000 bytes, which throws `event-too-large`).
   *
   * @param renumberFrom where given, sequences are replaced by `renumberFrom`, `renumberFrom + 1` … (PROTOCOL.md §8: towards
   * a peer without extensions)
   * @param maxFrameBytes u32
   * @param maxCount 1 to 2^32 − 1; never over 1,000,000 are taken
   * @returns the frame and the number after its last event; where none is held, an empty frame and `from`
   * @throws MigrationError `event-too-large` where the first one's payload is; a later one ends the frame before it.
   * `sequence-overflow` where `renumberFrom` leads over 2^64 − 1
   */
  encodeFrame(
    daemonOrigin: bigint,
    from: bigint,
    maxFrameBytes: number,
    maxCount: number,
    renumberFrom?: bigint,
  ): { readonly frame: Uint8Array; readonly next: bigint };
  /**
   * The running digest of every event appended since the log began or was cleared, forgotten ones too: BLAKE3-256 over, for each in order,
   * its number (u64 LE), its link (32 bytes), its payload's length (u32 LE) and its payload.
   */
  digest(): Uint8Array;
  /** Forgets events up to and with `through`. @returns how many were dropped */
  truncate(through: bigint): number;
  /** Forgets all and begins again at 1. */
  clear(): void;
  /** Frees all: empty from then on, other calls throw `disposed`. Idempotent. */
  dispose(): void;
}

/** The oldest events of a log, copied: at most that many, and 4 MiB of payload or one event of more. */
export function firstEvents(log: EventLog, count: number): CausalEvent[] {
  const events: CausalEvent[] = [];
  const { firstNumber, nextNumber } = log;
  let bytes = 0;
  for (let n = firstNumber; n < nextNumber && events.length < count && bytes < COPIED_PER_TURN; n++) {
    const event = log.get(n)!;
    events.push(event);
    bytes += event.payload.length;
  }
  return events;
}

export type { CausalEvent, CausalLink };
