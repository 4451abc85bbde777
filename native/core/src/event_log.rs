//! The events that a source has accepted since its snapshot (ARCHITECTURE.md, *log*).

use std::collections::VecDeque;

use crate::chunking::MAX_SNAPSHOT_CHUNK_SIZE;
use crate::events::{Event, Events, EVENTS_HEADER_SIZE, MAX_BUFFERED_EVENTS, MIN_EVENT_WIRE_SIZE};
use crate::link::{CausalLink, CAUSAL_LINK_SIZE};
use crate::Error;

/// Bytes of a full segment. A forgotten event's memory is given back with the segment in which it stands.
const SEGMENT_SIZE: usize = 256 << 10;

/// Events in a row, as they stand on the wire.
struct Segment {
    /// The number of its first event.
    first: u64,
    bytes: Vec<u8>,
    /// Where each event begins in `bytes`.
    starts: Vec<u32>,
}

impl Segment {
    /// Whether an event of `size` bytes fits without growing beyond the size of a segment. One that is larger stands in a
    /// segment of its own.
    fn has_room(&self, size: usize) -> bool {
        self.bytes.is_empty() || self.bytes.len() + size <= SEGMENT_SIZE
    }

    fn reserve(&mut self, size: usize) -> Result<(), Error> {
        let out_of_memory = |_| Error::OutOfMemory { requested: size as u64 };
        if self.bytes.is_empty() {
            self.bytes.try_reserve_exact(size).map_err(out_of_memory)?;
        } else {
            self.bytes.try_reserve(size).map_err(out_of_memory)?;
        }
        self.starts.try_reserve(1).map_err(out_of_memory)
    }

    /// The wire bytes of events `from .. to`.
    fn wire_bytes(&self, from: usize, to: usize) -> &[u8] {
        let start = self.starts.get(from).map_or(self.bytes.len(), |start| *start as usize);
        let end = self.starts.get(to).map_or(self.bytes.len(), |start| *start as usize);
        self.bytes.get(start..end).unwrap_or_default()
    }

    fn event(&self, index: usize) -> Option<Event<'_>> {
        Events::from_checked(1, self.wire_bytes(index, index + 1)).iter().next()
    }
}

/// Events numbered 1, 2, 3 …, as wire bytes and four bytes of index each: 48 over the payload.
pub struct EventLog {
    segments: VecDeque<Segment>,
    /// Events at the front of the first segment that are forgotten.
    forgotten: usize,
    first_number: u64,
    next_number: u64,
    payload_bytes: u64,
    max_events: u64,
    max_bytes: u64,
    digest: blake3::Hasher,
}

/// A frame that was written, and the number after its last event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    pub next: u64,
    pub count: u32,
}

impl EventLog {
    /// Caps in events and in payload bytes.
    pub fn new(max_events: u64, max_bytes: u64) -> Self {
        Self {
            segments: VecDeque::new(),
            forgotten: 0,
            first_number: 1,
            next_number: 1,
            payload_bytes: 0,
            max_events,
            max_bytes,
            digest: blake3::Hasher::new(),
        }
    }

    pub fn count(&self) -> u64 {
        self.next_number - self.first_number
    }

    /// Payload bytes held.
    pub fn bytes(&self) -> u64 {
        self.payload_bytes
    }

    pub fn first_number(&self) -> u64 {
        self.first_number
    }

    pub fn next_number(&self) -> u64 {
        self.next_number
    }

    /// Bytes of memory that the log takes.
    pub fn memory(&self) -> usize {
        let of = |segment: &Segment| segment.bytes.capacity() + 4 * segment.starts.capacity();
        self.segments.iter().map(of).sum::<usize>() + self.segments.capacity() * size_of::<Segment>()
    }

    /// Appends an event and returns its number. Refused: `buffer-full`, `event-too-large` at 4 GiB, `out-of-memory`.
    pub fn append(&mut self, event: &Event<'_>) -> Result<u64, Error> {
        let length = event.payload.len() as u64;
        if self.count() >= self.max_events || self.payload_bytes + length > self.max_bytes {
            return Err(Error::BufferFull {
                events: self.count(),
                bytes: self.payload_bytes,
                max_events: self.max_events,
                max_bytes: self.max_bytes,
            });
        }
        let size = MIN_EVENT_WIRE_SIZE + event.payload.len();
        if u32::try_from(size).is_err() {
            return Err(Error::EventTooLarge { offset: None, length });
        }
        let segment = self.segment_for(size)?;
        segment.starts.push(segment.bytes.len() as u32);
        event.write(&mut segment.bytes);
        let number = self.next_number;
        self.next_number += 1;
        self.payload_bytes += length;
        self.digest_event(number, event);
        Ok(number)
    }

    fn segment_for(&mut self, size: usize) -> Result<&mut Segment, Error> {
        if !self.segments.back().is_some_and(|last| last.has_room(size)) {
            if let Some(full) = self.segments.back_mut() {
                full.bytes.shrink_to_fit();
                full.starts.shrink_to_fit();
            }
            let segment = Segment {
                first: self.next_number,
                bytes: Vec::new(),
                starts: Vec::new(),
            };
            self.segments.push_back(segment);
        }
        let out_of_memory = Error::OutOfMemory { requested: size as u64 };
        let segment = self.segments.back_mut().ok_or(out_of_memory)?;
        segment.reserve(size)?;
        Ok(segment)
    }

    /// The log's digest runs over number, link, payload length and payload of every event.
    fn digest_event(&mut self, number: u64, event: &Event<'_>) {
        let mut head = [0; 8 + CAUSAL_LINK_SIZE + 4];
        head[..8].copy_from_slice(&number.to_le_bytes());
        head[8..40].copy_from_slice(&event.link.to_bytes());
        head[40..].copy_from_slice(&(event.payload.len() as u32).to_le_bytes());
        self.digest.update(&head);
        self.digest.update(event.payload);
    }

    /// The running digest of all that was appended since the log began, forgotten events too.
    pub fn digest(&self) -> [u8; 32] {
        self.digest.finalize().into()
    }

    /// Segment and place in it of an event that is held.
    fn find(&self, number: u64) -> Option<(usize, usize)> {
        if number < self.first_number || number >= self.next_number {
            return None;
        }
        let segment = self
            .segments
            .partition_point(|segment| segment.first <= number)
            .checked_sub(1)?;
        let first = self.segments.get(segment)?.first;
        Some((segment, usize::try_from(number - first).ok()?))
    }

    /// The event with that number, where it is held.
    pub fn get(&self, number: u64) -> Option<Event<'_>> {
        let (segment, at) = self.find(number)?;
        self.segments.get(segment)?.event(at)
    }

    /// Appends a BufferedEvents frame of held events from `from` on, at least one where one is held, and as many as fit
    /// into `max_frame_bytes` and `max_count`. With `renumber_from`, sequences are replaced by that one and those after it.
    pub fn encode_frame(
        &self,
        out: &mut Vec<u8>,
        origin: u64,
        from: u64,
        max_frame_bytes: usize,
        max_count: u32,
        renumber_from: Option<u64>,
    ) -> Result<Written, Error> {
        let start = out.len();
        out.push(7);
        out.extend_from_slice(&origin.to_le_bytes());
        out.extend_from_slice(&0u32.to_le_bytes());
        let max_count = max_count.clamp(1, MAX_BUFFERED_EVENTS);
        let from = from.max(self.first_number);
        let written = self.copy_events(out, start, from, max_frame_bytes, max_count);
        let count = match written {
            Ok(count) => count,
            Err(error) => {
                out.truncate(start);
                return Err(error);
            }
        };
        if let Some(place) = out.get_mut(start + 9..).and_then(|rest| rest.first_chunk_mut()) {
            *place = count.to_le_bytes();
        }
        if let Some(first) = renumber_from {
            if let Err(error) = renumber(out.get_mut(start + EVENTS_HEADER_SIZE..).unwrap_or_default(), first) {
                out.truncate(start);
                return Err(error);
            }
        }
        Ok(Written {
            next: from.saturating_add(count.into()),
            count,
        })
    }

    /// Copies runs of events, a segment at a time.
    fn copy_events(
        &self,
        out: &mut Vec<u8>,
        start: usize,
        from: u64,
        max_frame_bytes: usize,
        max_count: u32,
    ) -> Result<u32, Error> {
        let Some((segment, first)) = self.find(from) else {
            return Ok(0);
        };
        let (mut count, mut at) = (0, first);
        for segment in self.segments.iter().skip(segment) {
            let run_from = at;
            let mut size = out.len() - start;
            while count < max_count && at < segment.starts.len() {
                let next = segment.wire_bytes(at, at + 1).len();
                if next > MIN_EVENT_WIRE_SIZE + MAX_SNAPSHOT_CHUNK_SIZE {
                    if count > 0 {
                        break;
                    }
                    let length = (next - MIN_EVENT_WIRE_SIZE) as u64;
                    return Err(Error::EventTooLarge { offset: None, length });
                }
                if count > 0 && size + next > max_frame_bytes {
                    break;
                }
                size += next;
                count += 1;
                at += 1;
            }
            let run = segment.wire_bytes(run_from, at);
            out.try_reserve(run.len()).map_err(|_| Error::OutOfMemory {
                requested: run.len() as u64,
            })?;
            out.extend_from_slice(run);
            if at < segment.starts.len() {
                break;
            }
            at = 0;
        }
        Ok(count)
    }

    /// Forgets events up to and with `through`. Returns how many were dropped.
    pub fn truncate(&mut self, through: u64) -> u64 {
        let mut dropped = 0;
        while self.first_number <= through && self.first_number < self.next_number {
            let Some(segment) = self.segments.front() else { break };
            let held = segment.starts.len() - self.forgotten;
            let wanted = (through - self.first_number).saturating_add(1).min(held as u64);
            let to = self.forgotten + wanted as usize;
            let size = segment.wire_bytes(self.forgotten, to).len() as u64;
            self.payload_bytes -= size - wanted * MIN_EVENT_WIRE_SIZE as u64;
            self.first_number += wanted;
            dropped += wanted;
            if to == segment.starts.len() {
                self.segments.pop_front();
                self.forgotten = 0;
            } else {
                self.forgotten = to;
            }
        }
        dropped
    }

    /// Forgets all and begins again at 1.
    pub fn clear(&mut self) {
        *self = Self::new(self.max_events, self.max_bytes);
    }
}

/// Replaces the sequences of whole events in `bytes` by `first`, `first + 1` …
fn renumber(mut bytes: &mut [u8], first: u64) -> Result<(), Error> {
    let mut sequence = Some(first);
    while let Some((link, rest)) = bytes.split_first_chunk_mut::<CAUSAL_LINK_SIZE>() {
        let number = sequence.ok_or(Error::SequenceOverflow { sequence: u64::MAX })?;
        sequence = number.checked_add(1);
        *link = CausalLink {
            sequence: number,
            ..CausalLink::from_bytes(link)
        }
        .to_bytes();
        let length = rest.first_chunk().map_or(0, |length| u32::from_le_bytes(*length));
        let tail = rest.split_at_mut_checked(MIN_EVENT_WIRE_SIZE - CAUSAL_LINK_SIZE + length as usize);
        bytes = tail.map_or(&mut [], |(_, after)| after);
    }
    Ok(())
}
