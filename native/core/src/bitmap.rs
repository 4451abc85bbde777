//! A fixed number of bits, all clear at first.

use std::ops::Range;

use crate::Error;

pub struct Bitmap {
    words: Vec<u64>,
    bits: usize,
    set: usize,
}

/// A zeroed vector whose memory the allocator may refuse. Large ones come from fresh pages, which cost nothing until they
/// are written.
pub(crate) fn zeroed<T: Clone + Default>(length: usize) -> Result<Vec<T>, Error> {
    // `try_reserve` alone would tell of a refusal, but only `vec!` of zeros takes fresh pages: ask first, then take.
    let mut probe = Vec::<T>::new();
    let requested = (length.saturating_mul(size_of::<T>())) as u64;
    probe
        .try_reserve_exact(length)
        .map_err(|_| Error::OutOfMemory { requested })?;
    drop(probe);
    Ok(vec![T::default(); length])
}

impl Bitmap {
    pub fn new(bits: usize) -> Result<Self, Error> {
        Ok(Self {
            words: zeroed(bits.div_ceil(64))?,
            bits,
            set: 0,
        })
    }

    /// What [`Bitmap::to_bytes`] gave of as many bits; `None` where it cannot be that.
    pub fn from_bytes(bytes: &[u8], bits: usize) -> Result<Option<Self>, Error> {
        let mut bitmap = Self::new(bits)?;
        if bytes.len() != bitmap.size() {
            return Ok(None);
        }
        for (word, bytes) in bitmap.words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
        }
        bitmap.set = bitmap.words.iter().map(|word| word.count_ones() as usize).sum();
        let spare = bitmap.words.len() * 64 - bits;
        let unused = bitmap.words.last().map_or(0, |last| last.leading_zeros() as usize);
        Ok((unused >= spare).then_some(bitmap))
    }

    /// 64 bits at a time, little-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Bytes that the bitmap takes.
    pub fn size(&self) -> usize {
        self.words.len() * 8
    }

    /// How many bits there are.
    pub fn capacity(&self) -> usize {
        self.bits
    }

    /// How many bits are set.
    pub fn count(&self) -> usize {
        self.set
    }

    #[inline]
    pub fn get(&self, bit: usize) -> bool {
        self.words.get(bit / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }

    /// Sets a bit. True when it was clear.
    #[inline]
    pub fn set(&mut self, bit: usize) -> bool {
        if bit >= self.bits {
            return false;
        }
        let Some(word) = self.words.get_mut(bit / 64) else {
            return false;
        };
        let mask = 1 << (bit % 64);
        let fresh = *word & mask == 0;
        *word |= mask;
        self.set += usize::from(fresh);
        fresh
    }

    /// Clears a bit.
    pub fn clear(&mut self, bit: usize) {
        if self.get(bit) {
            if let Some(word) = self.words.get_mut(bit / 64) {
                *word &= !(1 << (bit % 64));
                self.set -= 1;
            }
        }
    }

    /// The runs of set bits, in order.
    pub fn runs(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let mut from = 0;
        std::iter::from_fn(move || {
            let start = self.find(from, true)?;
            from = self.find(start, false).unwrap_or(self.bits);
            Some(start..from)
        })
    }

    /// The first bit from `from` on that is set (or clear); `None` where there is none.
    pub fn find(&self, from: usize, wanted: bool) -> Option<usize> {
        let mut bit = from;
        while bit < self.bits {
            let word = self.words.get(bit / 64)?;
            let word = (if wanted { *word } else { !*word }) >> (bit % 64);
            if word != 0 {
                let found = bit + word.trailing_zeros() as usize;
                return (found < self.bits).then_some(found);
            }
            bit = (bit / 64 + 1) * 64;
        }
        None
    }
}
