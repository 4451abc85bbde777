use migration_core::columns::ColumnsMut;
use migration_core::reassembly::{Assembled, Chunk, Options, Reassembler, RunEnd, SnapshotBytes};
use migration_core::Error;
use napi::bindgen_prelude::{ArrayBuffer, BigInt, Env, Uint32Array, Uint8ArraySlice};
use napi_derive::napi;

use crate::bytes::{give, word, writable};
use crate::errors::{misuse, refusal, Refusal};
use crate::snapshot_file::NativeSnapshotFile;

/// How a call of `feed` or `feedBatch` ended.
const ENDED: u32 = 0;
const COMPLETED: u32 = 1;
const REFUSED: u32 = 2;
const FOREIGN: u32 = 3;

/// Below so many bytes a snapshot is handed over as a copy: cheaper than an external buffer.
const HAND_OVER_MIN: usize = 64 << 10;

#[napi(object, object_from_js = false)]
pub struct WholeSnapshot<'env> {
    pub origin: u64,
    pub seq_through: u64,
    pub memory: ArrayBuffer<'env>,
    pub digest: Option<Uint8ArraySlice<'env>>,
}

#[napi(object)]
pub struct PendingProgress {
    pub seq_through: BigInt,
    pub total_chunks: u32,
    pub received_chunks: u32,
    pub received_bytes: f64,
}

#[napi]
pub struct NativeReassembler {
    inner: Option<Reassembler>,
    completed: Option<Assembled>,
    refused: Option<Error>,
}

impl NativeReassembler {
    fn inner(&mut self) -> Result<&mut Reassembler, Refusal> {
        self.inner
            .as_mut()
            .ok_or_else(|| refusal(Error::Disposed { what: "reassembler" }))
    }
}

#[napi]
impl NativeReassembler {
    #[napi(constructor, catch_unwind)]
    pub fn new(max_snapshot_bytes: f64, max_pending_bytes: f64, digest: bool) -> Self {
        let (max_snapshot_bytes, max_pending_bytes) = (max_snapshot_bytes as u64, max_pending_bytes as u64);
        let inner = Reassembler::new(Options {
            max_snapshot_bytes,
            max_pending_bytes,
            digest,
        });
        Self {
            inner: Some(inner),
            completed: None,
            refused: None,
        }
    }

    #[napi(getter, catch_unwind)]
    pub fn pending_count(&self) -> u32 {
        self.inner.as_ref().map_or(0, |inner| inner.pending_count() as u32)
    }

    #[napi(getter, catch_unwind)]
    pub fn pending_bytes(&self) -> f64 {
        self.inner.as_ref().map_or(0.0, |inner| inner.pending_bytes() as f64)
    }

    /// Whether a snapshot was completed, which `takeCompleted` then gives.
    #[napi(catch_unwind)]
    pub fn feed(
        &mut self,
        origin: BigInt,
        seq_through: BigInt,
        index: u32,
        total: u32,
        bytes: &[u8],
        now_ms: f64,
    ) -> Result<bool, Refusal> {
        let chunk = Chunk {
            origin: word(&origin),
            seq_through: word(&seq_through),
            index,
            total,
            bytes,
        };
        self.completed = self.inner()?.feed(&chunk, now_ms).map_err(refusal)?;
        Ok(self.completed.is_some())
    }

    /// Returns 4 × the row at which it stopped + how: 0 the run ended, 1 a snapshot was completed (`takeCompleted`), 2 the
    /// row was refused (`takeRefusal`), 3 the columns are not those of this batch.
    #[napi(catch_unwind)]
    pub fn feed_batch(
        &mut self,
        batch: &[u8],
        mut memory: Uint8ArraySlice<'_>,
        from: u32,
        to: u32,
        now_ms: f64,
    ) -> Result<u32, Refusal> {
        let memory = writable(&mut memory);
        let columns = ColumnsMut::new(memory).ok_or_else(|| misuse("memory is not that of columns"))?;
        let (next, end) = self
            .inner()?
            .feed_batch(batch, &columns, from as usize, to as usize, now_ms);
        let how = match end {
            RunEnd::Ended => ENDED,
            RunEnd::Foreign => FOREIGN,
            RunEnd::Completed(whole) => {
                self.completed = Some(whole);
                COMPLETED
            }
            RunEnd::Refused(error) => {
                self.refused = Some(error);
                REFUSED
            }
        };
        Ok(next as u32 * 4 + how)
    }

    /// Throws what the last `feedBatch` was refused with.
    #[napi(catch_unwind)]
    pub fn take_refusal(&mut self) -> Result<(), Refusal> {
        self.refused.take().map_or(Ok(()), |error| Err(refusal(error)))
    }

    /// The snapshot that the last call completed.
    #[napi(catch_unwind)]
    pub fn take_completed<'env>(&mut self, env: &'env Env) -> Result<WholeSnapshot<'env>, Refusal> {
        let whole = self
            .completed
            .take()
            .ok_or_else(|| misuse("no snapshot was completed"))?;
        let failed = |error: napi::Error| misuse(&error.reason);
        let digest = whole.digest.map(|digest| Uint8ArraySlice::copy_from(env, digest));
        Ok(WholeSnapshot {
            origin: whole.origin,
            seq_through: whole.seq_through,
            digest: digest.transpose().map_err(failed)?,
            memory: hand_over(env, whole.bytes).map_err(failed)?,
        })
    }

    #[napi(catch_unwind)]
    pub fn progress(&mut self, origin: BigInt) -> Result<Option<PendingProgress>, Refusal> {
        Ok(self.inner()?.progress(word(&origin)).map(|progress| PendingProgress {
            seq_through: progress.seq_through.into(),
            total_chunks: progress.total_chunks,
            received_chunks: progress.received_chunks,
            received_bytes: progress.received_bytes as f64,
        }))
    }

    /// Up to `limit` runs of missing chunks as [first, end) pairs.
    #[napi(catch_unwind)]
    pub fn missing(&mut self, origin: BigInt, limit: u32) -> Result<Uint32Array, Refusal> {
        let runs = self.inner()?.missing(word(&origin), limit as usize);
        Ok(Uint32Array::new(
            runs.into_iter().flat_map(|(first, end)| [first, end]).collect(),
        ))
    }

    /// Goes on in a file, which is taken out of its object. Whether a snapshot was completed, which `takeCompleted` then gives.
    #[napi(catch_unwind)]
    pub fn keep(&mut self, origin: BigInt, file: &mut NativeSnapshotFile) -> Result<bool, Refusal> {
        let file = file.take()?;
        self.completed = self.inner()?.keep(word(&origin), file).map_err(refusal)?;
        Ok(self.completed.is_some())
    }

    /// The chunks that are here, as bits; undefined where nothing is pending in a file.
    #[napi(catch_unwind)]
    pub fn received<'env>(&mut self, env: &'env Env, origin: BigInt) -> Result<Option<Uint8ArraySlice<'env>>, Refusal> {
        let bits = self.inner()?.received(word(&origin));
        bits.map(|bits| give(env, bits)).transpose()
    }

    #[napi(catch_unwind)]
    pub fn cancel(&mut self, origin: BigInt) -> Result<bool, Refusal> {
        Ok(self.inner()?.cancel(word(&origin)))
    }

    #[napi(catch_unwind)]
    pub fn forget(&mut self, origin: BigInt) -> Result<bool, Refusal> {
        Ok(self.inner()?.forget(word(&origin)))
    }

    #[napi(catch_unwind)]
    pub fn sweep(&mut self, now_ms: f64, max_idle_ms: f64) -> Result<u32, Refusal> {
        Ok(self.inner()?.sweep(now_ms, max_idle_ms) as u32)
    }

    #[napi(catch_unwind)]
    pub fn dispose(&mut self) {
        self.inner = None;
        self.completed = None;
    }
}

/// A snapshot's bytes as an ArrayBuffer: a small one copied, a large one as it stands. Its memory is freed when the
/// ArrayBuffer is detached or collected, and nothing in the process reads it any more; V8 knows of its size.
#[allow(unsafe_code)]
fn hand_over<'env>(env: &'env Env, mut bytes: SnapshotBytes) -> napi::Result<ArrayBuffer<'env>> {
    let length = bytes.len();
    if length < HAND_OVER_MIN {
        return ArrayBuffer::copy_from(env, &*bytes);
    }
    let start = bytes.as_mut_ptr();
    // SAFETY: `start` points at `length` readable and writable bytes that `bytes` owns and that do not move with it (a heap
    // block or a mapping). `bytes` goes into the finalizer, which Node runs once no JavaScript and no operation in flight
    // can reach the ArrayBuffer's memory; until then nothing else reads or writes it.
    unsafe { ArrayBuffer::from_external(env, start, length, bytes, |_, bytes| drop(bytes)) }
}

/// Detaches an ArrayBuffer: views of it are empty from then on, and its memory goes once nothing in flight uses it.
#[napi(catch_unwind)]
pub fn release_memory(memory: ArrayBuffer<'_>) -> Result<(), Refusal> {
    memory.detach().map_err(|error| misuse(&error.reason))
}
