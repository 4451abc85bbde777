use migration_core::snapshot;
use napi_derive::napi;

use crate::errors::{refusal, Refusal};

/// Checks a whole snapshot; its fields then stand where PROTOCOL.md §4 puts them.
#[napi(catch_unwind)]
pub fn check_snapshot(bytes: &[u8]) -> Result<(), Refusal> {
    snapshot::decode(bytes).map(|_| ()).map_err(refusal)
}
