import { MigrationError } from '../errors.js';
import type { DaemonHost } from './host.js';

/** The copies of daemons on this node, by origin hash. */
export class DaemonRegistry {
  readonly #hosts = new Map<bigint, DaemonHost>();

  /** @throws MigrationError `already-migrating` where the node has a copy already */
  add(host: DaemonHost): void {
    if (this.#hosts.has(host.origin)) {
      throw new MigrationError('state-failed', `daemon ${host.origin} is on this node already`, {
        details: { origin: host.origin },
      });
    }
    this.#hosts.set(host.origin, host);
  }

  get(origin: bigint): DaemonHost | undefined {
    return this.#hosts.get(origin);
  }

  /** @throws MigrationError `daemon-not-found` */
  require(origin: bigint): DaemonHost {
    const host = this.#hosts.get(origin);
    if (!host) {
      throw new MigrationError('daemon-not-found', `daemon ${origin} is not on this node`, { details: { origin } });
    }
    return host;
  }

  /** Takes a copy out; the caller disposes it. */
  remove(origin: bigint): DaemonHost | undefined {
    const host = this.#hosts.get(origin);
    this.#hosts.delete(origin);
    return host;
  }

  [Symbol.iterator](): IterableIterator<DaemonHost> {
    return this.#hosts.values();
  }
}
