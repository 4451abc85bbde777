//! Memory that is reserved at once and committed page by page as it is written.

use std::ops::{Deref, DerefMut, Range};

use memmap2::{MmapMut, MmapOptions};

use crate::bitmap::Bitmap;
use crate::Error;

/// From so many committed bytes on, memory is given back by a thread of its own: unmapping 1 GiB takes some 50 ms, which
/// the event loop would stand still for.
const RELEASE_OFF_THREAD_MIN: usize = 8 << 20;

/// Anonymous memory of a fixed size. Its pages read as zeros and cost nothing until they are written; which ones were is
/// kept count of, so that a peer is charged for what it made this node hold.
pub struct Reservation {
    map: Option<MmapMut>,
    page_size: usize,
    touched: Bitmap,
}

impl Reservation {
    /// # Errors
    /// `out-of-memory` where the system does not give the address range. `length` must be above 0.
    pub fn new(length: usize) -> Result<Self, Error> {
        let page_size = page_size::get();
        let touched = Bitmap::new(length.div_ceil(page_size))?;
        let map = MmapOptions::new().len(length).no_reserve_swap().map_anon();
        let map = map.map_err(|_| Error::OutOfMemory {
            requested: length as u64,
        })?;
        Ok(Self {
            map: Some(map),
            page_size,
            touched,
        })
    }

    /// Bytes committed: whole pages written, and the book kept of them.
    pub fn committed(&self) -> usize {
        self.touched.count() * self.page_size + self.touched.size()
    }

    fn pages(&self, range: &Range<usize>) -> Range<usize> {
        range.start / self.page_size..range.end.div_ceil(self.page_size)
    }

    /// Bytes that writing to `range` would commit over what is committed.
    pub fn would_commit(&self, range: &Range<usize>) -> usize {
        self.pages(range).filter(|page| !self.touched.get(*page)).count() * self.page_size
    }

    /// Copies `bytes` to `at`. False, with nothing done, where they do not fit.
    pub fn write(&mut self, at: usize, bytes: &[u8]) -> bool {
        let range = at..at.saturating_add(bytes.len());
        let pages = self.pages(&range);
        let Some(place) = self.map.as_mut().and_then(|map| map.get_mut(range)) else {
            return false;
        };
        place.copy_from_slice(bytes);
        for page in pages {
            self.touched.set(page);
        }
        true
    }

    /// Moves the bytes of `range` down to `to`, which must not be above its start.
    pub fn move_down(&mut self, range: Range<usize>, to: usize) {
        if let Some(map) = self.map.as_mut() {
            if to <= range.start && range.start <= range.end && range.end <= map.len() {
                map.copy_within(range, to);
            }
        }
    }
}

impl Deref for Reservation {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }
}

impl DerefMut for Reservation {
    /// For who owns the memory once it is written; what is written through here is not counted as committed.
    fn deref_mut(&mut self) -> &mut [u8] {
        self.map.as_deref_mut().unwrap_or_default()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let Some(map) = self.map.take() else { return };
        if self.committed() >= RELEASE_OFF_THREAD_MIN {
            // Where no thread can be had, the closure is dropped here, and the memory with it.
            let _ = std::thread::Builder::new()
                .name("migration-release".into())
                .spawn(move || drop(map));
        }
    }
}
