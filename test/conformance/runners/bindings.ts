import * as assert from 'uvu/assert';
import { channelDepth, channelWireHash, MAX_CHANNEL_NAME_BYTES } from '../../../lib/wire/channel.js';
import type { MigrationCodec } from '../../../lib/wire/codec.js';
import type { SubscriptionBinding } from '../../../lib/wire/ledger.js';
import { refusal, sameBytes, type Tally } from '../check.js';
import { comparable } from '../frames.js';
import type { Runner } from '../runner.js';
import { bytes, fieldsOf, listOf, number, text, truth, u64 } from '../vector-json.js';

/** Bindings written plainly, one after another, whatever they hold. */
function write(
  bindings: readonly { publisher: bigint; name: Uint8Array; token: Uint8Array | undefined }[],
): Uint8Array {
  const parts: Uint8Array[] = [];
  const count = Buffer.alloc(4);
  count.writeUInt32LE(bindings.length);
  parts.push(count);
  for (const { publisher, name, token } of bindings) {
    const head = Buffer.alloc(10);
    head.writeBigUInt64LE(publisher);
    head.writeUInt16LE(name.length, 8);
    parts.push(head, name, Uint8Array.of(token === undefined ? 0 : 1));
    if (token === undefined) continue;
    const length = Buffer.alloc(2);
    length.writeUInt16LE(token.length);
    parts.push(length, token);
  }
  return new Uint8Array(Buffer.concat(parts));
}

function subscription(value: unknown): SubscriptionBinding {
  const f = fieldsOf(value, ['channel', 'publisher', 'token'], 'subscription');
  return {
    publisher: u64(f.publisher, 'publisher'),
    channel: text(f.channel, 'channel'),
    token: f.token === null ? undefined : bytes(f.token, 'token'),
  };
}

/** One entry per (publisher, channel) with the later token, in the order of the first. */
function distinct(all: readonly SubscriptionBinding[]): SubscriptionBinding[] {
  return [...new Map(all.map((one) => [`${one.publisher} ${one.channel}`, one])).values()];
}

/** The reference writes a subscription made twice twice; a ledger of ours has it once (PROTOCOL.md §5). */
function ledgerVector(codec: MigrationCodec, value: unknown, where: string): void {
  const f = fieldsOf(value, ['encoded', 'subscriptions'], where);
  const all = listOf(f.subscriptions, 'subscriptions').map(subscription);
  const encoded = bytes(f.encoded, 'encoded');
  const asWritten = all.map((one) => ({ ...one, name: Buffer.from(one.channel) }));
  sameBytes(write(asWritten), encoded, 'the vector as PROTOCOL.md §5 writes it');
  const kept = distinct(all);
  const expected = write(kept.map((one) => ({ ...one, name: Buffer.from(one.channel) })));
  const read = codec.createLedger(encoded);
  assert.is(read.size, kept.length, 'size');
  assert.equal(comparable([...read.entries()]), comparable(kept), 'entries');
  sameBytes(read.encode(), expected, 'encode of what was read');
  const recorded = codec.createLedger();
  for (const { publisher, channel, token } of all) recorded.record(publisher, channel, token);
  sameBytes(recorded.encode(), expected, 'encode of what was recorded');
  const { add, drop, tokenChanged } = recorded.difference(read);
  assert.equal([add.length, drop.length, tokenChanged.length], [0, 0, 0], 'difference');
  read.dispose();
  recorded.dispose();
}

function nameVector(codec: MigrationCodec, value: unknown, where: string): void {
  const names = ['name', 'name_hex', 'valid', 'hash?', 'wire_hash?', 'depth?', 'error_kind?'];
  const f = fieldsOf(value, names, where);
  const name = text(f.name, 'name');
  const nameBytes = bytes(f.name_hex, 'name_hex');
  sameBytes(Buffer.from(name), nameBytes, 'name_hex');
  const binding = write([{ publisher: 7n, name: nameBytes, token: undefined }]);
  if (truth(f.valid, 'valid')) {
    codec.validateChannelName(name);
    const hash = codec.channelHash(name);
    assert.is(hash, u64(f.hash, 'hash'), 'channelHash');
    assert.is(codec.xxh3(nameBytes), hash, 'xxh3 of the name');
    assert.is(channelWireHash(hash), number(f.wire_hash, 'wire_hash'), 'channelWireHash');
    assert.is(channelDepth(name), number(f.depth, 'depth'), 'channelDepth');
    sameBytes(codec.createLedger(binding).encode(), binding, 'the name in bindings');
    return;
  }
  const kind = `channel-name-${text(f.error_kind, 'error_kind')}`;
  assert.is(refusal(() => codec.validateChannelName(name), 'the name').kind, kind, 'validateChannelName kind');
  assert.is(refusal(() => codec.channelHash(name), 'the name').kind, kind, 'channelHash kind');
  const ledger = codec.createLedger();
  assert.is(refusal(() => ledger.record(1n, name), 'the name').kind, kind, 'record kind');
  assert.is(ledger.size, 0, 'a refused name is not recorded');
  refusal(() => codec.createLedger(binding), 'bindings with the name', binding);
}

function limits(codec: MigrationCodec, maxNameLength: unknown, panics: unknown, tally: Tally): void {
  tally.vector('max_name_len', () => assert.is(MAX_CHANNEL_NAME_BYTES, number(maxNameLength, 'max_name_len')));
  tally.vector('to_bytes_panics_on_65536_byte_token', () => {
    assert.ok(truth(panics, 'to_bytes_panics_on_65536_byte_token'));
    const ledger = codec.createLedger();
    const error = refusal(() => ledger.record(5n, 'tok/max', new Uint8Array(65_536)), 'a token of 65,536 bytes');
    assert.is(error.kind, 'token-too-long');
    assert.is(ledger.size, 0);
  });
}

/** Ledgers ↔ bytes, refused and odd ones, channel names. */
export const bindings: Runner = {
  file: 'bindings',
  level: 'codec',
  run(vectors, codec, tally) {
    const names = [
      'accepts',
      'channel_names',
      'ledgers',
      'max_name_len',
      'rejects',
      'to_bytes_panics_on_65536_byte_token',
    ];
    const f = fieldsOf(vectors, names, 'bindings');
    listOf(f.accepts, 'accepts').forEach((value, i) => {
      const a = fieldsOf(value, ['bytes', 'count', 'note', 'reencoded'], `accepts[${i}]`);
      tally.vector(`accepts[${i}] ${text(a.note, 'note')}`, () => {
        const ledger = codec.createLedger(bytes(a.bytes, 'bytes'));
        assert.is(ledger.size, number(a.count, 'count'), 'size');
        sameBytes(ledger.encode(), bytes(a.reencoded, 'reencoded'), 'encode of what was read');
      });
    });
    listOf(f.ledgers, 'ledgers').forEach((value, i) => {
      tally.vector(`ledgers[${i}]`, () => ledgerVector(codec, value, `ledgers[${i}]`));
    });
    listOf(f.rejects, 'rejects').forEach((value, i) => {
      const r = fieldsOf(value, ['bytes', 'note'], `rejects[${i}]`);
      tally.vector(`rejects[${i}] ${text(r.note, 'note')}`, () => {
        const input = bytes(r.bytes, 'bytes');
        refusal(() => codec.createLedger(input), 'bindings', input);
      });
    });
    listOf(f.channel_names, 'channel_names').forEach((value, i) => {
      tally.vector(`channel_names[${i}]`, () => nameVector(codec, value, `channel_names[${i}]`));
    });
    limits(codec, f.max_name_len, f.to_bytes_panics_on_65536_byte_token, tally);
  },
};
