//! The N-API surface over `migration-core`, and nothing else.

use napi_derive::napi;

/// The version of the native engine.
#[napi(catch_unwind)]
pub fn version() -> &'static str {
    migration_core::VERSION
}
