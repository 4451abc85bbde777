//! How many mappings large snapshots take of a process: a test program of its own, since the limit is the process's.

use migration_core::mappings::MAPPINGS_MAX;
use migration_core::reassembly::{Assembled, Chunk, Options, Reassembler, MAX_SNAPSHOT_BYTES};
use migration_core::Error;

/// Chunks of a snapshot that is too large for the heap.
const TOTAL: u32 = 38;

fn reassembler() -> Reassembler {
    Reassembler::new(Options {
        max_snapshot_bytes: MAX_SNAPSHOT_BYTES,
        max_pending_bytes: u64::MAX,
        digest: false,
    })
}

fn feed(reassembler: &mut Reassembler, origin: u64, index: u32) -> Result<Option<Assembled>, Error> {
    let chunk = Chunk {
        origin,
        seq_through: 1,
        index,
        total: TOTAL,
        bytes: &[7; 7_000],
    };
    reassembler.feed(&chunk, 0.0)
}

#[test]
fn are_limited_and_come_back() {
    let (mut one, mut other) = (reassembler(), reassembler());
    let most = MAPPINGS_MAX as u64;
    for origin in 0..most {
        feed(&mut one, origin, 0).unwrap();
    }
    let refused = feed(&mut other, most, 0).err();
    assert!(matches!(refused, Some(Error::OutOfMemory { .. })), "{refused:?}");
    assert_eq!((other.pending_count(), other.pending_bytes()), (0, 0));

    let whole = (1..TOTAL).find_map(|index| feed(&mut one, 0, index).unwrap());
    assert!(
        feed(&mut other, most, 0).is_err(),
        "what was handed over is still mapped"
    );
    drop(whole);
    feed(&mut other, most, 0).unwrap();
    assert!(feed(&mut other, most + 1, 0).is_err());

    // A gap between neighbours each.
    for origin in (1..most).step_by(2) {
        assert!(one.cancel(origin));
        feed(&mut other, most + 1 + origin, 0).unwrap();
    }
    drop((one, other));
    feed(&mut reassembler(), 0, 0).unwrap();
}
