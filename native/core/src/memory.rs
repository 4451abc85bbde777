//! Memory that is reserved at once and, where it is large, committed page by page as it is written.

use std::ops::{Deref, DerefMut, Range};

use memmap2::{MmapMut, MmapOptions};

use crate::bitmap::{zeroed, Bitmap};
use crate::Error;

/// From so many committed bytes on, memory is given back by a thread of its own: unmapping 1 GiB takes some 50 ms, which
/// the event loop would stand still for.
const RELEASE_OFF_THREAD_MIN: usize = 8 << 20;

/// Up to so many bytes come from the heap, whose pages are there already: a mapping costs two system calls and a fault per
/// page, more than the copying itself. They are charged whole at once.
const HEAP_MAX: usize = 256 << 10;

enum Backing {
    Heap(Vec<u8>),
    /// `None` once its release has begun.
    Map(Option<MmapMut>),
}

/// Memory of a fixed size, zeros at first. A large one is anonymous memory whose pages cost nothing until they are written;
/// which ones were is kept count of, so that a peer is charged for what it made this node hold.
pub struct Reservation {
    backing: Backing,
    page_size: usize,
    touched: Bitmap,
}

impl Reservation {
    /// # Errors
    /// `out-of-memory` where the system does not give the memory or the address range. `length` must be above 0.
    pub fn new(length: usize) -> Result<Self, Error> {
        let page_size = page_size::get();
        if length <= HEAP_MAX {
            return Ok(Self {
                backing: Backing::Heap(zeroed(length)?),
                page_size,
                touched: Bitmap::new(0)?,
            });
        }
        let touched = Bitmap::new(length.div_ceil(page_size))?;
        let map = MmapOptions::new().len(length).no_reserve_swap().map_anon();
        let map = map.map_err(|_| Error::OutOfMemory {
            requested: length as u64,
        })?;
        Ok(Self {
            backing: Backing::Map(Some(map)),
            page_size,
            touched,
        })
    }

    /// Bytes committed: a small memory whole; of a large one the pages written, and the book kept of them.
    pub fn committed(&self) -> usize {
        match &self.backing {
            Backing::Heap(bytes) => bytes.len(),
            Backing::Map(_) => self.touched.count() * self.page_size + self.touched.size(),
        }
    }

    fn pages(&self, range: &Range<usize>) -> Range<usize> {
        range.start / self.page_size..range.end.div_ceil(self.page_size)
    }

    /// Bytes that writing to `range` would commit over what is committed.
    pub fn would_commit(&self, range: &Range<usize>) -> usize {
        match &self.backing {
            Backing::Heap(_) => 0,
            Backing::Map(_) => self.pages(range).filter(|page| !self.touched.get(*page)).count() * self.page_size,
        }
    }

    /// Copies `bytes` to `at`. False, with nothing done, where they do not fit.
    pub fn write(&mut self, at: usize, bytes: &[u8]) -> bool {
        let range = at..at.saturating_add(bytes.len());
        let pages = self.pages(&range);
        let Some(place) = self.get_mut(range) else { return false };
        place.copy_from_slice(bytes);
        for page in pages {
            self.touched.set(page);
        }
        true
    }

    /// Moves the bytes of `range` down to `to`, which must not be above its start.
    pub fn move_down(&mut self, range: Range<usize>, to: usize) {
        if to <= range.start && range.start <= range.end && range.end <= self.len() {
            self.copy_within(range, to);
        }
    }
}

impl Deref for Reservation {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.backing {
            Backing::Heap(bytes) => bytes,
            Backing::Map(map) => map.as_deref().unwrap_or_default(),
        }
    }
}

impl DerefMut for Reservation {
    /// For who owns the memory once it is written; what is written through here is not counted as committed.
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.backing {
            Backing::Heap(bytes) => bytes,
            Backing::Map(map) => map.as_deref_mut().unwrap_or_default(),
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let large = self.committed() >= RELEASE_OFF_THREAD_MIN;
        let Backing::Map(map) = &mut self.backing else { return };
        if let (true, Some(map)) = (large, map.take()) {
            // Where no thread can be had, the closure is dropped here, and the memory with it.
            let _ = std::thread::Builder::new()
                .name("migration-release".into())
                .spawn(move || drop(map));
        }
    }
}
