import type { FrameProducer } from '../wire/frame-producer.js';
import { MAX_SNAPSHOT_CHUNK_SIZE } from '../wire/message.js';

/** What may be saved up while nothing is sent: so much of a second's bytes. */
const BURST_S = 0.1;

export interface PacerOptions {
  /** Bytes of frames per second, over all streams; undefined: as many as the transport takes. */
  readonly maxBytesPerSecond: number | undefined;
  readonly nowMs: () => number;
  /** Hands frames to the transport, which pulls them when it has room. */
  readonly stream: (destNode: bigint, frames: FrameProducer) => void;
  /** Whether a node can still be sent to. */
  readonly isPeer: (destNode: bigint) => boolean;
}

/** @throws RangeError where the rate is no number of at least 7,000: slower, and a migration would end at a deadline */
export function checkRate(rate: number, name: string): void {
  if (typeof rate === 'number' && rate >= MAX_SNAPSHOT_CHUNK_SIZE) return;
  const least = `${MAX_SNAPSHOT_CHUNK_SIZE}, one chunk a second`;
  throw new RangeError(`${name} must be a number of at least ${least}, got ${String(rate)}`);
}

interface Waiting {
  readonly destNode: bigint;
  readonly frames: FrameProducer;
}

/**
 * Limits the rate at which snapshots leave this node. What a stream may send it hands to the transport in portions, each of
 * which ends when the allowance is used up; the next follow with `tick`, the streams taking turns. So nothing waits in memory,
 * and no timer is needed.
 */
export class Pacer {
  readonly #options: PacerOptions;
  /** Streams that wait for allowance: those that got none the last time, and those that did. */
  #starved: Waiting[] = [];
  #served: Waiting[] = [];
  /** Bytes that may leave now; below 0 where the last frame was larger than what was left. */
  #allowance = 0;
  #filledAt: number;

  /** @throws RangeError */
  constructor(options: PacerOptions) {
    if (options.maxBytesPerSecond !== undefined) checkRate(options.maxBytesPerSecond, 'maxBytesPerSecond');
    this.#options = options;
    this.#filledAt = options.nowMs();
  }

  stream(destNode: bigint, frames: FrameProducer): void {
    if (this.#options.maxBytesPerSecond === undefined) {
      this.#options.stream(destNode, frames);
      return;
    }
    this.#starved.push({ destNode, frames });
    this.tick();
  }

  /** Time has passed: streams go on. */
  tick(): void {
    const { maxBytesPerSecond: rate, nowMs } = this.#options;
    if (rate === undefined) return;
    const now = nowMs();
    this.#allowance = Math.min(this.#allowance + (rate * (now - this.#filledAt)) / 1_000, rate * BURST_S);
    this.#filledAt = now;
    if (this.#allowance <= 0) return;
    const waiting = [...this.#starved, ...this.#served];
    this.stop();
    for (const stream of waiting) {
      // What is for a node that has gone is nobody's.
      if (this.#options.isPeer(stream.destNode)) this.#options.stream(stream.destNode, this.#portion(stream));
    }
  }

  /** What waits is forgotten. */
  stop(): void {
    this.#starved = [];
    this.#served = [];
  }

  /** The frames of a stream until the allowance is used up. */
  #portion(stream: Waiting): FrameProducer {
    const { frames } = stream;
    let hasEnded = false;
    let wasServed = false;
    return {
      get done() {
        return hasEnded || frames.done;
      },
      get onReady() {
        return frames.onReady;
      },
      get maxFrameLength() {
        return frames.maxFrameLength;
      },
      writeNext: (target, at) => {
        if (hasEnded) return 0;
        if (this.#allowance <= 0) {
          hasEnded = true;
          (wasServed ? this.#served : this.#starved).push(stream);
          return 0;
        }
        const length = frames.writeNext(target, at);
        wasServed ||= length > 0;
        this.#allowance -= length;
        return length;
      },
    };
  }
}
