import { MigrationError } from '../errors.js';
import type { RebindCounts, RebindState, SubscriptionBinding } from '../wire/ledger.js';

/** What has become of a daemon's subscriptions where it has moved to. */
export interface RebindReport {
  readonly done: number;
  /** Not made yet, and tried again until the deadline. */
  readonly retrying: number;
  readonly failed: number;
  /** Each; of a daemon with over 1,000 those alone that have failed or are tried again, as many as a message holds. */
  readonly subscriptions: readonly SubscriptionRebind[];
}

export interface SubscriptionRebind {
  /** Node id. */
  readonly publisher: bigint;
  readonly channel: string;
  readonly state: 'done' | 'retrying' | 'failed';
  readonly tries: number;
  /** Of one that has failed; of one that is tried again, once it has. */
  readonly reason: string | undefined;
}

/** Bytes of an encoded report, at the most. */
const MAX_BYTES = 64 * 1024;
const MAX_REASON_BYTES = 512;
const HEADER_SIZE = 16;
const ENTRY_HEADER_SIZE = 17;
const STATES = ['done', 'retrying', 'failed'] as const;

/** A subscription as its ledger's book has it; undefined where it takes no part in a rebind. */
export function subscriptionRebind(
  { publisher, channel }: SubscriptionBinding,
  book: RebindState | undefined,
  problem: string | undefined,
): SubscriptionRebind | undefined {
  if (book === undefined || book.state === 'idle') return undefined;
  const state = book.state === 'pending' ? 'retrying' : book.state;
  const reason = book.state === 'failed' ? book.reason : book.state === 'pending' ? problem : undefined;
  return { publisher, channel, state, tries: book.tries, reason };
}

export function rebindReport(
  { done, pending, failed }: RebindCounts,
  subscriptions: readonly SubscriptionRebind[],
): RebindReport {
  return { done, retrying: pending, failed, subscriptions };
}

/**
 * `number u32 | done u32 | retrying u32 | failed u32`, then per subscription, those first that are not done, as many as there
 * is room for: `publisher u64 | state u8 | tries u32 | channel length u16 | reason length u16 | channel | reason`.
 *
 * @param number higher than that of the report before: what overtakes is told apart by it
 */
export function encodeRebindReport(number: number, report: RebindReport): Uint8Array {
  const header = Buffer.alloc(HEADER_SIZE);
  [number, report.done, report.retrying, report.failed].forEach((value, i) => {
    header.writeUInt32LE(value, 4 * i);
  });
  const parts: Buffer[] = [header];
  let length = HEADER_SIZE;
  const urgentFirst = [...report.subscriptions].sort((a, b) => STATES.indexOf(b.state) - STATES.indexOf(a.state));
  for (const subscription of urgentFirst) {
    const entry = encodeEntry(subscription);
    length += entry.length;
    if (length > MAX_BYTES) break;
    parts.push(entry);
  }
  return new Uint8Array(Buffer.concat(parts));
}

function encodeEntry({ publisher, channel, state, tries, reason }: SubscriptionRebind): Buffer {
  const name = Buffer.from(channel);
  const text = Buffer.from(reason ?? '').subarray(0, MAX_REASON_BYTES);
  const header = Buffer.alloc(ENTRY_HEADER_SIZE);
  header.writeBigUInt64LE(publisher, 0);
  header[8] = STATES.indexOf(state);
  header.writeUInt32LE(tries, 9);
  header.writeUInt16LE(name.length, 13);
  header.writeUInt16LE(text.length, 15);
  return Buffer.concat([header, name, text]);
}

/** @throws MigrationError `truncated`; `trailing-bytes` where it is longer than any that is written */
export function decodeRebindReport(encoded: Uint8Array): { readonly number: number; readonly report: RebindReport } {
  const bytes = Buffer.from(encoded.buffer, encoded.byteOffset, encoded.byteLength);
  const need = (end: number) => {
    if (bytes.length >= end) return;
    throw new MigrationError('truncated', `a rebind report ends at byte ${bytes.length}, ${end} were expected`);
  };
  need(HEADER_SIZE);
  if (bytes.length > MAX_BYTES)
    throw new MigrationError(
      'trailing-bytes',
      `a rebind report has ${bytes.length} bytes; it may have at most ${MAX_BYTES}`,
    );
  const [number, done, retrying, failed] = [0, 4, 8, 12].map((at) => bytes.readUInt32LE(at)) as [
    number,
    number,
    number,
    number,
  ];
  const subscriptions: SubscriptionRebind[] = [];
  for (let at = HEADER_SIZE; at < bytes.length; ) {
    need(at + ENTRY_HEADER_SIZE);
    const nameAt = at + ENTRY_HEADER_SIZE;
    const reasonAt = nameAt + bytes.readUInt16LE(at + 13);
    const end = reasonAt + bytes.readUInt16LE(at + 15);
    need(end);
    subscriptions.push({
      publisher: bytes.readBigUInt64LE(at),
      channel: bytes.toString('utf8', nameAt, reasonAt),
      state: STATES[bytes[at + 8]!] ?? 'retrying',
      tries: bytes.readUInt32LE(at + 9),
      reason: end > reasonAt ? bytes.toString('utf8', reasonAt, end) : undefined,
    });
    at = end;
  }
  return { number, report: { done, retrying, failed, subscriptions } };
}
