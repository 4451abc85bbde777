import { MigrationError } from '../errors.js';
import { type MaybePromise, whenReady } from '../maybe-promise.js';
import type { ChannelSubscription, Mesh, SubscribeOptions } from '../mesh/mesh.js';
import { inSlices } from '../slices.js';
import type { SubscriptionBinding } from '../wire/ledger.js';
import { ChannelReader, ReadAhead, type ReaderContext } from './channel-reader.js';
import { keyOf, Rebind, type RebindProblem } from './rebind.js';
import type { RebindPolicy } from './rebind-policy.js';
import { type RebindReport, rebindReport, subscriptionRebind } from './rebind-report.js';

/** Readers, and events of theirs, that are looked after before the event loop gets its turn. */
const SLICE = 200;
/** Of a daemon with more subscriptions only those that are not done are listed one by one. */
const LISTED = 1_000;
const BATCH_BYTES = 256 * 1024;

export interface CopyOptions extends Omit<ReaderContext, 'ahead'> {
  readonly mesh: Mesh;
  readonly policy: RebindPolicy;
  /** The book of the rebind has changed. */
  readonly onChange: () => void;
}

/**
 * What one copy of a daemon reads: the subscriptions in its ledger, as long as it is the one that answers for them. `ahead`:
 * reading for a copy that is not live yet; `away`: another copy reads.
 */
export class CopySubscriptions {
  readonly #options: CopyOptions;
  #context: ReaderContext;
  #readers = new Map<string, ChannelReader>();
  #state: 'live' | 'ahead' | 'away' = 'live';
  #rebind: Rebind | undefined;
  /** The log has brought more; `again`: while readers were being told. */
  #pruning: 'no' | 'once' | 'again' = 'no';

  constructor(options: CopyOptions) {
    this.#options = options;
    this.#context = contextOf(options);
  }

  get isAway(): boolean {
    return this.#state === 'away';
  }

  /** Subscribes a live copy. @throws MigrationError `already-migrating`, and what the mesh refuses with */
  async subscribe(binding: SubscriptionBinding, after: Uint8Array | undefined): Promise<void> {
    const { ledger, positions } = this.#options.host;
    const { publisher, channel, token } = binding;
    this.#requireHere(channel);
    const from = after ?? (ledger.get(publisher, channel) && positions.get(publisher, channel));
    const { reader, subscription } = await this.#open(binding, from);
    try {
      this.#requireHere(channel);
    } catch (error) {
      // The daemon has begun to move meanwhile, without it.
      reader.close();
      subscription.unsubscribe();
      throw error;
    }
    this.#drop(keyOf(binding));
    ledger.record(publisher, channel, token);
    if (from === undefined || after) positions.set(publisher, channel, subscription.position);
    const { state } = ledger.rebindState(publisher, channel)!;
    if (state !== 'idle') ledger.markDone(publisher, channel);
    this.#adopt(reader, subscription);
  }

  /** @returns whether there was such a subscription. @throws MigrationError `already-migrating` */
  unsubscribe(publisher: bigint, channel: string): boolean {
    const { ledger, positions } = this.#options.host;
    this.#requireHere(channel);
    this.#drop(keyOf({ publisher, channel }));
    positions.delete(publisher, channel);
    return ledger.forget(publisher, channel);
  }

  /**
   * Subscribes everywhere in the ledger, behind the recorded positions, and reads ahead.
   *
   * @returns a promise that resolves when each has been tried, and has answered or been waited for long enough
   */
  readAhead(): MaybePromise<void> {
    const { host, environment, policy, report, onChange } = this.#options;
    this.#state = 'ahead';
    this.#rebind?.stop();
    const rebind: Rebind = new Rebind({
      origin: host.origin,
      ledger: host.ledger,
      environment,
      policy,
      open: (binding) => this.#again(rebind, binding),
      onChange,
      report,
    });
    this.#rebind = rebind;
    return rebind.begin();
  }

  /** The copy has applied what it was sent: what was read ahead of it may be in there. */
  prune(): void {
    if (!this.#context.ahead.isFull) return;
    if (this.#pruning !== 'no') this.#pruning = 'again';
    else void this.#pruneAll();
  }

  async #pruneAll(): Promise<void> {
    do {
      this.#pruning = 'once';
      await this.#each(this.#readers.values(), (reader) => reader.prune());
    } while ((this.#pruning as string) === 'again');
    this.#pruning = 'no';
  }

  /** The copy is live: it takes what was read ahead. */
  goLive(): void {
    if (this.#state !== 'ahead') return;
    this.#state = 'live';
    void this.#merge();
  }

  /** Another copy reads from here on, or none. @returns a promise until the mesh has been told of all */
  leave(): MaybePromise<void> {
    this.#state = 'away';
    this.#rebind?.stop();
    const readers = this.#readers;
    // None of them takes anything from here on; that the mesh is told may take a while.
    this.#context.ahead.end();
    this.#readers = new Map();
    this.#context = contextOf(this.#options);
    return this.#each(readers.values(), (reader) => {
      reader.close();
      reader.unsubscribe();
    });
  }

  /** What has become of the last rebind; undefined where there was none. */
  report(): RebindReport | undefined {
    const rebind = this.#rebind;
    if (!rebind) return undefined;
    const { ledger } = this.#options.host;
    const subscriptions = [];
    for (const binding of ledger.size <= LISTED ? ledger.entries() : bindingsOf(rebind.problems)) {
      const book = ledger.rebindState(binding.publisher, binding.channel);
      const subscription = subscriptionRebind(binding, book, rebind.reason(binding));
      if (subscription) subscriptions.push(subscription);
      if (subscriptions.length === LISTED) break;
    }
    return rebindReport(ledger.rebindCounts, subscriptions);
  }

  #merge(): MaybePromise<void> {
    let weight = 0;
    const goLive = (reader: ChannelReader) => {
      weight = 1 + reader.heldEvents;
      reader.goLive();
    };
    return this.#each(this.#readers.values(), goLive, () => weight);
  }

  #each(
    readers: Iterable<ChannelReader>,
    work: (reader: ChannelReader) => void,
    weight?: (reader: ChannelReader) => number,
  ): MaybePromise<void> {
    return inSlices(readers, SLICE, () => this.#options.environment.turn(), work, weight);
  }

  /** One try to subscribe again. The first that is answered counts. */
  #again(rebind: Rebind, binding: SubscriptionBinding): MaybePromise<void> {
    const { ledger, positions } = this.#options.host;
    const { publisher, channel } = binding;
    return whenReady(this.#open(binding, positions.get(publisher, channel)), ({ reader, subscription }) => {
      const isWanted =
        rebind === this.#rebind &&
        this.#state !== 'away' &&
        !this.#readers.has(keyOf(binding)) &&
        ledger.rebindState(publisher, channel)?.state === 'pending';
      if (isWanted) this.#adopt(reader, subscription);
      else {
        reader.close();
        subscription.unsubscribe();
      }
    });
  }

  #open(
    binding: SubscriptionBinding,
    after: Uint8Array | undefined,
  ): MaybePromise<{ readonly reader: ChannelReader; readonly subscription: ChannelSubscription }> {
    const { mesh, host, policy } = this.#options;
    const { publisher, channel, token } = binding;
    const reader = new ChannelReader(binding, this.#context);
    const options: SubscribeOptions = {
      publisher,
      // One delivery per subscription is in hand however full the read-ahead is.
      batchBytes: Math.max(1, Math.min(BATCH_BYTES, Math.floor(policy.aheadBytes / Math.max(1, host.ledger.size)))),
      onExpired: (error) => this.#expired(reader, error),
      ...(token && { token }),
      ...(after && { after }),
    };
    const subscribed = mesh.subscribe(channel, options, (_, events, position) => reader.read(events, position));
    return whenReady(subscribed, (subscription) => ({ reader, subscription }));
  }

  #adopt(reader: ChannelReader, subscription: ChannelSubscription): void {
    reader.attach(subscription);
    this.#readers.set(keyOf(reader.binding), reader);
    if (this.#state === 'live') reader.goLive();
  }

  #drop(key: string): void {
    const reader = this.#readers.get(key);
    this.#readers.delete(key);
    reader?.close();
    reader?.unsubscribe();
  }

  /** The channel has forgotten what comes next. What was read before that is still taken. */
  #expired(reader: ChannelReader, error: MigrationError): void {
    const { host, report, onChange } = this.#options;
    const { binding } = reader;
    if (this.#readers.get(keyOf(binding)) !== reader) return;
    host.ledger.markFailed(binding.publisher, binding.channel, error.message);
    report(error);
    onChange();
  }

  /** @throws MigrationError `already-migrating` */
  #requireHere(channel: string): void {
    const { host } = this.#options;
    if (host.gate === 'live' && this.#state === 'live') return;
    throw new MigrationError(
      'already-migrating',
      `daemon ${host.origin} is migrating, so its subscription to channel "${channel}" cannot be changed; wait for the end of that`,
      { details: { origin: host.origin, channel } },
    );
  }
}

function contextOf(options: CopyOptions): ReaderContext {
  return { ...options, ahead: new ReadAhead(options.policy.aheadBytes) };
}

function* bindingsOf(problems: Iterable<RebindProblem>): Iterable<SubscriptionBinding> {
  for (const { binding } of problems) yield binding;
}
