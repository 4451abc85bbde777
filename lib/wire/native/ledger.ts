import { MigrationError } from '../../errors.js';
import { checkBytes, checkInteger, checkString, checkU64, wrongType } from '../arguments.js';
import { MAX_CHANNEL_NAME_BYTES } from '../channel.js';
import type {
  BindingList,
  LedgerDifference,
  RebindCounts,
  RebindState,
  SubscriptionBinding,
  SubscriptionLedger,
} from '../ledger.js';
import { readU32, writeU64 } from '../typescript/bytes.js';
import { validateChannelName } from '../typescript/channel-name.js';
import { allocate } from '../typescript/frame.js';
import type { Addon } from './addon.js';
import type { NativeLedger } from './binding.js';
import { PackedBindings, readBinding } from './packed-bindings.js';
import { refusal } from './refusal.js';

const NO_BYTES = new Uint8Array(0);
const MAX_LIMIT = 0xffff_ffff;
const PUBLISHER_SIZE = 8;
/** What the addon puts before the bindings of a difference: the lengths of the first two. */
const DIFFERENCE_HEADER_SIZE = 8;

/** A name of 255 UTF-16 units has at most 765 bytes of UTF-8. One key at a time is on its way; no call keeps it. */
const key = Buffer.alloc(PUBLISHER_SIZE + 3 * MAX_CHANNEL_NAME_BYTES);

/** Puts publisher and name into {@link key}. @returns its length */
function makeKey(publisher: bigint, channel: string): number {
  checkU64(publisher, 'publisher');
  checkString(channel, 'channel');
  if (channel.length > MAX_CHANNEL_NAME_BYTES) validateChannelName(channel);
  writeU64(key, 0, publisher);
  return PUBLISHER_SIZE + key.write(channel, PUBLISHER_SIZE, 'utf8');
}

/** {@link SubscriptionLedger} over the addon. */
class LedgerOverAddon implements SubscriptionLedger {
  #native: NativeLedger | undefined;
  readonly #counts = new Uint32Array(4);

  constructor(addon: Addon, bindings: Uint8Array) {
    try {
      this.#native = new addon.NativeLedger(bindings);
    } catch (error) {
      throw refusal(error);
    }
  }

  get size(): number {
    return this.#native?.size ?? 0;
  }

  get rebindCounts(): RebindCounts {
    if (this.#native === undefined) return { idle: 0, pending: 0, done: 0, failed: 0 };
    this.#native.rebindCounts(new Uint8Array(this.#counts.buffer));
    const [idle, pending, done, failed] = this.#counts as unknown as [number, number, number, number];
    return { idle, pending, done, failed };
  }

  record(publisher: bigint, channel: string, token?: Uint8Array): void {
    const native = this.#alive();
    const length = makeKey(publisher, channel);
    if (token !== undefined) checkBytes(token, 'token');
    try {
      native.record(key, length, token ?? NO_BYTES, token !== undefined);
    } catch (error) {
      throw refusal(error);
    }
  }

  forget(publisher: bigint, channel: string): boolean {
    return this.#look(publisher, channel, (native, length) => native.forget(key, length));
  }

  get(publisher: bigint, channel: string): SubscriptionBinding | undefined {
    const bytes = this.#look(publisher, channel, (native, length) => native.get(key, length));
    return bytes === null ? undefined : readBinding(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length), 0);
  }

  entries(): IterableIterator<SubscriptionBinding> {
    return new PackedBindings(this.encode())[Symbol.iterator]();
  }

  encode(): Uint8Array {
    const native = this.#alive();
    const bytes = allocate(native.encodedLength);
    native.encode(bytes);
    return bytes;
  }

  difference(wanted: SubscriptionLedger): LedgerDifference {
    const native = this.#alive();
    if (!(wanted instanceof LedgerOverAddon)) throw wrongType('wanted', 'a ledger of the native engine', wanted);
    let bytes: Uint8Array;
    try {
      bytes = native.difference(wanted.#alive());
    } catch (error) {
      throw refusal(error);
    }
    const dropAt = DIFFERENCE_HEADER_SIZE + readU32(bytes, 0);
    const tokenChangedAt = dropAt + readU32(bytes, 4);
    return {
      add: new PackedBindings(bytes.subarray(DIFFERENCE_HEADER_SIZE, dropAt)),
      drop: new PackedBindings(bytes.subarray(dropAt, tokenChangedAt)),
      tokenChanged: new PackedBindings(bytes.subarray(tokenChangedAt)),
    };
  }

  beginRebind(): void {
    this.#alive().beginRebind();
  }

  pendingRebinds(limit: number): BindingList {
    const native = this.#alive();
    checkInteger(limit, 'limit', 0, MAX_LIMIT);
    return new PackedBindings(native.pending(limit));
  }

  markTried(publisher: bigint, channel: string): boolean {
    return this.#look(publisher, channel, (native, length) => native.markTried(key, length));
  }

  markDone(publisher: bigint, channel: string): boolean {
    return this.#look(publisher, channel, (native, length) => native.markDone(key, length));
  }

  markFailed(publisher: bigint, channel: string, reason: string): boolean {
    checkString(reason, 'reason');
    return this.#look(publisher, channel, (native, length) => native.markFailed(key, length, reason));
  }

  rebindState(publisher: bigint, channel: string): RebindState | undefined {
    const packed = this.#look(publisher, channel, (native, length) => native.rebindState(key, length));
    if (packed < 0) return undefined;
    const tries = Math.floor(packed / 4);
    switch (packed % 4) {
      case 0:
        return { state: 'idle' };
      case 1:
        return { state: 'pending', tries };
      case 2:
        return { state: 'done', tries };
      default: {
        const reason = this.#look(publisher, channel, (native, length) => native.failureReason(key, length));
        return { state: 'failed', tries, reason: reason ?? '' };
      }
    }
  }

  dispose(): void {
    this.#native?.dispose();
    this.#native = undefined;
  }

  /** What the addon says of one subscription; it refuses what is no channel name. */
  #look<Answer>(publisher: bigint, channel: string, ask: (native: NativeLedger, length: number) => Answer): Answer {
    const native = this.#alive();
    const length = makeKey(publisher, channel);
    try {
      return ask(native, length);
    } catch (error) {
      throw refusal(error);
    }
  }

  #alive(): NativeLedger {
    if (this.#native === undefined) {
      throw new MigrationError('disposed', 'this ledger was disposed of: make a new one');
    }
    return this.#native;
  }
}

export function ledgerFactory(addon: Addon): (bindings?: Uint8Array) => SubscriptionLedger {
  return (bindings) => {
    if (bindings !== undefined) checkBytes(bindings, 'bindings');
    return new LedgerOverAddon(addon, bindings ?? NO_BYTES);
  };
}
