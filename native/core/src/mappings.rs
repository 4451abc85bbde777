//! How many memory mappings large snapshots take of the process.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The most mappings at once, over all threads. Linux gives a process 65,530, and V8 ends it when it gets none. Neighbours
/// count as one there, but each that goes from between two others leaves a gap; its books may be mappings, too.
pub const MAPPINGS_MAX: usize = 8_192;

static MAPPINGS: AtomicUsize = AtomicUsize::new(0);

/// One of [`MAPPINGS_MAX`], until it is dropped.
pub(crate) struct Place;

impl Place {
    pub fn take() -> Option<Self> {
        let next = |taken| (taken < MAPPINGS_MAX).then_some(taken + 1);
        let taken = MAPPINGS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        taken.ok().map(|_| Self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        MAPPINGS.fetch_sub(1, Ordering::Relaxed);
    }
}
