import type { Acceptance, DaemonHost } from '../daemon/host.js';
import type { MigrationError } from '../errors.js';
import { isPromise, type MaybePromise, whenReady } from '../maybe-promise.js';
import { EVENT_OVERHEAD } from '../mesh/channel-history.js';
import type { ChannelSubscription } from '../mesh/mesh.js';
import { asMigrationError } from '../migration/failure.js';
import type { SubscriptionBinding } from '../wire/ledger.js';
import type { CausalEvent } from '../wire/link.js';
import type { Environment } from './environment.js';

/** How often a daemon that takes nothing for now is asked again. */
const RETRY_MS = 100;

/** What the readers of one copy share. */
export interface ReaderContext {
  readonly host: DaemonHost;
  /** Hands events to the copy. */
  readonly deliver: (events: readonly CausalEvent[]) => MaybePromise<Acceptance>;
  readonly environment: Environment;
  readonly report: (error: MigrationError) => void;
  readonly ahead: ReadAhead;
}

/** What a copy has read and not taken yet, in bytes; readers wait while it is over the limit. It ends for all at once. */
export class ReadAhead {
  readonly limit: number;
  bytes = 0;
  #isOver = false;

  constructor(limit: number) {
    this.limit = limit;
  }

  get isFull(): boolean {
    return this.bytes > this.limit;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** Another copy reads from here on, or none. */
  end(): void {
    this.#isOver = true;
  }
}

interface Delivery {
  readonly events: readonly CausalEvent[];
  readonly position: Uint8Array;
  readonly bytes: number;
}

/**
 * One subscription of one copy. While the copy is not live it reads ahead and acknowledges nothing; from `goLive` on the copy
 * takes what comes, and the position moves on with it.
 */
export class ChannelReader {
  readonly binding: SubscriptionBinding;
  readonly #context: ReaderContext;
  readonly #held: Delivery[] = [];
  #state: 'ahead' | 'merging' | 'live' | 'closed' = 'ahead';
  #subscription: ChannelSubscription | undefined;
  /** Lets the mesh send more. */
  #goOn = () => {};
  #lastRefusal = '';
  /** Ends the wait until the copy is asked again. */
  #wake = () => {};

  constructor(binding: SubscriptionBinding, context: ReaderContext) {
    this.binding = binding;
    this.#context = context;
  }

  get isClosed(): boolean {
    return this.#state === 'closed' || this.#context.ahead.isOver;
  }

  /** Events read ahead. */
  get heldEvents(): number {
    return this.#held.reduce((sum, { events }) => sum + events.length, 0);
  }

  /** The mesh has taken the subscription. */
  attach(subscription: ChannelSubscription): void {
    this.#subscription = subscription;
    const { publisher, channel } = this.binding;
    const { positions } = this.#context.host;
    if (!positions.get(publisher, channel)) positions.set(publisher, channel, subscription.position);
  }

  /** The mesh's listener. */
  read(events: readonly CausalEvent[], position: Uint8Array): MaybePromise<void> {
    if (this.isClosed) return;
    if (this.#state === 'live') return this.#take(events, position);
    const bytes = events.reduce((sum, { payload }) => sum + payload.length + EVENT_OVERHEAD, 0);
    this.#held.push({ events, position, bytes });
    this.#context.ahead.bytes += bytes;
    if (this.#context.ahead.isFull) this.prune();
    if (this.#hasRoom()) return;
    return new Promise((resolve) => {
      this.#goOn = resolve;
    });
  }

  /** Lets go of what the copy has seen by its source's log meanwhile. */
  prune(): void {
    // While something is being taken, no position may move past it.
    if (this.#state !== 'ahead' || this.isClosed) return;
    const { host } = this.#context;
    while (this.#held[0]?.events.every(({ link }) => host.hasSeen(link))) this.#moveTo(this.#unhold().position);
    if (this.#hasRoom()) this.#goOn();
  }

  /** The copy takes what was read ahead, in order, and then what comes. */
  goLive(): void {
    if (this.#state !== 'ahead' || this.isClosed) return;
    this.#state = 'merging';
    void this.#merge().catch((error) => this.#context.report(asMigrationError(error)));
  }

  async #merge(): Promise<void> {
    while (this.#held.length > 0) {
      const { events, position } = this.#unhold();
      await this.#take(events, position);
      if (this.isClosed) return;
      if (this.#held.length > 0) await this.#context.environment.turn();
    }
    this.#state = 'live';
    this.#goOn();
  }

  /** Takes nothing more; what is held is dropped. `unsubscribe` follows. */
  close(): void {
    this.#state = 'closed';
    while (this.#held.length > 0) this.#unhold();
    this.#goOn();
    this.#wake();
  }

  unsubscribe(): void {
    this.#subscription?.unsubscribe();
  }

  /** One that holds nothing reads on, however much others hold: it may not have passed what the log has brought. */
  #hasRoom(): boolean {
    return !this.#context.ahead.isFull || this.#held.length === 0;
  }

  #unhold(): Delivery {
    const delivery = this.#held.shift()!;
    this.#context.ahead.bytes -= delivery.bytes;
    return delivery;
  }

  #moveTo(position: Uint8Array): void {
    this.#context.host.positions.set(this.binding.publisher, this.binding.channel, position);
  }

  #take(events: readonly CausalEvent[], position: Uint8Array): MaybePromise<void> {
    if (this.isClosed) return;
    return whenReady(this.#deliver(events), ({ accepted, refusal }) => {
      // Whoever reads on reads it again then, and the horizon drops it.
      if (this.isClosed) return;
      if (!refusal) return this.#moveTo(position);
      return whenReady(this.#refused(events[accepted]!, refusal), () => this.#take(events.slice(accepted), position));
    });
  }

  #deliver(events: readonly CausalEvent[]): MaybePromise<Acceptance> {
    const refused = (error: unknown) => ({ accepted: 0, duplicates: 0, refusal: asMigrationError(error) });
    try {
      const delivered = this.#context.deliver(events);
      return isPromise(delivered) ? delivered.catch(refused) : delivered;
    } catch (error) {
      return refused(error);
    }
  }

  /** When that event, and what follows it, may be handed in again: an event is never passed over. */
  #refused({ link }: CausalEvent, refusal: MigrationError): MaybePromise<void> {
    const { host, report, environment } = this.#context;
    if (refusal.message !== this.#lastRefusal && (!refusal.retriable || refusal.kind === 'sequence-gap'))
      report(refusal);
    this.#lastRefusal = refusal.message;
    // A channel is in order: what is missing was published while nobody read it, and does not come any more.
    if (refusal.kind === 'sequence-gap' && host.passOverGap(link.originHash)) return;
    return new Promise((resolve) => {
      const stop = environment.after(RETRY_MS, resolve);
      this.#wake = () => {
        stop();
        resolve();
      };
    });
  }
}
