import type { ChannelPosition } from './carried-state.js';

/** The most bytes of a position (ARCHITECTURE.md, "position"). */
export const MAX_POSITION_BYTES = 64;

/** How far a daemon has read its channels: per (publisher, channel) where its subscription goes on. Travels with the daemon. */
export class ChannelPositions {
  /** Each is replaced as a whole, so that a copy of the list stays as it was. */
  readonly #list: ChannelPosition[] = [];
  /** Where each stands in the list. */
  readonly #places = new Map<bigint, Map<string, number>>();

  get(publisher: bigint, channel: string): Uint8Array | undefined {
    const place = this.#places.get(publisher)?.get(channel);
    return place === undefined ? undefined : this.#list[place]!.position;
  }

  /** @throws RangeError where the position has over 64 bytes */
  set(publisher: bigint, channel: string, position: Uint8Array): void {
    if (position.length > MAX_POSITION_BYTES)
      throw new RangeError(
        `a position in channel "${channel}" has ${position.length} bytes; it may have ${MAX_POSITION_BYTES}`,
      );
    let channels = this.#places.get(publisher);
    if (!channels) {
      channels = new Map();
      this.#places.set(publisher, channels);
    }
    let place = channels.get(channel);
    if (place === undefined) {
      place = this.#list.length;
      channels.set(channel, place);
    }
    this.#list[place] = { publisher, channel, position };
  }

  delete(publisher: bigint, channel: string): void {
    const channels = this.#places.get(publisher);
    const place = channels?.get(channel);
    if (!channels || place === undefined) return;
    channels.delete(channel);
    if (channels.size === 0) this.#places.delete(publisher);
    const last = this.#list.pop()!;
    if (place === this.#list.length) return;
    this.#list[place] = last;
    this.#places.get(last.publisher)!.set(last.channel, place);
  }

  /** As they are now, in no order: cheap however many there are, and what is set later does not show in it. */
  list(): readonly ChannelPosition[] {
    return this.#list.slice();
  }
}
