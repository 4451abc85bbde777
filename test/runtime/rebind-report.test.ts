import * as assert from 'uvu/assert';
import { createCodec } from '../../lib/index.js';
import {
  decodeRebindReport,
  encodeRebindReport,
  type RebindReport,
  type SubscriptionRebind,
  subscriptionRebind,
} from '../../lib/runtime/rebind-report.js';
import { decodeMigrationFrame, encodeMigrationFrame } from '../../lib/wire/extension.js';
import { typescriptCodec } from '../../lib/wire/typescript/index.js';
import { refusal, suite } from '../support.js';

const reports = suite('a report of subscriptions');
const HIGHEST = 2n ** 64n - 1n;

function subscription(state: SubscriptionRebind['state'], channel = 'a', reason?: string): SubscriptionRebind {
  return { publisher: HIGHEST, channel, state, tries: 0xffff_ffff, reason };
}

reports('is read as it was written, what is not done first', () => {
  const subscriptions = [
    subscription('done'),
    subscription('retrying', 'b/c', 'away'),
    subscription('failed', 'x'.repeat(255), 'nötig'),
    subscription('retrying', 'd'),
  ];
  const report: RebindReport = { done: 1, retrying: 2, failed: 1, subscriptions };
  const [done, ...others] = subscriptions;
  assert.equal(decodeRebindReport(encodeRebindReport(7, report)), {
    number: 7,
    report: { ...report, subscriptions: [others[1], others[0], others[2], done] },
  });
});

reports('holds as many as there is room for, and always all of the counts', () => {
  const failed = Array.from({ length: 1_000 }, (_, n) => subscription('failed', `channel/${n}`, 'x'.repeat(9_999)));
  const encoded = encodeRebindReport(1, { done: 5, retrying: 0, failed: 1_000, subscriptions: failed });
  assert.ok(encoded.length <= 64 * 1024);
  const { report } = decodeRebindReport(encoded);
  assert.is(report.failed, 1_000);
  assert.ok(report.subscriptions.length > 100 && report.subscriptions.length < 200);
  assert.is(report.subscriptions[0]!.reason, 'x'.repeat(512));
});

reports('that is cut off anywhere is refused', async () => {
  const encoded = encodeRebindReport(1, {
    done: 1,
    retrying: 0,
    failed: 0,
    subscriptions: [subscription('failed', 'a', 'b')],
  });
  for (let length = 0; length < encoded.length; length++) {
    if (length !== 16) await refusal('truncated', () => decodeRebindReport(encoded.subarray(0, length)));
  }
});

reports('that is longer than any that is written is refused before it is read', async () => {
  const encoded = encodeRebindReport(1, {
    done: 1,
    retrying: 0,
    failed: 0,
    subscriptions: [subscription('done', 'a')],
  });
  const entry = encoded.subarray(16);
  const header = encoded.subarray(0, 16);
  const repeated = (count: number) => Buffer.concat([header, ...Array.from({ length: count }, () => entry)]);
  const most = Math.floor((64 * 1024 - 16) / entry.length);
  assert.is(decodeRebindReport(repeated(most)).report.subscriptions.length, most);
  const error = await refusal('trailing-bytes', () => decodeRebindReport(repeated(most + 1)));
  assert.match(error.message, /at most 65536/);
});

reports('travels in a frame of its own', () => {
  const rebind = encodeRebindReport(1, { done: 1, retrying: 0, failed: 0, subscriptions: [] });
  const message = { kind: 'RebindStatus', daemonOrigin: HIGHEST } as const;
  const frame = encodeMigrationFrame(typescriptCodec, message, { try: 3n, rebind });
  assert.is(frame[0], 0x88);
  assert.equal(decodeMigrationFrame(typescriptCodec, frame), { message, trailer: { try: 3n, rebind } });
});

for (const engine of ['native', 'typescript'] as const) {
  reports(`says what the book of the ${engine} engine says`, () => {
    const ledger = createCodec({ engine }).createLedger();
    ledger.record(1n, 'a');
    const [binding] = ledger.entries();
    const now = (problem?: string) => subscriptionRebind(binding!, ledger.rebindState(1n, 'a'), problem);
    assert.is(now('never'), undefined);
    ledger.beginRebind();
    ledger.markTried(1n, 'a');
    assert.equal(now('away'), { publisher: 1n, channel: 'a', state: 'retrying', tries: 1, reason: 'away' });
    ledger.markFailed(1n, 'a', 'gone');
    assert.equal(now('away'), { publisher: 1n, channel: 'a', state: 'failed', tries: 1, reason: 'gone' });
    ledger.markDone(1n, 'a');
    assert.equal(now('away'), { publisher: 1n, channel: 'a', state: 'done', tries: 1, reason: undefined });
    ledger.dispose();
  });
}
