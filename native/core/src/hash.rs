//! Hashes of the protocol (PROTOCOL.md §1, §5, §8).

use blake2::digest::{KeyInit, Mac};
use blake2::Blake2sMac256;

/// Keyed BLAKE2s-256. None where the key is empty or over 32 bytes.
pub fn blake2s_mac(key: &[u8], message: &[u8]) -> Option<[u8; 32]> {
    if key.is_empty() {
        return None;
    }
    let mut mac = Blake2sMac256::new_from_slice(key).ok()?;
    mac.update(message);
    Some(mac.finalize().into_bytes().into())
}

fn first_u64(key: &[u8], entity_id: &[u8; 32]) -> u64 {
    let mac = blake2s_mac(key, entity_id).unwrap_or_default();
    mac.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
}

/// The origin hash of an entity id: how frames and links name a daemon.
pub fn origin_hash(entity_id: &[u8; 32]) -> u64 {
    first_u64(b"net-origin-v1", entity_id)
}

/// The node id of an entity id.
pub fn node_id(entity_id: &[u8; 32]) -> u64 {
    first_u64(b"net-node-id-v1", entity_id)
}

/// XXH3-64, seed 0.
pub fn xxh3(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

/// BLAKE3-256.
pub fn blake3(bytes: &[u8]) -> [u8; 32] {
    blake3::hash(bytes).into()
}

/// BLAKE3-256 over bytes that come in pieces.
#[derive(Clone, Default)]
pub struct Blake3(blake3::Hasher);

impl Blake3 {
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all so far.
    pub fn digest(&self) -> [u8; 32] {
        self.0.finalize().into()
    }
}
