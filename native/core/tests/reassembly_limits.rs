//! What reassembly costs, and what it refuses to cost.

use migration_core::hash::blake3;
use migration_core::reassembly::{Assembled, Chunk, Options, Reassembler, MAX_SNAPSHOT_BYTES, REMEMBERED_ORIGINS};
use migration_core::{Error, ErrorKind};

fn reassembler(max_pending_bytes: u64) -> Reassembler {
    Reassembler::new(Options {
        max_snapshot_bytes: MAX_SNAPSHOT_BYTES,
        max_pending_bytes,
        digest: true,
    })
}

fn pattern(index: u32, length: usize) -> Vec<u8> {
    (0..length)
        .map(|i| ((i * 131) ^ (i >> 8)) as u8 ^ index as u8)
        .collect()
}

fn feed(
    reassembler: &mut Reassembler,
    origin: u64,
    index: u32,
    total: u32,
    bytes: &[u8],
) -> Result<Option<Assembled>, Error> {
    reassembler.feed(
        &Chunk {
            origin,
            seq_through: 1,
            index,
            total,
            bytes,
        },
        0.0,
    )
}

/// Resident bytes of this process; None where the system does not tell.
fn resident() -> Option<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(statm.split(' ').nth(1)?.parse::<usize>().ok()? * page_size::get())
}

#[test]
fn a_declared_large_snapshot_that_is_never_sent_costs_little() {
    let mut reassembler = reassembler(u64::MAX);
    let before = resident();
    const DECLARED: u64 = 20;
    for origin in 0..DECLARED {
        feed(&mut reassembler, origin, 0, 613_566, &[1; 7000]).unwrap();
    }
    assert!(reassembler.pending_bytes() < DECLARED << 20);
    if let (Some(before), Some(after)) = (before, resident()) {
        assert!(
            after.saturating_sub(before) < (DECLARED as usize) << 20,
            "{before} to {after} bytes"
        );
    }
}

#[test]
fn pending_bytes_are_capped_over_all_snapshots() {
    let mut reassembler = reassembler(1 << 20);
    let mut refused = None;
    for origin in 0..1_000 {
        match feed(&mut reassembler, origin, 5, 100, &[1; 7000]) {
            Ok(None) => {}
            Ok(Some(_)) => panic!("complete with one chunk"),
            Err(error) => {
                refused = Some((origin, error));
                break;
            }
        }
    }
    let (origin, error) = refused.expect("refused at last");
    assert_eq!(error.kind(), ErrorKind::TooManyPendingBytes);
    assert!(origin > 50 && reassembler.pending_bytes() <= 1 << 20);
    assert!(reassembler.cancel(0));
    feed(&mut reassembler, origin, 5, 100, &[1; 7000]).unwrap();
    for origin in 0..=origin {
        reassembler.cancel(origin);
    }
    assert_eq!(reassembler.pending_bytes(), 0);
}

#[test]
fn any_order_gives_the_same_bytes_and_digest() {
    const TOTAL: u32 = 400;
    let chunk = |index| pattern(index, if index + 1 == TOTAL { 1234 } else { 7000 });
    let whole: Vec<u8> = (0..TOTAL).flat_map(chunk).collect();
    let forward: Vec<u32> = (0..TOTAL).collect();
    let backward: Vec<u32> = (0..TOTAL).rev().collect();
    let scattered: Vec<u32> = (0..TOTAL).map(|i| i * 171 % TOTAL).collect();
    let doubled: Vec<u32> = (0..TOTAL - 1).chain(0..TOTAL).collect();
    for order in [forward, backward, scattered, doubled] {
        let mut reassembler = reassembler(u64::MAX);
        let mut assembled = None;
        for index in order {
            assert!(assembled.is_none());
            assembled = feed(&mut reassembler, 1, index, TOTAL, &chunk(index)).unwrap();
        }
        let assembled = assembled.expect("all chunks were fed");
        assert!(*assembled.bytes == *whole);
        assert_eq!(assembled.digest, Some(blake3(&whole)));
        assert_eq!(reassembler.pending_bytes(), 0);
    }
}

#[test]
fn short_and_replaced_chunks_are_moved_together() {
    const TOTAL: u32 = 120;
    let length = |index: u32| if index % 7 == 3 { 10 + index as usize } else { 7000 };
    let whole: Vec<u8> = (0..TOTAL).flat_map(|index| pattern(index, length(index))).collect();
    let mut reassembler = reassembler(u64::MAX);
    // All but one come first with other bytes, and the last one with another length.
    for index in 1..TOTAL {
        assert!(feed(&mut reassembler, 1, index, TOTAL, &pattern(index + 1, 6000))
            .unwrap()
            .is_none());
    }
    for index in 1..TOTAL {
        assert!(feed(&mut reassembler, 1, index, TOTAL, &pattern(index, length(index)))
            .unwrap()
            .is_none());
    }
    let assembled = feed(&mut reassembler, 1, 0, TOTAL, &pattern(0, length(0)))
        .unwrap()
        .expect("complete");
    assert!(*assembled.bytes == *whole);
    assert_eq!(assembled.digest, Some(blake3(&whole)));
}

#[test]
fn what_is_remembered_of_finished_snapshots_is_bounded() {
    let mut reassembler = reassembler(u64::MAX);
    let mut single = |origin, seq_through| {
        let chunk = Chunk {
            origin,
            seq_through,
            index: 0,
            total: 1,
            bytes: b"x",
        };
        reassembler.feed(&chunk, 0.0).map(|whole| assert!(whole.is_some()))
    };
    for origin in 0..=REMEMBERED_ORIGINS as u64 {
        single(origin, 9).unwrap();
    }
    single(0, 8).expect("the oldest is forgotten");
    assert_eq!(
        single(REMEMBERED_ORIGINS as u64, 8).unwrap_err().kind(),
        ErrorKind::StaleSeqThrough
    );
    assert_eq!(single(2, 8).unwrap_err().kind(), ErrorKind::StaleSeqThrough);
}

#[test]
fn only_progress_keeps_a_snapshot_from_the_sweep() {
    let mut reassembler = reassembler(u64::MAX);
    let feed = |reassembler: &mut Reassembler, index, now| {
        reassembler
            .feed(
                &Chunk {
                    origin: 1,
                    seq_through: 1,
                    index,
                    total: 9,
                    bytes: &[1; 7000],
                },
                now,
            )
            .unwrap();
    };
    feed(&mut reassembler, 0, 0.0);
    feed(&mut reassembler, 1, 200_000.0);
    feed(&mut reassembler, 1, 450_000.0);
    assert_eq!(reassembler.sweep(499_999.0, 300_000.0), 0);
    assert_eq!(reassembler.sweep(500_000.0, 300_000.0), 1);
    assert_eq!((reassembler.pending_count(), reassembler.pending_bytes()), (0, 0));
}
