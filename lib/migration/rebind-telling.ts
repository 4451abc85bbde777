import type { Trailer } from '../wire/trailer.js';
import type { RoleContext } from './core.js';
import { requirePeer } from './role.js';

/** How often a report of subscriptions is said, where no other node says that it has heard it. */
const REPORT_TRIES = 10;
/** Reports that are repeated at once; what is over that is said once. */
const MAX_REPORTS = 1_024;

/** A report of a daemon's subscriptions that its orchestrator may not have heard. */
interface RebindTold {
  readonly origin: bigint;
  readonly orchestrator: bigint;
  readonly try: bigint;
  readonly number: bigint;
  readonly rebind: Uint8Array;
  tries: number;
  dueAt: number;
}

/** Tells orchestrators what has become of the subscriptions of daemons here, each report until it is heard. */
export class RebindTelling {
  readonly #ctx: RoleContext;
  readonly #repeatMs: number;
  /** The newest of each daemon that has not been heard yet; the one that was said first comes first. */
  readonly #reports = new Map<bigint, RebindTold>();
  #last = 0n;

  constructor(ctx: RoleContext, repeatMs: number) {
    this.#ctx = ctx;
    this.#repeatMs = repeatMs;
  }

  /** Says it, in place of what was said of that daemon before. */
  tell(origin: bigint, to: { readonly orchestrator: bigint; readonly try: bigint }, rebind: Uint8Array): void {
    this.#say({ origin, orchestrator: to.orchestrator, try: to.try, number: ++this.#last, rebind, tries: 0, dueAt: 0 });
  }

  /** The orchestrator has heard a report. @throws MigrationError `wrong-peer` */
  heard(origin: bigint, from: bigint, trailer: Trailer | undefined): void {
    const report = this.#reports.get(origin);
    if (!report) return;
    requirePeer(origin, 'RebindAck', from, report.orchestrator);
    if (trailer?.reportNumber === report.number) this.#reports.delete(origin);
  }

  peerGone(node: bigint): void {
    for (const [origin, { orchestrator }] of this.#reports) if (orchestrator === node) this.#reports.delete(origin);
  }

  tick(): void {
    // Each waits equally long, so the first is due first.
    for (const report of this.#reports.values()) {
      if (report.dueAt > this.#ctx.now) break;
      this.#say(report);
    }
  }

  clear(): void {
    this.#reports.clear();
  }

  #say(report: RebindTold): void {
    const { origin, orchestrator, try: attempt, number: reportNumber, rebind } = report;
    this.#reports.delete(origin);
    report.tries++;
    report.dueAt = this.#ctx.now + this.#repeatMs;
    const isRepeated = orchestrator !== this.#ctx.localNode && report.tries < REPORT_TRIES;
    if (isRepeated && this.#reports.size < MAX_REPORTS) this.#reports.set(origin, report);
    const trailer = { try: attempt, rebind, reportNumber };
    this.#ctx.send(orchestrator, { kind: 'RebindStatus', daemonOrigin: origin }, trailer);
  }
}
