/** Limits and times that a caller sets: each is checked when it is given, and the error names it. */

/** @throws RangeError unless it is a whole number of at least 1 */
export function wholeFromOne(value: number, name: string): number {
  if (Number.isSafeInteger(value) && value >= 1) return value;
  throw new RangeError(`${name} must be a whole number of at least 1, got ${String(value)}`);
}

/** Infinity is one. @throws RangeError unless it is a number of at least 1 */
export function numberFromOne(value: number, name: string): number {
  if (typeof value === 'number' && value >= 1) return value;
  throw new RangeError(`${name} must be a number of at least 1, got ${String(value)}`);
}

/** Infinity is one. @throws RangeError unless it is a number of milliseconds of at least 0 */
export function millisecondsFromZero(value: number, name: string): number {
  if (typeof value === 'number' && value >= 0) return value;
  throw new RangeError(`${name} must be a number of milliseconds of at least 0, got ${String(value)}`);
}
