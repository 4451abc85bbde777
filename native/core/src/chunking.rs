//! How a snapshot is cut (PROTOCOL.md §3, §4).

use crate::message::SNAPSHOT_READY_HEADER_SIZE;
use crate::Error;

/// The largest chunk of a snapshot, and the largest payload of a buffered event, in bytes.
pub const MAX_SNAPSHOT_CHUNK_SIZE: usize = 7_000;
/// The largest `total_chunks` that a decoder takes.
pub const MAX_TOTAL_CHUNKS: u32 = 700_000;

/// Chunks that a snapshot of `length` bytes takes: at least one.
pub fn chunk_count(length: u64) -> u64 {
    length.div_ceil(MAX_SNAPSHOT_CHUNK_SIZE as u64).max(1)
}

/// Bytes of chunk `index`; 0 beyond the end.
pub fn chunk_length(length: u64, index: u64) -> u64 {
    let size = MAX_SNAPSHOT_CHUNK_SIZE as u64;
    length.saturating_sub(index.saturating_mul(size)).min(size)
}

/// Writes the SnapshotReady headers of chunks `first .. first + count` one after another into `headers`. The payloads are
/// slices of the snapshot, which is not touched.
pub fn write_headers(
    headers: &mut [u8],
    origin: u64,
    seq_through: u64,
    snapshot_length: u64,
    first: u32,
    count: u32,
) -> Result<(), Error> {
    let total = chunk_count(snapshot_length);
    let too_large = |total| Error::TotalChunksTooLarge { offset: None, total };
    let total = u32::try_from(total).map_err(|_| too_large(u32::MAX))?;
    if total > MAX_TOTAL_CHUNKS {
        return Err(too_large(total));
    }
    let end = first.saturating_add(count);
    if end > total {
        return Err(Error::ChunkIndexOutOfRange {
            offset: None,
            index: end - 1,
            total,
        });
    }
    let (places, _) = headers.as_chunks_mut::<SNAPSHOT_READY_HEADER_SIZE>();
    if places.len() < count as usize {
        return Err(Error::Truncated {
            what: "headers",
            length: headers.len() as u64,
            needed: u64::from(count) * SNAPSHOT_READY_HEADER_SIZE as u64,
        });
    }
    for (place, index) in places.iter_mut().zip(first..end) {
        let length = chunk_length(snapshot_length, index.into()) as u32;
        *place = header(origin, seq_through, index, total, length);
    }
    Ok(())
}

/// The base fields of a SnapshotReady before the chunk itself.
#[inline]
pub(crate) fn header(
    origin: u64,
    seq_through: u64,
    index: u32,
    total: u32,
    length: u32,
) -> [u8; SNAPSHOT_READY_HEADER_SIZE] {
    let mut bytes = [0; SNAPSHOT_READY_HEADER_SIZE];
    bytes[0] = 1;
    bytes[1..9].copy_from_slice(&origin.to_le_bytes());
    bytes[9..17].copy_from_slice(&seq_through.to_le_bytes());
    bytes[17..21].copy_from_slice(&index.to_le_bytes());
    bytes[21..25].copy_from_slice(&total.to_le_bytes());
    bytes[25..29].copy_from_slice(&length.to_le_bytes());
    bytes
}
