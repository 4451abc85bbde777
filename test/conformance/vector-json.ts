import type { CausalLink } from '../../lib/wire/link.js';

/**
 * Reading vectors strictly: a field that is missing, of another type or unknown is an error, so that nothing in a vector is
 * passed over because the suite does not know it.
 */
export class NotUnderstood extends Error {
  override readonly name = 'NotUnderstood';
}

export type Fields = Readonly<Record<string, unknown>>;

/** An object with exactly these fields; those that end with `?` may be missing. */
export function fieldsOf(value: unknown, names: readonly string[], where: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new NotUnderstood(`${where} is not an object`);
  }
  const known = new Set(names.map((name) => name.replace('?', '')));
  for (const name of Object.keys(value)) {
    if (!known.has(name)) throw new NotUnderstood(`${where} has the unknown field "${name}"`);
  }
  for (const name of names) {
    if (!name.endsWith('?') && !(name in value)) throw new NotUnderstood(`${where} lacks the field "${name}"`);
  }
  return value as Fields;
}

export function listOf(value: unknown, where: string): readonly unknown[] {
  if (!Array.isArray(value)) throw new NotUnderstood(`${where} is not a list`);
  return value;
}

export function text(value: unknown, where: string): string {
  if (typeof value !== 'string') throw new NotUnderstood(`${where} is not a string`);
  return value;
}

export function number(value: unknown, where: string): number {
  if (typeof value !== 'number') throw new NotUnderstood(`${where} is not a number`);
  return value;
}

export function truth(value: unknown, where: string): boolean {
  if (typeof value !== 'boolean') throw new NotUnderstood(`${where} is not true or false`);
  return value;
}

export function u64(value: unknown, where: string): bigint {
  if (typeof value !== 'string' || !/^\d+$/.test(value)) throw new NotUnderstood(`${where} is not a decimal u64`);
  return BigInt(value);
}

/** Lower-case hex as a plain Uint8Array with memory of its own. */
export function bytes(value: unknown, where: string): Uint8Array {
  if (typeof value !== 'string' || !/^(?:[0-9a-f]{2})*$/.test(value)) throw new NotUnderstood(`${where} is not hex`);
  return new Uint8Array(Buffer.from(value, 'hex'));
}

export function hex(value: Uint8Array): string {
  return Buffer.from(value.buffer, value.byteOffset, value.length).toString('hex');
}

/** A link with its bytes, as the vectors give it. */
export function link(value: unknown, where: string): { readonly link: CausalLink; readonly bytes: Uint8Array } {
  const f = fieldsOf(value, ['bytes', 'horizon_encoded', 'origin_hash', 'parent_hash', 'sequence'], where);
  return {
    link: {
      originHash: u64(f.origin_hash, `${where}.origin_hash`),
      horizon: u64(f.horizon_encoded, `${where}.horizon_encoded`),
      sequence: u64(f.sequence, `${where}.sequence`),
      parentHash: u64(f.parent_hash, `${where}.parent_hash`),
    },
    bytes: bytes(f.bytes, `${where}.bytes`),
  };
}
