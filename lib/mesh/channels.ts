import type { CausalEvent } from '../wire/link.js';
import type { ChannelListener, ChannelSubscription } from './mesh.js';

interface Published {
  epoch: bigint;
  sequence: bigint;
}

/** The channels of a mesh whose nodes share a process: held by one thread, in which all publish and all listen. */
export class Channels {
  readonly #listeners = new Map<string, Set<ChannelListener>>();
  /** Per daemon, by origin hash: what was published last. */
  readonly #published = new Map<bigint, Published>();

  publish(channel: string, epoch: bigint, events: readonly CausalEvent[]): void {
    const fresh = events.filter((event) => this.#admit(epoch, event));
    const listeners = this.#listeners.get(channel);
    if (fresh.length === 0 || !listeners) return;
    for (const listener of [...listeners]) {
      try {
        listener(channel, fresh);
      } catch (error) {
        // A reader's fault is not the publisher's, nor the other readers'.
        process.emitWarning(
          `a listener of channel "${channel}" threw: ${error instanceof Error ? error.message : String(error)}`,
        );
      }
    }
  }

  forget(originHash: bigint): void {
    this.#published.delete(originHash);
  }

  subscribe(channel: string, listener: ChannelListener): ChannelSubscription {
    let listeners = this.#listeners.get(channel);
    if (!listeners) {
      listeners = new Set();
      this.#listeners.set(channel, listeners);
    }
    listeners.add(listener);
    return {
      unsubscribe: () => {
        listeners.delete(listener);
        if (listeners.size === 0) this.#listeners.delete(channel);
      },
    };
  }

  #admit(epoch: bigint, { link }: CausalEvent): boolean {
    const last = this.#published.get(link.originHash);
    if (!last) {
      this.#published.set(link.originHash, { epoch, sequence: link.sequence });
      return true;
    }
    if (epoch < last.epoch || link.sequence <= last.sequence) return false;
    last.epoch = epoch;
    last.sequence = link.sequence;
    return true;
  }
}
