import { types } from 'node:util';

/**
 * `value` as it is, when it is a `Uint8Array` (of `length` bytes where given) over memory that belongs to this thread
 * and is still attached; otherwise a `TypeError` that names `name`. sodium reads and writes by address, so what it gets
 * must have the size that it expects.
 */
export function requireBytes(name: string, value: Uint8Array, length?: number): Uint8Array {
  if (!(value instanceof Uint8Array)) throw new TypeError(`${name} must be a Uint8Array, got ${typeof value}`);
  if (types.isSharedArrayBuffer(value.buffer)) throw new TypeError(`${name} must not be over a SharedArrayBuffer`);
  if (length !== undefined && value.length !== length) {
    throw new TypeError(`${name} must have ${length} bytes, has ${value.length} (a detached buffer has none)`);
  }
  return value;
}

export function bytesEqual(left: Uint8Array, right: Uint8Array): boolean {
  return Buffer.compare(left, right) === 0;
}

export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex');
}
