import { MigrationError } from '../errors.js';
import { Horizon } from './horizon.js';

/** Begins a state that our host wrote; a host that does not find it takes all of it as the daemon's own. */
const MAGIC = Uint8Array.of(0x44, 0x4d, 0x48, 0x53, 0xa6, 0x1f, 0xc3, 0x02);

/**
 * What the host puts in front of the daemon's own bytes, for a target that can read it (PROTOCOL.md §8):
 * `magic 8 | epoch u64 | next parent u64 | observed u64 | horizon (u32 length, bytes) | positions u32, then per position
 * publisher u64, channel (u16 length, bytes), position (u8 length, bytes)`.
 */
export interface CarriedState {
  /** The daemon's generation when the snapshot was taken. */
  readonly epoch: bigint;
  /** The hash of the last output, which the next one's link names. */
  readonly nextParent: bigint;
  /** The Bloom filter of the origins seen, as the daemon's links carry it. */
  readonly observed: bigint;
  readonly horizon: Horizon;
  readonly positions: readonly ChannelPosition[];
}

/** Where a subscription goes on: after the event that `position` names. Opaque, at most 64 bytes. */
export interface ChannelPosition {
  readonly publisher: bigint;
  readonly channel: string;
  readonly position: Uint8Array;
}

const text = { encoder: new TextEncoder(), decoder: new TextDecoder('utf-8', { fatal: true }) };

export function encodeCarriedState(carried: CarriedState): Uint8Array {
  const horizon = carried.horizon.encode();
  const positions = carried.positions.map((p) => ({ ...p, channel: text.encoder.encode(p.channel) }));
  let length = MAGIC.length + 3 * 8 + 4 + horizon.length + 4;
  for (const { channel, position } of positions) length += 8 + 2 + channel.length + 1 + position.length;
  const out = new Uint8Array(length);
  const view = new DataView(out.buffer);
  let at = 0;
  const bytes = (value: Uint8Array) => {
    out.set(value, at);
    at += value.length;
  };
  const u64 = (value: bigint) => {
    view.setBigUint64(at, value, true);
    at += 8;
  };
  const u32 = (value: number) => {
    view.setUint32(at, value, true);
    at += 4;
  };
  bytes(MAGIC);
  u64(carried.epoch);
  u64(carried.nextParent);
  u64(carried.observed);
  u32(horizon.length);
  bytes(horizon);
  u32(positions.length);
  for (const { publisher, channel, position } of positions) {
    u64(publisher);
    view.setUint16(at, channel.length, true);
    at += 2;
    bytes(channel);
    out[at++] = position.length;
    bytes(position);
  }
  return out;
}

/**
 * Splits a snapshot's state into what the host carried and the daemon's own bytes (a view).
 * `carried` is undefined where the state does not begin with the magic.
 *
 * @throws MigrationError `truncated`, `trailing-bytes` or `invalid-utf8` where the magic is there and the rest is damaged
 */
export function splitState(state: Uint8Array): {
  readonly carried: CarriedState | undefined;
  readonly own: Uint8Array;
} {
  if (state.length < MAGIC.length || !MAGIC.every((byte, i) => state[i] === byte))
    return { carried: undefined, own: state };
  const reader = new Reader(state, MAGIC.length);
  const epoch = reader.u64();
  const nextParent = reader.u64();
  const observed = reader.u64();
  const horizon = Horizon.decode(reader.bytes(reader.u32()));
  const positions: ChannelPosition[] = [];
  for (let left = reader.u32(); left > 0; left--) {
    const publisher = reader.u64();
    const channel = reader.text(reader.u16());
    positions.push({ publisher, channel, position: reader.bytes(reader.u8()).slice() });
  }
  return { carried: { epoch, nextParent, observed, horizon, positions }, own: state.subarray(reader.at) };
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
      return text.decoder.decode(this.bytes(length));
    } catch (cause) {
      if (cause instanceof MigrationError) throw cause;
      throw new MigrationError('invalid-utf8', `the carried state's channel name at byte ${at} is not UTF-8`, {
        details: { offset: at },
        cause,
      });
    }
  }
}
