import { isObject, wrongType } from './wire/arguments.js';

/** @throws TypeError or RangeError where a value is not what the option of that name takes */
export type Check = (value: never, name: string) => unknown;

/** For each option what it takes. */
export type Checks<T> = { readonly [K in keyof Required<T>]: Check };

/**
 * Options as an object, each of which must be known: one that is misspelt would be passed over in silence.
 *
 * @param name of the argument; `options` of a call is not said in front of each
 * @param example what to give instead
 * @throws TypeError, or what a check throws
 */
export function checkOptions<T extends object>(value: T, name: string, checks: Checks<T>, example?: string): void {
  if (!isObject(value)) throw wrongType(name, `an object${example ? `, as ${example}` : ''}`, value);
  const prefix = name === 'options' ? '' : `${name}.`;
  for (const [key, given] of Object.entries(value)) {
    const check = Object.hasOwn(checks, key) ? checks[key as keyof T] : undefined;
    if (!check) throw new TypeError(`${name}.${key} is not known; ${name} takes ${Object.keys(checks).join(', ')}`);
    if (given !== undefined) check(given as never, prefix + key);
  }
}

export function checkFunction(value: unknown, name: string): void {
  if (typeof value !== 'function') throw wrongType(name, 'a function', value);
}

export function checkBoolean(value: unknown, name: string): void {
  if (typeof value !== 'boolean') throw wrongType(name, 'a boolean', value);
}

/** @throws TypeError unless it is an object that has them all */
export function checkMethods(value: unknown, name: string, wanted: string, methods: readonly string[]): void {
  if (!isObject(value)) throw wrongType(name, wanted, value);
  for (const method of methods) {
    const given = (value as Record<string, unknown>)[method];
    if (typeof given !== 'function') throw wrongType(`${name}.${method}`, 'a function', given);
  }
}
