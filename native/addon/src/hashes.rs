use migration_core::{hash, link};
use napi::bindgen_prelude::{BigInt, Uint8ArraySlice};
use napi_derive::napi;

use crate::bytes::{fill, word, writable};
use crate::errors::{misuse, Refusal};

fn entity(entity_id: &[u8]) -> Result<&[u8; 32], Refusal> {
    entity_id.try_into().map_err(|_| misuse("an entity id has 32 bytes"))
}

#[napi(catch_unwind)]
pub fn origin_hash(entity_id: &[u8]) -> Result<u64, Refusal> {
    entity(entity_id).map(hash::origin_hash)
}

#[napi(catch_unwind)]
pub fn node_id(entity_id: &[u8]) -> Result<u64, Refusal> {
    entity(entity_id).map(hash::node_id)
}

/// Keyed BLAKE2s-256 into `out` (32 bytes).
#[napi(catch_unwind, js_name = "blake2sMac")]
pub fn blake2s_mac(key: &[u8], message: &[u8], mut out: Uint8ArraySlice<'_>) -> Result<(), Refusal> {
    let out = writable(&mut out);
    let mac = hash::blake2s_mac(key, message).ok_or_else(|| misuse("a key has 1 to 32 bytes"))?;
    fill(out, &mac)
}

#[napi(catch_unwind)]
pub fn xxh3(bytes: &[u8]) -> u64 {
    hash::xxh3(bytes)
}

/// BLAKE3-256 into `out` (32 bytes).
#[napi(catch_unwind)]
pub fn blake3(bytes: &[u8], mut out: Uint8ArraySlice<'_>) -> Result<(), Refusal> {
    let out = writable(&mut out);
    fill(out, &hash::blake3(bytes))
}

/// The parent hash of the link after the one whose 32 bytes are given.
#[napi(catch_unwind)]
pub fn parent_hash(previous: &[u8], payload: &[u8]) -> Result<u64, Refusal> {
    Ok(link::parent_hash(crate::frames::link(previous)?, payload))
}

#[napi(catch_unwind)]
pub fn horizon_bits(origin_hash: BigInt) -> u64 {
    link::horizon_bits(word(&origin_hash))
}

/// A BLAKE3-256 digest being made.
#[napi]
#[derive(Default)]
pub struct NativeBlake3 {
    inner: migration_core::hash::Blake3,
}

#[napi]
impl NativeBlake3 {
    #[napi(constructor, catch_unwind)]
    pub fn new() -> Self {
        Self::default()
    }

    #[napi(catch_unwind)]
    pub fn update(&mut self, bytes: &[u8]) {
        self.inner.update(bytes);
    }

    /// The digest of all so far into `out` (32 bytes).
    #[napi(catch_unwind)]
    pub fn digest(&self, mut out: Uint8ArraySlice<'_>) -> Result<(), Refusal> {
        fill(writable(&mut out), &self.inner.digest())
    }
}
