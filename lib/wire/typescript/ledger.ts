import { MigrationError } from '../../errors.js';
import { checkBytes, checkInteger, checkString, checkU64, wrongType } from '../arguments.js';
import type {
  BindingList,
  LedgerDifference,
  RebindCounts,
  RebindState,
  SubscriptionBinding,
  SubscriptionLedger,
} from '../ledger.js';
import { readU16, readU32, readU64, writeU16, writeU32, writeU64 } from './bytes.js';
import { checkNameBytes, nameBytes } from './channel-name.js';
import { allocate } from './frame.js';

/** Bytes of a binding beside its name and token: publisher, name length, token flag. */
const BINDING_OVERHEAD = 11;
/** The fewest bytes of a binding: its name has at least one. */
const MIN_BINDING_SIZE = BINDING_OVERHEAD + 1;
const MAX_TOKEN_BYTES = 0xffff;
const MAX_LIMIT = 0xffff_ffff;
const NO_TOKEN = new Uint8Array(0);

type State = RebindState['state'];

interface Entry {
  readonly publisher: bigint;
  readonly channel: string;
  /** Where in the ledger's order it stands. */
  place: number;
  /** The token is `memory[tokenAt .. tokenAt + tokenLength)`; -1: none. Entries read together share memory. */
  memory: Uint8Array;
  tokenAt: number;
  tokenLength: number;
  state: State;
  tries: number;
  reason: string;
}

/**
 * An entry's key: publisher, name length and name as bindings have them, each byte a character. It is read from bindings in
 * one go, and needs neither a bigint's digits nor a map per publisher.
 */
const KEY_HEADER_SIZE = 10;
const keyScratch = Buffer.alloc(KEY_HEADER_SIZE + 255);

function keyOf(publisher: bigint, channel: string): string {
  checkU64(publisher, 'publisher');
  const name = nameBytes(channel, 'channel');
  writeU64(keyScratch, 0, publisher);
  writeU16(keyScratch, 8, name.length);
  keyScratch.set(name, KEY_HEADER_SIZE);
  return keyScratch.toString('latin1', 0, KEY_HEADER_SIZE + name.length);
}

function sameToken(a: Entry, b: Entry): boolean {
  if (a.tokenLength !== b.tokenLength) return false;
  for (let i = 0; i < a.tokenLength; i++) {
    if (a.memory[a.tokenAt + i] !== b.memory[b.tokenAt + i]) return false;
  }
  return true;
}

function bindingOf(entry: Entry): SubscriptionBinding {
  const { publisher, channel, memory, tokenAt, tokenLength } = entry;
  const token = tokenLength < 0 ? undefined : memory.slice(tokenAt, tokenAt + tokenLength);
  return { publisher, channel, token };
}

/** Entries, of which a binding is made when one is asked for. */
class EntryList implements BindingList {
  readonly #entries: readonly Entry[];

  constructor(entries: readonly Entry[]) {
    this.#entries = entries;
  }

  get length(): number {
    return this.#entries.length;
  }

  at(index: number): SubscriptionBinding | undefined {
    const entry = this.#entries.at(index);
    return entry && bindingOf(entry);
  }

  *[Symbol.iterator](): IterableIterator<SubscriptionBinding> {
    for (const entry of this.#entries) yield bindingOf(entry);
  }
}

/** The subscription ledger in plain TypeScript: a map by (publisher, channel) and an array in order. */
export class TypescriptLedger implements SubscriptionLedger {
  #byKey = new Map<string, Entry>();
  /** Forgotten entries leave holes, closed when they are half of it. */
  #order: (Entry | undefined)[] = [];
  #counts = { idle: 0, pending: 0, done: 0, failed: 0 };
  /** No entry before this place is pending. */
  #firstPending = 0;
  #disposed = false;

  get size(): number {
    return this.#byKey.size;
  }

  get rebindCounts(): RebindCounts {
    return { ...this.#counts };
  }

  record(publisher: bigint, channel: string, token?: Uint8Array): void {
    this.#checkAlive();
    const key = keyOf(publisher, channel);
    if (token === undefined) {
      this.#put(key, publisher, NO_TOKEN, 0, -1);
      return;
    }
    checkBytes(token, 'token');
    if (token.length > MAX_TOKEN_BYTES) {
      throw new MigrationError(
        'token-too-long',
        `token has ${token.length} bytes, at most ${MAX_TOKEN_BYTES} are taken`,
        { details: { field: 'token', length: token.length, max: MAX_TOKEN_BYTES } },
      );
    }
    this.#put(key, publisher, new Uint8Array(token), 0, token.length);
  }

  #put(key: string, publisher: bigint, memory: Uint8Array, tokenAt: number, tokenLength: number): void {
    const known = this.#byKey.get(key);
    if (known !== undefined) {
      known.memory = memory;
      known.tokenAt = tokenAt;
      known.tokenLength = tokenLength;
      return;
    }
    const entry: Entry = {
      publisher,
      channel: key.slice(KEY_HEADER_SIZE),
      place: this.#order.length,
      memory,
      tokenAt,
      tokenLength,
      state: 'idle',
      tries: 0,
      reason: '',
    };
    this.#byKey.set(key, entry);
    this.#order.push(entry);
    this.#counts.idle++;
  }

  /** Reads a snapshot's bindings into an empty ledger. One copy of the bytes serves all tokens. */
  read(bindings: Uint8Array): void {
    const { length } = bindings;
    if (length === 0) return;
    if (length < 4) throw truncated(length, 4);
    const count = readU32(bindings, 0);
    const room = Math.floor((length - 4) / MIN_BINDING_SIZE);
    if (count > room) {
      throw new MigrationError(
        'binding-count-too-large',
        `bindings refused at byte 0: ${count} subscriptions announced, at most ${room} can be there`,
        { details: { offset: 0, count, max: room } },
      );
    }
    const memory = new Uint8Array(bindings);
    const bytes = Buffer.from(memory.buffer);
    let at = 4;
    for (let i = 0; i < count; i++) at = this.#readOne(memory, bytes, at);
    if (at < length) {
      throw new MigrationError('trailing-bytes', `bindings refused at byte ${at}: ${length - at} bytes are left over`, {
        details: { offset: at, extra: length - at },
      });
    }
  }

  /**
   * @param bytes the same memory as a Buffer, which reads strings
   * @returns where the next binding begins
   */
  #readOne(memory: Uint8Array, bytes: Buffer, at: number): number {
    const { length } = bytes;
    if (length - at < 10) throw truncated(length, at + 10);
    const nameAt = at + 10;
    const nameLength = readU16(bytes, at + 8);
    const flagAt = nameAt + nameLength;
    if (flagAt > length) throw truncated(length, flagAt);
    checkNameBytes(bytes, nameAt, nameLength, 'channel name in bindings');
    if (flagAt === length) throw truncated(length, flagAt + 1);
    const flag = bytes[flagAt]!;
    if (flag > 1) {
      throw new MigrationError(
        'bad-token-flag',
        `bindings refused at byte ${flagAt}: token flag ${flag} is not 0 or 1`,
        {
          details: { offset: flagAt, flag },
        },
      );
    }
    const publisher = readU64(bytes, at);
    const key = bytes.toString('latin1', at, flagAt);
    if (flag === 0) {
      this.#put(key, publisher, NO_TOKEN, 0, -1);
      return flagAt + 1;
    }
    const tokenAt = flagAt + 3;
    if (tokenAt > length) throw truncated(length, tokenAt);
    const tokenLength = readU16(bytes, flagAt + 1);
    if (tokenAt + tokenLength > length) throw truncated(length, tokenAt + tokenLength);
    this.#put(key, publisher, memory, tokenAt, tokenLength);
    return tokenAt + tokenLength;
  }

  forget(publisher: bigint, channel: string): boolean {
    this.#checkAlive();
    const key = keyOf(publisher, channel);
    const entry = this.#byKey.get(key);
    if (entry === undefined) return false;
    this.#byKey.delete(key);
    this.#order[entry.place] = undefined;
    this.#counts[entry.state]--;
    if (this.#order.length > 16 && this.#order.length > 2 * this.#byKey.size) this.#closeHoles();
    return true;
  }

  #closeHoles(): void {
    this.#order = this.#order.filter((entry) => entry !== undefined);
    this.#order.forEach((entry, place) => {
      entry!.place = place;
    });
    this.#firstPending = 0;
  }

  get(publisher: bigint, channel: string): SubscriptionBinding | undefined {
    const entry = this.#find(publisher, channel);
    return entry && bindingOf(entry);
  }

  #find(publisher: bigint, channel: string): Entry | undefined {
    this.#checkAlive();
    return this.#byKey.get(keyOf(publisher, channel));
  }

  *entries(): IterableIterator<SubscriptionBinding> {
    this.#checkAlive();
    for (const entry of this.#order) {
      if (entry !== undefined) yield bindingOf(entry);
    }
  }

  encode(): Uint8Array {
    this.#checkAlive();
    let length = 4;
    for (const entry of this.#order) {
      if (entry === undefined) continue;
      length += BINDING_OVERHEAD + entry.channel.length + (entry.tokenLength < 0 ? 0 : 2 + entry.tokenLength);
    }
    const memory = allocate(length);
    const bytes = Buffer.from(memory.buffer);
    writeU32(bytes, 0, this.#byKey.size);
    let at = 4;
    for (const entry of this.#order) {
      if (entry !== undefined) at = writeBinding(bytes, at, entry);
    }
    return memory;
  }

  difference(wanted: SubscriptionLedger): LedgerDifference {
    this.#checkAlive();
    if (!(wanted instanceof TypescriptLedger)) throw wrongType('wanted', 'a ledger of the typescript engine', wanted);
    wanted.#checkAlive();
    const add: SubscriptionBinding[] = [];
    const drop: SubscriptionBinding[] = [];
    const tokenChanged: SubscriptionBinding[] = [];
    for (const [key, entry] of wanted.#byKey) {
      const mine = this.#byKey.get(key);
      if (mine === undefined) add.push(bindingOf(entry));
      else if (!sameToken(mine, entry)) tokenChanged.push(bindingOf(entry));
    }
    for (const [key, entry] of this.#byKey) {
      if (!wanted.#byKey.has(key)) drop.push(bindingOf(entry));
    }
    return { add, drop, tokenChanged };
  }

  beginRebind(): void {
    this.#checkAlive();
    for (const entry of this.#byKey.values()) {
      entry.state = 'pending';
      entry.tries = 0;
      entry.reason = '';
    }
    this.#counts = { idle: 0, pending: this.#byKey.size, done: 0, failed: 0 };
    this.#firstPending = 0;
  }

  pendingRebinds(limit: number): BindingList {
    this.#checkAlive();
    checkInteger(limit, 'limit', 0, MAX_LIMIT);
    const found: Entry[] = [];
    const order = this.#order;
    while (this.#firstPending < order.length && order[this.#firstPending]?.state !== 'pending') this.#firstPending++;
    for (let place = this.#firstPending; place < order.length && found.length < limit; place++) {
      const entry = order[place];
      if (entry?.state === 'pending') found.push(entry);
    }
    return new EntryList(found);
  }

  markTried(publisher: bigint, channel: string): boolean {
    const entry = this.#find(publisher, channel);
    if (entry === undefined || (entry.state !== 'pending' && entry.state !== 'failed')) return false;
    entry.tries++;
    this.#change(entry, 'pending', '');
    return true;
  }

  markDone(publisher: bigint, channel: string): boolean {
    const entry = this.#find(publisher, channel);
    if (entry === undefined) return false;
    this.#change(entry, 'done', '');
    return true;
  }

  markFailed(publisher: bigint, channel: string, reason: string): boolean {
    checkString(reason, 'reason');
    const entry = this.#find(publisher, channel);
    if (entry === undefined) return false;
    this.#change(entry, 'failed', reason);
    return true;
  }

  #change(entry: Entry, state: State, reason: string): void {
    this.#counts[entry.state]--;
    this.#counts[state]++;
    entry.state = state;
    entry.reason = reason;
    if (state === 'pending' && entry.place < this.#firstPending) this.#firstPending = entry.place;
  }

  rebindState(publisher: bigint, channel: string): RebindState | undefined {
    const entry = this.#find(publisher, channel);
    if (entry === undefined) return undefined;
    const { state, tries, reason } = entry;
    if (state === 'idle') return { state };
    return state === 'failed' ? { state, tries, reason } : { state, tries };
  }

  dispose(): void {
    this.#disposed = true;
    this.#byKey = new Map();
    this.#order = [];
    this.#counts = { idle: 0, pending: 0, done: 0, failed: 0 };
  }

  #checkAlive(): void {
    if (this.#disposed) throw new MigrationError('disposed', 'this ledger was disposed of: make a new one');
  }
}

function writeBinding(bytes: Buffer, at: number, entry: Entry): number {
  const { publisher, channel, memory, tokenAt, tokenLength } = entry;
  writeU64(bytes, at, publisher);
  writeU16(bytes, at + 8, channel.length);
  bytes.write(channel, at + 10, 'latin1');
  const flagAt = at + 10 + channel.length;
  if (tokenLength < 0) return flagAt + 1;
  bytes[flagAt] = 1;
  writeU16(bytes, flagAt + 1, tokenLength);
  bytes.set(memory.subarray(tokenAt, tokenAt + tokenLength), flagAt + 3);
  return flagAt + 3 + tokenLength;
}

function truncated(length: number, needed: number): MigrationError {
  return new MigrationError(
    'truncated',
    `bindings are truncated: they end at byte ${length}, their fields need ${needed} bytes`,
    { details: { offset: length, length, needed } },
  );
}

export function createLedger(bindings?: Uint8Array): TypescriptLedger {
  const ledger = new TypescriptLedger();
  if (bindings !== undefined) {
    checkBytes(bindings, 'bindings');
    ledger.read(bindings);
  }
  return ledger;
}
