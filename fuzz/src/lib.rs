//! What the targets check, apart from the fuzzer: each function panics where the core breaks a promise. The target
//! `x` is `x::check`.

pub mod bindings;
pub mod decode_batch;
pub mod decode_frame;
pub mod event_log;
pub mod reassembler;
pub mod snapshot;
