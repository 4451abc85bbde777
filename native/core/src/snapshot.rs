//! Snapshots as they travel (PROTOCOL.md §4).

use crate::cursor::Cursor;
use crate::hash::origin_hash;
use crate::link::CausalLink;
use crate::Error;

pub const SNAPSHOT_MAGIC: [u8; 4] = *b"CDS1";
/// Version byte of a snapshot.
pub const SNAPSHOT_VERSION: u8 = 2;
/// Bytes of an identity envelope.
pub const IDENTITY_ENVELOPE_SIZE: usize = 209;
/// Version byte of an identity envelope.
pub const IDENTITY_ENVELOPE_VERSION: u8 = 1;
/// Bytes of a snapshot around an empty state and no bindings, without an envelope.
pub const SNAPSHOT_FIXED_OVERHEAD: usize = 94;

/// A daemon's state as it travels, its bytes borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot<'a> {
    pub entity_id: [u8; 32],
    pub through_seq: u64,
    pub chain_link: CausalLink,
    /// Nanoseconds since the Unix epoch.
    pub created_at: u64,
    pub state: &'a [u8],
    pub bindings: &'a [u8],
    pub identity_envelope: Option<&'a [u8; IDENTITY_ENVELOPE_SIZE]>,
}

/// Decodes a whole snapshot. The fields are read in order; then its two promises are checked, sequence before origin.
pub fn decode(bytes: &[u8]) -> Result<Snapshot<'_>, Error> {
    let mut cursor = Cursor::new("snapshot", bytes);
    if cursor.array()? != SNAPSHOT_MAGIC {
        return Err(Error::BadMagic);
    }
    let version = cursor.u8()?;
    if version != SNAPSHOT_VERSION {
        let (what, offset, supported) = ("snapshot", 4, SNAPSHOT_VERSION);
        return Err(Error::UnsupportedVersion {
            what,
            offset,
            found: version,
            supported,
        });
    }
    let entity_id = cursor.array()?;
    let through_seq = cursor.u64()?;
    let chain_link = CausalLink::from_bytes(&cursor.array()?);
    let created_at = cursor.u64()?;
    let state_length = cursor.u32()?;
    let state = cursor.bytes(state_length as usize)?;
    let bindings_length = cursor.u32()?;
    let bindings = cursor.bytes(bindings_length as usize)?;
    let identity_envelope = decode_envelope(&mut cursor)?;
    if cursor.left() > 0 {
        let (offset, length) = (cursor.at() as u64, cursor.left() as u64);
        return Err(Error::TrailingBytes {
            what: "snapshot",
            offset,
            length,
        });
    }
    let snapshot = Snapshot {
        entity_id,
        through_seq,
        chain_link,
        created_at,
        state,
        bindings,
        identity_envelope,
    };
    snapshot.check()?;
    Ok(snapshot)
}

fn decode_envelope<'a>(cursor: &mut Cursor<'a>) -> Result<Option<&'a [u8; IDENTITY_ENVELOPE_SIZE]>, Error> {
    let flag_at = cursor.at() as u64;
    match cursor.u8()? {
        0 => Ok(None),
        1 => {
            let offset = cursor.at() as u64;
            let envelope = cursor.bytes(IDENTITY_ENVELOPE_SIZE)?.first_chunk();
            match envelope.and_then(|envelope: &[u8; IDENTITY_ENVELOPE_SIZE]| envelope.first()) {
                Some(&IDENTITY_ENVELOPE_VERSION) | None => Ok(envelope),
                Some(&found) => Err(Error::UnsupportedVersion {
                    what: "identity envelope",
                    offset,
                    found,
                    supported: IDENTITY_ENVELOPE_VERSION,
                }),
            }
        }
        flag => Err(Error::BadEnvelopeFlag { offset: flag_at, flag }),
    }
}

impl Snapshot<'_> {
    fn check(&self) -> Result<(), Error> {
        if self.chain_link.sequence != self.through_seq {
            return Err(Error::SeqMismatch {
                through_seq: self.through_seq,
                link_sequence: self.chain_link.sequence,
            });
        }
        let entity_origin = origin_hash(&self.entity_id);
        if self.chain_link.origin_hash != entity_origin {
            return Err(Error::OriginMismatch {
                link_origin: self.chain_link.origin_hash,
                entity_origin,
            });
        }
        Ok(())
    }

    pub fn encoded_length(&self) -> usize {
        let envelope = self.identity_envelope.map_or(0, |envelope| envelope.len());
        SNAPSHOT_FIXED_OVERHEAD + self.state.len() + self.bindings.len() + envelope
    }

    /// Appends the snapshot. Refuses what no decoder takes, before anything is allocated.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        let state_length = u32::try_from(self.state.len());
        let state_length = state_length.map_err(|_| Error::StateTooLarge {
            length: self.state.len() as u64,
        })?;
        let bindings_length = u32::try_from(self.bindings.len());
        let bindings_length = bindings_length.map_err(|_| Error::BindingsTooLarge {
            length: self.bindings.len() as u64,
        })?;
        self.check()?;
        let requested = self.encoded_length();
        out.try_reserve_exact(requested).map_err(|_| Error::OutOfMemory {
            requested: requested as u64,
        })?;
        out.extend_from_slice(&SNAPSHOT_MAGIC);
        out.push(SNAPSHOT_VERSION);
        out.extend_from_slice(&self.entity_id);
        out.extend_from_slice(&self.through_seq.to_le_bytes());
        out.extend_from_slice(&self.chain_link.to_bytes());
        out.extend_from_slice(&self.created_at.to_le_bytes());
        out.extend_from_slice(&state_length.to_le_bytes());
        out.extend_from_slice(self.state);
        out.extend_from_slice(&bindings_length.to_le_bytes());
        out.extend_from_slice(self.bindings);
        out.push(self.identity_envelope.is_some().into());
        if let Some(envelope) = self.identity_envelope {
            out.extend_from_slice(envelope);
        }
        Ok(())
    }
}
