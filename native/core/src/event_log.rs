//! The events that a source has accepted since its snapshot (ARCHITECTURE.md, *log*).

use std::collections::VecDeque;

use crate::chunking::MAX_SNAPSHOT_CHUNK_SIZE;
use crate::events::{Event, Events, EVENTS_HEADER_SIZE, MAX_BUFFERED_EVENTS, MIN_EVENT_WIRE_SIZE};
use crate::hash::Blake3;
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
    digest: Blake3,
}

/// The events that go into one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FramePlan {
    /// The number of the first, where there is one.
    pub from: u64,
    pub count: u32,
    /// Bytes of the frame.
    pub length: usize,
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
            digest: Blake3::default(),
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
        self.digest.digest()
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

    /// Which held events from `from` on go into a frame of at most `max_frame_bytes` and `max_count` events: at least one
    /// where one is held. Refused with `event-too-large` where the first does not fit into any frame.
    pub fn plan_frame(&self, from: u64, max_frame_bytes: usize, max_count: u32) -> Result<FramePlan, Error> {
        let from = from.max(self.first_number);
        let mut plan = FramePlan {
            from,
            count: 0,
            length: EVENTS_HEADER_SIZE,
        };
        let Some((segment, first)) = self.find(from) else {
            return Ok(plan);
        };
        let mut at = first;
        for segment in self.segments.iter().skip(segment) {
            while at < segment.starts.len() {
                let size = segment.wire_bytes(at, at + 1).len();
                let fits = plan.count == 0 || plan.length + size <= max_frame_bytes;
                let payload = size - MIN_EVENT_WIRE_SIZE.min(size);
                if payload > MAX_SNAPSHOT_CHUNK_SIZE && plan.count == 0 {
                    return Err(Error::EventTooLarge {
                        offset: None,
                        length: payload as u64,
                    });
                }
                let full = plan.count >= max_count.clamp(1, MAX_BUFFERED_EVENTS);
                if payload > MAX_SNAPSHOT_CHUNK_SIZE || full || !fits {
                    return Ok(plan);
                }
                plan.count += 1;
                plan.length += size;
                at += 1;
            }
            at = 0;
        }
        Ok(plan)
    }

    /// Writes a planned frame into `out`, which has exactly its length. With `renumber_from`, sequences are replaced by
    /// that one and those after it; refused with `sequence-overflow` where they end before the events do.
    pub fn write_frame(
        &self,
        plan: &FramePlan,
        out: &mut [u8],
        origin: u64,
        renumber_from: Option<u64>,
    ) -> Result<(), Error> {
        let last = u64::from(plan.count).saturating_sub(1);
        if renumber_from.is_some_and(|first| first.checked_add(last).is_none()) {
            return Err(Error::SequenceOverflow { sequence: u64::MAX });
        }
        let Some((header, body)) = out.split_first_chunk_mut::<EVENTS_HEADER_SIZE>() else {
            return Ok(());
        };
        header[0] = 7;
        header[1..9].copy_from_slice(&origin.to_le_bytes());
        header[9..].copy_from_slice(&plan.count.to_le_bytes());
        self.copy_events(plan, body);
        if let Some(first) = renumber_from {
            renumber(body, first);
        }
        Ok(())
    }

    /// Copies the planned events, a run per segment.
    fn copy_events(&self, plan: &FramePlan, mut body: &mut [u8]) {
        let Some((segment, first)) = self.find(plan.from) else {
            return;
        };
        let (mut at, mut left) = (first, plan.count as usize);
        for segment in self.segments.iter().skip(segment) {
            let end = segment.starts.len().min(at + left);
            let run = segment.wire_bytes(at, end);
            let Some((place, rest)) = std::mem::take(&mut body).split_at_mut_checked(run.len()) else {
                return;
            };
            place.copy_from_slice(run);
            left -= end - at;
            (body, at) = (rest, 0);
            if left == 0 {
                return;
            }
        }
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
fn renumber(mut bytes: &mut [u8], first: u64) {
    let mut sequence = first;
    while let Some((link, rest)) = bytes.split_first_chunk_mut::<CAUSAL_LINK_SIZE>() {
        *link = CausalLink {
            sequence,
            ..CausalLink::from_bytes(link)
        }
        .to_bytes();
        sequence = sequence.wrapping_add(1);
        let length = rest.first_chunk().map_or(0, |length| u32::from_le_bytes(*length));
        let tail = rest.split_at_mut_checked(MIN_EVENT_WIRE_SIZE - CAUSAL_LINK_SIZE + length as usize);
        bytes = tail.map_or(&mut [], |(_, after)| after);
    }
}
