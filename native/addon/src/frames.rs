use migration_core::columns::ColumnsMut;
use migration_core::events::{decode_columns, Events};
use migration_core::link::{CausalLink, CAUSAL_LINK_SIZE};
use migration_core::message::{self, Message};
use migration_core::{chunking, Error};
use napi::bindgen_prelude::{BigInt, Uint8ArraySlice};
use napi_derive::napi;

use crate::bytes::{word, writable, writable_whole};
use crate::errors::{misuse, refusal, Refusal};

fn columns(memory: &mut [u8]) -> Result<ColumnsMut<'_>, Refusal> {
    ColumnsMut::new(memory).ok_or_else(|| misuse("memory is not that of columns"))
}

/// Decodes a batch into columns. Returns rows × 2^32 + the offset at which the next call goes on, or where the batch has
/// 2^32 bytes or more, which row offsets cannot name, −1.
#[napi(catch_unwind)]
pub fn decode_batch(batch: &[u8], mut memory: Uint8ArraySlice<'_>, start: u32) -> Result<f64, Refusal> {
    let memory = writable(&mut memory);
    if u32::try_from(batch.len()).is_err() {
        return Ok(-1.0);
    }
    let end = columns(memory)?.decode_batch(batch, start as usize);
    Ok(end.rows as f64 * 4_294_967_296.0 + end.next as f64)
}

/// Bytes that `encodeBatch` writes for rows `0 .. rows`; −1 − row for the first row whose message has no fixed size.
#[napi(catch_unwind)]
pub fn measure_batch(mut memory: Uint8ArraySlice<'_>, rows: u32) -> Result<f64, Refusal> {
    let memory = writable(&mut memory);
    Ok(match columns(memory)?.measure_batch(rows as usize) {
        Ok(bytes) => bytes as f64,
        Err(row) => -1.0 - row as f64,
    })
}

/// Writes rows `0 .. rows`, which were measured, into `target`.
#[napi(catch_unwind)]
pub fn encode_batch(
    mut memory: Uint8ArraySlice<'_>,
    rows: u32,
    mut target: Uint8ArraySlice<'_>,
) -> Result<(), Refusal> {
    let memory = writable(&mut memory);
    let target = writable(&mut target);
    columns(memory)?.encode_batch(rows as usize, target);
    Ok(())
}

/// Writes the SnapshotReady headers of chunks `first .. first + count`.
#[napi(catch_unwind)]
pub fn write_chunk_headers(
    mut headers: Uint8ArraySlice<'_>,
    origin: BigInt,
    seq_through: BigInt,
    snapshot_length: f64,
    first: u32,
    count: u32,
) -> Result<(), Refusal> {
    let headers = writable(&mut headers);
    let length = snapshot_length as u64;
    chunking::write_headers(headers, word(&origin), word(&seq_through), length, first, count).map_err(refusal)
}

fn events_of(frame: &[u8]) -> Result<Events<'_>, Refusal> {
    match message::decode(frame).map_err(refusal)? {
        Message::BufferedEvents { events, .. } => Ok(events),
        other => Err(refusal(Error::UnknownType {
            found: other.type_byte(),
        })),
    }
}

/// Fills `memory` with the columns of a BufferedEvents frame (type 7). It has room for exactly the count at byte 9.
#[napi(catch_unwind)]
pub fn decode_events(frame: &[u8], mut memory: Uint8ArraySlice<'_>) -> Result<(), Refusal> {
    let memory = writable_whole(&mut memory);
    match decode_columns(frame, memory).map_err(refusal)? {
        true => Ok(()),
        false => Err(misuse("memory has not the size of the events")),
    }
}

pub fn link(bytes: &[u8]) -> Result<&[u8; CAUSAL_LINK_SIZE], Refusal> {
    bytes.try_into().map_err(|_| misuse("a link has 32 bytes"))
}

/// How many events of a BufferedEvents frame, from the first, continue the chain after `previous`.
#[napi(catch_unwind)]
pub fn verify_frame_chain(previous: &[u8], previous_payload: &[u8], frame: &[u8]) -> Result<u32, Refusal> {
    let previous = CausalLink::from_bytes(link(previous)?);
    Ok(events_of(frame)?.verify_chain(previous, previous_payload))
}
