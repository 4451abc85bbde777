//! Runs the committed corpus, and some edits of each input, through what the targets check: without the fuzzer, on stable
//! Rust.

use std::path::PathBuf;

use arbitrary::{Arbitrary, Unstructured};
use migration_fuzz::{bindings, decode_batch, decode_frame, event_log, reassembler, snapshot};

/// Edits of each input, beside the input itself.
const EDITS: usize = 20;

fn inputs(target: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let inputs: Vec<Vec<u8>> = entries
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect();
    assert!(!inputs.is_empty(), "{} is empty", folder.display());
    inputs
}

/// A small pseudo-random generator (xorshift): the same edits in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }

    fn edit(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len());
        match self.below(4) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, self.below(256) as u8),
            2 => bytes.extend_from_within(at..),
            _ if bytes.is_empty() => {}
            _ => bytes[at] ^= 1 << self.below(8),
        }
    }
}

fn run(target: &str, check: impl Fn(&[u8])) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for input in inputs(target) {
        check(&input);
        let mut edited = input.clone();
        for _ in 0..EDITS {
            random.edit(&mut edited);
            if edited.len() > 20_000 {
                edited.clone_from(&input);
            }
            check(&edited);
        }
    }
}

fn script<'a, Script: Arbitrary<'a>>(bytes: &'a [u8]) -> Option<Script> {
    Script::arbitrary_take_rest(Unstructured::new(bytes)).ok()
}

#[test]
fn frames_one_by_one() {
    run("decode_frame", decode_frame::check);
}

#[test]
fn frames_in_batches() {
    run("decode_batch", decode_batch::check);
}

#[test]
fn snapshots() {
    run("snapshot", snapshot::check);
}

#[test]
fn ledgers() {
    run("bindings", bindings::check);
}

#[test]
fn reassembly_scripts() {
    run("reassembler", |bytes| script(bytes).iter().for_each(reassembler::check));
}

#[test]
fn event_log_scripts() {
    run("event_log", |bytes| script(bytes).iter().for_each(event_log::check));
}
