import { checkBytes, checkBytesOfLength, wrongType } from '../wire/arguments.js';
import { CAUSAL_LINK_SIZE } from '../wire/link.js';
import { IDENTITY_ENVELOPE_SIZE } from '../wire/snapshot.js';
import { ENTITY_ID_BYTES, EntityId } from './entity-id.js';
import { EntityKeypair, keypairFromScratch, loadSignKey } from './entity-keypair.js';
import { deriveEnvelopeKey, envelopeNonce } from './envelope-key.js';
import { EnvelopeError } from './errors.js';
import { SECRET_BYTES } from './secure-memory.js';
import { type SecureScratch, withSecureScratch } from './secure-scratch.js';
import { sodium } from './sodium.js';
import { agree, STATIC_KEY_BYTES, StaticKeypair, x25519 } from './static-keypair.js';

export const ENVELOPE_VERSION = 1;

const TAG_BYTES = 16;
const CIPHERTEXT_BYTES = SECRET_BYTES + TAG_BYTES;
const SEALED_SEED_BYTES = STATIC_KEY_BYTES + CIPHERTEXT_BYTES;

const TARGET_AT = 1;
const SEALED_AT = TARGET_AT + STATIC_KEY_BYTES;
const SIGNER_AT = SEALED_AT + SEALED_SEED_BYTES;
const SIGNATURE_AT = SIGNER_AT + ENTITY_ID_BYTES;

/** `target public ‖ chain link`: what the daemon's own key signs. */
function attestation(targetPublic: Uint8Array, chainLink: Uint8Array): Uint8Array {
  const signed = new Uint8Array(STATIC_KEY_BYTES + CAUSAL_LINK_SIZE);
  signed.set(targetPublic);
  signed.set(chainLink, STATIC_KEY_BYTES);
  return signed;
}

/** Ephemeral public key ‖ ciphertext and tag of `scratch.seed`. */
function sealSeed(scratch: SecureScratch, targetPublic: Uint8Array, chainLink: Uint8Array): Uint8Array {
  const sealed = new Uint8Array(SEALED_SEED_BYTES);
  const ephemeralPublic = sealed.subarray(0, STATIC_KEY_BYTES);
  sodium.randombytes_buf(scratch.agreement);
  sodium.crypto_scalarmult_base(ephemeralPublic, scratch.agreement);
  if (!x25519(scratch, targetPublic)) {
    throw new EnvelopeError(
      'low-order-target',
      'the target public key is of low order: anybody could open what is sealed to it; ask the target for its real key',
    );
  }
  deriveEnvelopeKey(scratch);
  sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(
    sealed.subarray(STATIC_KEY_BYTES),
    scratch.seed,
    chainLink,
    null,
    envelopeNonce(ephemeralPublic, targetPublic),
    scratch.key,
  );
  return sealed;
}

/**
 * A daemon's seed, sealed for one node and attested by the daemon's own key (PROTOCOL.md §6). The fields are views of one
 * array that nobody else holds.
 */
export class IdentityEnvelope {
  readonly #bytes: Uint8Array;

  private constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /**
   * Copies 209 bytes. Throws `EnvelopeError` `invalid-length` or `unsupported-version`; everything else shows in `open`.
   */
  static fromBytes(bytes: Uint8Array): IdentityEnvelope {
    checkBytes(bytes, 'bytes');
    if (bytes.length !== IDENTITY_ENVELOPE_SIZE) {
      throw new EnvelopeError(
        'invalid-length',
        `an identity envelope has ${IDENTITY_ENVELOPE_SIZE} bytes, these are ${bytes.length}`,
        { details: { expected: IDENTITY_ENVELOPE_SIZE, actual: bytes.length } },
      );
    }
    if (bytes[0] !== ENVELOPE_VERSION) {
      throw new EnvelopeError(
        'unsupported-version',
        `identity envelope: byte 0 is version ${bytes[0]}, only ${ENVELOPE_VERSION} is known`,
        { details: { expected: ENVELOPE_VERSION, actual: bytes[0] } },
      );
    }
    return new IdentityEnvelope(Uint8Array.from(bytes));
  }

  /**
   * Seals the daemon's seed for the holder of `targetPublic` (X25519, 32 bytes), bound to the snapshot's `chainLink` (32
   * bytes). Throws `EnvelopeError` `source-read-only` when the private half is not here, `low-order-target` when the seal
   * would keep nobody out.
   */
  static seal(keypair: EntityKeypair, targetPublic: Uint8Array, chainLink: Uint8Array): IdentityEnvelope {
    if (!(keypair instanceof EntityKeypair)) throw wrongType('keypair', 'an EntityKeypair', keypair);
    checkBytesOfLength(targetPublic, 'targetPublic', STATIC_KEY_BYTES);
    checkBytesOfLength(chainLink, 'chainLink', CAUSAL_LINK_SIZE);
    if (!keypair.canSign) {
      throw new EnvelopeError(
        'source-read-only',
        `the key pair of entity ${keypair.id.hex} is ${keypair.isDisposed ? 'disposed' : 'public-only'}: it cannot be ` +
          'sealed; migrate it with transportIdentity false, or from the node that holds its private half',
        { details: { entityId: keypair.id.hex } },
      );
    }
    return withSecureScratch((scratch) => {
      loadSignKey(keypair, scratch);
      const bytes = new Uint8Array(IDENTITY_ENVELOPE_SIZE);
      bytes[0] = ENVELOPE_VERSION;
      bytes.set(targetPublic, TARGET_AT);
      bytes.set(sealSeed(scratch, targetPublic, chainLink), SEALED_AT);
      bytes.set(keypair.id.toBytes(), SIGNER_AT);
      const signature = bytes.subarray(SIGNATURE_AT);
      sodium.crypto_sign_detached(signature, attestation(targetPublic, chainLink), scratch.signKey);
      return new IdentityEnvelope(bytes);
    });
  }

  /** A copy of the 209 bytes. */
  toBytes(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }

  /** A copy of the X25519 public key that the seed is sealed to. */
  get targetPublic(): Uint8Array {
    return this.#bytes.slice(TARGET_AT, SEALED_AT);
  }

  /** Who attests the envelope. */
  get signer(): EntityId {
    return EntityId.fromBytes(this.#bytes.subarray(SIGNER_AT, SIGNATURE_AT));
  }

  /**
   * The sealed key pair, full. Checks in the order of PROTOCOL.md §6 and throws the first `EnvelopeError`: the signer is
   * `expectedSigner` (where given) and a point (`invalid-signer-key`); the attestation verifies (`invalid-attestation`);
   * the seal is for `keys`, and opens (`seal-open-failed`); the seed is the signer's (`invalid-attestation`).
   *
   * @param chainLink 32 bytes, the snapshot's
   * @param expectedSigner the snapshot's entity; leave it out only where the result's `id` is checked otherwise
   */
  open(keys: StaticKeypair, chainLink: Uint8Array, expectedSigner?: EntityId): EntityKeypair {
    if (!(keys instanceof StaticKeypair)) throw wrongType('keys', 'a StaticKeypair', keys);
    checkBytesOfLength(chainLink, 'chainLink', CAUSAL_LINK_SIZE);
    if (expectedSigner !== undefined && !(expectedSigner instanceof EntityId)) {
      throw wrongType('expectedSigner', 'an EntityId', expectedSigner);
    }
    const signer = this.signer;
    this.#verifySigner(signer, chainLink, expectedSigner);
    return withSecureScratch((scratch) => {
      this.#openSeed(keys, chainLink, scratch);
      const keypair = keypairFromScratch(scratch);
      if (keypair.id.equals(signer)) return keypair;
      keypair.dispose();
      throw new EnvelopeError(
        'invalid-attestation',
        `the sealed seed is that of entity ${keypair.id.hex}, the envelope is signed by ${signer.hex}`,
        { details: { entityId: keypair.id.hex, signer: signer.hex } },
      );
    });
  }

  toJSON(): string {
    return Buffer.from(this.#bytes).toString('hex');
  }

  #verifySigner(signer: EntityId, chainLink: Uint8Array, expectedSigner: EntityId | undefined): void {
    if (expectedSigner !== undefined && !signer.equals(expectedSigner)) {
      throw new EnvelopeError(
        'invalid-signer-key',
        `the envelope is signed by entity ${signer.hex}, the snapshot is of ${expectedSigner.hex}`,
        { details: { signer: signer.hex, expected: expectedSigner.hex } },
      );
    }
    const signed = attestation(this.#bytes.subarray(TARGET_AT, SEALED_AT), chainLink);
    if (signer.verify(signed, this.#bytes.subarray(SIGNATURE_AT))) return;
    // No signature verifies under what is no point, so asking after the failure refuses the same envelopes, for less.
    if (!signer.isPoint()) {
      throw new EnvelopeError('invalid-signer-key', `the signer ${signer.hex} is no point of the curve`, {
        details: { signer: signer.hex },
      });
    }
    throw new EnvelopeError(
      'invalid-attestation',
      `the signature of entity ${signer.hex} does not cover this target key and chain link: one of them was changed`,
      { details: { signer: signer.hex } },
    );
  }

  /** Puts the opened seed into `scratch.seed`. */
  #openSeed(keys: StaticKeypair, chainLink: Uint8Array, scratch: SecureScratch): void {
    const targetPublic = this.#bytes.subarray(TARGET_AT, SEALED_AT);
    if (Buffer.compare(targetPublic, keys.publicKey) !== 0) {
      throw new EnvelopeError('seal-open-failed', "the envelope is sealed to another key than this node's");
    }
    const ephemeralPublic = this.#bytes.subarray(SEALED_AT, SEALED_AT + STATIC_KEY_BYTES);
    if (!agree(keys, ephemeralPublic, scratch)) {
      throw new EnvelopeError('seal-open-failed', 'the ephemeral public key of the seal is of low order');
    }
    deriveEnvelopeKey(scratch);
    const ciphertext = this.#bytes.subarray(SEALED_AT + STATIC_KEY_BYTES, SIGNER_AT);
    const nonce = envelopeNonce(ephemeralPublic, targetPublic);
    try {
      sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(scratch.seed, null, ciphertext, chainLink, nonce, scratch.key);
    } catch (cause) {
      throw new EnvelopeError('seal-open-failed', 'the sealed seed does not open: it was changed on its way', {
        cause,
      });
    }
  }
}
