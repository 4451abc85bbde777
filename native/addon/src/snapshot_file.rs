use std::path::PathBuf;

use migration_core::snapshot_file::{SnapshotFile, SUPPORTED};
use migration_core::Error;
use napi::bindgen_prelude::{AsyncTask, Env, Task, Uint8Array};
use napi_derive::napi;

use crate::errors::{refusal, Refusal};

/// A file that a reassembler can go on in, until it does.
#[napi]
pub struct NativeSnapshotFile {
    inner: Result<SnapshotFile, Error>,
}

const GONE: Error = Error::Disposed { what: "snapshot file" };

impl NativeSnapshotFile {
    pub fn take(&mut self) -> Result<SnapshotFile, Refusal> {
        std::mem::replace(&mut self.inner, Err(GONE)).map_err(refusal)
    }
}

#[napi]
impl NativeSnapshotFile {
    /// How many chunks stand in it. Throws what `takeUpSnapshotFile` was refused with.
    #[napi(catch_unwind)]
    pub fn received(&self) -> Result<u32, Refusal> {
        match &self.inner {
            Ok(file) => Ok(file.received() as u32),
            Err(error) => Err(refusal(*error)),
        }
    }

    /// Lets the file go, which stays where it is.
    #[napi(catch_unwind)]
    pub fn dispose(&mut self) {
        self.inner = Err(GONE);
    }
}

/// Whether snapshots can be received in files here.
#[napi(catch_unwind)]
pub fn can_keep_snapshots() -> bool {
    SUPPORTED
}

/// A new file for a snapshot of so many chunks.
#[napi(catch_unwind)]
pub fn create_snapshot_file(path: String, total: u32) -> Result<NativeSnapshotFile, Refusal> {
    let inner = Ok(SnapshotFile::create(&PathBuf::from(path), total).map_err(refusal)?);
    Ok(NativeSnapshotFile { inner })
}

/// Reads a file of an earlier life, beside the event loop's thread.
pub struct TakeUp {
    path: PathBuf,
    total: u32,
    received: Vec<u8>,
}

impl Task for TakeUp {
    /// Its own errors have no kind, so a refusal goes along as what was found.
    type Output = Result<SnapshotFile, Error>;
    type JsValue = NativeSnapshotFile;

    fn compute(&mut self) -> napi::Result<Self::Output> {
        Ok(SnapshotFile::take_up(&self.path, self.total, &self.received))
    }

    fn resolve(&mut self, _: Env, inner: Self::Output) -> napi::Result<NativeSnapshotFile> {
        Ok(NativeSnapshotFile { inner })
    }
}

/// A file of an earlier life; what it was refused with, `received` of the object throws.
#[napi(catch_unwind, ts_return_type = "Promise<NativeSnapshotFile>")]
pub fn take_up_snapshot_file(path: String, total: u32, received: Uint8Array) -> AsyncTask<TakeUp> {
    AsyncTask::new(TakeUp {
        path: path.into(),
        total,
        received: received.to_vec(),
    })
}
