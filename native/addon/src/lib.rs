//! The N-API surface over `migration-core`, and nothing else.
//!
//! What crosses is coarse: many frames at once as columns, bindings and events as their wire bytes, results in memory that
//! JavaScript owns. `lib/wire/native` wraps it: argument types are checked there, and a [`errors::Refusal`] becomes a
//! `MigrationError` there. A panic becomes an exception by `catch_unwind` on every export. Nothing here is global, so that
//! any number of worker threads can load the addon.

#![deny(unsafe_code)]

pub mod bytes;
pub mod errors;
pub mod event_log;
pub mod frames;
pub mod hashes;
pub mod ledger;
pub mod reassembler;
pub mod snapshot_file;
pub mod snapshots;

use napi_derive::napi;

/// The version of the native engine.
#[napi(catch_unwind)]
pub fn version() -> &'static str {
    migration_core::VERSION
}
