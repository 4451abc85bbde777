import type { DaemonHost } from '../daemon/host.js';
import type { MaybePromise } from '../maybe-promise.js';
import { type CopyOptions, CopySubscriptions } from './copy-subscriptions.js';
import { encodeRebindReport, type RebindReport } from './rebind-report.js';

export interface SubscriptionsOptions extends Omit<CopyOptions, 'host' | 'deliver' | 'onChange'> {
  /** Hands events to a copy on this node. */
  readonly deliver: (host: DaemonHost) => CopyOptions['deliver'];
  /** Tells whoever led a daemon here what has become of its subscriptions. */
  readonly tell: (origin: bigint, report: Uint8Array) => void;
}

/** An orchestrator is told what changes not more often than that. */
const REPORT_EVERY_MS = 100;

interface Copy {
  readonly subscriptions: CopySubscriptions;
  /** It has moved here, and is live: its orchestrator is told what changes. */
  isTold: boolean;
  hasChanged: boolean;
  /** What changes meanwhile is told then. */
  isWaiting: boolean;
  stopWaiting: () => void;
  reports: number;
}

/** The subscriptions of the copies on a node, through the steps of a migration. */
export class Subscriptions {
  readonly #options: SubscriptionsOptions;
  readonly #copies = new WeakMap<DaemonHost, Copy>();

  constructor(options: SubscriptionsOptions) {
    this.#options = options;
  }

  of(host: DaemonHost): CopySubscriptions {
    return this.#copy(host).subscriptions;
  }

  report(host: DaemonHost): RebindReport | undefined {
    return this.#copies.get(host)?.subscriptions.report();
  }

  /** A copy has been restored: it reads ahead. @returns a promise while the migration should wait for that */
  arrived(host: DaemonHost): MaybePromise<void> {
    return this.of(host).readAhead();
  }

  /** A copy has applied logged events. */
  replayed(host: DaemonHost): void {
    this.of(host).prune();
  }

  /** A copy that has moved here is live. */
  activated(host: DaemonHost): void {
    const copy = this.#copy(host);
    copy.subscriptions.goLive();
    copy.isTold = true;
    this.#tell(host, copy);
  }

  /** A copy stops: its successor reads already. @returns a promise until the mesh has been told of all */
  leave(host: DaemonHost): MaybePromise<void> {
    // One that has never subscribed has nothing to leave.
    const copy = host.ledger.size === 0 ? this.#copies.get(host) : this.#copy(host);
    if (!copy) return;
    copy.isTold = false;
    copy.isWaiting = false;
    copy.stopWaiting();
    return copy.subscriptions.leave();
  }

  /** A copy that had stopped goes on: before that, it reads ahead of its own positions. */
  returning(host: DaemonHost): MaybePromise<void> {
    const copy = this.#copies.get(host);
    return copy?.subscriptions.isAway ? copy.subscriptions.readAhead() : undefined;
  }

  /** A copy goes on. */
  returned(host: DaemonHost): void {
    this.#copies.get(host)?.subscriptions.goLive();
  }

  /** A copy that was made of a snapshot is live: it reads on behind the positions in there, and nobody waits for that. */
  revived(host: DaemonHost): void {
    if (host.ledger.size === 0) return;
    void this.of(host).readAhead();
    this.of(host).goLive();
  }

  #copy(host: DaemonHost): Copy {
    let copy = this.#copies.get(host);
    if (!copy) {
      const { deliver, tell: _, ...shared } = this.#options;
      const onChange = () => this.#changed(host);
      const subscriptions = new CopySubscriptions({ ...shared, host, deliver: deliver(host), onChange });
      copy = {
        subscriptions,
        isTold: false,
        hasChanged: false,
        isWaiting: false,
        stopWaiting: () => {},
        reports: 0,
      };
      this.#copies.set(host, copy);
    }
    return copy;
  }

  /** Many changes in one turn are one report, and so are those soon after it. */
  #changed(host: DaemonHost): void {
    const copy = this.#copy(host);
    copy.hasChanged = true;
    if (!copy.isTold || copy.isWaiting) return;
    copy.isWaiting = true;
    void this.#options.environment.turn().then(() => this.#tellChanges(host, copy));
  }

  #tellChanges(host: DaemonHost, copy: Copy): void {
    copy.isWaiting = false;
    if (!copy.isTold || !copy.hasChanged) return;
    this.#tell(host, copy);
    copy.isWaiting = true;
    copy.stopWaiting = this.#options.environment.after(REPORT_EVERY_MS, () => this.#tellChanges(host, copy));
  }

  #tell(host: DaemonHost, copy: Copy): void {
    copy.hasChanged = false;
    const report = host.ledger.size > 0 ? copy.subscriptions.report() : undefined;
    if (report) this.#options.tell(host.origin, encodeRebindReport(++copy.reports, report));
  }
}
