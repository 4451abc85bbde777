//! Bytes of migration subprotocol 0x0500 (`net-mesh` 0.34). Knows nothing of Node.

/// The version of this crate, which is that of the package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
