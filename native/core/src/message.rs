//! The ten messages and their frames (PROTOCOL.md §3).

use crate::chunking::{self, MAX_SNAPSHOT_CHUNK_SIZE, MAX_TOTAL_CHUNKS};
use crate::events::{Events, EVENTS_HEADER_SIZE};
use crate::failure::FailureReason;
use crate::link::{CausalLink, CAUSAL_LINK_SIZE};
use crate::Error;

/// The id of the migration subprotocol in a mesh's frame header.
pub const SUBPROTOCOL_MIGRATION: u16 = 0x0500;
/// Bytes of SnapshotReady before the chunk itself.
pub const SNAPSHOT_READY_HEADER_SIZE: usize = 29;
/// Bytes of MigrationFailed before what its code carries.
pub const FAILURE_HEADER_SIZE: usize = 11;
/// Bytes of MigrationFailed before a text.
const FAILURE_TEXT_OFFSET: usize = 13;

/// Name and size of the base fields up to the first variable one, by message type.
const TYPES: [(&str, usize); 10] = [
    ("TakeSnapshot", 17),
    ("SnapshotReady", SNAPSHOT_READY_HEADER_SIZE),
    ("RestoreComplete", 17),
    ("ReplayComplete", 17 + CAUSAL_LINK_SIZE),
    ("CutoverNotify", 17),
    ("CleanupComplete", 9),
    ("MigrationFailed", FAILURE_HEADER_SIZE),
    ("BufferedEvents", EVENTS_HEADER_SIZE),
    ("ActivateTarget", 9),
    ("ActivateAck", 17),
];

/// One message; bytes are borrowed from its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    TakeSnapshot {
        origin: u64,
        target_node: u64,
    },
    SnapshotReady {
        origin: u64,
        seq_through: u64,
        chunk_index: u32,
        total_chunks: u32,
        chunk: &'a [u8],
    },
    RestoreComplete {
        origin: u64,
        restored_seq: u64,
    },
    ReplayComplete {
        origin: u64,
        replayed_seq: u64,
        target_head: CausalLink,
    },
    CutoverNotify {
        origin: u64,
        target_node: u64,
    },
    CleanupComplete {
        origin: u64,
    },
    MigrationFailed {
        origin: u64,
        reason: FailureReason<'a>,
    },
    BufferedEvents {
        origin: u64,
        events: Events<'a>,
    },
    ActivateTarget {
        origin: u64,
    },
    ActivateAck {
        origin: u64,
        replayed_seq: u64,
    },
}

/// The integers of a frame whose size was checked. A field beyond the end reads as 0, which the check rules out.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    #[inline(always)]
    fn array<const N: usize>(self, at: usize) -> [u8; N] {
        self.0
            .get(at..)
            .and_then(|rest| rest.first_chunk())
            .copied()
            .unwrap_or([0; N])
    }

    #[inline(always)]
    fn u8(self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn u16(self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }

    #[inline(always)]
    fn u32(self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    #[inline(always)]
    fn u64(self, at: usize) -> u64 {
        u64::from_le_bytes(self.array(at))
    }

    /// `length` bytes at `at`, or that `what` is truncated.
    #[inline(always)]
    fn bytes(self, what: &'static str, at: usize, length: usize) -> Result<&'a [u8], Error> {
        let bytes = self.0.get(at..).and_then(|rest| rest.get(..length));
        bytes.ok_or(Error::Truncated {
            what,
            length: self.0.len() as u64,
            needed: (at + length) as u64,
        })
    }
}

/// Decodes the message in `frame`. Bytes after its last field are its trailer (PROTOCOL.md §8): `encoded_length` of the
/// message is where it begins.
#[inline]
pub fn decode(frame: &[u8]) -> Result<Message<'_>, Error> {
    let Some(&kind) = frame.first() else {
        return Err(Error::EmptyFrame);
    };
    let Some(&(what, header)) = TYPES.get(kind as usize) else {
        return Err(Error::UnknownType { found: kind });
    };
    if frame.len() < header {
        return Err(Error::Truncated {
            what,
            length: frame.len() as u64,
            needed: header as u64,
        });
    }
    let fields = Fields(frame);
    let origin = fields.u64(1);
    Ok(match kind {
        0 => Message::TakeSnapshot {
            origin,
            target_node: fields.u64(9),
        },
        1 => decode_snapshot_ready(origin, fields)?,
        2 => Message::RestoreComplete {
            origin,
            restored_seq: fields.u64(9),
        },
        3 => Message::ReplayComplete {
            origin,
            replayed_seq: fields.u64(9),
            target_head: CausalLink::from_bytes(&fields.array(17)),
        },
        4 => Message::CutoverNotify {
            origin,
            target_node: fields.u64(9),
        },
        5 => Message::CleanupComplete { origin },
        6 => Message::MigrationFailed {
            origin,
            reason: decode_failure(fields)?,
        },
        7 => Message::BufferedEvents {
            origin,
            events: Events::decode(frame)?,
        },
        8 => Message::ActivateTarget { origin },
        _ => Message::ActivateAck {
            origin,
            replayed_seq: fields.u64(9),
        },
    })
}

#[inline]
fn decode_snapshot_ready(origin: u64, fields: Fields<'_>) -> Result<Message<'_>, Error> {
    let (chunk_index, total_chunks, length) = (fields.u32(17), fields.u32(21), fields.u32(25));
    check_chunk(chunk_index, total_chunks, length.into(), true)?;
    let chunk = fields.bytes("SnapshotReady", SNAPSHOT_READY_HEADER_SIZE, length as usize)?;
    Ok(Message::SnapshotReady {
        origin,
        seq_through: fields.u64(9),
        chunk_index,
        total_chunks,
        chunk,
    })
}

/// The rules for a chunk, in the order of the reference. `on_wire`: the error names the fields' offsets in the frame.
#[inline]
pub(crate) fn check_chunk(index: u32, total: u32, length: u64, on_wire: bool) -> Result<(), Error> {
    let at = |offset: u32| on_wire.then_some(offset);
    if total == 0 {
        return Err(Error::ZeroTotalChunks { offset: at(21) });
    }
    if total > MAX_TOTAL_CHUNKS {
        return Err(Error::TotalChunksTooLarge { offset: at(21), total });
    }
    if index >= total {
        return Err(Error::ChunkIndexOutOfRange {
            offset: at(17),
            index,
            total,
        });
    }
    if length > MAX_SNAPSHOT_CHUNK_SIZE as u64 {
        return Err(Error::ChunkTooLarge { offset: at(25), length });
    }
    Ok(())
}

fn decode_failure(fields: Fields<'_>) -> Result<FailureReason<'_>, Error> {
    Ok(match fields.u16(9) {
        0 => FailureReason::NotReady,
        1 => FailureReason::FactoryNotFound,
        2 => FailureReason::ComputeNotSupported,
        3 => FailureReason::StateFailed(failure_text(fields)?),
        4 => FailureReason::AlreadyMigrating,
        5 => FailureReason::IdentityTransportFailed(failure_text(fields)?),
        6 => {
            fields.bytes("MigrationFailed", FAILURE_HEADER_SIZE, 1)?;
            FailureReason::NotReadyTimeout {
                attempts: fields.u8(FAILURE_HEADER_SIZE),
            }
        }
        code => return Err(Error::UnknownFailureCode { offset: 9, code }),
    })
}

fn failure_text(fields: Fields<'_>) -> Result<&str, Error> {
    fields.bytes("MigrationFailed", FAILURE_HEADER_SIZE, 2)?;
    let length = fields.u16(FAILURE_HEADER_SIZE);
    let text = fields.bytes("MigrationFailed", FAILURE_TEXT_OFFSET, length.into())?;
    std::str::from_utf8(text).map_err(|_| Error::InvalidUtf8 {
        offset: FAILURE_TEXT_OFFSET as u32,
        length: length.into(),
    })
}

impl Message<'_> {
    /// Byte 0 of the frame.
    pub const fn type_byte(&self) -> u8 {
        match self {
            Message::TakeSnapshot { .. } => 0,
            Message::SnapshotReady { .. } => 1,
            Message::RestoreComplete { .. } => 2,
            Message::ReplayComplete { .. } => 3,
            Message::CutoverNotify { .. } => 4,
            Message::CleanupComplete { .. } => 5,
            Message::MigrationFailed { .. } => 6,
            Message::BufferedEvents { .. } => 7,
            Message::ActivateTarget { .. } => 8,
            Message::ActivateAck { .. } => 9,
        }
    }

    pub fn name(&self) -> &'static str {
        TYPES.get(self.type_byte() as usize).map_or("", |(name, _)| name)
    }

    pub const fn origin(&self) -> u64 {
        match *self {
            Message::TakeSnapshot { origin, .. }
            | Message::SnapshotReady { origin, .. }
            | Message::RestoreComplete { origin, .. }
            | Message::ReplayComplete { origin, .. }
            | Message::CutoverNotify { origin, .. }
            | Message::CleanupComplete { origin }
            | Message::MigrationFailed { origin, .. }
            | Message::BufferedEvents { origin, .. }
            | Message::ActivateTarget { origin }
            | Message::ActivateAck { origin, .. } => origin,
        }
    }

    /// The second u64: target node, seq_through, restored_seq or replayed_seq; 0 where a message has none.
    pub const fn word(&self) -> u64 {
        match *self {
            Message::TakeSnapshot { target_node: word, .. }
            | Message::SnapshotReady { seq_through: word, .. }
            | Message::RestoreComplete { restored_seq: word, .. }
            | Message::ReplayComplete { replayed_seq: word, .. }
            | Message::CutoverNotify { target_node: word, .. }
            | Message::ActivateAck { replayed_seq: word, .. } => word,
            Message::CleanupComplete { .. }
            | Message::MigrationFailed { .. }
            | Message::BufferedEvents { .. }
            | Message::ActivateTarget { .. } => 0,
        }
    }

    /// Bytes of the base fields.
    #[inline]
    pub fn encoded_length(&self) -> usize {
        match self {
            Message::CleanupComplete { .. } | Message::ActivateTarget { .. } => 9,
            Message::TakeSnapshot { .. }
            | Message::RestoreComplete { .. }
            | Message::CutoverNotify { .. }
            | Message::ActivateAck { .. } => 17,
            Message::ReplayComplete { .. } => 17 + CAUSAL_LINK_SIZE,
            Message::SnapshotReady { chunk, .. } => SNAPSHOT_READY_HEADER_SIZE + chunk.len(),
            Message::BufferedEvents { events, .. } => EVENTS_HEADER_SIZE + events.wire_bytes().len(),
            Message::MigrationFailed { reason, .. } => match reason {
                FailureReason::StateFailed(text) | FailureReason::IdentityTransportFailed(text) => {
                    FAILURE_TEXT_OFFSET + text.len()
                }
                FailureReason::NotReadyTimeout { .. } => FAILURE_HEADER_SIZE + 1,
                _ => FAILURE_HEADER_SIZE,
            },
        }
    }

    /// Appends the frame. Refuses what no decoder takes; `out` is then as before.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        self.check()?;
        out.reserve(self.encoded_length());
        if let Message::SnapshotReady {
            origin,
            seq_through,
            chunk_index,
            total_chunks,
            chunk,
        } = *self
        {
            let header = chunking::header(origin, seq_through, chunk_index, total_chunks, chunk.len() as u32);
            out.extend_from_slice(&header);
            out.extend_from_slice(chunk);
            return Ok(());
        }
        out.push(self.type_byte());
        out.extend_from_slice(&self.origin().to_le_bytes());
        match self {
            Message::MigrationFailed { reason, .. } => encode_failure(out, reason),
            Message::BufferedEvents { events, .. } => {
                out.extend_from_slice(&events.count().to_le_bytes());
                out.extend_from_slice(events.wire_bytes());
            }
            Message::CleanupComplete { .. } | Message::ActivateTarget { .. } => {}
            Message::ReplayComplete { target_head, .. } => {
                out.extend_from_slice(&self.word().to_le_bytes());
                out.extend_from_slice(&target_head.to_bytes());
            }
            _ => out.extend_from_slice(&self.word().to_le_bytes()),
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        match self {
            Message::SnapshotReady {
                chunk_index,
                total_chunks,
                chunk,
                ..
            } => check_chunk(*chunk_index, *total_chunks, chunk.len() as u64, false),
            Message::MigrationFailed {
                reason: FailureReason::StateFailed(text) | FailureReason::IdentityTransportFailed(text),
                ..
            } if text.len() > u16::MAX.into() => Err(Error::TextTooLong {
                length: text.len() as u64,
            }),
            _ => Ok(()),
        }
    }
}

fn encode_failure(out: &mut Vec<u8>, reason: &FailureReason<'_>) {
    out.extend_from_slice(&reason.code().to_le_bytes());
    match reason {
        FailureReason::StateFailed(text) | FailureReason::IdentityTransportFailed(text) => {
            out.extend_from_slice(&(text.len() as u16).to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        FailureReason::NotReadyTimeout { attempts } => out.push(*attempts),
        _ => {}
    }
}
