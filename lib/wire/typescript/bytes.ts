/**
 * Little-endian integers in a Uint8Array. A u64 goes through eight bytes of scratch memory that are seen as two u32 and as
 * one u64: measured at half the cost of a DataView that is kept, a quarter of one made per frame, and it keeps no
 * caller's buffer alive.
 */
const halves = new Uint32Array(2);
const whole = new BigUint64Array(halves.buffer);
/** On a big-endian machine the low half of a u64 comes second. */
const LOW = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1 ? 0 : 1;
const HIGH = 1 - LOW;

export function readU16(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8);
}

export function readU32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}

export function readU64(bytes: Uint8Array, at: number): bigint {
  halves[LOW] = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
  halves[HIGH] = bytes[at + 4]! | (bytes[at + 5]! << 8) | (bytes[at + 6]! << 16) | (bytes[at + 7]! << 24);
  return whole[0]!;
}

/** A u64 from its halves, each from 0 to 2^32 − 1. */
export function joinU64(low: number, high: number): bigint {
  halves[LOW] = low;
  halves[HIGH] = high;
  return whole[0]!;
}

/** A u64 from bytes into element `index` of a column, seen as u32: no bigint is made. */
export function copyU64(bytes: Uint8Array, at: number, column: Uint32Array, index: number): void {
  const element = 2 * index;
  column[element + LOW] = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
  column[element + HIGH] = bytes[at + 4]! | (bytes[at + 5]! << 8) | (bytes[at + 6]! << 16) | (bytes[at + 7]! << 24);
}

/** {@link copyU64} the other way round. */
export function putU64(bytes: Uint8Array, at: number, column: Uint32Array, index: number): void {
  writeU32(bytes, at, column[2 * index + LOW]!);
  writeU32(bytes, at + 4, column[2 * index + HIGH]!);
}

export function writeU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
}

export function writeU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
  bytes[at + 2] = value >>> 16;
  bytes[at + 3] = value >>> 24;
}

export function writeU64(bytes: Uint8Array, at: number, value: bigint): void {
  whole[0] = value;
  writeU32(bytes, at, halves[LOW]!);
  writeU32(bytes, at + 4, halves[HIGH]!);
}

/** A plain Uint8Array over the same memory: `Buffer.subarray` would give a Buffer, whose `slice` does not copy. */
export function view(bytes: Uint8Array, at: number, length: number): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset + at, length);
}
