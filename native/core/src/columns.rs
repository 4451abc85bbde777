//! Many frames at once, as columns: what `lib/wire/columns.ts` (`FrameColumns`) describes.

use crate::events::EVENTS_HEADER_SIZE;
use crate::failure::FailureReason;
use crate::message::{self, Message, FAILURE_HEADER_SIZE, SNAPSHOT_READY_HEADER_SIZE};
use crate::Error;

/// Bytes per row over all columns.
pub const ROW_SIZE: usize = 2 * 8 + 7 * 4 + 2;
/// Bytes of the length in front of each frame of a batch.
pub const LENGTH_PREFIX_SIZE: usize = 4;

type Words<'a> = &'a mut [[u8; 8]];
type Halves<'a> = &'a mut [[u8; 4]];

/// The columns over one memory, in the order and at the offsets of `FrameColumns.layout`, in native byte order. Made of
/// byte arrays, so that the memory may stand at any address.
pub struct ColumnsMut<'a> {
    origin: Words<'a>,
    word: Words<'a>,
    frame_offset: Halves<'a>,
    frame_length: Halves<'a>,
    base_length: Halves<'a>,
    index: Halves<'a>,
    total: Halves<'a>,
    payload_offset: Halves<'a>,
    payload_length: Halves<'a>,
    status: &'a mut [u8],
    kind: &'a mut [u8],
}

/// One row, read back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    pub origin: u64,
    pub word: u64,
    pub frame_offset: u32,
    pub frame_length: u32,
    pub base_length: u32,
    pub index: u32,
    pub total: u32,
    pub payload_offset: u32,
    pub payload_length: u32,
    pub status: u8,
    pub kind: u8,
}

/// Where a batch was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchEnd {
    /// Rows filled.
    pub rows: usize,
    /// The offset at which the next call goes on.
    pub next: usize,
}

impl<'a> ColumnsMut<'a> {
    /// The columns of `memory.len() / ROW_SIZE` rows. None where that is not whole.
    pub fn new(memory: &'a mut [u8]) -> Option<Self> {
        if !memory.len().is_multiple_of(ROW_SIZE) {
            return None;
        }
        let rows = memory.len() / ROW_SIZE;
        let (origin, rest) = memory.split_at_mut_checked(8 * rows)?;
        let (word, rest) = rest.split_at_mut_checked(8 * rows)?;
        let (frame_offset, rest) = rest.split_at_mut_checked(4 * rows)?;
        let (frame_length, rest) = rest.split_at_mut_checked(4 * rows)?;
        let (base_length, rest) = rest.split_at_mut_checked(4 * rows)?;
        let (index, rest) = rest.split_at_mut_checked(4 * rows)?;
        let (total, rest) = rest.split_at_mut_checked(4 * rows)?;
        let (payload_offset, rest) = rest.split_at_mut_checked(4 * rows)?;
        let (payload_length, rest) = rest.split_at_mut_checked(4 * rows)?;
        let (status, kind) = rest.split_at_mut_checked(rows)?;
        Some(Self {
            origin: origin.as_chunks_mut().0,
            word: word.as_chunks_mut().0,
            frame_offset: frame_offset.as_chunks_mut().0,
            frame_length: frame_length.as_chunks_mut().0,
            base_length: base_length.as_chunks_mut().0,
            index: index.as_chunks_mut().0,
            total: total.as_chunks_mut().0,
            payload_offset: payload_offset.as_chunks_mut().0,
            payload_length: payload_length.as_chunks_mut().0,
            status,
            kind,
        })
    }

    pub fn capacity(&self) -> usize {
        self.kind.len()
    }

    /// Row `i`; None beyond the capacity.
    #[inline]
    pub fn row(&self, i: usize) -> Option<Row> {
        Some(Row {
            origin: u64::from_ne_bytes(*self.origin.get(i)?),
            word: u64::from_ne_bytes(*self.word.get(i)?),
            frame_offset: u32::from_ne_bytes(*self.frame_offset.get(i)?),
            frame_length: u32::from_ne_bytes(*self.frame_length.get(i)?),
            base_length: u32::from_ne_bytes(*self.base_length.get(i)?),
            index: u32::from_ne_bytes(*self.index.get(i)?),
            total: u32::from_ne_bytes(*self.total.get(i)?),
            payload_offset: u32::from_ne_bytes(*self.payload_offset.get(i)?),
            payload_length: u32::from_ne_bytes(*self.payload_length.get(i)?),
            status: *self.status.get(i)?,
            kind: *self.kind.get(i)?,
        })
    }

    /// Overwrites row `i`; false beyond the capacity.
    #[inline(always)]
    fn set(&mut self, i: usize, row: Row) -> bool {
        let Some(kind) = self.kind.get_mut(i) else { return false };
        *kind = row.kind;
        let halves = [
            (&mut self.frame_offset, row.frame_offset),
            (&mut self.frame_length, row.frame_length),
            (&mut self.base_length, row.base_length),
            (&mut self.index, row.index),
            (&mut self.total, row.total),
            (&mut self.payload_offset, row.payload_offset),
            (&mut self.payload_length, row.payload_length),
        ];
        for (column, value) in halves {
            if let Some(place) = column.get_mut(i) {
                *place = value.to_ne_bytes();
            }
        }
        for (column, value) in [(&mut self.origin, row.origin), (&mut self.word, row.word)] {
            if let Some(place) = column.get_mut(i) {
                *place = value.to_ne_bytes();
            }
        }
        if let Some(place) = self.status.get_mut(i) {
            *place = row.status;
        }
        true
    }

    /// Decodes the frames of `batch` from `start` on, each behind its length as u32, into rows from 0 on. A refused frame
    /// takes a row with its status. Stops at the end of the batch, at a frame that is not whole, or when the columns are
    /// full.
    pub fn decode_batch(&mut self, batch: &[u8], start: usize) -> BatchEnd {
        let mut rows = 0;
        let mut next = start;
        let mut rest = batch.get(start..).unwrap_or_default();
        while let Some((length, after)) = rest.split_first_chunk::<LENGTH_PREFIX_SIZE>() {
            let Some((frame, after)) = after.split_at_checked(u32::from_le_bytes(*length) as usize) else {
                break;
            };
            let at = next + LENGTH_PREFIX_SIZE;
            if !self.set(rows, decode_row(frame, at)) {
                break;
            }
            rows += 1;
            next = at + frame.len();
            rest = after;
        }
        BatchEnd { rows, next }
    }

    /// Bytes that [`Self::encode_batch`] writes for rows `0 .. rows`; the first row whose message has no fixed size is the
    /// error.
    pub fn measure_batch(&self, rows: usize) -> Result<usize, usize> {
        let mut sizes = self.kind.iter().take(rows).enumerate();
        sizes.try_fold(0, |sum, (row, kind)| {
            Ok(sum + LENGTH_PREFIX_SIZE + fixed_size(*kind).ok_or(row)?)
        })
    }

    /// Writes rows `0 .. rows`, which hold messages of fixed size, each behind its length, into `target`, which has room
    /// for what [`Self::measure_batch`] says.
    pub fn encode_batch(&self, rows: usize, target: &mut [u8]) {
        let mut rest = target;
        for ((&kind, origin), word) in self
            .kind
            .iter()
            .zip(self.origin.iter())
            .zip(self.word.iter())
            .take(rows)
        {
            let Some(size) = fixed_size(kind) else { return };
            let room = std::mem::take(&mut rest).split_at_mut_checked(LENGTH_PREFIX_SIZE + size);
            let Some((frame, after)) = room else { return };
            write_fixed(frame, kind, u64::from_ne_bytes(*origin), u64::from_ne_bytes(*word));
            rest = after;
        }
    }
}

/// Bytes of a message that [`ColumnsMut::encode_batch`] writes.
fn fixed_size(kind: u8) -> Option<usize> {
    match kind {
        0 | 2 | 4 | 9 => Some(17),
        5 | 8 => Some(9),
        _ => None,
    }
}

/// Fills `frame`, which has room for the length and the message, by its size.
#[inline]
fn write_fixed(frame: &mut [u8], kind: u8, origin: u64, word: u64) {
    let size = (frame.len() - LENGTH_PREFIX_SIZE) as u32;
    if let Some((head, tail)) = frame.split_first_chunk_mut::<{ LENGTH_PREFIX_SIZE + 9 }>() {
        head[..4].copy_from_slice(&size.to_le_bytes());
        head[4] = kind;
        head[5..].copy_from_slice(&origin.to_le_bytes());
        if let Some(place) = tail.first_chunk_mut() {
            *place = word.to_le_bytes();
        }
    }
}

/// The row of the frame that stands at `at` in its batch.
#[inline]
pub fn decode_row(frame: &[u8], at: usize) -> Row {
    let frame_only = Row {
        frame_offset: at as u32,
        frame_length: frame.len() as u32,
        kind: frame.first().copied().unwrap_or(0),
        ..Row::default()
    };
    match message::decode(frame) {
        Ok(decoded) => accepted(frame_only, &decoded, at),
        Err(error) => refused(frame_only, &error),
    }
}

#[cold]
fn refused(frame_only: Row, error: &Error) -> Row {
    Row {
        status: error.kind().status(),
        ..frame_only
    }
}

#[inline]
fn accepted(frame_only: Row, message: &Message<'_>, at: usize) -> Row {
    let base_length = message.encoded_length();
    let row = Row {
        origin: message.origin(),
        word: message.word(),
        base_length: base_length as u32,
        ..frame_only
    };
    let part = |index: u32, total: u32, offset: usize, length: usize| Row {
        index,
        total,
        payload_offset: (at + offset) as u32,
        payload_length: length as u32,
        ..row
    };
    match message {
        Message::SnapshotReady {
            chunk_index,
            total_chunks,
            chunk,
            ..
        } => part(*chunk_index, *total_chunks, SNAPSHOT_READY_HEADER_SIZE, chunk.len()),
        Message::ReplayComplete { .. } => part(0, 0, 17, crate::link::CAUSAL_LINK_SIZE),
        Message::BufferedEvents { events, .. } => {
            part(events.count(), 0, EVENTS_HEADER_SIZE, base_length - EVENTS_HEADER_SIZE)
        }
        Message::MigrationFailed { reason, .. } => match reason {
            FailureReason::StateFailed(text) | FailureReason::IdentityTransportFailed(text) => {
                part(reason.code().into(), 0, FAILURE_HEADER_SIZE + 2, text.len())
            }
            FailureReason::NotReadyTimeout { attempts } => Row {
                index: reason.code().into(),
                total: (*attempts).into(),
                ..row
            },
            _ => Row {
                index: reason.code().into(),
                ..row
            },
        },
        _ => row,
    }
}
