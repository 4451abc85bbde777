/** One subscription of a daemon (PROTOCOL.md §5). */
export interface SubscriptionBinding {
  /** Node id of the publisher. */
  readonly publisher: bigint;
  readonly channel: string;
  /** At most 65,535 bytes, or absent. */
  readonly token: Uint8Array | undefined;
}

/** Where a subscription's move to another node stands. */
export type RebindState =
  | { readonly state: 'idle' }
  | { readonly state: 'pending'; readonly tries: number }
  | { readonly state: 'done'; readonly tries: number }
  | { readonly state: 'failed'; readonly tries: number; readonly reason: string };

/** Subscriptions in order. An engine may make each when it is asked for: an array is one, but not every one is an array. */
export interface BindingList extends Iterable<SubscriptionBinding> {
  readonly length: number;
  at(index: number): SubscriptionBinding | undefined;
}

/** What must change for one ledger to become another. */
export interface LedgerDifference {
  readonly add: BindingList;
  readonly drop: BindingList;
  /** With the new token. */
  readonly tokenChanged: BindingList;
}

export interface RebindCounts {
  readonly idle: number;
  readonly pending: number;
  readonly done: number;
  readonly failed: number;
}

/**
 * The subscription ledger: what a daemon is subscribed to, and the book of its rebind. One entry per (publisher,
 * channel), in the order of first recording. Tokens are copied in and out.
 */
export interface SubscriptionLedger {
  readonly size: number;
  /**
   * Subscribing again replaces the token and keeps the place and the rebind state; a new entry is idle.
   * @throws MigrationError `channel-name-…`, `token-too-long`
   */
  record(publisher: bigint, channel: string, token?: Uint8Array): void;
  forget(publisher: bigint, channel: string): boolean;
  get(publisher: bigint, channel: string): SubscriptionBinding | undefined;
  /** In order; the ledger must not change while iterating. */
  entries(): IterableIterator<SubscriptionBinding>;
  /** As bindings; an empty ledger gives four zero bytes (a snapshot leaves them out). */
  encode(): Uint8Array;
  /**
   * What must change here for this ledger to hold what `wanted` holds: `add` and `tokenChanged` in its order, `drop` in this
   * one's. Both must be of the same engine.
   */
  difference(wanted: SubscriptionLedger): LedgerDifference;

  /** Marks every entry pending with 0 tries: a rebind begins. */
  beginRebind(): void;
  /** Up to `limit` entries that are pending now, in order. */
  pendingRebinds(limit: number): BindingList;
  /** One more try has been made for a pending or failed entry, which is then pending. False: there is none, or it is idle or done. */
  markTried(publisher: bigint, channel: string): boolean;
  /** The entry is done, whatever it was. False: no such entry. */
  markDone(publisher: bigint, channel: string): boolean;
  /** The entry has failed, for this reason, whatever it was. False: no such entry. */
  markFailed(publisher: bigint, channel: string, reason: string): boolean;
  rebindState(publisher: bigint, channel: string): RebindState | undefined;
  readonly rebindCounts: RebindCounts;
  /** Frees all: empty from then on, other calls throw `disposed`. Idempotent. */
  dispose(): void;
}
