import { inspect } from 'node:util';
import { checkBytes } from '../wire/arguments.js';
import { ENTITY_ID_BYTES, EntityId, SIGNATURE_BYTES } from './entity-id.js';
import { IdentityError } from './errors.js';
import { type SecretInputOptions, withSecretInput } from './secret-input.js';
import { SECRET_BYTES, Secret } from './secure-memory.js';
import { type SecureScratch, withSecureScratch } from './secure-scratch.js';
import { sodium } from './sodium.js';
import { type StaticKeypair, staticKeypairFromScratch } from './static-keypair.js';

/** Internal: fills `scratch.seed` and `scratch.signKey`. Throws `public-only` or `disposed`. */
export let loadSignKey: (keypair: EntityKeypair, scratch: SecureScratch) => void;
/** Internal: a full key pair of `scratch.seed`. Leaves its sign key in `scratch`. */
export let keypairFromScratch: (scratch: SecureScratch) => EntityKeypair;

/**
 * A daemon's or node's Ed25519 key pair: full, or public-only (PROTOCOL.md §1). The seed is in guarded memory from the
 * first instant to `wipeSecret` or `dispose`; no method gives it out, and inspection, JSON and structured clone show
 * public things only.
 */
export class EntityKeypair implements Disposable {
  readonly #id: EntityId;
  #secret: Secret | undefined;
  #disposed = false;

  static {
    loadSignKey = (keypair, scratch) => keypair.#loadSignKey(scratch);
    keypairFromScratch = (scratch) => {
      const publicKey = new Uint8Array(ENTITY_ID_BYTES);
      sodium.crypto_sign_seed_keypair(publicKey, scratch.signKey, scratch.seed);
      return new EntityKeypair(EntityId.fromBytes(publicKey), new Secret(scratch.seed));
    };
  }

  private constructor(id: EntityId, secret: Secret | undefined) {
    this.#id = id;
    this.#secret = secret;
  }

  /** A new key pair from the system's random numbers. Throws `secure-memory-exhausted` at the configured limit. */
  static generate(): EntityKeypair {
    return withSecureScratch((scratch) => {
      sodium.randombytes_buf(scratch.seed);
      return keypairFromScratch(scratch);
    });
  }

  /**
   * Of a 32-byte seed, which is copied into guarded memory. The caller owns `seed` and wipes it, or lets `wipeInput` do
   * it, also where this throws. A typed array of up to 64 bytes that is not over an `ArrayBuffer` made for it lies on the
   * JavaScript heap, where collection may leave copies behind: better take the seed from a key file (`NodeKeys.load`).
   */
  static fromSeed(seed: Uint8Array, options: SecretInputOptions = {}): EntityKeypair {
    return withSecretInput(seed, 'seed', options, 'seed', keypairFromScratch);
  }

  /** Without a private half: has an id, refuses to sign. */
  static fromEntityId(id: EntityId | Uint8Array): EntityKeypair {
    return new EntityKeypair(id instanceof EntityId ? id : EntityId.fromBytes(id), undefined);
  }

  get id(): EntityId {
    return this.#id;
  }

  /** A copy of the id's 32 bytes, so that a key pair can stand where a `DaemonIdentity` is asked for. */
  get entityId(): Uint8Array {
    return this.#id.toBytes();
  }

  /** u64, as in `id`. */
  get originHash(): bigint {
    return this.#id.originHash;
  }

  /** u64, as in `id`. */
  get nodeId(): bigint {
    return this.#id.nodeId;
  }

  /** Whether the private half is here. */
  get canSign(): boolean {
    return this.#secret !== undefined;
  }

  get isDisposed(): boolean {
    return this.#disposed;
  }

  /** A new public-only key pair of the same entity; this one stays as it is. */
  publicOnly(): EntityKeypair {
    return new EntityKeypair(this.#id, undefined);
  }

  /** Another key pair of the same entity, with a secret of its own to dispose. Throws `secure-memory-exhausted`. */
  clone(): EntityKeypair {
    if (!this.canSign) return this.publicOnly();
    return withSecureScratch((scratch) => {
      this.#loadSignKey(scratch);
      return keypairFromScratch(scratch);
    });
  }

  /** 64 bytes over `message`. Throws `public-only` without a private half, `disposed` after `dispose`. */
  sign(message: Uint8Array): Uint8Array {
    checkBytes(message, 'message');
    return withSecureScratch((scratch) => {
      this.#loadSignKey(scratch);
      const signature = new Uint8Array(SIGNATURE_BYTES);
      sodium.crypto_sign_detached(signature, message, scratch.signKey);
      return signature;
    });
  }

  /** The X25519 key pair of this Ed25519 one, with a secret of its own to dispose. Throws as `sign` does. */
  toStaticKeypair(): StaticKeypair {
    return withSecureScratch((scratch) => {
      this.#loadSignKey(scratch);
      sodium.crypto_sign_ed25519_sk_to_curve25519(scratch.agreement, scratch.signKey);
      return staticKeypairFromScratch(scratch);
    });
  }

  /**
   * Wipes the private half in place and keeps the public one: what the source of a migration does when the activation is
   * confirmed. Everybody who holds this object holds a public-only key pair from then on. Throws `secure-memory-exhausted`, and changes nothing,
   * where the system does not let its page be opened. Again: nothing.
   */
  wipeSecret(): void {
    this.#secret?.wipe();
    this.#secret = undefined;
  }

  /** Wipes the private half; afterwards `sign` and everything else that needs it throws `disposed`. Throws as `wipeSecret` does. Again: nothing. */
  dispose(): void {
    this.wipeSecret();
    this.#disposed = true;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  toString(): string {
    return `EntityKeypair(${this.#id.hex}, ${this.#state()})`;
  }

  toJSON(): { readonly entityId: string; readonly canSign: boolean } {
    return { entityId: this.#id.hex, canSign: this.canSign };
  }

  [inspect.custom](): string {
    return this.toString();
  }

  #state(): 'full' | 'public-only' | 'disposed' {
    if (this.#disposed) return 'disposed';
    return this.canSign ? 'full' : 'public-only';
  }

  #loadSignKey(scratch: SecureScratch): void {
    if (this.#secret === undefined) {
      const state = this.#disposed ? 'disposed' : 'public-only';
      throw new IdentityError(
        state,
        `the key pair of entity ${this.#id.hex} is ${state}: its private half is not here`,
        {
          details: { entityId: this.#id.hex },
        },
      );
    }
    this.#secret.copyInto(scratch.seed);
    scratch.signKey.set(scratch.seed);
    scratch.signKey.set(this.#id.toBytes(), SECRET_BYTES);
  }
}
