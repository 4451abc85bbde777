import { checkBytes, checkBytesOfLength, isObject, wrongType } from '../wire/arguments.js';
import { SECRET_BYTES } from './secure-memory.js';
import { type SecureScratch, withSecureScratch } from './secure-scratch.js';
import { sodium } from './sodium.js';

export interface SecretInputOptions {
  /** Whether the input is overwritten with zeros, also where the call throws; default false. */
  readonly wipeInput?: boolean;
}

/**
 * Runs `work` with 32 secret bytes that a caller gave copied into `scratch[place]`, and wipes the caller's where told to,
 * whatever happens. Throws a `TypeError` for anything but 32 bytes.
 */
export function withSecretInput<T>(
  input: Uint8Array,
  argument: string,
  options: SecretInputOptions,
  place: 'seed' | 'agreement',
  work: (scratch: SecureScratch) => T,
): T {
  checkBytes(input, argument);
  if (!isObject(options)) throw wrongType('options', 'an object', options);
  const { wipeInput = false } = options;
  if (typeof wipeInput !== 'boolean') throw wrongType('wipeInput', 'a boolean', wipeInput);
  try {
    checkBytesOfLength(input, argument, SECRET_BYTES);
    return withSecureScratch((scratch) => {
      scratch[place].set(input);
      return work(scratch);
    });
  } finally {
    if (wipeInput) sodium.sodium_memzero(input);
  }
}
