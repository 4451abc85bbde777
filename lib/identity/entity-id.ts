import { inspect } from 'node:util';
import { checkBytes, checkBytesOfLength, isBytes, wrongType } from '../wire/arguments.js';
import { nodeId, originHash } from '../wire/typescript/hashes.js';
import { IdentityError } from './errors.js';
import { sodium } from './sodium.js';

/** Bytes of an entity id: an Ed25519 public key. */
export const ENTITY_ID_BYTES = 32;
/** Bytes of an Ed25519 signature. */
export const SIGNATURE_BYTES = 64;

/** Who a daemon or a node is (PROTOCOL.md §1). A value: it never changes, and two of the same bytes are `equals`. */
export class EntityId {
  readonly #bytes: Uint8Array;
  #originHash: bigint | undefined;
  #nodeId: bigint | undefined;

  private constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Copies 32 bytes. Whether they are a point of the curve shows when something is verified with them. */
  static fromBytes(bytes: Uint8Array): EntityId {
    checkBytesOfLength(bytes, 'bytes', ENTITY_ID_BYTES);
    return new EntityId(Uint8Array.from(bytes));
  }

  /** From 64 hexadecimal digits of either case. */
  static fromHex(hex: string): EntityId {
    if (typeof hex !== 'string' || !/^[0-9a-fA-F]{64}$/.test(hex)) {
      throw new TypeError('hex must be a string of 64 hexadecimal digits');
    }
    return new EntityId(Uint8Array.from(Buffer.from(hex, 'hex')));
  }

  /** A copy of the 32 bytes. */
  toBytes(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }

  /** 64 lower-case hexadecimal digits. */
  get hex(): string {
    return Buffer.from(this.#bytes).toString('hex');
  }

  /** u64: the daemon's origin in every frame. */
  get originHash(): bigint {
    this.#originHash ??= originHash(this.#bytes);
    return this.#originHash;
  }

  /** u64: the node's id, where the entity is a node. */
  get nodeId(): bigint {
    this.#nodeId ??= nodeId(this.#bytes);
    return this.#nodeId;
  }

  /** Whether `other` has the same bytes; bytes of another length are not. */
  equals(other: EntityId | Uint8Array): boolean {
    if (other instanceof EntityId) return Buffer.compare(this.#bytes, other.#bytes) === 0;
    if (!isBytes(other)) throw wrongType('other', 'an EntityId or a Uint8Array', other);
    return Buffer.compare(this.#bytes, other) === 0;
  }

  /**
   * Whether `signature` (64 bytes) over `message` is this entity's. Strict: no second encoding of a signature, no key or
   * commitment of small order, and no multiple of the cofactor forgiven.
   */
  verify(message: Uint8Array, signature: Uint8Array): boolean {
    checkBytes(message, 'message');
    checkBytesOfLength(signature, 'signature', SIGNATURE_BYTES);
    return sodium.crypto_sign_verify_detached(signature, message, this.#bytes);
  }

  /** Whether the bytes encode a point of the curve at all. */
  isPoint(): boolean {
    const identity = Uint8Array.of(1, ...new Uint8Array(ENTITY_ID_BYTES - 1));
    try {
      sodium.crypto_core_ed25519_add(new Uint8Array(ENTITY_ID_BYTES), this.#bytes, identity);
      return true;
    } catch {
      return false;
    }
  }

  /** The X25519 public key of this Ed25519 key (32 bytes). Throws `invalid-public-key` where there is none that is safe. */
  toStaticPublic(): Uint8Array {
    const staticPublic = new Uint8Array(ENTITY_ID_BYTES);
    try {
      sodium.crypto_sign_ed25519_pk_to_curve25519(staticPublic, this.#bytes);
    } catch (cause) {
      throw new IdentityError(
        'invalid-public-key',
        `entity ${this.hex} has no X25519 key: its bytes are no point of the curve's prime-order group`,
        { cause, details: { entityId: this.hex } },
      );
    }
    return staticPublic;
  }

  toString(): string {
    return this.hex;
  }

  toJSON(): string {
    return this.hex;
  }

  [inspect.custom](): string {
    return `EntityId(${this.hex})`;
  }
}
