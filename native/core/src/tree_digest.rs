//! BLAKE3 over bytes that land in any order.
//!
//! BLAKE3 is a tree over blocks: the bytes are cut into groups of 256 KiB, each group is hashed when its last byte has
//! landed, and the groups' hashes are joined at the end. So no single step hashes more than the groups that one chunk
//! completes, even when the first chunk of a large snapshot comes last.

use std::ops::Range;

use blake3::hazmat::{merge_subtrees_non_root, merge_subtrees_root, ChainingValue, HasherExt, Mode};
use blake3::Hasher;

use crate::bitmap::zeroed;
use crate::Error;

/// Bytes of a group: a power of two, so that groups are whole subtrees; large enough for the widest SIMD.
const GROUP: usize = 256 << 10;

pub struct TreeDigest {
    /// Bytes of each group that have landed.
    landed: Vec<u32>,
    hashes: Vec<ChainingValue>,
}

impl TreeDigest {
    /// For at most `length` bytes.
    pub fn new(length: usize) -> Result<Self, Error> {
        let groups = length.div_ceil(GROUP);
        Ok(Self {
            landed: zeroed(groups)?,
            hashes: zeroed(groups)?,
        })
    }

    /// Bytes that the bookkeeping takes.
    pub fn size(&self) -> usize {
        self.hashes.len() * (size_of::<u32>() + size_of::<ChainingValue>())
    }

    /// The bytes `at .. at + length` of `memory` have landed: for the first time, or (`again`) with other content.
    pub fn landed(&mut self, memory: &[u8], at: usize, length: usize, again: bool) {
        let end = at.saturating_add(length);
        let mut from = at;
        while from < end {
            let number = from / GROUP;
            let start = number * GROUP;
            let to = end.min(start + GROUP);
            let (Some(landed), Some(hash)) = (self.landed.get_mut(number), self.hashes.get_mut(number)) else {
                return;
            };
            if !again {
                *landed += (to - from) as u32;
            }
            if *landed as usize == GROUP {
                *hash = hash_group(memory, start, start + GROUP);
            }
            from = to;
        }
    }

    /// Takes up bytes that landed in an earlier life: those of `runs`. `read` fills a buffer with what stands from an offset on,
    /// and is asked for whole groups alone.
    pub fn take_up<E>(
        &mut self,
        runs: impl Iterator<Item = Range<usize>>,
        mut read: impl FnMut(usize, &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut group = vec![0; GROUP];
        for run in runs {
            let mut from = run.start;
            while from < run.end {
                let number = from / GROUP;
                let to = run.end.min((number + 1) * GROUP);
                let (Some(landed), Some(hash)) = (self.landed.get_mut(number), self.hashes.get_mut(number)) else {
                    return Ok(());
                };
                *landed += (to - from) as u32;
                if *landed as usize == GROUP {
                    read(number * GROUP, &mut group)?;
                    *hash = hash_bytes(&group, number * GROUP);
                }
                from = to;
            }
        }
        Ok(())
    }

    /// The digest of `memory`, all of whose bytes have landed.
    pub fn finish(&mut self, memory: &[u8]) -> [u8; 32] {
        let count = memory.len().div_ceil(GROUP);
        if count <= 1 {
            return blake3::hash(memory).into();
        }
        let last = (count - 1) * GROUP;
        if let Some(hash) = self.hashes.get_mut(count - 1) {
            *hash = hash_group(memory, last, memory.len());
        }
        let (left, right) = halves(self.hashes.get(..count).unwrap_or_default());
        merge_subtrees_root(&join(left), &join(right), Mode::Hash).into()
    }
}

fn hash_group(memory: &[u8], from: usize, to: usize) -> ChainingValue {
    hash_bytes(memory.get(from..to).unwrap_or_default(), from)
}

/// `bytes` stand `at` in the whole.
fn hash_bytes(bytes: &[u8], at: usize) -> ChainingValue {
    let mut hasher = Hasher::new();
    hasher.set_input_offset(at as u64);
    hasher.update(bytes);
    hasher.finalize_non_root()
}

/// BLAKE3's rule: the left subtree is the largest power of two that leaves something for the right one.
fn halves(hashes: &[ChainingValue]) -> (&[ChainingValue], &[ChainingValue]) {
    let half = hashes.len().div_ceil(2).next_power_of_two();
    hashes.split_at_checked(half).unwrap_or((hashes, &[]))
}

fn join(hashes: &[ChainingValue]) -> ChainingValue {
    match hashes {
        [] => ChainingValue::default(),
        [hash] => *hash,
        _ => {
            let (left, right) = halves(hashes);
            merge_subtrees_non_root(&join(left), &join(right), Mode::Hash)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|i| ((i * 131) ^ ((i >> 8) * 17)) as u8).collect()
    }

    #[test]
    fn equals_blake3_at_every_shape_of_the_tree() {
        for groups in 0..9 {
            for edge in [0, 1, 1023, 1024, 1025, 7000, GROUP - 1] {
                let bytes = pattern(groups * GROUP + edge);
                let mut digest = TreeDigest::new(bytes.len()).unwrap();
                let mut order: Vec<usize> = (0..bytes.len().div_ceil(7000)).collect();
                order.reverse();
                for chunk in order {
                    let at = chunk * 7000;
                    digest.landed(&bytes, at, 7000.min(bytes.len() - at), false);
                }
                assert_eq!(
                    digest.finish(&bytes),
                    <[u8; 32]>::from(blake3::hash(&bytes)),
                    "{groups} groups + {edge}"
                );
            }
        }
    }

    #[test]
    fn content_that_changes_later_counts() {
        let mut bytes = pattern(3 * GROUP);
        let mut digest = TreeDigest::new(bytes.len()).unwrap();
        digest.landed(&bytes, 0, bytes.len(), false);
        bytes[GROUP + 5] ^= 1;
        digest.landed(&bytes, GROUP, 7000, true);
        assert_eq!(digest.finish(&bytes), <[u8; 32]>::from(blake3::hash(&bytes)));
    }
}
