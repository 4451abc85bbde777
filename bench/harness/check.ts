import { WrongResult } from './definition.js';

/** @throws WrongResult unless `got` is what it must be */
export function mustBe<Value extends bigint | number | string | boolean | undefined>(
  got: Value,
  expected: Value,
  what: string,
): void {
  if (got !== expected) throw new WrongResult(`${what}: got ${String(got)}, expected ${String(expected)}`);
}

/** @throws WrongResult at the first byte that differs */
export function mustBeBytes(got: Uint8Array, expected: Uint8Array, what: string): void {
  mustBe(got.length, expected.length, `${what}, bytes`);
  if (Buffer.compare(got, expected) === 0) return;
  const at = got.findIndex((byte, i) => byte !== expected[i]);
  throw new WrongResult(`${what}: byte ${at} is ${got[at]}, expected ${expected[at]}`);
}
