import { MigrationError } from '../errors.js';
import type { DaemonHost } from './host.js';

const REMEMBERED_DEPARTURES = 10_000;

/** The copies of daemons on this node, by origin hash. */
export class DaemonRegistry {
  readonly #hosts = new Map<bigint, DaemonHost>();
  /** Where daemons that lived here have gone, the oldest first. */
  readonly #departed = new Map<bigint, bigint>();

  /** @throws MigrationError `state-failed` where the node has a copy already */
  add(host: DaemonHost): void {
    if (this.#hosts.has(host.origin)) {
      throw new MigrationError('state-failed', `daemon ${host.origin} is on this node already`, {
        details: { origin: host.origin },
      });
    }
    this.#hosts.set(host.origin, host);
    this.#departed.delete(host.origin);
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

  /** A daemon lives on another node now; who still asks here is sent there, as long as it is remembered. */
  noteDeparture(origin: bigint, target: bigint): void {
    this.#departed.delete(origin);
    this.#departed.set(origin, target);
    if (this.#departed.size > REMEMBERED_DEPARTURES) this.#departed.delete(this.#departed.keys().next().value!);
  }

  departedTo(origin: bigint): bigint | undefined {
    return this.#departed.get(origin);
  }

  [Symbol.iterator](): IterableIterator<DaemonHost> {
    return this.#hosts.values();
  }
}
