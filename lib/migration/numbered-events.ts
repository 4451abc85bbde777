import type { CausalEvent } from '../wire/link.js';

/** Events held for one of a lower number, and bytes of their payloads, at the most (PROTOCOL.md §7). */
const MAX_WAITING = 1_000_000;
const MAX_WAITING_BYTES = 64 * 1024 * 1024;

/**
 * Events from a peer without extensions, which numbers them by their links' sequences, from `seq_through + 1` on
 * (PROTOCOL.md §8): puts them in order, each number once.
 */
export class NumberedEvents {
  readonly #waiting = new Map<bigint, CausalEvent>();
  #through: bigint;
  #bytes = 0;

  /** @param through the number before the first */
  constructor(through: bigint) {
    this.#through = through;
  }

  /** Payloads are copied. What has come before, and what would be held beyond the limits, is passed over. */
  add(events: readonly CausalEvent[]): void {
    for (const event of events) {
      const { sequence } = event.link;
      if (sequence <= this.#through || this.#waiting.has(sequence) || !this.#hasRoom(event)) continue;
      this.#waiting.set(sequence, { ...event, payload: event.payload.slice() });
      this.#bytes += event.payload.length;
    }
  }

  #hasRoom({ payload }: CausalEvent): boolean {
    return this.#waiting.size < MAX_WAITING && this.#bytes + payload.length <= MAX_WAITING_BYTES;
  }

  /** Those that continue without a gap, in order. */
  takeNext(): CausalEvent[] {
    const ready: CausalEvent[] = [];
    for (let event = this.#next(); event; event = this.#next()) {
      ready.push(event);
      this.#through++;
      this.#waiting.delete(this.#through);
      this.#bytes -= event.payload.length;
    }
    return ready;
  }

  /** All that wait, gaps or not, in order. */
  takeAll(): CausalEvent[] {
    const all = [...this.#waiting.values()].sort((a, b) => (a.link.sequence < b.link.sequence ? -1 : 1));
    this.#waiting.clear();
    this.#bytes = 0;
    if (all.length > 0) this.#through = all.at(-1)!.link.sequence;
    return all;
  }

  #next(): CausalEvent | undefined {
    return this.#waiting.get(this.#through + 1n);
  }
}
