import type { CausalEvent, DaemonRuntime, EventPublisher } from '../../lib/index.js';
import { FLIGHT_SIZE } from './flight.js';

/** How often a daemon whose node ended is sent to again. */
const MAX_CRASHES = 10;

/** Flights that follow one another. */
export interface FlightBatch {
  /** The number of the first one, from 1. */
  readonly first: number;
  readonly payloads: Uint8Array;
}

/** Where a daemon lives, and how many flights its copy there has processed. */
export interface Home {
  readonly nodeId: bigint;
  readonly processed: number;
}

export interface SenderOptions {
  readonly runtime: DaemonRuntime;
  readonly daemon: bigint;
  readonly nodeId: bigint;
  /** The flights' own origin. */
  readonly originHash: bigint;
  /**
   * Where the daemon lives after a crash; undefined: nowhere. Without it a crash is the end of the stream. What the copy that
   * is left has not seen is sent again from there.
   */
  readonly find?: (() => Promise<Home | undefined>) | undefined;
}

/** Sends flights to one daemon, in order, wherever it lives. */
export class FlightSender {
  readonly #options: SenderOptions;
  readonly #kept: FlightBatch[] = [];
  #publisher: EventPublisher;
  #longestWaitMs = 0;
  #resent = 0;
  #isLost = false;

  constructor(options: SenderOptions) {
    this.#options = options;
    this.#publisher = options.runtime.publisher(options.daemon, options.nodeId);
  }

  /** The longest that flights waited until some copy answered for them, in ms. */
  get longestWaitMs(): number {
    return Math.max(this.#longestWaitMs, this.#publisher.longestWaitMs);
  }

  /** Flights that were sent a second time, because a node that had been sent them ended. */
  get resent(): number {
    return this.#resent;
  }

  /** Resolves when there is room for the next batch. */
  async send(batch: FlightBatch): Promise<void> {
    if (this.#options.find) this.#kept.push(batch);
    await this.#try(() => this.#publisher.send(this.#events(batch)));
  }

  /** Resolves when every flight has been accepted, or the daemon is lost. */
  flush(): Promise<void> {
    return this.#try(() => this.#publisher.flush());
  }

  async #try(run: () => Promise<void>): Promise<void> {
    const began = performance.now();
    let crash: unknown;
    for (let crashes = 0; crashes < MAX_CRASHES && !this.#isLost; crashes++) {
      try {
        await (crashes === 0 ? run() : this.#goOn(began));
        return;
      } catch (error) {
        if (!this.#options.find) throw error;
        crash = error;
      }
    }
    if (crash !== undefined && !this.#isLost) throw crash;
  }

  /** The copy that is left drops what it has seen. */
  async #goOn(began: number): Promise<void> {
    const { runtime, daemon, find } = this.#options;
    const home = await find!();
    this.#longestWaitMs = this.longestWaitMs;
    this.#isLost = home === undefined;
    if (!home) return;
    this.#publisher = runtime.publisher(daemon, home.nodeId);
    for (const batch of this.#kept) {
      const count = batch.payloads.length / FLIGHT_SIZE;
      if (batch.first + count - 1 <= home.processed) continue;
      await this.#publisher.send(this.#events(batch));
      this.#resent += count;
    }
    await this.#publisher.flush();
    this.#longestWaitMs = Math.max(this.#longestWaitMs, performance.now() - began);
  }

  #events({ first, payloads }: FlightBatch): CausalEvent[] {
    const { originHash } = this.#options;
    return Array.from({ length: payloads.length / FLIGHT_SIZE }, (_, i) => ({
      link: { originHash, horizon: 0n, sequence: BigInt(first + i), parentHash: 0n },
      payload: payloads.subarray(i * FLIGHT_SIZE, (i + 1) * FLIGHT_SIZE),
      receivedAt: 0n,
    }));
  }
}
