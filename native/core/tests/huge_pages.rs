//! What large snapshots commit where their memory comes in huge pages.

use migration_core::hash::blake3;
use migration_core::reassembly::{Assembled, Chunk, Options, Reassembler, MAX_SNAPSHOT_BYTES};

const CHUNK: u64 = 7_000;
/// Chunks of a snapshot well over the size from which huge pages are asked for.
const TOTAL: u32 = 3_000;
/// The books kept of such a snapshot take less.
const BOOKS: u64 = 64 << 10;

fn reassembler(max_pending_bytes: u64) -> Reassembler {
    Reassembler::new(Options {
        max_snapshot_bytes: MAX_SNAPSHOT_BYTES,
        max_pending_bytes,
        digest: true,
    })
}

fn pattern(index: u32) -> Vec<u8> {
    let mark = (index % 251) as u8;
    (0..CHUNK).map(|i| ((i * 131) ^ (i >> 8)) as u8 ^ mark).collect()
}

fn feed(reassembler: &mut Reassembler, index: u32, total: u32) -> Option<Assembled> {
    let bytes = &pattern(index);
    let chunk = Chunk {
        origin: 1,
        seq_through: 1,
        index,
        total,
        bytes,
    };
    reassembler.feed(&chunk, 0.0).unwrap()
}

#[test]
fn any_order_gives_the_same_bytes_and_digest() {
    let forward: Vec<u32> = (0..TOTAL).collect();
    let backward: Vec<u32> = (0..TOTAL).rev().collect();
    let scattered: Vec<u32> = (0..TOTAL).map(|i| i * 1_171 % TOTAL).collect();
    let whole: Vec<u8> = (0..TOTAL).flat_map(pattern).collect();
    for order in [forward, backward, scattered] {
        let mut reassembler = reassembler(u64::MAX);
        let mut assembled = None;
        for index in order {
            assembled = feed(&mut reassembler, index, TOTAL);
        }
        let assembled = assembled.expect("all chunks were fed");
        assert!(*assembled.bytes == *whole);
        assert_eq!(assembled.digest, Some(blake3(&whole)));
        assert_eq!(reassembler.pending_bytes(), 0);
    }
}

#[test]
fn a_huge_page_is_charged_whole_and_is_never_far_ahead() {
    let mut reassembler = reassembler(u64::MAX);
    let mut most_ahead = 0;
    for index in 0..TOTAL - 1 {
        feed(&mut reassembler, index, TOTAL);
        let ahead = reassembler.pending_bytes() - u64::from(index + 1) * CHUNK;
        most_ahead = most_ahead.max(ahead);
    }
    if page_size::get() == 4096 {
        assert!(most_ahead > 2_000_000, "{most_ahead}");
    }
    assert!(most_ahead < (2 << 20) + BOOKS, "{most_ahead}");
}

#[test]
fn chunks_far_apart_commit_no_huge_pages() {
    const FIRST: u32 = 600;
    const APART: u32 = 300;
    const TOTAL: u32 = 30_000;
    let mut reassembler = reassembler(u64::MAX);
    let mut received = 0;
    for index in (0..FIRST).chain((FIRST + APART..TOTAL).step_by(APART as usize)) {
        feed(&mut reassembler, index, TOTAL);
        received += CHUNK;
    }
    let pending = reassembler.pending_bytes();
    assert!(pending < 2 * received, "{pending} pending, {received} received");
}

#[test]
fn a_limit_as_large_as_the_snapshot_is_enough() {
    let whole = u64::from(TOTAL) * CHUNK;
    let mut reassembler = reassembler(whole + BOOKS);
    let mut assembled = None;
    for index in 0..TOTAL {
        assert!(assembled.is_none());
        assembled = feed(&mut reassembler, index, TOTAL);
    }
    assert_eq!(assembled.expect("all chunks were fed").bytes.len() as u64, whole);
}
