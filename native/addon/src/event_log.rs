use migration_core::event_log::{EventLog, FramePlan};
use migration_core::events::{take_event, Event};
use napi::bindgen_prelude::{BigInt, Env, Uint8ArraySlice};
use napi_derive::napi;

use crate::bytes::{fill, give, word, writable, writable_whole};
use crate::errors::{misuse, refusal, Refusal};

/// A source's log. Numbers are below 2^53: a log does not live to more.
#[napi]
pub struct NativeEventLog {
    inner: EventLog,
    plan: Option<FramePlan>,
}

#[napi]
impl NativeEventLog {
    #[napi(constructor, catch_unwind)]
    pub fn new(max_events: f64, max_bytes: f64) -> Self {
        Self {
            inner: EventLog::new(max_events as u64, max_bytes as u64),
            plan: None,
        }
    }

    /// Appends events, one after another as they stand on the wire. Returns how many bytes of them were taken: fewer than
    /// there are only where memory ran out.
    #[napi(catch_unwind)]
    pub fn append(&mut self, events: &[u8], length: u32) -> Result<u32, Refusal> {
        let mut rest = events
            .get(..length as usize)
            .ok_or_else(|| misuse("events end before their length"))?;
        let mut taken = 0;
        while let Some(event) = take_event(&mut rest) {
            if self.inner.append(&event).is_err() {
                break;
            }
            taken = length - rest.len() as u32;
        }
        Ok(taken)
    }

    /// Appends one event whose payload stands elsewhere: `head` is a whole event without one.
    #[napi(catch_unwind)]
    pub fn append_large(&mut self, mut head: &[u8], payload: &[u8]) -> Result<(), Refusal> {
        let event = take_event(&mut head).ok_or_else(|| misuse("the head is no event"))?;
        self.inner
            .append(&Event { payload, ..event })
            .map(|_| ())
            .map_err(refusal)
    }

    /// Payload bytes held.
    #[napi(getter, catch_unwind)]
    pub fn bytes(&self) -> f64 {
        self.inner.bytes() as f64
    }

    /// The event as it stands on the wire; undefined where it is not held.
    #[napi(catch_unwind)]
    pub fn get<'env>(&self, env: &'env Env, number: f64) -> Result<Option<Uint8ArraySlice<'env>>, Refusal> {
        let Some(event) = self.inner.get(number as u64) else {
            return Ok(None);
        };
        let mut out = Vec::with_capacity(44 + event.payload.len());
        event.write(&mut out);
        give(env, out).map(Some)
    }

    /// Plans a frame of held events from `from` on; returns its length. `writeFrame` writes it.
    #[napi(catch_unwind)]
    pub fn plan_frame(&mut self, from: f64, max_frame_bytes: u32, max_count: u32) -> Result<f64, Refusal> {
        let plan = self
            .inner
            .plan_frame(from as u64, max_frame_bytes as usize, max_count)
            .map_err(refusal)?;
        self.plan = Some(plan);
        Ok(plan.length as f64)
    }

    /// Writes the planned frame into `out`, which has exactly its length. Returns how many events it has.
    #[napi(catch_unwind)]
    pub fn write_frame(
        &mut self,
        mut out: Uint8ArraySlice<'_>,
        origin: BigInt,
        renumber_from: Option<BigInt>,
    ) -> Result<u32, Refusal> {
        let out = writable_whole(&mut out);
        let plan = self.plan.take().filter(|plan| plan.length == out.len());
        let plan = plan.ok_or_else(|| misuse("no frame of that length was planned"))?;
        let renumber_from = renumber_from.as_ref().map(word);
        self.inner
            .write_frame(&plan, out, word(&origin), renumber_from)
            .map_err(refusal)?;
        Ok(plan.count)
    }

    /// The running digest into `out` (32 bytes).
    #[napi(catch_unwind)]
    pub fn digest(&self, mut out: Uint8ArraySlice<'_>) -> Result<(), Refusal> {
        let out = writable(&mut out);
        fill(out, &self.inner.digest())
    }

    /// Forgets events up to and with `through`; returns how many.
    #[napi(catch_unwind)]
    pub fn truncate(&mut self, through: f64) -> f64 {
        self.plan = None;
        self.inner.truncate(through as u64) as f64
    }

    /// Forgets all, gives the memory back, and begins again at 1.
    #[napi(catch_unwind)]
    pub fn clear(&mut self) {
        self.plan = None;
        self.inner.clear();
    }
}
