//! A snapshot being received in a mapped file, so that what has landed outlives the process.
//!
//! Writing through a mapping where the disk has no room would end the process with SIGBUS. So disk space is reserved before
//! anything is written, in steps as chunks land: a full disk is an error like others.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::{Deref, DerefMut, Range};
use std::path::Path;

use memmap2::{MmapMut, MmapOptions};

use crate::bitmap::Bitmap;
use crate::chunking::{MAX_SNAPSHOT_CHUNK_SIZE, MAX_TOTAL_CHUNKS};
use crate::mappings::Place;
use crate::tree_digest::TreeDigest;
use crate::Error;

/// Disk space is reserved by so many bytes: what a single chunk costs.
const UNIT: usize = 64 << 10;

/// The most units reserved ahead of what lands: 16 MiB.
const AHEAD_MAX: usize = 256;

/// Whether this system can reserve disk space, without which no file is mapped.
pub const SUPPORTED: bool = cfg!(target_os = "linux");

/// The bytes of a file, zeros where nothing was written.
pub(crate) struct FileMapping {
    // Given up in this order.
    bytes: MmapMut,
    file: File,
    reserved: Bitmap,
    /// Bytes written here, by which is told how much to reserve ahead.
    written: usize,
    _place: Place,
}

impl FileMapping {
    fn new(file: File, length: usize) -> Result<Self, Error> {
        let requested = length as u64;
        let place = Place::take().ok_or(Error::OutOfMemory { requested })?;
        Ok(Self {
            bytes: map(&file, length).map_err(|_| Error::OutOfMemory { requested })?,
            file,
            reserved: Bitmap::new(length.div_ceil(UNIT))?,
            written: 0,
            _place: place,
        })
    }

    /// Bytes of disk space reserved, and the book kept of them.
    pub fn committed(&self) -> usize {
        self.reserved.count() * UNIT + self.reserved.size()
    }

    /// The units to be reserved for a write to `range`: those in which it stands, and some of the free ones behind it, of which
    /// there are at most a quarter of what came in. So who sends little, or here and there, makes this node reserve little.
    fn wanted(&self, range: &Range<usize>) -> Range<usize> {
        let units = range.start / UNIT..range.end.div_ceil(UNIT).min(self.reserved.capacity());
        let Some(first) = units.clone().find(|unit| !self.reserved.get(*unit)) else {
            return 0..0;
        };
        let most = (self.written + self.written / 4) / UNIT;
        let ahead = most.saturating_sub(self.reserved.count()).min(AHEAD_MAX);
        let next = self.reserved.find(units.end, true).unwrap_or(self.reserved.capacity());
        first..(units.end + ahead).min(next.max(units.end))
    }

    /// Bytes that a write to `range` would reserve.
    pub fn would_reserve(&self, range: &Range<usize>) -> usize {
        self.wanted(range).filter(|unit| !self.reserved.get(*unit)).count() * UNIT
    }

    /// Makes sure of the disk space for a write to `range`.
    pub fn reserve(&mut self, range: &Range<usize>) -> Result<(), Error> {
        let units = self.wanted(range);
        if !units.is_empty() {
            let end = (units.end * UNIT).min(self.bytes.len());
            allocate(&self.file, units.start * UNIT..end)?;
            for unit in units {
                self.reserved.set(unit);
            }
        }
        self.written = self.written.saturating_add(range.len());
        Ok(())
    }
}

impl Deref for FileMapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for FileMapping {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

#[allow(unsafe_code)]
fn map(file: &File, length: usize) -> io::Result<MmapMut> {
    // SAFETY: the bytes must not change, nor the file become shorter, behind the mapping's back. The file was made by
    // `SnapshotFile` or taken up by it, has at least `length` bytes, and nobody but its owner can open it (mode 0600); this
    // package only syncs and unlinks it elsewhere. Pages are written after their disk space was reserved.
    unsafe { MmapOptions::new().len(length).map_mut(file) }
}

#[cfg(target_os = "linux")]
fn allocate(file: &File, range: Range<usize>) -> Result<(), Error> {
    use rustix::fs::{fallocate, FallocateFlags};
    use rustix::io::{retry_on_intr, Errno};
    let (at, length) = (range.start as u64, range.len() as u64);
    retry_on_intr(|| fallocate(file, FallocateFlags::empty(), at, length)).map_err(|errno| match errno {
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => Error::SpoolFull { requested: length },
        errno => Error::SpoolFailed {
            what: "its disk space cannot be reserved",
            errno: errno.raw_os_error() as u32,
        },
    })
}

#[cfg(not(target_os = "linux"))]
fn allocate(_: &File, _: Range<usize>) -> Result<(), Error> {
    Err(NOT_SUPPORTED)
}

const NOT_SUPPORTED: Error = Error::SpoolFailed {
    what: "this system cannot reserve disk space for a mapped file",
    errno: 0,
};

/// A file for one snapshot, and which of its chunks stand there: chunk `i` at `i × 7,000`.
pub struct SnapshotFile {
    mapping: FileMapping,
    present: Bitmap,
    digest: TreeDigest,
    total: u32,
}

impl SnapshotFile {
    /// A new file, of which nothing takes disk space yet.
    ///
    /// # Errors
    /// `spool-full` where there is no room for another file, `spool-failed` with the system's own reason, `out-of-memory`
    /// where there are [`crate::mappings::MAPPINGS_MAX`] mappings. No file is left then.
    pub fn create(path: &Path, total: u32) -> Result<Self, Error> {
        let length = length_for(total)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        let file = private(&mut options)
            .open(path)
            .map_err(|cause| refused("it cannot be made", &cause))?;
        let made = file
            .set_len(length as u64)
            .map_err(|cause| refused("it cannot have its length", &cause))
            .and_then(|()| Self::over(file, length, total, Bitmap::new(total as usize)?));
        if made.is_err() {
            // Nothing stands in it, so what keeps it from going is not worth another error.
            let _ = std::fs::remove_file(path);
        }
        made
    }

    /// A file of an earlier life with the chunks whose bits are set in `received` ([`Bitmap::to_bytes`]), all but the last one.
    /// Reads them all, which for a large snapshot takes seconds: not for an event loop's thread.
    ///
    /// # Errors
    /// As for `create`; `spool-failed` also where the file is not that of such a snapshot or cannot be read.
    pub fn take_up(path: &Path, total: u32, received: &[u8]) -> Result<Self, Error> {
        let length = length_for(total)?;
        let mut present = Bitmap::from_bytes(received, total as usize)?.ok_or(Error::SpoolFailed {
            what: "its chunks are not those of such a snapshot",
            errno: 0,
        })?;
        // Its frame bears more than its bytes, and must come again.
        present.clear(total as usize - 1);
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let file = private(&mut options)
            .open(path)
            .map_err(|cause| refused("it cannot be opened", &cause))?;
        let meta = file
            .metadata()
            .map_err(|cause| refused("it cannot be looked at", &cause))?;
        if !meta.is_file() || meta.len() != length as u64 {
            return Err(Error::SpoolFailed {
                what: "it has not the length of such a snapshot",
                errno: 0,
            });
        }
        let mut taken = Self::over(file, length, total, present)?;
        taken.read_all()?;
        Ok(taken)
    }

    fn over(file: File, length: usize, total: u32, present: Bitmap) -> Result<Self, Error> {
        if !SUPPORTED {
            return Err(NOT_SUPPORTED);
        }
        Ok(Self {
            mapping: FileMapping::new(file, length)?,
            present,
            digest: TreeDigest::new(length)?,
            total,
        })
    }

    /// Reserves and hashes what stands there. Read by calls and not through the mapping, so that a disk that fails is an error.
    fn read_all(&mut self) -> Result<(), Error> {
        let Self {
            mapping,
            present,
            digest,
            ..
        } = self;
        let runs = || {
            let size = MAX_SNAPSHOT_CHUNK_SIZE;
            present.runs().map(move |run| run.start * size..run.end * size)
        };
        for run in runs() {
            mapping.reserve(&run)?;
        }
        let file = &mapping.file;
        digest
            .take_up(runs(), |at, bytes| read_at(file, bytes, at as u64))
            .map_err(|cause| refused("it cannot be read", &cause))
    }

    pub fn total(&self) -> u32 {
        self.total
    }

    /// How many chunks stand there.
    pub fn received(&self) -> usize {
        self.present.count()
    }

    pub(crate) fn into_parts(self) -> (FileMapping, Bitmap, TreeDigest) {
        (self.mapping, self.present, self.digest)
    }
}

fn length_for(total: u32) -> Result<usize, Error> {
    match total {
        0 => Err(Error::ZeroTotalChunks { offset: None }),
        1..=MAX_TOTAL_CHUNKS => Ok(total as usize * MAX_SNAPSHOT_CHUNK_SIZE),
        _ => Err(Error::TotalChunksTooLarge { offset: None, total }),
    }
}

fn refused(what: &'static str, cause: &io::Error) -> Error {
    match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Error::SpoolFull { requested: 0 }
        }
        _ => Error::SpoolFailed {
            what,
            errno: cause.raw_os_error().unwrap_or(0) as u32,
        },
    }
}

/// For its owner alone, and never through a link.
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::fs::OpenOptionsExt;
        let no_follow = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
        options.mode(0o600).custom_flags(no_follow)
    }
    #[cfg(not(target_os = "linux"))]
    options
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

#[cfg(not(unix))]
fn read_at(_: &File, _: &mut [u8], _: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
