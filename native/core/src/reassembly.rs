//! Snapshots put together from their chunks (PROTOCOL.md §4).

use std::collections::{HashMap, VecDeque};
use std::ops::{Deref, DerefMut};

use crate::bitmap::{zeroed, Bitmap};
use crate::chunking::MAX_SNAPSHOT_CHUNK_SIZE;
use crate::columns::ColumnsMut;
use crate::memory::Reservation;
use crate::message::check_chunk;
use crate::snapshot_file::SnapshotFile;
use crate::tree_digest::TreeDigest;
use crate::Error;

/// The largest snapshot that any configuration takes: what one buffer holds.
pub const MAX_SNAPSHOT_BYTES: u64 = 1 << 32;

/// Of how many daemons without a pending snapshot the latest seq_through is remembered. Beyond it the oldest are
/// forgotten: an old snapshot of theirs would be assembled again, and refused by the ownership register.
pub const REMEMBERED_ORIGINS: usize = 65_536;

#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The largest snapshot taken, in bytes received.
    pub max_snapshot_bytes: u64,
    /// The most committed bytes over all pending snapshots.
    pub max_pending_bytes: u64,
    /// Whether a BLAKE3-256 digest is made while chunks arrive.
    pub digest: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    pub origin: u64,
    pub seq_through: u64,
    pub index: u32,
    pub total: u32,
    pub bytes: &'a [u8],
}

/// The bytes of a whole snapshot.
pub enum SnapshotBytes {
    /// Of one chunk.
    Small(Vec<u8>),
    Large {
        memory: Reservation,
        length: usize,
    },
}

impl Deref for SnapshotBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            SnapshotBytes::Small(bytes) => bytes,
            SnapshotBytes::Large { memory, length } => memory.get(..*length).unwrap_or_default(),
        }
    }
}

impl DerefMut for SnapshotBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            SnapshotBytes::Small(bytes) => bytes,
            SnapshotBytes::Large { memory, length } => memory.get_mut(..*length).unwrap_or_default(),
        }
    }
}

pub struct Assembled {
    pub origin: u64,
    pub seq_through: u64,
    pub bytes: SnapshotBytes,
    pub digest: Option<[u8; 32]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub seq_through: u64,
    pub total_chunks: u32,
    pub received_chunks: u32,
    pub received_bytes: u64,
}

/// A snapshot of which chunks are missing. Chunk `i` stands at `i × 7,000`.
struct Pending {
    seq_through: u64,
    total: u32,
    memory: Reservation,
    present: Bitmap,
    received_bytes: u64,
    last_length: usize,
    /// The length of every chunk, once one that is not the last was shorter than 7,000 bytes.
    lengths: Option<Vec<u16>>,
    digest: Option<TreeDigest>,
    progress_ms: f64,
}

impl Pending {
    fn new(chunk: &Chunk<'_>, digest: bool, now_ms: f64) -> Result<Self, Error> {
        let size = chunk.total as usize * MAX_SNAPSHOT_CHUNK_SIZE;
        Ok(Self {
            seq_through: chunk.seq_through,
            total: chunk.total,
            memory: Reservation::new(size)?,
            present: Bitmap::new(chunk.total as usize)?,
            received_bytes: 0,
            last_length: 0,
            lengths: None,
            digest: if digest { Some(TreeDigest::new(size)?) } else { None },
            progress_ms: now_ms,
        })
    }

    /// The same snapshot in a file: what stands there already, and then what is here.
    fn in_file(&self, origin: u64, file: SnapshotFile, digest: bool) -> Result<Self, Error> {
        let (mapping, present, tree) = file.into_parts();
        let mut next = Self {
            seq_through: self.seq_through,
            total: self.total,
            memory: Reservation::in_file(mapping)?,
            // The last chunk is never among them, so that all have their full length.
            received_bytes: (present.count() * MAX_SNAPSHOT_CHUNK_SIZE) as u64,
            present,
            last_length: 0,
            lengths: None,
            digest: digest.then_some(tree),
            progress_ms: self.progress_ms,
        };
        for run in self.present.runs() {
            for index in run {
                let (at, length) = (Self::place(index as u32), self.length_of(index as u32));
                let chunk = Chunk {
                    origin,
                    seq_through: self.seq_through,
                    index: index as u32,
                    total: self.total,
                    bytes: self.memory.get(at..at + length).unwrap_or_default(),
                };
                next.take(&chunk, self.progress_ms)?;
            }
        }
        Ok(next)
    }

    fn committed(&self) -> u64 {
        let books = self.present.size()
            + self
                .lengths
                .as_ref()
                .map_or(0, |lengths| lengths.len() * size_of::<u16>())
            + self.digest.as_ref().map_or(0, TreeDigest::size);
        (self.memory.committed() + books) as u64
    }

    fn place(index: u32) -> usize {
        index as usize * MAX_SNAPSHOT_CHUNK_SIZE
    }

    /// Whether the chunk is one by which lengths must be kept.
    fn is_short(&self, chunk: &Chunk<'_>) -> bool {
        chunk.index + 1 != self.total && chunk.bytes.len() < MAX_SNAPSHOT_CHUNK_SIZE
    }

    /// What the chunk would commit over what is committed.
    fn would_commit(&self, chunk: &Chunk<'_>) -> u64 {
        let at = Self::place(chunk.index);
        let pages = self.memory.would_commit(&(at..at + chunk.bytes.len()));
        let books = if self.lengths.is_none() && self.is_short(chunk) {
            self.total as usize * size_of::<u16>()
        } else {
            0
        };
        (pages + books) as u64
    }

    /// The length of a chunk that is here; 0 where it is not.
    fn length_of(&self, index: u32) -> usize {
        if !self.present.get(index as usize) {
            0
        } else if index + 1 == self.total {
            self.last_length
        } else {
            match &self.lengths {
                Some(lengths) => lengths.get(index as usize).copied().unwrap_or(0).into(),
                None => MAX_SNAPSHOT_CHUNK_SIZE,
            }
        }
    }

    /// Begins to keep every chunk's length: all that are here have 7,000 bytes so far, but for the last.
    fn keep_lengths(&mut self) -> Result<(), Error> {
        if self.lengths.is_some() {
            return Ok(());
        }
        let mut lengths: Vec<u16> = zeroed(self.total as usize)?;
        for run in self.present.runs() {
            lengths
                .get_mut(run)
                .unwrap_or_default()
                .fill(MAX_SNAPSHOT_CHUNK_SIZE as u16);
        }
        self.lengths = Some(lengths);
        Ok(())
    }

    /// Copies a chunk that was checked to its place.
    fn take(&mut self, chunk: &Chunk<'_>, now_ms: f64) -> Result<(), Error> {
        let length = chunk.bytes.len();
        let is_last = chunk.index + 1 == self.total;
        if self.is_short(chunk) {
            self.keep_lengths()?;
        }
        let before = self.length_of(chunk.index);
        let at = Self::place(chunk.index);
        let unchanged = before == length && self.memory.get(at..at + length) == Some(chunk.bytes);
        if !unchanged {
            self.memory.write(at, chunk.bytes)?;
        }
        self.received_bytes = self.received_bytes - before as u64 + length as u64;
        if is_last {
            self.last_length = length;
        } else if let Some(place) = self
            .lengths
            .as_mut()
            .and_then(|lengths| lengths.get_mut(chunk.index as usize))
        {
            *place = length as u16;
        }
        let again = !self.present.set(chunk.index as usize);
        if !again {
            self.progress_ms = now_ms;
        }
        if self.lengths.is_some() || (again && before != length) {
            // Places no longer say where bytes will stand in the end: the digest is made over the whole, then.
            self.digest = None;
        } else if let (Some(digest), false) = (&mut self.digest, unchanged) {
            digest.landed(&self.memory, at, length, again);
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.present.count() == self.total as usize
    }

    /// The whole snapshot. Where chunks were short, they are moved together first.
    fn finish(mut self, origin: u64, digest_wanted: bool) -> Assembled {
        if let Some(lengths) = self.lengths.take() {
            let mut to = 0;
            for (index, length) in lengths.iter().enumerate() {
                let from = index * MAX_SNAPSHOT_CHUNK_SIZE;
                let length = if index + 1 == self.total as usize {
                    self.last_length
                } else {
                    usize::from(*length)
                };
                self.memory.move_down(from..from + length, to);
                to += length;
            }
        }
        let length = self.received_bytes as usize;
        let bytes = SnapshotBytes::Large {
            memory: self.memory,
            length,
        };
        let digest = digest_wanted.then(|| match &mut self.digest {
            Some(digest) => digest.finish(&bytes),
            None => crate::hash::blake3(&bytes),
        });
        Assembled {
            origin,
            seq_through: self.seq_through,
            bytes,
            digest,
        }
    }
}

/// The latest seq_through of daemons that have nothing pending, the oldest forgotten first.
#[derive(Default)]
struct Remembered {
    latest: HashMap<u64, (u64, u64)>,
    /// (stamp, origin) in order; an entry whose stamp is not the map's is void.
    order: VecDeque<(u64, u64)>,
    stamp: u64,
}

impl Remembered {
    fn get(&self, origin: u64) -> Option<u64> {
        self.latest.get(&origin).map(|(seq, _)| *seq)
    }

    fn set(&mut self, origin: u64, seq: u64) {
        self.stamp += 1;
        self.latest.insert(origin, (seq, self.stamp));
        self.order.push_back((self.stamp, origin));
        let void = |latest: &HashMap<u64, (u64, u64)>, (stamp, origin): &(u64, u64)| {
            latest.get(origin).is_none_or(|(_, current)| current != stamp)
        };
        while self.latest.len() > REMEMBERED_ORIGINS {
            let Some(oldest) = self.order.pop_front() else { break };
            if !void(&self.latest, &oldest) {
                self.latest.remove(&oldest.1);
            }
        }
        if self.order.len() > 2 * self.latest.len() + 64 {
            let latest = &self.latest;
            self.order.retain(|entry| !void(latest, entry));
        }
    }

    fn remove(&mut self, origin: u64) -> bool {
        self.latest.remove(&origin).is_some()
    }
}

/// How a run of rows ended.
pub enum RunEnd {
    /// All rows were taken, or the next is not of this run: another origin or message, or refused.
    Ended,
    Completed(Assembled),
    Refused(Error),
    /// The row says that its chunk stands where the batch has no bytes: these are not the columns of that batch.
    Foreign,
}

/// Puts snapshots together: at most one pending per daemon, chunks in any order, each copied once to its place.
pub struct Reassembler {
    options: Options,
    pending: HashMap<u64, Pending>,
    pending_bytes: u64,
    remembered: Remembered,
}

impl Reassembler {
    pub fn new(options: Options) -> Self {
        let max_snapshot_bytes = options.max_snapshot_bytes.min(MAX_SNAPSHOT_BYTES);
        Self {
            options: Options {
                max_snapshot_bytes,
                ..options
            },
            pending: HashMap::new(),
            pending_bytes: 0,
            remembered: Remembered::default(),
        }
    }

    /// How many snapshots are pending.
    pub fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// Bytes committed for them: whole pages and the books kept.
    pub fn pending_bytes(&self) -> u64 {
        self.pending_bytes
    }

    /// Takes one chunk. A refused chunk changes nothing. Returns the snapshot when this was its last missing chunk.
    pub fn feed(&mut self, chunk: &Chunk<'_>, now_ms: f64) -> Result<Option<Assembled>, Error> {
        check_chunk(chunk.index, chunk.total, chunk.bytes.len() as u64, false)?;
        if chunk.bytes.is_empty() {
            return Err(Error::EmptyChunk);
        }
        match self.pending.get(&chunk.origin) {
            Some(pending) if chunk.seq_through < pending.seq_through => Err(Error::StaleSeqThrough {
                got: chunk.seq_through,
                latest: pending.seq_through,
            }),
            Some(pending) if chunk.seq_through == pending.seq_through => self.go_on(chunk, now_ms),
            Some(_) => self.begin(chunk, now_ms),
            None => match self.remembered.get(chunk.origin) {
                Some(latest) if chunk.seq_through < latest => Err(Error::StaleSeqThrough {
                    got: chunk.seq_through,
                    latest,
                }),
                _ => self.begin(chunk, now_ms),
            },
        }
    }

    /// Takes the SnapshotReady rows `from .. to` of a decoded batch, as long as they are of one daemon. Stops behind the
    /// chunk that completes a snapshot, and at one that is refused. Returns the row at which it stopped.
    pub fn feed_batch(
        &mut self,
        batch: &[u8],
        columns: &ColumnsMut<'_>,
        from: usize,
        to: usize,
        now_ms: f64,
    ) -> (usize, RunEnd) {
        let mut origin = None;
        for at in from..to {
            let Some(row) = columns.row(at) else {
                return (at, RunEnd::Ended);
            };
            if row.status != 0 || row.kind != 1 || *origin.get_or_insert(row.origin) != row.origin {
                return (at, RunEnd::Ended);
            }
            let rest = batch.get(row.payload_offset as usize..);
            let Some(bytes) = rest.and_then(|rest| rest.get(..row.payload_length as usize)) else {
                return (at, RunEnd::Foreign);
            };
            let (origin, seq_through) = (row.origin, row.word);
            match self.feed(
                &Chunk {
                    origin,
                    seq_through,
                    index: row.index,
                    total: row.total,
                    bytes,
                },
                now_ms,
            ) {
                Ok(None) => {}
                Ok(Some(whole)) => return (at + 1, RunEnd::Completed(whole)),
                Err(error) => return (at, RunEnd::Refused(error)),
            }
        }
        (to.max(from), RunEnd::Ended)
    }

    fn check_snapshot_size(&self, buffered: u64, incoming: u64) -> Result<(), Error> {
        let max = self.options.max_snapshot_bytes;
        if buffered + incoming > max {
            return Err(Error::SnapshotTooLarge {
                buffered,
                incoming,
                max,
            });
        }
        Ok(())
    }

    fn check_pending_bytes(&self, freed: u64, incoming: u64) -> Result<(), Error> {
        let max = self.options.max_pending_bytes;
        let buffered = self.pending_bytes - freed;
        if buffered + incoming > max {
            return Err(Error::TooManyPendingBytes {
                buffered,
                incoming,
                max,
            });
        }
        Ok(())
    }

    /// The first chunk of a snapshot that is newer than all before, or the same again after completion.
    fn begin(&mut self, chunk: &Chunk<'_>, now_ms: f64) -> Result<Option<Assembled>, Error> {
        self.check_snapshot_size(0, chunk.bytes.len() as u64)?;
        // Every chunk has at least one byte, so that as many chunks as the limit has bytes are the most that can fit.
        self.check_snapshot_size(0, chunk.total.into())?;
        if chunk.total == 1 {
            self.drop_pending(chunk.origin);
            self.remembered.set(chunk.origin, chunk.seq_through);
            let digest = self.options.digest.then(|| crate::hash::blake3(chunk.bytes));
            let bytes = SnapshotBytes::Small(chunk.bytes.to_vec());
            return Ok(Some(Assembled {
                origin: chunk.origin,
                seq_through: chunk.seq_through,
                bytes,
                digest,
            }));
        }
        let mut pending = Pending::new(chunk, self.options.digest, now_ms)?;
        let freed = self.pending.get(&chunk.origin).map_or(0, Pending::committed);
        self.check_pending_bytes(freed, pending.committed() + pending.would_commit(chunk))?;
        pending.take(chunk, now_ms)?;
        self.drop_pending(chunk.origin);
        self.remembered.remove(chunk.origin);
        self.pending_bytes += pending.committed();
        self.pending.insert(chunk.origin, pending);
        Ok(None)
    }

    /// A chunk of the snapshot that is pending.
    fn go_on(&mut self, chunk: &Chunk<'_>, now_ms: f64) -> Result<Option<Assembled>, Error> {
        let Some(pending) = self.pending.get(&chunk.origin) else {
            return Ok(None);
        };
        if chunk.total != pending.total {
            return Err(Error::TotalChunksMismatch {
                got: chunk.total,
                expected: pending.total,
            });
        }
        let buffered = pending.received_bytes - pending.length_of(chunk.index) as u64;
        self.check_snapshot_size(buffered, chunk.bytes.len() as u64)?;
        let incoming = pending.would_commit(chunk);
        if incoming > 0 {
            self.check_pending_bytes(0, incoming)?;
        }
        let Some(pending) = self.pending.get_mut(&chunk.origin) else {
            return Ok(None);
        };
        let before = pending.committed();
        pending.take(chunk, now_ms)?;
        self.pending_bytes = self.pending_bytes - before + pending.committed();
        if !pending.is_complete() {
            return Ok(None);
        }
        Ok(self.complete(chunk.origin))
    }

    fn complete(&mut self, origin: u64) -> Option<Assembled> {
        let whole = self.take_pending(origin)?;
        Some(whole.finish(origin, self.options.digest))
    }

    /// Takes a pending snapshot out; what it was of stays remembered.
    fn take_pending(&mut self, origin: u64) -> Option<Pending> {
        let pending = self.pending.remove(&origin)?;
        self.pending_bytes -= pending.committed();
        self.remembered.set(origin, pending.seq_through);
        Some(pending)
    }

    fn drop_pending(&mut self, origin: u64) -> bool {
        self.take_pending(origin).is_some()
    }

    pub fn progress(&self, origin: u64) -> Option<Progress> {
        self.pending.get(&origin).map(|pending| Progress {
            seq_through: pending.seq_through,
            total_chunks: pending.total,
            received_chunks: pending.present.count() as u32,
            received_bytes: pending.received_bytes,
        })
    }

    /// Up to `limit` runs `first .. end` of chunks that are not here.
    pub fn missing(&self, origin: u64, limit: usize) -> Vec<(u32, u32)> {
        let mut runs = Vec::new();
        let Some(pending) = self.pending.get(&origin) else {
            return runs;
        };
        let mut from = 0;
        while runs.len() < limit {
            let Some(first) = pending.present.find(from, false) else {
                break;
            };
            let end = pending.present.find(first, true).unwrap_or(pending.total as usize);
            runs.push((first as u32, end as u32));
            from = end;
        }
        runs
    }

    /// Goes on with what is pending in a file; a snapshot in which some chunk was short stays in memory. What is here must be
    /// little, since it is copied. Returns the snapshot where it is whole with what stood in the file. Refused, nothing changes.
    pub fn keep(&mut self, origin: u64, file: SnapshotFile) -> Result<Option<Assembled>, Error> {
        let Some(pending) = self.pending.get(&origin).filter(|pending| pending.lengths.is_none()) else {
            return Ok(None);
        };
        if file.total() != pending.total {
            return Err(Error::TotalChunksMismatch {
                got: file.total(),
                expected: pending.total,
            });
        }
        let freed = pending.committed();
        let next = pending.in_file(origin, file, self.options.digest)?;
        self.check_snapshot_size(next.received_bytes, 0)?;
        self.check_pending_bytes(freed, next.committed())?;
        self.pending_bytes = self.pending_bytes - freed + next.committed();
        let whole = next.is_complete();
        self.pending.insert(origin, next);
        Ok(whole.then(|| self.complete(origin)).flatten())
    }

    /// Which chunks of a snapshot in a file are here, as bits: all but the last, whose frame has to come again after a restart
    /// for what else it bears. `None` where nothing is pending in a file, or places do not tell lengths.
    pub fn received(&self, origin: u64) -> Option<Vec<u8>> {
        let pending = self.pending.get(&origin)?;
        if !pending.memory.is_in_file() || pending.lengths.is_some() {
            return None;
        }
        let mut bytes = pending.present.to_bytes();
        let last = pending.total as usize - 1;
        if let Some(byte) = bytes.get_mut(last / 8) {
            *byte &= !(1 << (last % 8));
        }
        Some(bytes)
    }

    /// Drops what is pending; what was remembered stays.
    pub fn cancel(&mut self, origin: u64) -> bool {
        self.drop_pending(origin)
    }

    /// Forgets a daemon wholly, so that any seq_through is taken again. False: it was not known.
    pub fn forget(&mut self, origin: u64) -> bool {
        self.drop_pending(origin);
        self.remembered.remove(origin)
    }

    /// Drops what has made no progress for `max_idle_ms` or longer. Returns how many were dropped.
    pub fn sweep(&mut self, now_ms: f64, max_idle_ms: f64) -> usize {
        let idle = |pending: &Pending| now_ms - pending.progress_ms >= max_idle_ms;
        let stale: Vec<u64> = self
            .pending
            .iter()
            .filter(|(_, pending)| idle(pending))
            .map(|(origin, _)| *origin)
            .collect();
        stale.iter().filter(|origin| self.drop_pending(**origin)).count()
    }
}
