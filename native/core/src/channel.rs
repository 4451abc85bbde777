//! Channel names (PROTOCOL.md §5).

use crate::Error;

/// The longest channel name, in bytes.
pub const MAX_NAME_LENGTH: usize = 255;

/// What a byte may be in a channel name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    Dot,
    Slash,
    Upper,
    Other,
}

const CLASS: [Class; 256] = {
    let mut classes = [Class::Other; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => Class::Plain,
            b'.' => Class::Dot,
            b'/' => Class::Slash,
            b'A'..=b'Z' => Class::Upper,
            _ => Class::Other,
        };
        byte += 1;
    }
    classes
};

/// Refuses what is no channel name: first by length, then by the first byte that does not belong, then by its slashes and
/// its `.` and `..` segments. `offset` is where the name stands in what is being decoded.
pub fn validate(name: &[u8], offset: u64) -> Result<(), Error> {
    if name.is_empty() {
        return Err(Error::ChannelNameEmpty { offset });
    }
    if name.len() > MAX_NAME_LENGTH {
        return Err(Error::ChannelNameTooLong {
            offset,
            length: name.len() as u64,
        });
    }
    let mut special = false;
    for (at, &byte) in name.iter().enumerate() {
        match CLASS[byte as usize] {
            Class::Plain => {}
            Class::Dot | Class::Slash => special = true,
            Class::Upper => {
                return Err(Error::ChannelNameInvalidFormat {
                    offset: offset + at as u64,
                    rule: "upper case is not taken",
                })
            }
            Class::Other => {
                return Err(Error::ChannelNameInvalidChar {
                    offset: offset + at as u64,
                    byte,
                })
            }
        }
    }
    if special {
        segments(name, offset)
    } else {
        Ok(())
    }
}

fn segments(name: &[u8], offset: u64) -> Result<(), Error> {
    let mut start = 0;
    for segment in name.split(|&byte| byte == b'/') {
        let rule = match segment {
            b"" => Some("a leading, trailing or double slash is not taken"),
            b"." | b".." => Some("a segment . or .. is not taken"),
            _ => None,
        };
        if let Some(rule) = rule {
            return Err(Error::ChannelNameInvalidFormat {
                offset: offset + start,
                rule,
            });
        }
        start += segment.len() as u64 + 1;
    }
    Ok(())
}

/// XXH3-64 of the name's bytes. The hash that the mesh's frame headers carry is its low 16 bits.
pub fn hash(name: &[u8]) -> u64 {
    crate::hash::xxh3(name)
}

/// How many segments a valid name has.
pub fn depth(name: &[u8]) -> usize {
    name.split(|&byte| byte == b'/').count()
}
