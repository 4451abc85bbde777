import type { CausalEvent, DaemonRuntime, EventPublisher } from '../../lib/index.js';
import type { History } from './checkers.js';
import { EVENT_PLAIN, EVENT_THROWS } from './ledger-daemon.js';

/** Without any answer for so long, a publisher begins again from the last one that it had. */
const STALLED_MS = 4_000;
const BATCH_EVENTS = 3;

/** One event of a publisher: every 13th makes its daemon throw. */
export function eventOf(originHash: bigint, sequence: number): CausalEvent {
  const payload = Uint8Array.of(isThrowing(sequence) ? EVENT_THROWS : EVENT_PLAIN, sequence & 255);
  return { link: { originHash, horizon: 0n, sequence: BigInt(sequence), parentHash: 0n }, payload, receivedAt: 0n };
}

export function isThrowing(sequence: number): boolean {
  return sequence % 13 === 7;
}

interface Session {
  readonly publisher: EventPublisher;
  readonly runtime: DaemonRuntime;
  /** What had been accepted when it began. */
  readonly base: number;
  sentThrough: number;
  isBusy: boolean;
  hasFailed: boolean;
  heardAt: number;
}

export interface PublisherOptions {
  /** Among all who send anything to daemons. */
  readonly number: number;
  readonly originHash: bigint;
  readonly daemonOrigin: bigint;
  readonly history: History;
  readonly now: () => number;
  /** The runtime on which it is now; undefined while its node is down. */
  readonly home: () => DaemonRuntime | undefined;
  /** Where the daemon is, as far as anybody can say. */
  readonly where: () => bigint | undefined;
}

/** Sends events to one daemon, and begins again where it does not know what became of them. */
export class Publisher {
  options: PublisherOptions;
  made = 0;
  #session: Session | undefined;

  constructor(options: PublisherOptions) {
    this.options = options;
  }

  /** Has so many more events to send. */
  add(events: number): void {
    this.made += events;
  }

  /** The daemon was spawned anew: it has heard nothing of this publisher, which is another from now on. */
  beginAnew(number: number, originHash: bigint): void {
    this.options = { ...this.options, number, originHash };
    this.made = 0;
    this.#session = undefined;
  }

  get accepted(): number {
    return this.options.history.acceptedBy(this.options.number);
  }

  get isDone(): boolean {
    return this.accepted >= this.made;
  }

  /** Looks at what has been answered, and sends what may be sent. @returns whether more was accepted */
  step(): boolean {
    const { history, number, now, home } = this.options;
    const before = this.accepted;
    if (this.#session) {
      const { base, publisher } = this.#session;
      history.accepted(number, base + publisher.accepted);
      if (this.accepted > before) this.#session.heardAt = now();
    }
    const isMore = this.accepted > before;
    const runtime = home();
    if (this.#session && (this.#session.runtime !== runtime || this.#session.hasFailed || this.#isStalled()))
      this.#session = undefined;
    if (this.isDone || !runtime?.isReady) return isMore;
    this.#session ??= this.#begin(runtime);
    if (this.#session && !this.#session.isBusy) void this.#send(this.#session);
    return isMore;
  }

  #isStalled(): boolean {
    const { isBusy, heardAt } = this.#session!;
    return isBusy && this.options.now() - heardAt > STALLED_MS;
  }

  #begin(runtime: DaemonRuntime): Session | undefined {
    const { daemonOrigin, where, now } = this.options;
    const node = where();
    if (node === undefined) return undefined;
    const publisher = runtime.publisher(daemonOrigin, node);
    const base = this.accepted;
    return { publisher, runtime, base, sentThrough: base, isBusy: false, hasFailed: false, heardAt: now() };
  }

  async #send(session: Session): Promise<void> {
    const { history, number, originHash, now } = this.options;
    session.isBusy = true;
    session.heardAt = now();
    try {
      while (session.sentThrough < this.made && this.#session === session) {
        const events = [];
        while (session.sentThrough < this.made && events.length < BATCH_EVENTS) {
          const sequence = ++session.sentThrough;
          history.sent(number, sequence, isThrowing(sequence));
          events.push(eventOf(originHash, sequence));
        }
        await session.publisher.send(events);
      }
      await session.publisher.flush();
      session.isBusy = false;
    } catch {
      session.hasFailed = true;
    }
  }
}
