//! Writes the inputs that the vectors hold into the corpora of the targets that take bytes:
//! `cargo run --manifest-path fuzz/Cargo.toml --example seed_corpus -- <folder>`.

use std::path::Path;

use serde_json::Value;

/// Longer ones add run time, not coverage.
const MAX_SEED_LENGTH: usize = 16 << 10;

fn vectors(name: &str) -> Value {
    let path = format!("{}/../test/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every byte string of a vector file under one of the names.
fn byte_strings(value: &Value, names: &[&str], found: &mut Vec<Vec<u8>>) {
    match value {
        Value::Array(list) => list.iter().for_each(|value| byte_strings(value, names, found)),
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str().map(hex::decode) {
                    Some(Ok(bytes)) if names.contains(&name.as_str()) => found.push(bytes),
                    _ => byte_strings(value, names, found),
                }
            }
        }
        _ => {}
    }
}

fn collect(files: &[&str], names: &[&str]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for file in files {
        byte_strings(&vectors(file), names, &mut found);
    }
    found.retain(|bytes| bytes.len() <= MAX_SEED_LENGTH);
    found
}

fn write(folder: &Path, target: &str, seeds: &[Vec<u8>]) {
    let folder = folder.join(target);
    std::fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for seed in seeds {
        let name = hex::encode(&migration_core::hash::blake3(seed)[..8]);
        let path = folder.join(name);
        std::fs::write(&path, seed).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// Frames in batches of a few, each behind its length; the first byte is where decoding starts.
fn batches(frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let small: Vec<&Vec<u8>> = frames.iter().filter(|frame| frame.len() < 300).collect();
    let batch = |frames: &[&Vec<u8>]| {
        let mut bytes = vec![0];
        for frame in frames {
            bytes.extend_from_slice(&(frame.len() as u32).to_le_bytes());
            bytes.extend_from_slice(frame);
        }
        bytes
    };
    small.chunks(7).map(batch).collect()
}

/// Two ledgers behind the byte that says where the first ends.
fn pairs(ledgers: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let pair = |(one, other): (&Vec<u8>, &Vec<u8>)| {
        let split = (one.len() * 255).div_ceil((one.len() + other.len()).max(1)) as u8;
        [&[split], one.as_slice(), other].concat()
    };
    ledgers
        .iter()
        .zip(ledgers.iter().skip(1))
        .chain(ledgers.iter().zip(ledgers))
        .map(pair)
        .collect()
}

fn main() {
    let folder = std::env::args().nth(1).expect("usage: seed_corpus <folder>");
    let folder = Path::new(&folder);
    let frames = collect(
        &["messages", "rejects", "accepts_with_trailing", "mutations"],
        &["encoded", "bytes"],
    );
    write(folder, "decode_frame", &frames);
    write(folder, "decode_batch", &batches(&frames));
    let snapshots = collect(
        &["snapshots", "snapshot_rejects", "snapshot_accepts_oddities"],
        &["encoded", "bytes"],
    );
    write(folder, "snapshot", &snapshots);
    write(
        folder,
        "bindings",
        &pairs(&collect(&["bindings"], &["encoded", "bytes"])),
    );
}
