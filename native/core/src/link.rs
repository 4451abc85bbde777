//! Causal links, their chain, and the horizon (PROTOCOL.md §2).

use xxhash_rust::xxh3::{xxh3_64, Xxh3Default};

use crate::Error;

/// Bytes of a causal link.
pub const CAUSAL_LINK_SIZE: usize = 32;

/// Where an event stands in its origin's chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CausalLink {
    pub origin_hash: u64,
    /// A 64-bit Bloom filter of the origins seen.
    pub horizon: u64,
    pub sequence: u64,
    /// Hash of the previous link and payload; 0 for the genesis.
    pub parent_hash: u64,
}

#[inline]
fn word(bytes: &[u8; CAUSAL_LINK_SIZE], field: usize) -> u64 {
    let (words, _) = bytes.as_chunks::<8>();
    words.get(field).map_or(0, |word| u64::from_le_bytes(*word))
}

impl CausalLink {
    pub fn genesis(origin_hash: u64) -> Self {
        Self {
            origin_hash,
            ..Self::default()
        }
    }

    #[inline]
    pub fn from_bytes(bytes: &[u8; CAUSAL_LINK_SIZE]) -> Self {
        Self {
            origin_hash: word(bytes, 0),
            horizon: word(bytes, 1),
            sequence: word(bytes, 2),
            parent_hash: word(bytes, 3),
        }
    }

    #[inline]
    pub fn to_bytes(self) -> [u8; CAUSAL_LINK_SIZE] {
        let mut bytes = [0; CAUSAL_LINK_SIZE];
        let fields = [self.origin_hash, self.horizon, self.sequence, self.parent_hash];
        for (place, field) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(fields) {
            *place = field.to_le_bytes();
        }
        bytes
    }

    /// The link after this one, whose event had `payload`.
    pub fn next(self, payload: &[u8], horizon: u64) -> Result<Self, Error> {
        let sequence = self.sequence.checked_add(1).ok_or(Error::SequenceOverflow {
            sequence: self.sequence,
        })?;
        Ok(Self {
            origin_hash: self.origin_hash,
            horizon,
            sequence,
            parent_hash: parent_hash(&self.to_bytes(), payload),
        })
    }

    /// Whether `next` continues the chain of this link, whose event had `payload`.
    pub fn is_continued_by(self, payload: &[u8], next: &CausalLink) -> bool {
        next.origin_hash == self.origin_hash
            && self.sequence.checked_add(1) == Some(next.sequence)
            && next.parent_hash == parent_hash(&self.to_bytes(), payload)
    }
}

/// Up to this many payload bytes are put behind the link on the stack and hashed in one go, which is faster than feeding
/// the hasher twice.
const ONE_GO: usize = 1024;

/// `xxh3_64(link ‖ payload)`: the parent hash of the link after this one.
pub fn parent_hash(link: &[u8; CAUSAL_LINK_SIZE], payload: &[u8]) -> u64 {
    let mut joined = [0; CAUSAL_LINK_SIZE + ONE_GO];
    let length = CAUSAL_LINK_SIZE + payload.len();
    if let Some((head, tail)) = joined
        .get_mut(..length)
        .and_then(|joined| joined.split_first_chunk_mut())
    {
        *head = *link;
        tail.copy_from_slice(payload);
        return xxh3_64(joined.get(..length).unwrap_or_default());
    }
    let mut hasher = Xxh3Default::new();
    hasher.update(link);
    hasher.update(payload);
    hasher.digest()
}

/// The Bloom bits of one origin in a horizon.
pub fn horizon_bits(origin_hash: u64) -> u64 {
    let h = xxh3_64(&origin_hash.to_le_bytes());
    let h1 = h as u32;
    let h2 = (h >> 32) as u32 | 1;
    let bit = |i: u32| 1u64 << (h1.wrapping_add(h2.wrapping_mul(i)) % 64);
    bit(0) | bit(1) | bit(2)
}
