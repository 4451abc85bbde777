//! A fixed number of bits, all clear at first.

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
