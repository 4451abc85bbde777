//! Why bytes or arguments are refused.

use std::fmt;

use crate::mappings::MAPPINGS_MAX;

/// What was wrong: the kinds of `CODEC_ERROR_KINDS` in `lib/errors.ts`, in its order, then those that are no codec's.
/// A status in [`crate::columns`] is 1 + the place in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ErrorKind {
    EmptyFrame,
    UnknownType,
    UnknownFailureCode,
    Truncated,
    InvalidUtf8,
    TextTooLong,
    ZeroTotalChunks,
    TotalChunksTooLarge,
    ChunkIndexOutOfRange,
    ChunkTooLarge,
    EventTooLarge,
    EventCountTooLarge,
    SequenceOverflow,
    BadMagic,
    UnsupportedVersion,
    TrailingBytes,
    BadEnvelopeFlag,
    SeqMismatch,
    OriginMismatch,
    StateTooLarge,
    BindingsTooLarge,
    BindingCountTooLarge,
    BadTokenFlag,
    TokenTooLong,
    ChannelNameEmpty,
    ChannelNameTooLong,
    ChannelNameInvalidChar,
    ChannelNameInvalidFormat,
    EmptyChunk,
    StaleSeqThrough,
    TotalChunksMismatch,
    SnapshotTooLarge,
    TooManyPendingBytes,
    OutOfMemory,
    Disposed,
    BufferFull,
    SpoolFull,
    SpoolFailed,
}

/// Kinds that are codec kinds: all before `buffer-full`.
pub const CODEC_KINDS: usize = ErrorKind::BufferFull as usize;

impl ErrorKind {
    pub const ALL: [ErrorKind; CODEC_KINDS + 3] = {
        use ErrorKind::*;
        [
            EmptyFrame,
            UnknownType,
            UnknownFailureCode,
            Truncated,
            InvalidUtf8,
            TextTooLong,
            ZeroTotalChunks,
            TotalChunksTooLarge,
            ChunkIndexOutOfRange,
            ChunkTooLarge,
            EventTooLarge,
            EventCountTooLarge,
            SequenceOverflow,
            BadMagic,
            UnsupportedVersion,
            TrailingBytes,
            BadEnvelopeFlag,
            SeqMismatch,
            OriginMismatch,
            StateTooLarge,
            BindingsTooLarge,
            BindingCountTooLarge,
            BadTokenFlag,
            TokenTooLong,
            ChannelNameEmpty,
            ChannelNameTooLong,
            ChannelNameInvalidChar,
            ChannelNameInvalidFormat,
            EmptyChunk,
            StaleSeqThrough,
            TotalChunksMismatch,
            SnapshotTooLarge,
            TooManyPendingBytes,
            OutOfMemory,
            Disposed,
            BufferFull,
            SpoolFull,
            SpoolFailed,
        ]
    };

    /// The kind as `lib/errors.ts` spells it.
    pub const fn name(self) -> &'static str {
        match self {
            ErrorKind::EmptyFrame => "empty-frame",
            ErrorKind::UnknownType => "unknown-type",
            ErrorKind::UnknownFailureCode => "unknown-failure-code",
            ErrorKind::Truncated => "truncated",
            ErrorKind::InvalidUtf8 => "invalid-utf8",
            ErrorKind::TextTooLong => "text-too-long",
            ErrorKind::ZeroTotalChunks => "zero-total-chunks",
            ErrorKind::TotalChunksTooLarge => "total-chunks-too-large",
            ErrorKind::ChunkIndexOutOfRange => "chunk-index-out-of-range",
            ErrorKind::ChunkTooLarge => "chunk-too-large",
            ErrorKind::EventTooLarge => "event-too-large",
            ErrorKind::EventCountTooLarge => "event-count-too-large",
            ErrorKind::SequenceOverflow => "sequence-overflow",
            ErrorKind::BadMagic => "bad-magic",
            ErrorKind::UnsupportedVersion => "unsupported-version",
            ErrorKind::TrailingBytes => "trailing-bytes",
            ErrorKind::BadEnvelopeFlag => "bad-envelope-flag",
            ErrorKind::SeqMismatch => "seq-mismatch",
            ErrorKind::OriginMismatch => "origin-mismatch",
            ErrorKind::StateTooLarge => "state-too-large",
            ErrorKind::BindingsTooLarge => "bindings-too-large",
            ErrorKind::BindingCountTooLarge => "binding-count-too-large",
            ErrorKind::BadTokenFlag => "bad-token-flag",
            ErrorKind::TokenTooLong => "token-too-long",
            ErrorKind::ChannelNameEmpty => "channel-name-empty",
            ErrorKind::ChannelNameTooLong => "channel-name-too-long",
            ErrorKind::ChannelNameInvalidChar => "channel-name-invalid-char",
            ErrorKind::ChannelNameInvalidFormat => "channel-name-invalid-format",
            ErrorKind::EmptyChunk => "empty-chunk",
            ErrorKind::StaleSeqThrough => "stale-seq-through",
            ErrorKind::TotalChunksMismatch => "total-chunks-mismatch",
            ErrorKind::SnapshotTooLarge => "snapshot-too-large",
            ErrorKind::TooManyPendingBytes => "too-many-pending-bytes",
            ErrorKind::OutOfMemory => "out-of-memory",
            ErrorKind::Disposed => "disposed",
            ErrorKind::BufferFull => "buffer-full",
            ErrorKind::SpoolFull => "spool-full",
            ErrorKind::SpoolFailed => "spool-failed",
        }
    }

    /// How a refused row of the columns names this kind.
    pub const fn status(self) -> u8 {
        self as u8 + 1
    }
}

/// A value that an error names. `Number` is a `number` in JavaScript (a length, an offset, a count), `U64` a `bigint`
/// (a sequence, an origin).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    Number(u64),
    U64(u64),
}

/// A refusal. Cheap to make and to copy: its text is made when it is asked for. Offsets count from the first byte of what
/// was being decoded; where there is none, an argument was refused and not bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    EmptyFrame,
    UnknownType {
        found: u8,
    },
    UnknownFailureCode {
        offset: u32,
        code: u16,
    },
    /// `what` ended after `length` bytes; its fields need `needed`.
    Truncated {
        what: &'static str,
        length: u64,
        needed: u64,
    },
    InvalidUtf8 {
        offset: u32,
        length: u32,
    },
    TextTooLong {
        length: u64,
    },
    ZeroTotalChunks {
        offset: Option<u32>,
    },
    TotalChunksTooLarge {
        offset: Option<u32>,
        total: u32,
    },
    ChunkIndexOutOfRange {
        offset: Option<u32>,
        index: u32,
        total: u32,
    },
    ChunkTooLarge {
        offset: Option<u32>,
        length: u64,
    },
    EventTooLarge {
        offset: Option<u32>,
        length: u64,
    },
    EventCountTooLarge {
        offset: Option<u32>,
        count: u64,
        max: u64,
    },
    SequenceOverflow {
        sequence: u64,
    },
    BadMagic,
    UnsupportedVersion {
        what: &'static str,
        offset: u64,
        found: u8,
        supported: u8,
    },
    TrailingBytes {
        what: &'static str,
        offset: u64,
        length: u64,
    },
    BadEnvelopeFlag {
        offset: u64,
        flag: u8,
    },
    SeqMismatch {
        through_seq: u64,
        link_sequence: u64,
    },
    OriginMismatch {
        link_origin: u64,
        entity_origin: u64,
    },
    StateTooLarge {
        length: u64,
    },
    BindingsTooLarge {
        length: u64,
    },
    BindingCountTooLarge {
        offset: u64,
        count: u64,
        max: u64,
    },
    BadTokenFlag {
        offset: u64,
        flag: u8,
    },
    TokenTooLong {
        length: u64,
    },
    ChannelNameEmpty {
        offset: u64,
    },
    ChannelNameTooLong {
        offset: u64,
        length: u64,
    },
    ChannelNameInvalidChar {
        offset: u64,
        byte: u8,
    },
    ChannelNameInvalidFormat {
        offset: u64,
        rule: &'static str,
    },
    EmptyChunk,
    StaleSeqThrough {
        got: u64,
        latest: u64,
    },
    TotalChunksMismatch {
        got: u32,
        expected: u32,
    },
    SnapshotTooLarge {
        buffered: u64,
        incoming: u64,
        max: u64,
    },
    TooManyPendingBytes {
        buffered: u64,
        incoming: u64,
        max: u64,
    },
    OutOfMemory {
        requested: u64,
    },
    Disposed {
        what: &'static str,
    },
    BufferFull {
        events: u64,
        bytes: u64,
        max_events: u64,
        max_bytes: u64,
    },
    SpoolFull {
        requested: u64,
    },
    /// `errno` is the operating system's; 0 where it refused nothing.
    SpoolFailed {
        what: &'static str,
        errno: u32,
    },
}

impl Error {
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Error::EmptyFrame => ErrorKind::EmptyFrame,
            Error::UnknownType { .. } => ErrorKind::UnknownType,
            Error::UnknownFailureCode { .. } => ErrorKind::UnknownFailureCode,
            Error::Truncated { .. } => ErrorKind::Truncated,
            Error::InvalidUtf8 { .. } => ErrorKind::InvalidUtf8,
            Error::TextTooLong { .. } => ErrorKind::TextTooLong,
            Error::ZeroTotalChunks { .. } => ErrorKind::ZeroTotalChunks,
            Error::TotalChunksTooLarge { .. } => ErrorKind::TotalChunksTooLarge,
            Error::ChunkIndexOutOfRange { .. } => ErrorKind::ChunkIndexOutOfRange,
            Error::ChunkTooLarge { .. } => ErrorKind::ChunkTooLarge,
            Error::EventTooLarge { .. } => ErrorKind::EventTooLarge,
            Error::EventCountTooLarge { .. } => ErrorKind::EventCountTooLarge,
            Error::SequenceOverflow { .. } => ErrorKind::SequenceOverflow,
            Error::BadMagic => ErrorKind::BadMagic,
            Error::UnsupportedVersion { .. } => ErrorKind::UnsupportedVersion,
            Error::TrailingBytes { .. } => ErrorKind::TrailingBytes,
            Error::BadEnvelopeFlag { .. } => ErrorKind::BadEnvelopeFlag,
            Error::SeqMismatch { .. } => ErrorKind::SeqMismatch,
            Error::OriginMismatch { .. } => ErrorKind::OriginMismatch,
            Error::StateTooLarge { .. } => ErrorKind::StateTooLarge,
            Error::BindingsTooLarge { .. } => ErrorKind::BindingsTooLarge,
            Error::BindingCountTooLarge { .. } => ErrorKind::BindingCountTooLarge,
            Error::BadTokenFlag { .. } => ErrorKind::BadTokenFlag,
            Error::TokenTooLong { .. } => ErrorKind::TokenTooLong,
            Error::ChannelNameEmpty { .. } => ErrorKind::ChannelNameEmpty,
            Error::ChannelNameTooLong { .. } => ErrorKind::ChannelNameTooLong,
            Error::ChannelNameInvalidChar { .. } => ErrorKind::ChannelNameInvalidChar,
            Error::ChannelNameInvalidFormat { .. } => ErrorKind::ChannelNameInvalidFormat,
            Error::EmptyChunk => ErrorKind::EmptyChunk,
            Error::StaleSeqThrough { .. } => ErrorKind::StaleSeqThrough,
            Error::TotalChunksMismatch { .. } => ErrorKind::TotalChunksMismatch,
            Error::SnapshotTooLarge { .. } => ErrorKind::SnapshotTooLarge,
            Error::TooManyPendingBytes { .. } => ErrorKind::TooManyPendingBytes,
            Error::OutOfMemory { .. } => ErrorKind::OutOfMemory,
            Error::Disposed { .. } => ErrorKind::Disposed,
            Error::BufferFull { .. } => ErrorKind::BufferFull,
            Error::SpoolFull { .. } => ErrorKind::SpoolFull,
            Error::SpoolFailed { .. } => ErrorKind::SpoolFailed,
        }
    }

    /// The values that the error names, for programs.
    pub fn details(&self) -> Vec<(&'static str, Detail)> {
        use Detail::{Number, U64};
        let at = |offset: &Option<u32>| offset.map(|offset| ("offset", Number(offset.into())));
        let with = |offset: &Option<u32>, rest: &[(&'static str, Detail)]| {
            at(offset).into_iter().chain(rest.iter().copied()).collect::<Vec<_>>()
        };
        match self {
            Error::EmptyFrame => vec![("offset", Number(0)), ("length", Number(0))],
            Error::UnknownType { found } => vec![("offset", Number(0)), ("type", Number((*found).into()))],
            Error::UnknownFailureCode { offset, code } => {
                vec![("offset", Number((*offset).into())), ("code", Number((*code).into()))]
            }
            Error::Truncated { length, needed, .. } => {
                vec![
                    ("offset", Number(*length)),
                    ("length", Number(*length)),
                    ("needed", Number(*needed)),
                ]
            }
            Error::InvalidUtf8 { offset, length } => {
                vec![
                    ("offset", Number((*offset).into())),
                    ("length", Number((*length).into())),
                ]
            }
            Error::TextTooLong { length } | Error::TokenTooLong { length } => {
                vec![("length", Number(*length)), ("max", Number(u16::MAX.into()))]
            }
            Error::ZeroTotalChunks { offset } => with(offset, &[("totalChunks", Number(0))]),
            Error::TotalChunksTooLarge { offset, total } => with(
                offset,
                &[
                    ("totalChunks", Number((*total).into())),
                    ("max", Number(crate::chunking::MAX_TOTAL_CHUNKS.into())),
                ],
            ),
            Error::ChunkIndexOutOfRange { offset, index, total } => with(
                offset,
                &[
                    ("chunkIndex", Number((*index).into())),
                    ("totalChunks", Number((*total).into())),
                ],
            ),
            Error::ChunkTooLarge { offset, length } | Error::EventTooLarge { offset, length } => with(
                offset,
                &[
                    ("length", Number(*length)),
                    ("max", Number(crate::chunking::MAX_SNAPSHOT_CHUNK_SIZE as u64)),
                ],
            ),
            Error::EventCountTooLarge { offset, count, max } => {
                with(offset, &[("count", Number(*count)), ("max", Number(*max))])
            }
            Error::SequenceOverflow { sequence } => vec![("sequence", U64(*sequence))],
            Error::BadMagic => vec![("offset", Number(0))],
            Error::UnsupportedVersion {
                offset,
                found,
                supported,
                ..
            } => vec![
                ("offset", Number(*offset)),
                ("version", Number((*found).into())),
                ("supported", Number((*supported).into())),
            ],
            Error::TrailingBytes { offset, length, .. } => {
                vec![("offset", Number(*offset)), ("length", Number(*length))]
            }
            Error::BadEnvelopeFlag { offset, flag } | Error::BadTokenFlag { offset, flag } => {
                vec![("offset", Number(*offset)), ("flag", Number((*flag).into()))]
            }
            Error::SeqMismatch {
                through_seq,
                link_sequence,
            } => {
                vec![("throughSeq", U64(*through_seq)), ("linkSequence", U64(*link_sequence))]
            }
            Error::OriginMismatch {
                link_origin,
                entity_origin,
            } => {
                vec![("linkOrigin", U64(*link_origin)), ("entityOrigin", U64(*entity_origin))]
            }
            Error::StateTooLarge { length } | Error::BindingsTooLarge { length } => {
                vec![("length", Number(*length)), ("max", Number(u32::MAX.into()))]
            }
            Error::BindingCountTooLarge { offset, count, max } => {
                vec![
                    ("offset", Number(*offset)),
                    ("count", Number(*count)),
                    ("max", Number(*max)),
                ]
            }
            Error::ChannelNameEmpty { offset } => vec![("offset", Number(*offset)), ("length", Number(0))],
            Error::ChannelNameTooLong { offset, length } => vec![
                ("offset", Number(*offset)),
                ("length", Number(*length)),
                ("max", Number(crate::channel::MAX_NAME_LENGTH as u64)),
            ],
            Error::ChannelNameInvalidChar { offset, byte } => {
                vec![("offset", Number(*offset)), ("byte", Number((*byte).into()))]
            }
            Error::ChannelNameInvalidFormat { offset, .. } => vec![("offset", Number(*offset))],
            Error::EmptyChunk => vec![("length", Number(0))],
            Error::StaleSeqThrough { got, latest } => vec![("got", U64(*got)), ("latest", U64(*latest))],
            Error::TotalChunksMismatch { got, expected } => {
                vec![("got", Number((*got).into())), ("expected", Number((*expected).into()))]
            }
            Error::SnapshotTooLarge {
                buffered,
                incoming,
                max,
            }
            | Error::TooManyPendingBytes {
                buffered,
                incoming,
                max,
            } => {
                vec![
                    ("buffered", Number(*buffered)),
                    ("incoming", Number(*incoming)),
                    ("max", Number(*max)),
                ]
            }
            Error::OutOfMemory { requested } => vec![("requested", Number(*requested))],
            Error::Disposed { .. } => vec![],
            Error::BufferFull {
                events,
                bytes,
                max_events,
                max_bytes,
            } => vec![
                ("events", Number(*events)),
                ("bytes", Number(*bytes)),
                ("maxEvents", Number(*max_events)),
                ("maxBytes", Number(*max_bytes)),
            ],
            Error::SpoolFull { requested } => vec![("requested", Number(*requested))],
            Error::SpoolFailed { errno, .. } => vec![("errno", Number((*errno).into()))],
        }
    }
}

struct At(Option<u32>);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(offset) => write!(f, " at byte {offset}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Error::EmptyFrame => f.write_str("frame refused at byte 0: it is empty, and a message type was expected"),
            Error::UnknownType { found } => {
                write!(f, "frame refused at byte 0: unknown message type {found}, known are 0 to 9")
            }
            Error::UnknownFailureCode { offset, code } => {
                write!(f, "MigrationFailed refused at byte {offset}: unknown failure code {code}, known are 0 to 6")
            }
            Error::Truncated { what, length, needed } => {
                write!(f, "{what} is truncated: it ends at byte {length}, its fields need {needed} bytes")
            }
            Error::InvalidUtf8 { offset, length } => {
                write!(f, "MigrationFailed refused at byte {offset}: its {length} bytes of text are not UTF-8")
            }
            Error::TextTooLong { length } => {
                write!(f, "failure text of {length} bytes refused: at most 65535 fit; shorten it")
            }
            Error::ZeroTotalChunks { offset } => {
                write!(f, "SnapshotReady refused{}: total_chunks is 0, at least 1 was expected", At(offset))
            }
            Error::TotalChunksTooLarge { offset, total } => write!(
                f,
                "SnapshotReady refused{}: total_chunks is {total}, at most {} are taken",
                At(offset),
                crate::chunking::MAX_TOTAL_CHUNKS
            ),
            Error::ChunkIndexOutOfRange { offset, index, total } => {
                write!(f, "SnapshotReady refused{}: chunk_index is {index}, but total_chunks is {total}", At(offset))
            }
            Error::ChunkTooLarge { offset, length } => write!(
                f,
                "SnapshotReady refused{}: the chunk has {length} bytes, at most {} are taken",
                At(offset),
                crate::chunking::MAX_SNAPSHOT_CHUNK_SIZE
            ),
            Error::EventTooLarge { offset, length } => write!(
                f,
                "BufferedEvents refused{}: an event's payload has {length} bytes, at most {} are taken",
                At(offset),
                crate::chunking::MAX_SNAPSHOT_CHUNK_SIZE
            ),
            Error::EventCountTooLarge { offset, count, max } => {
                write!(f, "BufferedEvents refused{}: {count} events announced, at most {max} can be there", At(offset))
            }
            Error::SequenceOverflow { sequence } => {
                write!(f, "no link follows sequence {sequence}: the chain has reached its last possible one")
            }
            Error::BadMagic => f.write_str("snapshot refused at byte 0: its magic is not CDS1"),
            Error::UnsupportedVersion { what, offset, found, supported } => {
                write!(f, "{what} refused at byte {offset}: version {found}, only {supported} is supported")
            }
            Error::TrailingBytes { what, offset, length } => {
                write!(f, "{what} refused at byte {offset}: {length} bytes are left over after the last field")
            }
            Error::BadEnvelopeFlag { offset, flag } => {
                write!(f, "snapshot refused at byte {offset}: envelope flag {flag}, 0 or 1 was expected")
            }
            Error::SeqMismatch { through_seq, link_sequence } => write!(
                f,
                "snapshot refused: through_seq is {through_seq}, but the chain link's sequence at byte 61 is {link_sequence}"
            ),
            Error::OriginMismatch { link_origin, entity_origin } => write!(
                f,
                "snapshot refused: the chain link's origin at byte 45 is {link_origin}, but the entity id hashes to {entity_origin}"
            ),
            Error::StateTooLarge { length } => {
                write!(f, "snapshot refused: its state has {length} bytes, below 2^32 are possible")
            }
            Error::BindingsTooLarge { length } => {
                write!(f, "bindings refused: they take {length} bytes, below 2^32 are possible")
            }
            Error::BindingCountTooLarge { offset, count, max } => {
                write!(f, "bindings refused at byte {offset}: {count} subscriptions announced, at most {max} can be there")
            }
            Error::BadTokenFlag { offset, flag } => {
                write!(f, "bindings refused at byte {offset}: token flag {flag}, 0 or 1 was expected")
            }
            Error::TokenTooLong { length } => write!(f, "token of {length} bytes refused: at most 65535 fit"),
            Error::ChannelNameEmpty { offset } => write!(f, "channel name refused at byte {offset}: it is empty"),
            Error::ChannelNameTooLong { offset, length } => {
                write!(f, "channel name refused at byte {offset}: it has {length} bytes, at most 255 are taken")
            }
            Error::ChannelNameInvalidChar { offset, byte } => write!(
                f,
                "channel name refused at byte {offset}: 0x{byte:02x} is none of a-z 0-9 - _ . /"
            ),
            Error::ChannelNameInvalidFormat { offset, rule } => {
                write!(f, "channel name refused at byte {offset}: {rule}")
            }
            Error::EmptyChunk => f.write_str("chunk refused: it is empty"),
            Error::StaleSeqThrough { got, latest } => {
                write!(f, "chunk refused: seq_through {got} is older than {latest}, the latest seen for this daemon")
            }
            Error::TotalChunksMismatch { got, expected } => {
                write!(f, "chunk refused: total_chunks is {got}, but the first chunk of this snapshot said {expected}")
            }
            Error::SnapshotTooLarge { buffered, incoming, max } => write!(
                f,
                "chunk refused: with its {incoming} bytes over the {buffered} received, the snapshot passes maxSnapshotBytes = {max}"
            ),
            Error::TooManyPendingBytes { buffered, incoming, max } => write!(
                f,
                "chunk refused: it would commit {incoming} bytes over the {buffered} of all pending snapshots, past maxPendingBytes = {max}"
            ),
            Error::OutOfMemory { requested } => {
                write!(
                    f,
                    "{requested} bytes of memory could not be had: the operating system refuses, or {MAPPINGS_MAX} large snapshots are held already; dispose of some, or try later"
                )
            }
            Error::Disposed { what } => write!(f, "this {what} has been disposed of: make a new one"),
            Error::BufferFull { events, bytes, max_events, max_bytes } => write!(
                f,
                "event refused: the log holds {events} events with {bytes} payload bytes, at most {max_events} and {max_bytes} are taken"
            ),
            Error::SpoolFull { requested } => write!(
                f,
                "no disk space for {requested} more bytes of a snapshot that is being received: make room where the spool folder is, or name another"
            ),
            Error::SpoolFailed { what, errno: 0 } => {
                write!(f, "a half-received snapshot cannot be used: {what}")
            }
            Error::SpoolFailed { what, errno } => {
                write!(f, "the file of a snapshot that is being received: {what}: {}", std::io::Error::from_raw_os_error(errno as i32))
            }
        }
    }
}

impl std::error::Error for Error {}
