import sodiumNative from 'sodium-native';

/** Memory from `sodium_malloc`: page-aligned at its end, guarded, kept out of core dumps. */
export type SecureBuffer = Buffer & { readonly secure: true };

/**
 * The functions of sodium-native that this package uses. Its own typings ask for `Buffer` everywhere; the functions take
 * any `Uint8Array`. None checks its arguments' sizes in a release build, so callers must.
 */
interface Sodium {
  sodium_malloc(size: number): SecureBuffer;
  sodium_mlock(buffer: Uint8Array): void;
  sodium_memzero(buffer: Uint8Array): void;
  sodium_mprotect_noaccess(buffer: SecureBuffer): void;
  sodium_mprotect_readwrite(buffer: SecureBuffer): void;
  randombytes_buf(buffer: Uint8Array): void;
  crypto_sign_seed_keypair(publicKey: Uint8Array, secretKey: Uint8Array, seed: Uint8Array): void;
  crypto_sign_detached(signature: Uint8Array, message: Uint8Array, secretKey: Uint8Array): void;
  crypto_sign_verify_detached(signature: Uint8Array, message: Uint8Array, publicKey: Uint8Array): boolean;
  crypto_sign_ed25519_pk_to_curve25519(x25519: Uint8Array, ed25519: Uint8Array): void;
  crypto_sign_ed25519_sk_to_curve25519(x25519: Uint8Array, ed25519: Uint8Array): void;
  crypto_scalarmult_ed25519_base_noclamp(point: Uint8Array, scalar: Uint8Array): void;
  crypto_core_ed25519_add(sum: Uint8Array, left: Uint8Array, right: Uint8Array): void;
  crypto_scalarmult(shared: Uint8Array, secret: Uint8Array, publicKey: Uint8Array): void;
  crypto_scalarmult_base(publicKey: Uint8Array, secret: Uint8Array): void;
  crypto_aead_xchacha20poly1305_ietf_encrypt(
    ciphertext: Uint8Array,
    message: Uint8Array,
    associatedData: Uint8Array,
    secretNonce: null,
    nonce: Uint8Array,
    key: Uint8Array,
  ): number;
  crypto_aead_xchacha20poly1305_ietf_decrypt(
    message: Uint8Array,
    secretNonce: null,
    ciphertext: Uint8Array,
    associatedData: Uint8Array,
    nonce: Uint8Array,
    key: Uint8Array,
  ): number;
}

export const sodium = sodiumNative as unknown as Sodium;
