//! The subscription ledger and the book of its rebind (PROTOCOL.md §5, ARCHITECTURE.md).

use std::collections::hash_map::RandomState;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::bindings::{Binding, Bindings, MAX_TOKEN_LENGTH};
use crate::bitmap::Bitmap;
use crate::Error;

/// Bytes that replaced tokens and forgotten names may hold before they are given back.
const GARBAGE_MIN: usize = 64 << 10;

/// Where a subscription's move to another node stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum RebindPhase {
    #[default]
    Idle,
    Pending,
    Done,
    Failed,
}

/// The phase, how often it was tried, and why it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RebindState<'a> {
    pub phase: RebindPhase,
    pub tries: u32,
    pub reason: Option<&'a str>,
}

/// One subscription: 32 bytes beside its name and token, which stand in the ledger's one buffer.
#[derive(Clone, Copy)]
struct Entry {
    publisher: u64,
    hash: u64,
    name_at: u32,
    token_at: u32,
    tries: u32,
    token_length: u16,
    name_length: u8,
    /// The phase in the low two bits.
    flags: u8,
}

const PHASE: u8 = 0b0011;
const HAS_TOKEN: u8 = 0b0100;
const FORGOTTEN: u8 = 0b1000;

impl Entry {
    fn phase(&self) -> RebindPhase {
        match self.flags & PHASE {
            0 => RebindPhase::Idle,
            1 => RebindPhase::Pending,
            2 => RebindPhase::Done,
            _ => RebindPhase::Failed,
        }
    }

    fn is_held(&self) -> bool {
        self.flags & FORGOTTEN == 0
    }

    fn has_token(&self) -> bool {
        self.flags & HAS_TOKEN != 0
    }

    fn encoded_length(&self) -> usize {
        let token = if self.has_token() {
            2 + usize::from(self.token_length)
        } else {
            0
        };
        8 + 2 + usize::from(self.name_length) + 1 + token
    }
}

/// What must change for one ledger to become another. `add` and `token_changed` name places in the wanted one, `drop` in
/// the one that changes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    pub add: Vec<u32>,
    pub drop: Vec<u32>,
    pub token_changed: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RebindCounts {
    pub idle: u32,
    pub pending: u32,
    pub done: u32,
    pub failed: u32,
}

/// One entry per (publisher, channel), in the order of first recording.
pub struct Ledger {
    entries: Vec<Entry>,
    /// Names and tokens, one after another.
    bytes: Vec<u8>,
    table: HashTable<u32>,
    /// Secret, so that a peer cannot make names that fall on one another in the table.
    seed: u64,
    held: usize,
    garbage: usize,
    encoded_length: usize,
    reasons: HashMap<u32, Box<str>>,
    counts: [u32; 4],
    /// No entry before this place is pending.
    pending_from: usize,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            bytes: Vec::new(),
            table: HashTable::new(),
            seed: RandomState::new().build_hasher().finish(),
            held: 0,
            garbage: 0,
            encoded_length: 4,
            reasons: HashMap::new(),
            counts: [0; 4],
            pending_from: 0,
        }
    }
}

impl Ledger {
    /// An empty ledger, or one read from bindings. Where bindings name a subscription twice, the later token counts.
    pub fn parse(bindings: &[u8]) -> Result<Self, Error> {
        let mut reader = Bindings::new(bindings)?;
        let mut ledger = Self::default();
        let count = reader.left();
        let out_of_memory = Error::OutOfMemory {
            requested: (count * size_of::<Entry>()) as u64,
        };
        u32::try_from(bindings.len()).map_err(|_| Error::BindingsTooLarge {
            length: bindings.len() as u64,
        })?;
        ledger.entries.try_reserve_exact(count).map_err(|_| out_of_memory)?;
        ledger.table.try_reserve(count, |_| 0).map_err(|_| out_of_memory)?;
        ledger
            .bytes
            .try_reserve_exact(bindings.len())
            .map_err(|_| out_of_memory)?;
        // The bytes as they came are the ledger's buffer: names and tokens are not copied one by one.
        ledger.bytes.extend_from_slice(bindings);
        while let Some((binding, place)) = reader.next_binding()? {
            let token_at = binding.token.map(|_| place.token_offset as u32);
            ledger.put(&binding, place.channel_offset as u32, token_at);
        }
        Ok(ledger)
    }

    pub fn len(&self) -> usize {
        self.held
    }

    pub fn is_empty(&self) -> bool {
        self.held == 0
    }

    #[inline]
    fn hash(&self, publisher: u64, channel: &[u8]) -> u64 {
        xxh3_64_with_seed(
            channel,
            self.seed.wrapping_add(publisher.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        )
    }

    #[inline]
    fn slice(&self, at: u32, length: usize) -> &[u8] {
        self.bytes
            .get(at as usize..)
            .and_then(|rest| rest.get(..length))
            .unwrap_or_default()
    }

    #[inline]
    fn name(&self, entry: &Entry) -> &[u8] {
        self.slice(entry.name_at, entry.name_length.into())
    }

    #[inline]
    fn token(&self, entry: &Entry) -> Option<&[u8]> {
        entry
            .has_token()
            .then(|| self.slice(entry.token_at, entry.token_length.into()))
    }

    fn binding_of(&self, entry: &Entry) -> Binding<'_> {
        Binding {
            publisher: entry.publisher,
            channel: self.name(entry),
            token: self.token(entry),
        }
    }

    /// The subscription at a place that [`Difference`] names.
    pub fn at(&self, place: u32) -> Option<Binding<'_>> {
        self.entries
            .get(place as usize)
            .filter(|entry| entry.is_held())
            .map(|entry| self.binding_of(entry))
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = Binding<'_>> {
        self.entries
            .iter()
            .filter(|entry| entry.is_held())
            .map(|entry| self.binding_of(entry))
    }

    #[inline]
    fn find(&self, hash: u64, publisher: u64, channel: &[u8]) -> Option<u32> {
        let is_it = |place: &u32| {
            self.entries
                .get(*place as usize)
                .is_some_and(|entry| entry.hash == hash && entry.publisher == publisher && self.name(entry) == channel)
        };
        self.table.find(hash, is_it).copied()
    }

    fn place_of(&self, publisher: u64, channel: &[u8]) -> Option<u32> {
        self.find(self.hash(publisher, channel), publisher, channel)
    }

    pub fn get(&self, publisher: u64, channel: &[u8]) -> Option<Binding<'_>> {
        self.at(self.place_of(publisher, channel)?)
    }

    /// Subscribing again replaces the token and keeps the place.
    pub fn record(&mut self, binding: &Binding<'_>) -> Result<(), Error> {
        binding.check()?;
        let requested = binding.channel.len() + binding.token.map_or(0, <[u8]>::len);
        let length = self.bytes.len() + requested;
        if u32::try_from(length.max(self.encoded_length + binding.encoded_length())).is_err() {
            return Err(Error::BindingsTooLarge { length: length as u64 });
        }
        let out_of_memory = Error::OutOfMemory {
            requested: requested as u64,
        };
        self.bytes.try_reserve(requested).map_err(|_| out_of_memory)?;
        self.entries.try_reserve(1).map_err(|_| out_of_memory)?;
        let known = self.place_of(binding.publisher, binding.channel);
        let name_at = self.bytes.len() as u32;
        if known.is_none() {
            self.bytes.extend_from_slice(binding.channel);
        }
        let token_at = binding.token.map(|token| {
            let at = self.bytes.len() as u32;
            self.bytes.extend_from_slice(token);
            at
        });
        self.put(binding, name_at, token_at);
        self.collect_garbage();
        Ok(())
    }

    /// Enters a checked binding whose name and token stand in `bytes` already.
    #[inline]
    fn put(&mut self, binding: &Binding<'_>, name_at: u32, token_at: Option<u32>) {
        let hash = self.hash(binding.publisher, binding.channel);
        let token_length = binding
            .token
            .map_or(0, |token| token.len().min(MAX_TOKEN_LENGTH) as u16);
        if let Some(place) = self.find(hash, binding.publisher, binding.channel) {
            if let Some(entry) = self.entries.get_mut(place as usize) {
                self.garbage += usize::from(entry.token_length);
                self.encoded_length -= entry.encoded_length();
                entry.token_at = token_at.unwrap_or(0);
                entry.token_length = token_length;
                entry.flags = entry.flags & !HAS_TOKEN | if token_at.is_some() { HAS_TOKEN } else { 0 };
                self.encoded_length += entry.encoded_length();
            }
            return;
        }
        let entry = Entry {
            publisher: binding.publisher,
            hash,
            name_at,
            token_at: token_at.unwrap_or(0),
            tries: 0,
            token_length,
            name_length: binding.channel.len() as u8,
            flags: if token_at.is_some() { HAS_TOKEN } else { 0 },
        };
        self.encoded_length += entry.encoded_length();
        self.held += 1;
        self.count(RebindPhase::Idle, 1);
        let entries = &self.entries;
        self.table.insert_unique(hash, self.entries.len() as u32, |place| {
            entries.get(*place as usize).map_or(0, |entry| entry.hash)
        });
        self.entries.push(entry);
    }

    /// False: there was no such subscription.
    pub fn forget(&mut self, publisher: u64, channel: &[u8]) -> bool {
        let hash = self.hash(publisher, channel);
        let Some(place) = self.find(hash, publisher, channel) else {
            return false;
        };
        if let Ok(found) = self.table.find_entry(hash, |other| *other == place) {
            found.remove();
        }
        self.reasons.remove(&place);
        let Some(entry) = self.entries.get_mut(place as usize) else {
            return false;
        };
        entry.flags |= FORGOTTEN;
        let (phase, length) = (entry.phase(), entry.encoded_length());
        self.garbage += usize::from(entry.name_length) + usize::from(entry.token_length);
        self.encoded_length -= length;
        self.held -= 1;
        self.count(phase, -1);
        self.collect_garbage();
        true
    }

    /// Moves what is held together once more than half is not.
    fn collect_garbage(&mut self) {
        let dead = self.entries.len() - self.held;
        let much_dead = dead > self.held && dead * size_of::<Entry>() > GARBAGE_MIN;
        let much_garbage = self.garbage > GARBAGE_MIN && self.garbage > self.bytes.len() / 2;
        if !much_dead && !much_garbage {
            return;
        }
        let mut compact = Self {
            seed: self.seed,
            ..Self::default()
        };
        compact.entries.reserve_exact(self.held);
        compact.table.reserve(self.held, |_| 0);
        for (old, entry) in self.entries.iter().enumerate().filter(|(_, entry)| entry.is_held()) {
            let place = compact.entries.len() as u32;
            let name_at = compact.bytes.len() as u32;
            compact.bytes.extend_from_slice(self.name(entry));
            let token_at = compact.bytes.len() as u32;
            compact.bytes.extend_from_slice(self.token(entry).unwrap_or_default());
            compact.entries.push(Entry {
                name_at,
                token_at,
                ..*entry
            });
            compact.table.insert_unique(entry.hash, place, |_| 0);
            if let Some(reason) = self.reasons.remove(&(old as u32)) {
                compact.reasons.insert(place, reason);
            }
        }
        (compact.held, compact.encoded_length, compact.counts) = (self.held, self.encoded_length, self.counts);
        *self = compact;
    }

    /// Bytes of the bindings that [`Self::encode_into`] writes.
    pub fn encoded_length(&self) -> usize {
        self.encoded_length
    }

    /// Writes the ledger as bindings. False where `out` has not exactly [`Self::encoded_length`] bytes.
    pub fn encode_into(&self, out: &mut [u8]) -> bool {
        if out.len() != self.encoded_length {
            return false;
        }
        let Some((count, mut rest)) = out.split_first_chunk_mut() else {
            return false;
        };
        *count = (self.held as u32).to_le_bytes();
        for entry in self.entries.iter().filter(|entry| entry.is_held()) {
            let Some((place, after)) = std::mem::take(&mut rest).split_at_mut_checked(entry.encoded_length()) else {
                return false;
            };
            self.write_entry(entry, place);
            rest = after;
        }
        true
    }

    /// Fills `place`, which is just large enough.
    #[inline]
    fn write_entry(&self, entry: &Entry, place: &mut [u8]) -> Option<()> {
        let name = self.name(entry);
        let (publisher, rest) = place.split_first_chunk_mut()?;
        *publisher = entry.publisher.to_le_bytes();
        let (name_length, rest) = rest.split_first_chunk_mut()?;
        *name_length = u16::from(entry.name_length).to_le_bytes();
        let (name_place, rest) = rest.split_at_mut_checked(name.len())?;
        name_place.copy_from_slice(name);
        let (flag, rest) = rest.split_first_mut()?;
        *flag = entry.has_token().into();
        if let Some(token) = self.token(entry) {
            let (token_length, token_place) = rest.split_first_chunk_mut()?;
            *token_length = entry.token_length.to_le_bytes();
            token_place.copy_from_slice(token);
        }
        Some(())
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; self.encoded_length];
        self.encode_into(&mut out);
        out
    }

    /// What must change here for this ledger to hold what `wanted` holds.
    pub fn difference(&self, wanted: &Ledger) -> Result<Difference, Error> {
        let mut difference = Difference::default();
        let mut kept = Bitmap::new(self.entries.len())?;
        // Ledgers that differ have most entries in the same order: the one after the last match comes first.
        let mut after = 0usize;
        for (at, entry) in wanted.entries.iter().enumerate().filter(|(_, entry)| entry.is_held()) {
            let name = wanted.name(entry);
            let is_same = |own: &&Entry| own.is_held() && own.publisher == entry.publisher && self.name(own) == name;
            let place = match self.entries.get(after).filter(is_same) {
                Some(_) => Some(after),
                None => self.place_of(entry.publisher, name).map(|place| place as usize),
            };
            let Some(own) = place.and_then(|place| self.entries.get(place).map(|own| (place, own))) else {
                difference.add.push(at as u32);
                continue;
            };
            kept.set(own.0);
            after = own.0 + 1;
            if self.token(own.1) != wanted.token(entry) {
                difference.token_changed.push(at as u32);
            }
        }
        if kept.count() < self.held {
            let dropped = |(place, entry): &(usize, &Entry)| entry.is_held() && !kept.get(*place);
            difference.drop.extend(
                self.entries
                    .iter()
                    .enumerate()
                    .filter(dropped)
                    .map(|(place, _)| place as u32),
            );
        }
        Ok(difference)
    }

    /// Appends the subscriptions at `places` as bindings.
    pub fn write_places(&self, places: &[u32], out: &mut Vec<u8>) {
        out.extend_from_slice(&(places.len() as u32).to_le_bytes());
        for binding in places.iter().filter_map(|place| self.at(*place)) {
            binding.write(out);
        }
    }

    fn count(&mut self, phase: RebindPhase, by: i32) {
        if let Some(count) = self.counts.get_mut(phase as usize) {
            *count = count.saturating_add_signed(by);
        }
    }

    /// Marks every entry pending with 0 tries: a rebind begins.
    pub fn begin_rebind(&mut self) {
        for entry in &mut self.entries {
            entry.flags = entry.flags & !PHASE | RebindPhase::Pending as u8;
            entry.tries = 0;
        }
        self.reasons.clear();
        self.counts = [0; 4];
        self.count(RebindPhase::Pending, self.held as i32);
        self.pending_from = 0;
    }

    /// Places of up to `limit` pending entries, in order.
    pub fn pending(&mut self, limit: usize) -> Vec<u32> {
        let pending = |entry: &Entry| entry.is_held() && entry.phase() == RebindPhase::Pending;
        let found: Vec<u32> = (self.entries.iter().enumerate().skip(self.pending_from))
            .filter(|(_, entry)| pending(entry))
            .map(|(place, _)| place as u32)
            .take(limit)
            .collect();
        if limit > 0 {
            self.pending_from = found.first().map_or(self.entries.len(), |first| *first as usize);
        }
        found
    }

    fn mark(
        &mut self,
        publisher: u64,
        channel: &[u8],
        phase: RebindPhase,
        from: &[RebindPhase],
        new_try: bool,
    ) -> Option<u32> {
        let place = self.place_of(publisher, channel)?;
        let entry = self.entries.get_mut(place as usize)?;
        let before = entry.phase();
        if !from.contains(&before) {
            return None;
        }
        entry.flags = entry.flags & !PHASE | phase as u8;
        entry.tries = entry.tries.saturating_add(new_try.into());
        self.count(before, -1);
        self.count(phase, 1);
        self.reasons.remove(&place);
        if phase == RebindPhase::Pending {
            self.pending_from = self.pending_from.min(place as usize);
        }
        Some(place)
    }

    /// One more try has been made for a pending or failed entry, which is then pending. False: no such entry.
    pub fn mark_tried(&mut self, publisher: u64, channel: &[u8]) -> bool {
        let from = [RebindPhase::Pending, RebindPhase::Failed];
        self.mark(publisher, channel, RebindPhase::Pending, &from, true)
            .is_some()
    }

    pub fn mark_done(&mut self, publisher: u64, channel: &[u8]) -> bool {
        self.mark(publisher, channel, RebindPhase::Done, &ANY_PHASE, false)
            .is_some()
    }

    pub fn mark_failed(&mut self, publisher: u64, channel: &[u8], reason: &str) -> bool {
        let place = self.mark(publisher, channel, RebindPhase::Failed, &ANY_PHASE, false);
        place.is_some_and(|place| {
            self.reasons.insert(place, reason.into());
            true
        })
    }

    pub fn rebind_state(&self, publisher: u64, channel: &[u8]) -> Option<RebindState<'_>> {
        let place = self.place_of(publisher, channel)?;
        let entry = self.entries.get(place as usize)?;
        let reason = self.reasons.get(&place).map(AsRef::as_ref);
        Some(RebindState {
            phase: entry.phase(),
            tries: entry.tries,
            reason,
        })
    }

    pub fn rebind_counts(&self) -> RebindCounts {
        let [idle, pending, done, failed] = self.counts;
        RebindCounts {
            idle,
            pending,
            done,
            failed,
        }
    }
}

const ANY_PHASE: [RebindPhase; 4] = [
    RebindPhase::Idle,
    RebindPhase::Pending,
    RebindPhase::Done,
    RebindPhase::Failed,
];
