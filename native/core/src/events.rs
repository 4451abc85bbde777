//! Events as BufferedEvents carries them (PROTOCOL.md §3).

use crate::chunking::MAX_SNAPSHOT_CHUNK_SIZE;
use crate::link::{parent_hash, CausalLink, CAUSAL_LINK_SIZE};
use crate::Error;

/// The most events in one BufferedEvents.
pub const MAX_BUFFERED_EVENTS: u32 = 1_000_000;
/// The fewest bytes that a buffered event takes: link, payload length, received_at.
pub const MIN_EVENT_WIRE_SIZE: usize = 44;
/// Bytes of BufferedEvents before its first event.
pub const EVENTS_HEADER_SIZE: usize = 13;
/// Bytes of an event before its payload.
pub const EVENT_HEADER_SIZE: usize = CAUSAL_LINK_SIZE + 4;

/// A causal event, its payload borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    pub link: CausalLink,
    pub payload: &'a [u8],
    /// Nanoseconds since the Unix epoch.
    pub received_at: u64,
}

impl Event<'_> {
    /// Appends the event as BufferedEvents has it. The payload must be below 4 GiB.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.link.to_bytes());
        out.extend_from_slice(&(self.payload.len() as u32).to_le_bytes());
        out.extend_from_slice(self.payload);
        out.extend_from_slice(&self.received_at.to_le_bytes());
    }
}

/// An event's raw parts, split off the front of bytes, and the rest of them.
struct Split<'a> {
    link: &'a [u8; CAUSAL_LINK_SIZE],
    payload: &'a [u8],
    received_at: u64,
    rest: &'a [u8],
}

impl Split<'_> {
    /// Bytes of the whole event.
    #[inline]
    fn size(&self) -> usize {
        MIN_EVENT_WIRE_SIZE + self.payload.len()
    }
}

/// None where the parts are not all there.
#[inline]
fn split_event(bytes: &[u8]) -> Option<Split<'_>> {
    let (link, rest) = bytes.split_first_chunk::<CAUSAL_LINK_SIZE>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (payload, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let (received_at, rest) = rest.split_first_chunk::<8>()?;
    Some(Split {
        link,
        payload,
        received_at: u64::from_le_bytes(*received_at),
        rest,
    })
}

/// Takes one event off the front of wire bytes. Its payload may have any length.
pub fn take_event<'a>(bytes: &mut &'a [u8]) -> Option<Event<'a>> {
    let Split {
        link,
        payload,
        received_at,
        rest,
    } = split_event(bytes)?;
    *bytes = rest;
    Some(Event {
        link: CausalLink::from_bytes(link),
        payload,
        received_at,
    })
}

/// Bytes that are brought into the cache together.
const STRETCH: usize = 4096;

/// Brings bytes into the cache a stretch before their events are read. Where an event begins is known only from the length of
/// the one before: read one by one, every miss is waited for, which takes more than twice as long.
#[derive(Default)]
struct ReadAhead {
    through: usize,
}

impl ReadAhead {
    /// Before the event at `at` is read.
    #[inline]
    fn reach(&mut self, bytes: &[u8], at: usize) {
        if at >= self.through {
            self.through = at + STRETCH;
            touch(bytes.get(at..).unwrap_or_default());
        }
    }
}

/// Reads a byte of each cache line of the stretch in front.
#[inline(never)]
fn touch(bytes: &[u8]) {
    const CACHE_LINE: usize = 64;
    let stretch = bytes.get(..STRETCH).unwrap_or(bytes);
    let read = stretch.chunks(CACHE_LINE).fold(0, |read, line| read ^ line[0]);
    std::hint::black_box(read);
}

/// The events of one frame: checked bytes, read one event at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Events<'a> {
    count: u32,
    bytes: &'a [u8],
}

impl<'a> Events<'a> {
    /// Checks the events of a BufferedEvents frame, whose header is whole, and finds where they end.
    pub(crate) fn decode(frame: &'a [u8]) -> Result<Self, Error> {
        let (count, body) = check_count(frame)?;
        let mut at = 0;
        let mut ahead = ReadAhead::default();
        for _ in 0..count {
            ahead.reach(body, at);
            at += checked_event(body, at)?.size();
        }
        Ok(Self {
            count,
            bytes: body.get(..at).unwrap_or_default(),
        })
    }

    /// Events that are the checked, whole wire bytes of `count` events.
    pub(crate) fn from_checked(count: u32, bytes: &'a [u8]) -> Self {
        Self { count, bytes }
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    /// The events as they stand on the wire.
    pub fn wire_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub fn iter(&self) -> impl Iterator<Item = Event<'a>> + use<'a> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || take_event(&mut rest))
    }

    /// How many events, from the first, continue the chain after `previous`.
    pub fn verify_chain(&self, previous: CausalLink, previous_payload: &[u8]) -> u32 {
        let mut held = 0;
        let mut rest = self.bytes;
        let mut previous_link = previous.to_bytes();
        let mut previous = previous;
        let mut payload_before = previous_payload;
        while let Some(Split {
            link,
            payload,
            rest: after,
            ..
        }) = split_event(rest)
        {
            let next = CausalLink::from_bytes(link);
            let continues = next.origin_hash == previous.origin_hash
                && previous.sequence.checked_add(1) == Some(next.sequence)
                && next.parent_hash == parent_hash(&previous_link, payload_before);
            if !continues {
                break;
            }
            held += 1;
            (previous, previous_link, payload_before, rest) = (next, *link, payload, after);
        }
        held
    }
}

/// The count that a BufferedEvents frame announces, checked against what follows it, and that.
fn check_count(frame: &[u8]) -> Result<(u32, &[u8]), Error> {
    let Some((header, body)) = frame.split_first_chunk::<EVENTS_HEADER_SIZE>() else {
        let (length, needed) = (frame.len() as u64, EVENTS_HEADER_SIZE as u64);
        return Err(Error::Truncated {
            what: "BufferedEvents",
            length,
            needed,
        });
    };
    let count = header.last_chunk().map_or(0, |count| u32::from_le_bytes(*count));
    let room = (body.len() / MIN_EVENT_WIRE_SIZE).min(MAX_BUFFERED_EVENTS as usize);
    if count as usize > room {
        return Err(Error::EventCountTooLarge {
            offset: Some(9),
            count: count.into(),
            max: room as u64,
        });
    }
    Ok((count, body))
}

/// The event at `at` in `body`, checked: all of it is there, and its payload is not over the limit.
#[inline]
fn checked_event(body: &[u8], at: usize) -> Result<Split<'_>, Error> {
    match split_event(body.get(at..).unwrap_or_default()) {
        Some(event) if event.payload.len() <= MAX_SNAPSHOT_CHUNK_SIZE => Ok(event),
        _ => Err(event_error(body, at)),
    }
}

/// What is wrong with the event at `at`: its payload is over the limit, or it is not all there.
#[cold]
fn event_error(body: &[u8], at: usize) -> Error {
    let length = body
        .get(at + CAUSAL_LINK_SIZE..)
        .filter(|_| body.len() - at >= MIN_EVENT_WIRE_SIZE)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |bytes| u32::from_le_bytes(*bytes));
    if length as usize > MAX_SNAPSHOT_CHUNK_SIZE {
        let offset = u32::try_from(EVENTS_HEADER_SIZE + at + CAUSAL_LINK_SIZE).ok();
        return Error::EventTooLarge {
            offset,
            length: length.into(),
        };
    }
    Error::Truncated {
        what: "BufferedEvents",
        length: (EVENTS_HEADER_SIZE + body.len()) as u64,
        needed: (EVENTS_HEADER_SIZE + at + MIN_EVENT_WIRE_SIZE + length as usize) as u64,
    }
}

/// Appends a whole BufferedEvents frame. Refuses what no decoder takes; `out` is then as before.
pub fn encode_events(out: &mut Vec<u8>, origin: u64, events: &[Event<'_>]) -> Result<(), Error> {
    let max = u64::from(MAX_BUFFERED_EVENTS);
    let count = events.len() as u64;
    if count > max {
        return Err(Error::EventCountTooLarge {
            offset: None,
            count,
            max,
        });
    }
    if let Some(large) = events
        .iter()
        .find(|event| event.payload.len() > MAX_SNAPSHOT_CHUNK_SIZE)
    {
        return Err(Error::EventTooLarge {
            offset: None,
            length: large.payload.len() as u64,
        });
    }
    out.push(7);
    out.extend_from_slice(&origin.to_le_bytes());
    out.extend_from_slice(&(count as u32).to_le_bytes());
    for event in events {
        event.write(out);
    }
    Ok(())
}

/// Bytes per event over the columns of [`write_columns`]: five u64 and two u32.
pub const EVENT_ROW_SIZE: usize = 5 * 8 + 2 * 4;

/// The columns of one frame's events over one memory.
struct EventColumnsMut<'a> {
    /// origin_hash, horizon, sequence, parent_hash, received_at.
    words: [&'a mut [[u8; 8]]; 5],
    payload_offset: &'a mut [[u8; 4]],
    payload_length: &'a mut [[u8; 4]],
}

impl<'a> EventColumnsMut<'a> {
    /// None where `memory` has not exactly the size of `count` rows.
    fn new(memory: &'a mut [u8], count: usize) -> Option<Self> {
        if memory.len() != count.checked_mul(EVENT_ROW_SIZE)? {
            return None;
        }
        let (words, halves) = memory.split_at_mut_checked(40 * count)?;
        let mut rest = words.as_chunks_mut().0;
        let words = std::array::from_fn(|_| {
            let (column, after) = std::mem::take(&mut rest)
                .split_at_mut_checked(count)
                .unwrap_or_default();
            rest = after;
            column
        });
        let (payload_offset, payload_length) = halves.as_chunks_mut().0.split_at_mut_checked(count)?;
        Some(Self {
            words,
            payload_offset,
            payload_length,
        })
    }

    /// Writes row `i`, in native byte order.
    #[inline]
    fn set(&mut self, i: usize, event: &Split<'_>, payload_offset: usize) {
        let CausalLink {
            origin_hash,
            horizon,
            sequence,
            parent_hash,
        } = CausalLink::from_bytes(event.link);
        let values = [origin_hash, horizon, sequence, parent_hash, event.received_at];
        for (column, value) in self.words.iter_mut().zip(values) {
            if let Some(place) = column.get_mut(i) {
                *place = value.to_ne_bytes();
            }
        }
        let halves = [
            (&mut self.payload_offset, payload_offset as u32),
            (&mut self.payload_length, event.payload.len() as u32),
        ];
        for (column, value) in halves {
            if let Some(place) = column.get_mut(i) {
                *place = value.to_ne_bytes();
            }
        }
    }
}

/// Decodes a BufferedEvents frame in one pass into `memory`, in native byte order: origin_hash, horizon, sequence,
/// parent_hash, received_at (u64 each), then payload offset in the frame and payload length (u32 each), every column as long
/// as the frame has events. False where `memory` has not exactly that size. After a refusal `memory` holds anything.
pub fn decode_columns(frame: &[u8], memory: &mut [u8]) -> Result<bool, Error> {
    let (count, body) = check_count(frame)?;
    let Some(mut columns) = EventColumnsMut::new(memory, count as usize) else {
        return Ok(false);
    };
    let mut at = 0;
    let mut ahead = ReadAhead::default();
    for i in 0..count as usize {
        ahead.reach(body, at);
        let event = checked_event(body, at)?;
        columns.set(i, &event, EVENTS_HEADER_SIZE + at + EVENT_HEADER_SIZE);
        at += event.size();
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of one event with a payload of five bytes.
    fn frame() -> Vec<u8> {
        let link = CausalLink::from_bytes(&[3; CAUSAL_LINK_SIZE]);
        let event = Event {
            link,
            payload: b"12345",
            received_at: 9,
        };
        let mut frame = Vec::new();
        encode_events(&mut frame, 1, &[event]).unwrap();
        frame
    }

    #[test]
    fn a_cut_event_says_how_many_bytes_it_needs() {
        let frame = frame();
        let whole = frame.len() as u64;
        // Below that, the count cannot be right.
        for length in EVENTS_HEADER_SIZE + MIN_EVENT_WIRE_SIZE..frame.len() {
            let refused = Events::decode(&frame[..length]);
            let expected = Error::Truncated {
                what: "BufferedEvents",
                length: length as u64,
                needed: whole,
            };
            assert_eq!(refused, Err(expected));
        }
    }

    #[test]
    fn an_event_over_the_limit_is_refused_by_its_length_even_where_it_is_cut() {
        let mut frame = frame();
        let at = EVENTS_HEADER_SIZE + CAUSAL_LINK_SIZE;
        frame[at..at + 4].copy_from_slice(&7_001_u32.to_le_bytes());
        let expected = Error::EventTooLarge {
            offset: Some(at as u32),
            length: 7_001,
        };
        assert_eq!(Events::decode(&frame), Err(expected));
    }
}
