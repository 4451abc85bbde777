//! Snapshots that are received in files: as in memory, and again after the process is gone.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::{symlink, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use migration_core::reassembly::{Assembled, Chunk, Options, Reassembler, MAX_SNAPSHOT_BYTES};
use migration_core::snapshot_file::SnapshotFile;
use migration_core::Error;

const CHUNK: usize = 7_000;

/// A folder that goes with its test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("snapshot-files-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("1")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn reassembler() -> Reassembler {
    limited(u64::MAX)
}

fn limited(max_pending_bytes: u64) -> Reassembler {
    Reassembler::new(Options {
        max_snapshot_bytes: MAX_SNAPSHOT_BYTES,
        max_pending_bytes,
        digest: true,
    })
}

fn snapshot(length: usize) -> Vec<u8> {
    (0..length).map(|i| ((i * 131) ^ ((i >> 8) * 17)) as u8).collect()
}

fn feed(to: &mut Reassembler, bytes: &[u8], index: usize) -> Result<Option<Assembled>, Error> {
    let at = index * CHUNK;
    let chunk = Chunk {
        origin: 1,
        seq_through: 9,
        index: index as u32,
        total: bytes.len().div_ceil(CHUNK) as u32,
        bytes: &bytes[at..bytes.len().min(at + CHUNK)],
    };
    to.feed(&chunk, 0.0)
}

/// A reassembler that has the chunks of `fed`, the first of them in memory at first.
fn kept(path: &Path, bytes: &[u8], fed: impl IntoIterator<Item = usize>) -> Reassembler {
    let mut reassembler = reassembler();
    let mut fed = fed.into_iter();
    assert!(feed(&mut reassembler, bytes, fed.next().unwrap()).unwrap().is_none());
    let file = SnapshotFile::create(path, bytes.len().div_ceil(CHUNK) as u32).unwrap();
    assert!(reassembler.keep(1, file).unwrap().is_none());
    for index in fed {
        assert!(feed(&mut reassembler, bytes, index).unwrap().is_none());
    }
    reassembler
}

fn taken_up(path: &Path, bytes: &[u8], received: &[u8]) -> (Reassembler, SnapshotFile) {
    let total = bytes.len().div_ceil(CHUNK);
    let mut reassembler = reassembler();
    assert!(feed(&mut reassembler, bytes, total - 1).unwrap().is_none());
    (
        reassembler,
        SnapshotFile::take_up(path, total as u32, received).unwrap(),
    )
}

fn holds(whole: &Assembled, bytes: &[u8]) {
    assert!(&*whole.bytes == bytes, "the bytes differ");
    assert_eq!(whole.digest, Some(blake3::hash(bytes).into()));
}

fn failed(outcome: Result<SnapshotFile, Error>) -> Error {
    outcome.err().expect("it was refused")
}

#[test]
fn are_what_memory_would_be() {
    let folder = Folder::new();
    let bytes = snapshot(300 * CHUNK + 1);
    let mut reassembler = kept(&folder.file(), &bytes, (1..301).rev());
    assert_eq!(fs::metadata(folder.file()).unwrap().mode() & 0o777, 0o600);
    let whole = feed(&mut reassembler, &bytes, 0).unwrap().unwrap();
    holds(&whole, &bytes);
    let mut on_disk = fs::read(folder.file()).unwrap();
    on_disk.truncate(bytes.len());
    assert!(on_disk == bytes, "the file has the bytes");
}

#[test]
fn go_on_after_a_restart() {
    let folder = Folder::new();
    let bytes = snapshot(1_000 * CHUNK + 5);
    let is_there = |index: &usize| index % 7 != 3 || (*index >= 400 && *index < 600);
    let first = kept(&folder.file(), &bytes, (0..1_001).filter(is_there));
    let received = first.received(1).unwrap();
    drop(first);

    let (mut second, file) = taken_up(&folder.file(), &bytes, &received);
    assert_eq!(file.received(), (0..1_000).filter(is_there).count());
    assert!(second.keep(1, file).unwrap().is_none());
    let missing: Vec<usize> = (0..1_000).filter(|index| !is_there(index)).collect();
    let runs: Vec<(u32, u32)> = missing.iter().map(|index| (*index as u32, *index as u32 + 1)).collect();
    assert_eq!(second.missing(1, 1_000), runs);
    let mut whole = None;
    for index in missing {
        assert!(whole.is_none());
        whole = feed(&mut second, &bytes, index).unwrap();
    }
    holds(&whole.unwrap(), &bytes);
}

#[test]
fn are_whole_at_once_where_only_the_last_chunk_was_missing() {
    let folder = Folder::new();
    let bytes = snapshot(100 * CHUNK);
    let first = kept(&folder.file(), &bytes, 1..100);
    let mut received = first.received(1).unwrap();
    received[0] |= 1;
    drop(first);
    // The record named a chunk that never reached the disk: the digest shows it.
    let (mut second, file) = taken_up(&folder.file(), &bytes, &received);
    let whole = second.keep(1, file).unwrap().unwrap();
    assert_ne!(whole.digest, Some(blake3::hash(&bytes).into()));
    assert_eq!((second.pending_count(), second.pending_bytes()), (0, 0));
}

#[test]
fn tell_of_every_chunk_but_the_last() {
    let folder = Folder::new();
    let bytes = snapshot(65 * CHUNK);
    let reassembler = kept(&folder.file(), &bytes, [64, 0, 63]);
    assert_eq!(
        reassembler.received(1).unwrap(),
        [1, 0, 0, 0, 0, 0, 0, 128, 0, 0, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(reassembler.received(2), None);
    let mut in_memory = self::reassembler();
    feed(&mut in_memory, &bytes, 0).unwrap();
    assert_eq!(in_memory.received(1), None);
}

#[test]
fn cost_little_where_little_was_sent() {
    let folder = Folder::new();
    let (total, bytes) = (500_000, [7; CHUNK]);
    let mut reassembler = reassembler();
    for index in (0..total).step_by(50_000) {
        let chunk = Chunk {
            origin: 1,
            seq_through: 9,
            index,
            total,
            bytes: &bytes,
        };
        reassembler.feed(&chunk, 0.0).unwrap();
        if index == 0 {
            let file = SnapshotFile::create(&folder.file(), total).unwrap();
            reassembler.keep(1, file).unwrap();
        }
    }
    let on_disk = fs::metadata(folder.file()).unwrap().blocks() * 512;
    assert!(
        (10 * CHUNK as u64..=20 * (64 << 10)).contains(&on_disk),
        "{on_disk} bytes on disk"
    );
    // Beside the disk space the books: a bit per chunk and per unit, 36 bytes per 256 KiB.
    let length = total as usize * CHUNK;
    let books = total as usize / 8 + length / (64 << 10) / 8 + length / (256 << 10) * 36;
    assert!(reassembler.pending_bytes() <= on_disk + books as u64 + 256);
}

#[test]
fn count_as_pending() {
    let folder = Folder::new();
    let bytes = snapshot(1_000 * CHUNK);
    let mut reassembler = limited(1 << 20);
    feed(&mut reassembler, &bytes, 0).unwrap();
    let file = SnapshotFile::create(&folder.file(), 1_000).unwrap();
    assert!(reassembler.keep(1, file).unwrap().is_none());
    let refused = (1..1_000).find_map(|index| feed(&mut reassembler, &bytes, index).err());
    assert!(
        matches!(refused, Some(Error::TooManyPendingBytes { .. })),
        "{refused:?}"
    );
    let pending = reassembler.pending_bytes();
    assert!(pending <= 1 << 20 && pending > 800 << 10, "{pending}");
    assert!(reassembler.cancel(1));
    assert_eq!(reassembler.pending_bytes(), 0);
}

#[test]
fn too_large_for_the_limit_stay_in_memory() {
    let folder = Folder::new();
    let bytes = snapshot(1_000 * CHUNK);
    let first = kept(&folder.file(), &bytes, 0..900);
    let received = first.received(1).unwrap();
    let mut second = limited(1 << 20);
    feed(&mut second, &bytes, 999).unwrap();
    let before = (second.pending_bytes(), second.missing(1, 9));
    let file = SnapshotFile::take_up(&folder.file(), 1_000, &received).unwrap();
    assert!(matches!(second.keep(1, file), Err(Error::TooManyPendingBytes { .. })));
    assert_eq!((second.pending_bytes(), second.missing(1, 9)), before);
}

#[test]
fn of_another_snapshot_are_refused() {
    let folder = Folder::new();
    let bytes = snapshot(100 * CHUNK);
    let first = kept(&folder.file(), &bytes, 0..99);
    let received = first.received(1).unwrap();
    drop(first);
    let path = folder.file();
    let spool_failed = |error: Error| assert!(matches!(error, Error::SpoolFailed { .. }), "{error}");
    spool_failed(failed(SnapshotFile::take_up(&path, 101, &received)));
    spool_failed(failed(SnapshotFile::take_up(&path, 100, &received[1..])));
    spool_failed(failed(SnapshotFile::take_up(&path, 100, &[255; 16])));
    spool_failed(failed(SnapshotFile::take_up(&folder.0.join("2"), 100, &received)));
    spool_failed(failed(SnapshotFile::create(&path, 100)));
    spool_failed(failed(SnapshotFile::create(&folder.0.join("no/folder"), 100)));
    symlink(&path, folder.0.join("3")).unwrap();
    spool_failed(failed(SnapshotFile::take_up(&folder.0.join("3"), 100, &received)));
    fs::create_dir(folder.0.join("4")).unwrap();
    spool_failed(failed(SnapshotFile::take_up(&folder.0.join("4"), 100, &received)));
    assert!(SnapshotFile::create(&folder.0.join("5"), 0).is_err());
    assert!(SnapshotFile::create(&folder.0.join("5"), 700_001).is_err());
    assert!(!folder.0.join("5").exists());

    let mut other = reassembler();
    feed(&mut other, &snapshot(101 * CHUNK), 0).unwrap();
    let file = SnapshotFile::take_up(&path, 100, &received).unwrap();
    assert!(matches!(other.keep(1, file), Err(Error::TotalChunksMismatch { .. })));
}

#[test]
fn show_damage_by_their_digest() {
    let folder = Folder::new();
    let bytes = snapshot(200 * CHUNK);
    let first = kept(&folder.file(), &bytes, 0..199);
    let received = first.received(1).unwrap();
    drop(first);
    let file = fs::OpenOptions::new().write(true).open(folder.file()).unwrap();
    file.write_all_at(&[!bytes[300_000]], 300_000).unwrap();
    let (mut second, file) = taken_up(&folder.file(), &bytes, &received);
    let whole = second.keep(1, file).unwrap().unwrap();
    assert_eq!(whole.digest, Some(blake3::hash(&whole.bytes).into()));
    assert_ne!(whole.digest, Some(blake3::hash(&bytes).into()));
}

#[test]
fn take_chunks_again_and_short_ones() {
    let folder = Folder::new();
    let mut bytes = snapshot(90 * CHUNK);
    let first = kept(&folder.file(), &bytes, 0..80);
    let received = first.received(1).unwrap();
    drop(first);
    let (mut second, file) = taken_up(&folder.file(), &bytes, &received);
    assert!(second.keep(1, file).unwrap().is_none());
    bytes[8 * CHUNK] ^= 1;
    assert!(feed(&mut second, &bytes, 8).unwrap().is_none(), "with other content");
    let whole = (80..89).find_map(|index| feed(&mut second, &bytes, index).unwrap());
    holds(&whole.unwrap(), &bytes);

    let (mut third, file) = taken_up(&folder.file(), &bytes, &received);
    third.keep(1, file).unwrap();
    let short = Chunk {
        origin: 1,
        seq_through: 9,
        index: 3,
        total: 90,
        bytes: &[7; 10],
    };
    assert!(third.feed(&short, 0.0).unwrap().is_none());
    assert_eq!(third.received(1), None, "places do not tell its length");
    let whole = (80..89).find_map(|index| feed(&mut third, &bytes, index).unwrap());
    let expected = [&bytes[..3 * CHUNK], &[7; 10], &bytes[4 * CHUNK..]].concat();
    holds(&whole.unwrap(), &expected);
}
