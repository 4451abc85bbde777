//! Memory that is reserved at once and, where it is large, committed page by page as it is written.

use std::ops::{Deref, DerefMut, Range};

use memmap2::{MmapMut, MmapOptions};

use crate::bitmap::{zeroed, Bitmap};
use crate::mappings::Place;
use crate::snapshot_file::FileMapping;
use crate::Error;

/// From so many committed bytes on, memory is given back by a thread of its own: unmapping 1 GiB takes some 50 ms, which
/// the event loop would stand still for.
const RELEASE_OFF_THREAD_MIN: usize = 8 << 20;

/// Up to so many bytes come from the heap, whose pages are there already: a mapping costs two system calls and a fault per
/// page, more than the copying itself. They are charged whole at once.
const HEAP_MAX: usize = 256 << 10;

/// Bytes of a huge page where pages have 4 KiB.
const HUGE_PAGE: usize = 2 << 20;

/// Huge pages are asked for once so many bytes were written.
const HUGE_PAGES_FROM: usize = 4 << 20;

/// A mapping, and the place that it takes: given up after it, as fields are dropped in order.
struct Mapping {
    bytes: MmapMut,
    _place: Place,
}

impl Mapping {
    fn new(length: usize) -> Option<Self> {
        let place = Place::take()?;
        let bytes = MmapOptions::new().len(length).no_reserve_swap().map_anon().ok()?;
        Some(Self { bytes, _place: place })
    }
}

enum Backing {
    Heap(Vec<u8>),
    /// `None` once its release has begun.
    Map(Option<Mapping>),
    /// The same.
    File(Option<FileMapping>),
}

/// Memory of a fixed size, zeros at first. A large one is anonymous memory whose pages cost nothing until they are written;
/// which ones were is kept count of, so that a peer is charged for what it made this node hold.
pub struct Reservation {
    backing: Backing,
    page_size: usize,
    touched: Bitmap,
    huge: HugePages,
}

/// Which parts of a mapping come in huge pages. A fault per 4 KiB costs as much as the copying, a fault per 2 MiB nearly
/// nothing; but a huge page is committed whole by its first byte, so that it is asked for only where enough has come in.
struct HugePages {
    /// Offset in the memory at which the first huge page could begin.
    first: usize,
    /// The huge pages in which something stands already, or whose place was asked for.
    begun: Bitmap,
    /// Bytes written to the memory.
    written: usize,
}

impl HugePages {
    fn new(memory: &[u8], page_size: usize) -> Result<Self, Error> {
        let first = (memory.as_ptr() as usize).wrapping_neg() % HUGE_PAGE;
        let count = match page_size {
            4096 => memory.len().saturating_sub(first) / HUGE_PAGE,
            _ => 0,
        };
        Ok(Self {
            first,
            begun: Bitmap::new(count)?,
            written: 0,
        })
    }

    fn number(&self, at: usize) -> Option<usize> {
        Some(at.checked_sub(self.first)? / HUGE_PAGE)
    }

    /// The place of the huge page in which a write to `range` ends, where it is worth it: nothing stands in it yet, and what
    /// is committed with it is at most half more than what came in.
    fn wanted(&self, range: &Range<usize>, committed: usize) -> Option<Range<usize>> {
        let number = self.number(range.end.checked_sub(1)?)?;
        let is_ahead = committed + HUGE_PAGE > self.written + self.written / 2;
        if self.written < HUGE_PAGES_FROM || is_ahead || number >= self.begun.capacity() || self.begun.get(number) {
            return None;
        }
        let start = self.first + number * HUGE_PAGE;
        Some(start..start + HUGE_PAGE)
    }

    fn wrote(&mut self, range: &Range<usize>) {
        self.written = self.written.saturating_add(range.len());
        for at in [range.start, range.end.saturating_sub(1)] {
            if let Some(number) = self.number(at) {
                self.begun.set(number);
            }
        }
    }
}

impl Reservation {
    /// # Errors
    /// `out-of-memory` where the system does not give the memory or the address range, or where there are [`crate::mappings::MAPPINGS_MAX`]
    /// large ones. `length` must be above 0.
    pub fn new(length: usize) -> Result<Self, Error> {
        let page_size = page_size::get();
        if length <= HEAP_MAX {
            return Ok(Self {
                backing: Backing::Heap(zeroed(length)?),
                page_size,
                touched: Bitmap::new(0)?,
                huge: HugePages::new(&[], page_size)?,
            });
        }
        let touched = Bitmap::new(length.div_ceil(page_size))?;
        let map = Mapping::new(length).ok_or(Error::OutOfMemory {
            requested: length as u64,
        })?;
        Ok(Self {
            huge: HugePages::new(&map.bytes, page_size)?,
            backing: Backing::Map(Some(map)),
            page_size,
            touched,
        })
    }

    /// Memory in a file, and what stands there already.
    pub(crate) fn in_file(mapping: FileMapping) -> Result<Self, Error> {
        let page_size = page_size::get();
        Ok(Self {
            backing: Backing::File(Some(mapping)),
            page_size,
            touched: Bitmap::new(0)?,
            huge: HugePages::new(&[], page_size)?,
        })
    }

    pub fn is_in_file(&self) -> bool {
        matches!(self.backing, Backing::File(_))
    }

    /// Bytes committed: a small memory whole; of a large one the pages written (in a file: the disk space reserved), and the
    /// book kept of them.
    pub fn committed(&self) -> usize {
        match &self.backing {
            Backing::File(file) => file.as_ref().map_or(0, FileMapping::committed),
            Backing::Heap(bytes) => bytes.len(),
            Backing::Map(_) => self.touched.count() * self.page_size + self.touched.size() + self.huge.begun.size(),
        }
    }

    /// The pages in which a write to `range` stands, and those of the huge page that would come with it.
    fn pages(&self, range: &Range<usize>, huge: Option<&Range<usize>>) -> Range<usize> {
        let whole = huge.map_or(range.clone(), |huge| {
            range.start.min(huge.start)..range.end.max(huge.end)
        });
        whole.start / self.page_size..whole.end.div_ceil(self.page_size)
    }

    fn huge_page(&self, range: &Range<usize>) -> Option<Range<usize>> {
        self.huge.wanted(range, self.touched.count() * self.page_size)
    }

    /// Bytes that writing to `range` would commit over what is committed.
    pub fn would_commit(&self, range: &Range<usize>) -> usize {
        match &self.backing {
            Backing::Heap(_) => 0,
            Backing::File(file) => file.as_ref().map_or(0, |file| file.would_reserve(range)),
            Backing::Map(_) => {
                let pages = self.pages(range, self.huge_page(range).as_ref());
                pages.filter(|page| !self.touched.get(*page)).count() * self.page_size
            }
        }
    }

    /// Copies `bytes` to `at`. Nothing is done where they do not fit, or where a file finds no room.
    pub fn write(&mut self, at: usize, bytes: &[u8]) -> Result<(), Error> {
        let range = at..at.saturating_add(bytes.len());
        let huge = self.huge_page(&range);
        match &mut self.backing {
            Backing::Map(Some(map)) => {
                if let Some(huge) = &huge {
                    ask_for_huge_page(&map.bytes, huge);
                }
            }
            Backing::File(Some(file)) => file.reserve(&range)?,
            _ => {}
        }
        let pages = self.pages(&range, huge.as_ref());
        let Some(place) = self.get_mut(range.clone()) else {
            return Err(Error::OutOfMemory {
                requested: bytes.len() as u64,
            });
        };
        place.copy_from_slice(bytes);
        for page in pages {
            self.touched.set(page);
        }
        self.huge.wrote(&range);
        Ok(())
    }

    /// Moves the bytes of `range` down to `to`, which must not be above its start.
    pub fn move_down(&mut self, range: Range<usize>, to: usize) {
        if to <= range.start && range.start <= range.end && range.end <= self.len() {
            self.copy_within(range, to);
        }
    }
}

/// A wish: where the system refuses or has none, the place gets common pages, and is charged for as if it were whole.
fn ask_for_huge_page(map: &MmapMut, place: &Range<usize>) {
    #[cfg(target_os = "linux")]
    let _ = map.advise_range(memmap2::Advice::HugePage, place.start, place.len());
    #[cfg(not(target_os = "linux"))]
    let _ = (map, place);
}

impl Deref for Reservation {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.backing {
            Backing::Heap(bytes) => bytes,
            Backing::Map(map) => map.as_ref().map_or(&[], |map| &map.bytes),
            Backing::File(file) => file.as_deref().unwrap_or_default(),
        }
    }
}

impl DerefMut for Reservation {
    /// For who owns the memory once it is written; what is written through here is not counted as committed.
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.backing {
            Backing::Heap(bytes) => bytes,
            Backing::Map(map) => map.as_mut().map_or(&mut [], |map| &mut map.bytes),
            Backing::File(file) => file.as_deref_mut().unwrap_or_default(),
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.committed() < RELEASE_OFF_THREAD_MIN {
            return;
        }
        match &mut self.backing {
            Backing::Heap(_) => {}
            Backing::Map(map) => release_beside(map.take()),
            Backing::File(file) => release_beside(file.take()),
        }
    }
}

/// Drops it on a thread of its own. Where none can be had, the closure is dropped here, and the memory with it.
fn release_beside<T: Send + 'static>(memory: T) {
    let thread = std::thread::Builder::new().name("migration-release".into());
    let _ = thread.spawn(move || drop(memory));
}
