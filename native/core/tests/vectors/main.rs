//! The reference's vectors (`test/vectors`), run over the core.

mod frames;
mod identity;
mod json;
mod reassembly;
mod state;
