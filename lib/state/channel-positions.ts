import type { ChannelPosition } from './carried-state.js';

/** The most bytes of a position (ARCHITECTURE.md, "position"). */
export const MAX_POSITION_BYTES = 64;

/** How far a daemon has read its channels: per (publisher, channel) where its subscription goes on. Travels with the daemon. */
export class ChannelPositions implements Iterable<ChannelPosition> {
  readonly #byPublisher = new Map<bigint, Map<string, Uint8Array>>();

  constructor(positions: Iterable<ChannelPosition> = []) {
    for (const { publisher, channel, position } of positions) this.set(publisher, channel, position);
  }

  get(publisher: bigint, channel: string): Uint8Array | undefined {
    return this.#byPublisher.get(publisher)?.get(channel);
  }

  /** @throws RangeError where the position has over 64 bytes */
  set(publisher: bigint, channel: string, position: Uint8Array): void {
    if (position.length > MAX_POSITION_BYTES)
      throw new RangeError(
        `a position in channel "${channel}" has ${position.length} bytes; it may have ${MAX_POSITION_BYTES}`,
      );
    let channels = this.#byPublisher.get(publisher);
    if (!channels) {
      channels = new Map();
      this.#byPublisher.set(publisher, channels);
    }
    channels.set(channel, position);
  }

  delete(publisher: bigint, channel: string): void {
    const channels = this.#byPublisher.get(publisher);
    channels?.delete(channel);
    if (channels?.size === 0) this.#byPublisher.delete(publisher);
  }

  *[Symbol.iterator](): Iterator<ChannelPosition> {
    for (const [publisher, channels] of this.#byPublisher)
      for (const [channel, position] of channels) yield { publisher, channel, position };
  }
}
