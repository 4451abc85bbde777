import fc from 'fast-check';
import { MigrationFailureReason } from '../../lib/wire/failure.js';
import type { CausalEvent, CausalLink } from '../../lib/wire/link.js';
import type { MigrationMessage } from '../../lib/wire/message.js';

const U64_MAX = 0xffff_ffff_ffff_ffffn;

/** Any u64, the edges often. */
export const u64 = fc.oneof(
  fc.bigInt({ min: 0n, max: U64_MAX }),
  fc.constantFrom(0n, 1n, 0xffff_ffffn, 0x1_0000_0000n, (1n << 63n) - 1n, 1n << 63n, U64_MAX - 1n, U64_MAX),
);

export const u32 = fc.oneof(
  fc.nat({ max: 0xffff_ffff }),
  fc.constantFrom(0, 1, 699_999, 700_000, 700_001, 0xffff_ffff),
);

/** Bytes of a length that is drawn evenly: fast-check's own arrays are short. */
export function bytes(max: number): fc.Arbitrary<Uint8Array> {
  return fc.tuple(fc.nat({ max }), fc.nat()).map(([length, seed]) => noise(seed, length));
}

/** Bytes that look random, by seed; fast-check shrinks the two numbers behind them. */
export function noise(seed: number, length: number): Uint8Array {
  const out = new Uint8Array(length);
  let state = (seed ^ 0x9e37_79b9) >>> 0;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    out[i] = state >>> 24;
  }
  return out;
}

/** Mostly short, at times up to `max`. */
export function mostlyShort(max: number): fc.Arbitrary<Uint8Array> {
  return fc.oneof({ weight: 8, arbitrary: bytes(40) }, { weight: 1, arbitrary: bytes(max) });
}

export const link: fc.Arbitrary<CausalLink> = fc.record({
  originHash: u64,
  horizon: u64,
  sequence: u64,
  parentHash: u64,
});

export const event: fc.Arbitrary<CausalEvent> = fc.record({ link, payload: mostlyShort(7_000), receivedAt: u64 });

/** Any well-formed text, of at most 65,535 bytes. */
const failureText = fc.oneof(
  { weight: 8, arbitrary: fc.string({ unit: 'binary', maxLength: 60 }) },
  { weight: 1, arbitrary: fc.nat({ max: 65_535 }).map((length) => 'x'.repeat(length)) },
);

export const reason: fc.Arbitrary<MigrationFailureReason> = fc.oneof(
  fc.constantFrom(
    MigrationFailureReason.notReady(),
    MigrationFailureReason.factoryNotFound(),
    MigrationFailureReason.computeNotSupported(),
    MigrationFailureReason.alreadyMigrating(),
  ),
  failureText.map(MigrationFailureReason.stateFailed),
  failureText.map(MigrationFailureReason.identityTransportFailed),
  fc.nat({ max: 255 }).map(MigrationFailureReason.notReadyTimeout),
);

const chunkNumbers = fc
  .integer({ min: 1, max: 700_000 })
  .chain((totalChunks) =>
    fc.record({ totalChunks: fc.constant(totalChunks), chunkIndex: fc.nat({ max: totalChunks - 1 }) }),
  );

/** Any message that a decoder takes. */
export const message: fc.Arbitrary<MigrationMessage> = fc.oneof(
  fc.record({ kind: fc.constantFrom('TakeSnapshot', 'CutoverNotify'), daemonOrigin: u64, targetNode: u64 }),
  fc.tuple(chunkNumbers, u64, u64, mostlyShort(7_000)).map(([numbers, daemonOrigin, seqThrough, snapshotBytes]) => ({
    kind: 'SnapshotReady' as const,
    daemonOrigin,
    seqThrough,
    ...numbers,
    snapshotBytes,
  })),
  fc.record({ kind: fc.constant('RestoreComplete'), daemonOrigin: u64, restoredSeq: u64 }),
  fc.record({ kind: fc.constant('ReplayComplete'), daemonOrigin: u64, replayedSeq: u64, targetHead: link }),
  fc.record({ kind: fc.constantFrom('CleanupComplete', 'ActivateTarget'), daemonOrigin: u64 }),
  fc.record({ kind: fc.constant('MigrationFailed'), daemonOrigin: u64, reason }),
  fc.record({ kind: fc.constant('BufferedEvents'), daemonOrigin: u64, events: fc.array(event, { maxLength: 12 }) }),
  fc.record({ kind: fc.constant('ActivateAck'), daemonOrigin: u64, replayedSeq: u64 }),
) as fc.Arbitrary<MigrationMessage>;

/** An edit of bytes; positions are taken modulo the length. */
type Edit =
  | { readonly op: 'set'; readonly at: number; readonly value: number }
  | { readonly op: 'flip'; readonly at: number; readonly bit: number }
  | { readonly op: 'u32'; readonly at: number; readonly value: number }
  | { readonly op: 'cut'; readonly at: number }
  | { readonly op: 'remove'; readonly at: number; readonly length: number }
  | { readonly op: 'insert'; readonly at: number; readonly bytes: Uint8Array };

const position = fc.oneof(fc.nat({ max: 64 }), fc.nat({ max: 10_000 }));

const edit: fc.Arbitrary<Edit> = fc.oneof(
  fc.record({ op: fc.constant('set' as const), at: position, value: fc.nat({ max: 255 }) }),
  fc.record({ op: fc.constant('flip' as const), at: position, bit: fc.nat({ max: 7 }) }),
  fc.record({ op: fc.constant('u32' as const), at: position, value: u32 }),
  fc.record({ op: fc.constant('cut' as const), at: position }),
  fc.record({ op: fc.constant('remove' as const), at: position, length: fc.nat({ max: 50 }) }),
  fc.record({ op: fc.constant('insert' as const), at: position, bytes: bytes(50) }),
);

function apply(input: Uint8Array, change: Edit): Uint8Array {
  const at = input.length === 0 ? 0 : change.at % input.length;
  const out = input.slice();
  switch (change.op) {
    case 'set':
      if (out.length > 0) out[at] = change.value;
      return out;
    case 'flip':
      if (out.length > 0) out[at]! ^= 1 << change.bit;
      return out;
    case 'u32':
      if (out.length >= at + 4) new DataView(out.buffer).setUint32(at, change.value, true);
      return out;
    case 'cut':
      return out.slice(0, at);
    case 'remove':
      return Uint8Array.from([...out.subarray(0, at), ...out.subarray(at + change.length)]);
    case 'insert':
      return Uint8Array.from([...out.subarray(0, at), ...change.bytes, ...out.subarray(at)]);
  }
}

/** Bytes that were right, with one to three edits. */
export function mutated(valid: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Uint8Array> {
  return fc
    .tuple(valid, fc.array(edit, { minLength: 1, maxLength: 3 }))
    .map(([input, edits]) => edits.reduce(apply, input));
}

const NAME_CHARS = 'abcdefghijklmnopqrstuvwxyz0123456789-_';

/** A valid channel name. */
export const channel: fc.Arbitrary<string> = fc
  .array(fc.string({ unit: fc.constantFrom(...NAME_CHARS, '.'), minLength: 1, maxLength: 12 }), {
    minLength: 1,
    maxLength: 6,
  })
  .map((segments) => segments.map((segment) => (/^\.{1,2}$/.test(segment) ? `${segment}x` : segment)).join('/'));

/** What is nearly one. */
export const anyName: fc.Arbitrary<string> = fc.oneof(
  channel,
  fc.string({ unit: fc.constantFrom(...'ab./A é', '\u0000', '\ud83d\ude80'), maxLength: 8 }),
  fc.nat({ max: 300 }).map((length) => 'a'.repeat(length)),
  fc.nat({ max: 140 }).map((length) => `${'a'.repeat(120)}${'é'.repeat(length)}`),
  fc.string({ unit: 'binary', maxLength: 20 }),
);

export const token: fc.Arbitrary<Uint8Array | undefined> = fc.option(mostlyShort(2_000), { nil: undefined });
