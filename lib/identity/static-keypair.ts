import { inspect } from 'node:util';
import { checkBytesOfLength } from '../wire/arguments.js';
import { IdentityError } from './errors.js';
import { type SecretInputOptions, withSecretInput } from './secret-input.js';
import { Secret } from './secure-memory.js';
import { type SecureScratch, withSecureScratch } from './secure-scratch.js';
import { sodium } from './sodium.js';

/** Bytes of an X25519 key, public or private. */
export const STATIC_KEY_BYTES = 32;

/** Internal: `scratch.shared` = X25519(this secret, `peerPublic`). False where `peerPublic` is of low order. Throws `disposed`. */
export let agree: (keys: StaticKeypair, peerPublic: Uint8Array, scratch: SecureScratch) => boolean;
/** Internal: a key pair of the X25519 secret in `scratch.agreement`. */
export let staticKeypairFromScratch: (scratch: SecureScratch) => StaticKeypair;

/**
 * A node's X25519 key pair, to which envelopes are sealed. The private half stays in guarded memory and nothing gives it
 * out; after `dispose` whatever needs it throws `disposed`.
 */
export class StaticKeypair implements Disposable {
  readonly #publicKey: Uint8Array;
  readonly #secret: Secret;

  static {
    staticKeypairFromScratch = (scratch) => new StaticKeypair(scratch);
    agree = (keys, peerPublic, scratch) => {
      if (keys.#secret.isWiped) {
        throw new IdentityError(
          'disposed',
          `the X25519 key pair ${keys.#hex()} was disposed of: what is sealed to it no longer opens here`,
        );
      }
      keys.#secret.copyInto(scratch.agreement);
      return x25519(scratch, peerPublic);
    };
  }

  private constructor(scratch: SecureScratch) {
    this.#publicKey = new Uint8Array(STATIC_KEY_BYTES);
    sodium.crypto_scalarmult_base(this.#publicKey, scratch.agreement);
    this.#secret = new Secret(scratch.agreement);
  }

  static generate(): StaticKeypair {
    return withSecureScratch((scratch) => {
      sodium.randombytes_buf(scratch.agreement);
      return new StaticKeypair(scratch);
    });
  }

  /**
   * Of a 32-byte X25519 private key, clamped or not. Copies it into guarded memory; the caller wipes `bytes`, or lets
   * `wipeInput` do it, also where this throws.
   */
  static fromPrivate(bytes: Uint8Array, options: SecretInputOptions = {}): StaticKeypair {
    return withSecretInput(bytes, 'bytes', options, 'agreement', staticKeypairFromScratch);
  }

  /** A copy of the 32-byte public key. */
  get publicKey(): Uint8Array {
    return Uint8Array.from(this.#publicKey);
  }

  /** Wipes the private half. Again: nothing. */
  dispose(): void {
    this.#secret.wipe();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  toString(): string {
    return `StaticKeypair(${this.#hex()})`;
  }

  toJSON(): { readonly publicKey: string } {
    return { publicKey: this.#hex() };
  }

  [inspect.custom](): string {
    return this.toString();
  }

  #hex(): string {
    return Buffer.from(this.#publicKey).toString('hex');
  }
}

/** `scratch.shared` = X25519(`scratch.agreement`, `peerPublic`); false where `peerPublic` is of low order, which sodium refuses. */
export function x25519(scratch: SecureScratch, peerPublic: Uint8Array): boolean {
  try {
    sodium.crypto_scalarmult(scratch.shared, scratch.agreement, peerPublic);
    return true;
  } catch {
    return false;
  }
}

/** Whether anybody could read what is sealed to this X25519 public key: all its products are the same few points. */
export function isLowOrder(publicKey: Uint8Array): boolean {
  checkBytesOfLength(publicKey, 'publicKey', STATIC_KEY_BYTES);
  return withSecureScratch((scratch) => {
    sodium.randombytes_buf(scratch.agreement);
    return !x25519(scratch, publicKey);
  });
}
