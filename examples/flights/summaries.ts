import { type CausalEvent, type CausalLink, createCodec } from '../../lib/index.js';
import { flightsOfSummary, SUMMARY_EVERY } from './flights-daemon.js';

/** Reads the channel of summaries, and checks that none is missing, double or out of its chain. */
export class SummaryReader {
  readonly #codec = createCodec();
  #head: CausalLink;
  #lastPayload: Uint8Array = new Uint8Array(0);
  #count = 0;
  #fault: string | undefined;

  constructor(origin: bigint) {
    this.#head = { originHash: origin, horizon: 0n, sequence: 0n, parentHash: 0n };
  }

  get count(): number {
    return this.#count;
  }

  /** What was wrong first; undefined where nothing was. */
  get fault(): string | undefined {
    return this.#fault;
  }

  read(events: readonly CausalEvent[]): void {
    for (const event of events) {
      this.#count++;
      const { sequence } = event.link;
      const expected = this.#head.sequence + 1n;
      const flights = flightsOfSummary(event.payload);
      if (sequence !== expected) this.#fault ??= `summary ${sequence} came where ${expected} was expected`;
      else if (flights !== this.#count * SUMMARY_EVERY)
        this.#fault ??= `summary ${sequence} tells of ${flights} flights`;
      else if (this.#codec.verifyChain(this.#head, this.#lastPayload, [event]) !== 1) {
        this.#fault ??= `summary ${sequence} does not continue the chain`;
      }
      this.#head = event.link;
      this.#lastPayload = event.payload;
    }
  }
}
