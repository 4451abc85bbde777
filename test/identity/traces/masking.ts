import { sodium } from '../../../lib/identity/sodium.js';

/** Secrets are sent to a searched process with each byte XORed with this, so that sending them leaves no trace of them. */
const MASK = 0x5a;

export const masked = (secret: Uint8Array) => [...secret].map((byte) => byte ^ MASK);

/** Runs `use` with the secret in guarded memory, unmasked there byte by byte. */
export function unmasked<T>(bytes: readonly number[], use: (secret: Uint8Array) => T): T {
  const secret = sodium.sodium_malloc(bytes.length);
  for (let i = 0; i < bytes.length; i++) secret[i] = bytes[i]! ^ MASK;
  return use(secret);
}
