use migration_core::bindings::Binding;
use migration_core::ledger::{Ledger, RebindPhase};
use napi::bindgen_prelude::{Env, Uint8ArraySlice};
use napi_derive::napi;

use crate::bytes::{fill, give, writable};
use crate::errors::{misuse, refusal, Refusal};

/// A subscription ledger. A subscription is named by its key: the publisher as 8 bytes LE, then the channel's name. The
/// wrapper passes one buffer for all keys, and how much of it is the key.
#[napi]
pub struct NativeLedger {
    inner: Ledger,
}

fn key(key: &[u8], length: u32) -> Result<(u64, &[u8]), Refusal> {
    let key = key.get(..length as usize).and_then(|key| key.split_first_chunk());
    let (publisher, channel) = key.ok_or_else(|| misuse("a key has at least 8 bytes"))?;
    migration_core::channel::validate(channel, 0).map_err(refusal)?;
    Ok((u64::from_le_bytes(*publisher), channel))
}

#[napi]
impl NativeLedger {
    /// Reads bindings; no bytes are an empty ledger.
    #[napi(constructor, catch_unwind)]
    pub fn new(bindings: &[u8]) -> Result<Self, Refusal> {
        Ledger::parse(bindings).map(|inner| Self { inner }).map_err(refusal)
    }

    #[napi(getter, catch_unwind)]
    pub fn size(&self) -> u32 {
        self.inner.len() as u32
    }

    #[napi(catch_unwind)]
    pub fn record(&mut self, subscription: &[u8], length: u32, token: &[u8], has_token: bool) -> Result<(), Refusal> {
        let (publisher, channel) = key(subscription, length)?;
        let binding = Binding {
            publisher,
            channel,
            token: has_token.then_some(token),
        };
        self.inner.record(&binding).map_err(refusal)
    }

    #[napi(catch_unwind)]
    pub fn forget(&mut self, subscription: &[u8], length: u32) -> Result<bool, Refusal> {
        let (publisher, channel) = key(subscription, length)?;
        Ok(self.inner.forget(publisher, channel))
    }

    /// The subscription as one binding; undefined where there is none.
    #[napi(catch_unwind)]
    pub fn get<'env>(
        &self,
        env: &'env Env,
        subscription: &[u8],
        length: u32,
    ) -> Result<Option<Uint8ArraySlice<'env>>, Refusal> {
        let (publisher, channel) = key(subscription, length)?;
        let Some(binding) = self.inner.get(publisher, channel) else {
            return Ok(None);
        };
        let mut out = Vec::with_capacity(binding.encoded_length());
        binding.write(&mut out);
        give(env, out).map(Some)
    }

    #[napi(getter, catch_unwind)]
    pub fn encoded_length(&self) -> f64 {
        self.inner.encoded_length() as f64
    }

    /// Writes the bindings into `out`, which has exactly `encodedLength` bytes.
    #[napi(catch_unwind)]
    pub fn encode(&self, mut out: Uint8ArraySlice<'_>) -> Result<(), Refusal> {
        let out = writable(&mut out);
        if self.inner.encode_into(out) {
            Ok(())
        } else {
            Err(misuse("the bindings need memory of their size"))
        }
    }

    /// The lengths in bytes of the first two (u32 LE), then three bindings: what to add, to drop, and whose token changed.
    #[napi(catch_unwind)]
    pub fn difference<'env>(&self, env: &'env Env, wanted: &NativeLedger) -> Result<Uint8ArraySlice<'env>, Refusal> {
        let difference = self.inner.difference(&wanted.inner).map_err(refusal)?;
        let mut out = vec![0; 8];
        wanted.inner.write_places(&difference.add, &mut out);
        let add = out.len() - 8;
        self.inner.write_places(&difference.drop, &mut out);
        let drop = out.len() - 8 - add;
        out[..4].copy_from_slice(&(add as u32).to_le_bytes());
        out[4..8].copy_from_slice(&(drop as u32).to_le_bytes());
        wanted.inner.write_places(&difference.token_changed, &mut out);
        give(env, out)
    }

    #[napi(catch_unwind)]
    pub fn begin_rebind(&mut self) {
        self.inner.begin_rebind();
    }

    /// Up to `limit` pending entries as bindings.
    #[napi(catch_unwind)]
    pub fn pending<'env>(&mut self, env: &'env Env, limit: u32) -> Result<Uint8ArraySlice<'env>, Refusal> {
        let places = self.inner.pending(limit as usize);
        let mut out = Vec::new();
        self.inner.write_places(&places, &mut out);
        give(env, out)
    }

    #[napi(catch_unwind)]
    pub fn mark_tried(&mut self, subscription: &[u8], length: u32) -> Result<bool, Refusal> {
        let (publisher, channel) = key(subscription, length)?;
        Ok(self.inner.mark_tried(publisher, channel))
    }

    #[napi(catch_unwind)]
    pub fn mark_done(&mut self, subscription: &[u8], length: u32) -> Result<bool, Refusal> {
        let (publisher, channel) = key(subscription, length)?;
        Ok(self.inner.mark_done(publisher, channel))
    }

    #[napi(catch_unwind)]
    pub fn mark_failed(&mut self, subscription: &[u8], length: u32, reason: String) -> Result<bool, Refusal> {
        let (publisher, channel) = key(subscription, length)?;
        Ok(self.inner.mark_failed(publisher, channel, &reason))
    }

    /// 4 × tries + the phase (0 idle, 1 pending, 2 done, 3 failed); −1 where there is no such subscription.
    #[napi(catch_unwind)]
    pub fn rebind_state(&self, subscription: &[u8], length: u32) -> Result<f64, Refusal> {
        let (publisher, channel) = key(subscription, length)?;
        let state = self.inner.rebind_state(publisher, channel);
        Ok(state.map_or(-1.0, |state| {
            f64::from(state.tries) * 4.0 + f64::from(state.phase as u8)
        }))
    }

    /// Why a rebind has failed.
    #[napi(catch_unwind)]
    pub fn failure_reason(&self, subscription: &[u8], length: u32) -> Result<Option<String>, Refusal> {
        let (publisher, channel) = key(subscription, length)?;
        let state = self.inner.rebind_state(publisher, channel);
        let failed = state.filter(|state| state.phase == RebindPhase::Failed);
        Ok(failed.and_then(|state| state.reason.map(str::to_owned)))
    }

    /// How many are idle, pending, done, failed, into memory of four u32 in native byte order.
    #[napi(catch_unwind)]
    pub fn rebind_counts(&self, mut out: Uint8ArraySlice<'_>) -> Result<(), Refusal> {
        let counts = self.inner.rebind_counts();
        let counts = [counts.idle, counts.pending, counts.done, counts.failed];
        fill(writable(&mut out), &counts.map(u32::to_ne_bytes).concat())
    }

    /// Gives the memory back.
    #[napi(catch_unwind)]
    pub fn dispose(&mut self) {
        self.inner = Ledger::default();
    }
}
