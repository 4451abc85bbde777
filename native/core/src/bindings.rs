//! Bindings: a subscription ledger as bytes (PROTOCOL.md §5).

use crate::cursor::Cursor;
use crate::{channel, Error};

/// The fewest bytes that a subscription takes: publisher, name length, one byte of name, flag.
pub const MIN_BINDING_WIRE_SIZE: usize = 8 + 2 + 1 + 1;
/// The longest token, in bytes.
pub const MAX_TOKEN_LENGTH: usize = u16::MAX as usize;

/// One subscription, its bytes borrowed. The channel is a valid name once it was decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding<'a> {
    pub publisher: u64,
    pub channel: &'a [u8],
    pub token: Option<&'a [u8]>,
}

impl Binding<'_> {
    /// Refuses what no decoder takes.
    pub fn check(&self) -> Result<(), Error> {
        channel::validate(self.channel, 0)?;
        match self.token {
            Some(token) if token.len() > MAX_TOKEN_LENGTH => Err(Error::TokenTooLong {
                length: token.len() as u64,
            }),
            _ => Ok(()),
        }
    }

    pub fn encoded_length(&self) -> usize {
        8 + 2 + self.channel.len() + 1 + self.token.map_or(0, |token| 2 + token.len())
    }

    /// Appends a binding that was checked.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.publisher.to_le_bytes());
        out.extend_from_slice(&(self.channel.len() as u16).to_le_bytes());
        out.extend_from_slice(self.channel);
        out.push(self.token.is_some().into());
        if let Some(token) = self.token {
            out.extend_from_slice(&(token.len() as u16).to_le_bytes());
            out.extend_from_slice(token);
        }
    }
}

/// Where the parts of a decoded binding stand in the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub channel_offset: usize,
    pub token_offset: usize,
}

/// Reads bindings one after another. No bytes at all are an empty ledger.
pub struct Bindings<'a> {
    cursor: Cursor<'a>,
    left: u32,
}

impl<'a> Bindings<'a> {
    pub fn new(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new("bindings", bytes);
        let left = if bytes.is_empty() { 0 } else { cursor.u32()? };
        let max = (cursor.left() / MIN_BINDING_WIRE_SIZE) as u64;
        if u64::from(left) > max {
            return Err(Error::BindingCountTooLarge {
                offset: 0,
                count: left.into(),
                max,
            });
        }
        Ok(Self { cursor, left })
    }

    /// Bindings not read yet; no more than the bytes can hold.
    pub fn left(&self) -> usize {
        self.left as usize
    }

    /// The next binding; None at the end, where no bytes may be left over.
    pub fn next_binding(&mut self) -> Result<Option<(Binding<'a>, Place)>, Error> {
        let cursor = &mut self.cursor;
        if self.left == 0 {
            let (offset, length) = (cursor.at() as u64, cursor.left() as u64);
            return match length {
                0 => Ok(None),
                _ => Err(Error::TrailingBytes {
                    what: "bindings",
                    offset,
                    length,
                }),
            };
        }
        let publisher = cursor.u64()?;
        let channel_length = cursor.u16()?;
        let channel_offset = cursor.at();
        let channel = cursor.bytes(channel_length.into())?;
        channel::validate(channel, channel_offset as u64)?;
        let flag_at = cursor.at() as u64;
        let (token_offset, token) = match cursor.u8()? {
            0 => (0, None),
            1 => {
                let length = cursor.u16()?;
                (cursor.at(), Some(cursor.bytes(length.into())?))
            }
            flag => return Err(Error::BadTokenFlag { offset: flag_at, flag }),
        };
        self.left -= 1;
        Ok(Some((
            Binding {
                publisher,
                channel,
                token,
            },
            Place {
                channel_offset,
                token_offset,
            },
        )))
    }
}
