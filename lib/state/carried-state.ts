import { MigrationError } from '../errors.js';
import { type MaybePromise, whenReady } from '../maybe-promise.js';
import { inSlices, numbersTo, type Turn } from '../slices.js';
import { type FrozenHorizon, Horizon } from './horizon.js';

/** Begins a state that our host wrote; a host that does not find it takes all of it as the daemon's own. */
const MAGIC = Uint8Array.of(0x44, 0x4d, 0x48, 0x53, 0xa6, 0x1f, 0xc3, 0x02);

/** Positions written or read before the event loop gets its turn. */
const SLICE = 1_000;

/**
 * What the host puts in front of the daemon's own bytes, for a target that can read it (PROTOCOL.md §8):
 * `magic 8 | epoch u64 | next parent u64 | observed u64 | horizon (u32 length, bytes) | positions u32, then per position
 * publisher u64, channel (u16 length, bytes), position (u8 length, bytes)`.
 */
export interface CarriedState<H = Horizon> {
  /** The daemon's generation when the snapshot was taken. */
  readonly epoch: bigint;
  /** The hash of the last output, which the next one's link names. */
  readonly nextParent: bigint;
  /** The Bloom filter of the origins seen, as the daemon's links carry it. */
  readonly observed: bigint;
  readonly horizon: H;
  readonly positions: readonly ChannelPosition[];
}

/** Where a subscription goes on: after the event that `position` names. Opaque, at most 64 bytes. */
export interface ChannelPosition {
  readonly publisher: bigint;
  readonly channel: string;
  readonly position: Uint8Array;
}

const decoder = new TextDecoder('utf-8', { fatal: true });

/**
 * In parts that stand one behind the other, written over several turns where there is much to write.
 *
 * @param carried nothing of it changes meanwhile
 */
export function encodeCarriedState(
  carried: CarriedState<FrozenHorizon>,
  turn?: Turn,
): MaybePromise<readonly Uint8Array[]> {
  return whenReady(carried.horizon.encode(turn), (horizon) => {
    const parts = [encodeHeader(carried, horizon.length), horizon, u32Bytes(carried.positions.length)];
    const written = inSlices(slicesOf(carried.positions), 1, turn, (slice) => parts.push(encodePositions(slice)));
    return whenReady(written, () => parts);
  });
}

function encodeHeader({ epoch, nextParent, observed }: CarriedState<unknown>, horizonLength: number): Uint8Array {
  const out = Buffer.alloc(MAGIC.length + 3 * 8 + 4);
  out.set(MAGIC);
  [epoch, nextParent, observed].forEach((value, i) => {
    out.writeBigUInt64LE(value, MAGIC.length + 8 * i);
  });
  out.writeUInt32LE(horizonLength, MAGIC.length + 3 * 8);
  return out;
}

function u32Bytes(value: number): Uint8Array {
  const out = Buffer.alloc(4);
  out.writeUInt32LE(value);
  return out;
}

function* slicesOf(positions: readonly ChannelPosition[]): Iterable<readonly ChannelPosition[]> {
  for (let at = 0; at < positions.length; at += SLICE) yield positions.slice(at, at + SLICE);
}

function encodePositions(positions: readonly ChannelPosition[]): Uint8Array {
  let length = 0;
  for (const { channel, position } of positions) length += 8 + 2 + Buffer.byteLength(channel) + 1 + position.length;
  const out = Buffer.alloc(length);
  let at = 0;
  for (const { publisher, channel, position } of positions) {
    out.writeBigUInt64LE(publisher, at);
    const nameLength = out.write(channel, at + 10);
    out.writeUInt16LE(nameLength, at + 8);
    at += 10 + nameLength;
    out[at++] = position.length;
    out.set(position, at);
    at += position.length;
  }
  return out;
}

/** A state in its two parts. */
export interface SplitState {
  /** What the host carried; undefined where the state does not begin with the magic. */
  readonly carried: CarriedState | undefined;
  /** The daemon's own bytes, a view. */
  readonly own: Uint8Array;
}

/**
 * Splits a snapshot's state into what the host carried and the daemon's own bytes; over several turns where there is much to
 * read.
 *
 * @throws MigrationError `truncated`, `trailing-bytes` or `invalid-utf8` where the magic is there and the rest is damaged
 */
export function splitState(state: Uint8Array, turn?: Turn): MaybePromise<SplitState> {
  if (state.length < MAGIC.length || !MAGIC.every((byte, i) => state[i] === byte))
    return { carried: undefined, own: state };
  const reader = new Reader(state, MAGIC.length);
  const [epoch, nextParent, observed] = [reader.u64(), reader.u64(), reader.u64()];
  return whenReady(Horizon.decode(reader.bytes(reader.u32()), turn), (horizon) =>
    whenReady(readPositions(reader, turn), (positions) => ({
      carried: { epoch, nextParent, observed, horizon, positions },
      own: state.subarray(reader.at),
    })),
  );
}

function readPositions(reader: Reader, turn: Turn | undefined): MaybePromise<ChannelPosition[]> {
  const positions: ChannelPosition[] = [];
  const read = inSlices(numbersTo(reader.u32()), SLICE, turn, () => {
    const publisher = reader.u64();
    const channel = reader.text(reader.u16());
    positions.push({ publisher, channel, position: reader.bytes(reader.u8()).slice() });
  });
  return whenReady(read, () => positions);
}

class Reader {
  readonly #state: Uint8Array;
  readonly #view: DataView;
  at: number;

  constructor(state: Uint8Array, at: number) {
    this.#state = state;
    this.#view = new DataView(state.buffer, state.byteOffset, state.byteLength);
    this.at = at;
  }

  bytes(length: number): Uint8Array {
    if (this.#state.length - this.at < length) {
      throw new MigrationError(
        'truncated',
        `the carried state is cut off at byte ${this.at}: ${length} bytes expected`,
        {
          details: { offset: this.at },
        },
      );
    }
    this.at += length;
    return this.#state.subarray(this.at - length, this.at);
  }

  u8(): number {
    return this.bytes(1)[0]!;
  }

  u16(): number {
    this.bytes(2);
    return this.#view.getUint16(this.at - 2, true);
  }

  u32(): number {
    this.bytes(4);
    return this.#view.getUint32(this.at - 4, true);
  }

  u64(): bigint {
    this.bytes(8);
    return this.#view.getBigUint64(this.at - 8, true);
  }

  text(length: number): string {
    const at = this.at;
    try {
      return decoder.decode(this.bytes(length));
    } catch (cause) {
      if (cause instanceof MigrationError) throw cause;
      throw new MigrationError('invalid-utf8', `the carried state's channel name at byte ${at} is not UTF-8`, {
        details: { offset: at },
        cause,
      });
    }
  }
}
