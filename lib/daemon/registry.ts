import { MigrationError } from '../errors.js';
import { checkU64 } from '../wire/arguments.js';
import type { DaemonHost } from './host.js';

const REMEMBERED_DEPARTURES = 10_000;

/** The copies of daemons on this node, by origin hash. */
export class DaemonRegistry {
  readonly #hosts = new Map<bigint, DaemonHost>();
  /** Where daemons that lived here have gone, the oldest first. */
  readonly #departed = new Map<bigint, bigint>();
  /** Copies that are being restored: on this node, and reached by nobody. */
  readonly #arriving = new Set<DaemonHost>();
  /** Frozen copies of daemons that were let go to a peer that confirms nothing. */
  readonly #backups = new Map<bigint, DaemonHost>();
  #closed = false;

  /** @throws MigrationError `already-exists` where the node has a copy already */
  add(host: DaemonHost): void {
    if (this.#hosts.has(host.origin)) {
      throw new MigrationError('already-exists', `daemon ${host.origin} is on this node already`, {
        details: { origin: host.origin },
      });
    }
    this.#requireOpen();
    this.#arriving.delete(host);
    this.#hosts.set(host.origin, host);
    this.dropBackup(host.origin);
    this.#departed.delete(host.origin);
  }

  /** A copy is being restored; `add` or `abandon` follows. @throws MigrationError `not-ready` once closed */
  arrive(host: DaemonHost): void {
    this.#requireOpen();
    this.#arriving.add(host);
  }

  /** A restore has failed. */
  abandon(host: DaemonHost): void {
    this.#arriving.delete(host);
    host.dispose();
  }

  /** Nothing comes in any more. @returns every copy that was here; those still being restored are disposed of */
  close(): readonly DaemonHost[] {
    this.#closed = true;
    for (const host of [...this.#arriving, ...this.#backups.values()]) host.dispose();
    this.#arriving.clear();
    this.#backups.clear();
    return [...this.#hosts.values()];
  }

  #requireOpen(): void {
    if (this.#closed) throw new MigrationError('not-ready', 'this node has shut down and takes no daemon');
  }

  get(origin: bigint): DaemonHost | undefined {
    return this.#hosts.get(origin);
  }

  /** Whether a copy here is of that epoch, or may come to be: any but one that stopped in an earlier one. */
  mayBeIn(origin: bigint, epoch: bigint): boolean {
    const host = this.#hosts.get(origin);
    if (host && (host.gate !== 'fenced' || host.epoch >= epoch)) return true;
    for (const arriving of this.#arriving) if (arriving.origin === origin) return true;
    return this.#backups.has(origin);
  }

  /** @throws MigrationError `daemon-not-found` */
  require(origin: bigint): DaemonHost {
    const host = this.#hosts.get(origin);
    if (!host) {
      checkU64(origin, 'origin');
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

  /** Takes a copy out and keeps it, frozen, until `takeBackup` or `dropBackup`. */
  setAside(origin: bigint): void {
    const host = this.remove(origin);
    if (host) this.#backups.set(origin, host);
  }

  /** @throws MigrationError `daemon-not-found` */
  takeBackup(origin: bigint): DaemonHost {
    const host = this.#backups.get(origin);
    if (!host)
      throw new MigrationError('daemon-not-found', `no backup of daemon ${origin} is on this node`, {
        details: { origin },
      });
    this.#backups.delete(origin);
    return host;
  }

  /** Ends a backup, where there is one. */
  dropBackup(origin: bigint): void {
    this.#backups.get(origin)?.dispose();
    this.#backups.delete(origin);
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
