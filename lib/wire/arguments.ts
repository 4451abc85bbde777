import { types } from 'node:util';

/**
 * Checks of JavaScript types, shared by all engines: each throws a `TypeError` that names the argument and says what came
 * instead. They stand on the hot path, so that what is right costs a comparison or two, and the message is made only when
 * something is wrong.
 */

const U32_MAX = 0xffff_ffff;

/** What a wrong value was, for people; never its content, which may be secret or huge. */
export function describe(value: unknown): string {
  if (value === null) return 'null';
  switch (typeof value) {
    case 'number':
      return `the number ${value}`;
    case 'bigint':
      return BigInt.asUintN(64, value) === value ? 'a bigint' : `a bigint ${value < 0n ? 'below 0' : 'over 2^64 - 1'}`;
    case 'undefined':
      return 'undefined';
    case 'object': {
      const name = Object.prototype.toString.call(value).slice(8, -1);
      return `an object (${name})`;
    }
    default:
      return `a ${typeof value}`;
  }
}

/** The error for a value of the wrong type: `<argument> must be <wanted>, got <what came>`. */
export function wrongType(argument: string, wanted: string, value: unknown): TypeError {
  return new TypeError(`${argument} must be ${wanted}, got ${describe(value)}`);
}

export function isU64(value: unknown): value is bigint {
  return typeof value === 'bigint' && BigInt.asUintN(64, value) === value;
}

/** A bigint from 0 to 2^64 − 1. */
export function checkU64(value: bigint, argument: string): void {
  if (!isU64(value)) throw wrongType(argument, 'a bigint from 0 to 2^64 - 1', value);
}

/** A number that is an integer from 0 to 2^32 − 1. */
export function checkU32(value: number, argument: string): void {
  if (typeof value !== 'number' || value >>> 0 !== value) {
    throw wrongType(argument, 'an integer from 0 to 2^32 - 1', value);
  }
}

/** A number that is an integer from `min` to `max`, both safe integers. */
export function checkInteger(value: number, argument: string, min: number, max: number): void {
  if (!Number.isInteger(value) || value < min || value > max) {
    throw wrongType(argument, `an integer from ${min} to ${max === U32_MAX ? '2^32 - 1' : max}`, value);
  }
}

/** A number that is neither NaN nor infinite. */
export function checkFinite(value: number, argument: string): void {
  if (!Number.isFinite(value)) throw wrongType(argument, 'a finite number', value);
}

export function checkString(value: string, argument: string): void {
  if (typeof value !== 'string') throw wrongType(argument, 'a string', value);
}

export function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Any object but null; arrays and functions are no message, event or snapshot either. */
export function checkObject(value: unknown, argument: string): void {
  if (!isObject(value)) throw wrongType(argument, 'an object', value);
}

export function checkArray(value: readonly unknown[], argument: string): void {
  if (!Array.isArray(value)) throw wrongType(argument, 'an array', value);
}

/**
 * A Uint8Array (a Buffer is one) whose memory is there and belongs to this thread alone: another thread could change
 * shared bytes between a check and a use.
 */
export function isBytes(value: unknown): value is Uint8Array {
  if (!(value instanceof Uint8Array) && !types.isUint8Array(value)) return false;
  const memory = value.buffer;
  if (!(memory instanceof ArrayBuffer) && types.isSharedArrayBuffer(memory)) return false;
  return value.length > 0 || memory.byteLength > 0 || isAttached(memory as ArrayBuffer);
}

/** A detached buffer shows as an empty one; making a view of it is what tells them apart on every Node. */
function isAttached(memory: ArrayBuffer): boolean {
  try {
    new Uint8Array(memory);
    return true;
  } catch {
    return false;
  }
}

/** @throws TypeError unless {@link isBytes} */
export function checkBytes(value: Uint8Array, argument: string): void {
  if (!isBytes(value)) throw notBytes(value, argument);
}

function notBytes(value: unknown, argument: string): TypeError {
  if (!types.isUint8Array(value)) return wrongType(argument, 'a Uint8Array', value);
  if (types.isSharedArrayBuffer(value.buffer)) {
    return new TypeError(`${argument} must not be over a SharedArrayBuffer: copy it first`);
  }
  return new TypeError(`${argument} must not be detached: its memory was transferred away`);
}

/** {@link checkBytes}, and exactly `length` bytes. */
export function checkBytesOfLength(value: Uint8Array, argument: string, length: number): void {
  checkBytes(value, argument);
  if (value.length !== length) {
    throw new TypeError(`${argument} must be a Uint8Array of ${length} bytes, got ${value.length}`);
  }
}
