//! Bytes of migration subprotocol 0x0500 (`net-mesh` 0.34). Knows nothing of Node.
//!
//! Every input is taken to be hostile: bytes are refused with an [`Error`] that says what was wrong and where, nothing
//! panics on them, and no allocation is sized by a length that was not checked against the bytes that are there.

#![deny(unsafe_code)]

pub mod bindings;
pub mod bitmap;
pub mod channel;
pub mod chunking;
pub mod columns;
mod cursor;
pub mod error;
pub mod event_log;
pub mod events;
pub mod failure;
pub mod hash;
pub mod ledger;
pub mod link;
pub mod mappings;
pub mod memory;
pub mod message;
pub mod reassembly;
pub mod snapshot;
pub mod snapshot_file;
pub mod tree_digest;

pub use error::{Error, ErrorKind};

/// The version of this crate, which is that of the package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
