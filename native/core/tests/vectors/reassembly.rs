use migration_core::reassembly::{Assembled, Chunk, Options, Reassembler, MAX_SNAPSHOT_BYTES};
use migration_core::Error;
use serde_json::Value;

use crate::json::{file, list, number, text, word};

fn reassembler(max_snapshot_bytes: u64) -> Reassembler {
    Reassembler::new(Options {
        max_snapshot_bytes,
        max_pending_bytes: 1 << 40,
        digest: true,
    })
}

fn data(value: &Value) -> Vec<u8> {
    match value.as_str() {
        Some(hex) => hex::decode(hex).unwrap(),
        None => vec![number(&value["fill_byte"]) as u8; number(&value["len"]) as usize],
    }
}

fn check_error(error: &Error, expected: &Value) {
    let (kind, fields) = (error.kind().name(), &expected["error_fields"]);
    match text(&expected["error_kind"]) {
        "chunk-too-large" if fields["len"] == "0" => assert_eq!(kind, "empty-chunk"),
        expected => assert_eq!(kind, expected),
    }
    match *error {
        Error::TotalChunksTooLarge { total, .. } => assert_eq!(u64::from(total), word(&fields["total_chunks"])),
        Error::ChunkIndexOutOfRange { index, total, .. } => {
            assert_eq!(u64::from(index), word(&fields["chunk_index"]));
            assert_eq!(u64::from(total), word(&fields["total_chunks"]));
        }
        Error::ChunkTooLarge { length, .. } => assert_eq!(length, word(&fields["len"])),
        Error::StaleSeqThrough { got, latest } => {
            assert_eq!((got, latest), (word(&fields["got"]), word(&fields["latest"])));
        }
        Error::TotalChunksMismatch { got, expected } => {
            assert_eq!(
                (u64::from(got), u64::from(expected)),
                (word(&fields["got"]), word(&fields["expected"]))
            );
        }
        Error::ZeroTotalChunks { .. } | Error::EmptyChunk => {}
        _ => panic!("{error}"),
    }
}

fn check_fed(result: Result<Option<Assembled>, Error>, expected: &Value) {
    match (result, text(&expected["kind"])) {
        (Ok(None), "none") => {}
        (Ok(Some(whole)), "bytes") => {
            match expected["bytes"].as_str() {
                Some(hex) => assert_eq!(whole.bytes.to_vec(), hex::decode(hex).unwrap()),
                None => assert_eq!(whole.bytes.len() as u64, number(&expected["len"])),
            }
            assert_eq!(whole.digest, Some(migration_core::hash::blake3(&whole.bytes)));
        }
        (Err(error), "error") => check_error(&error, expected),
        (result, _) => panic!("{:?}, expected {expected}", result.map(|whole| whole.is_some())),
    }
}

#[test]
fn scripts() {
    for script in list(&file("reassembly")) {
        let name = text(&script["name"]);
        if name == "byte cap (recipe)" {
            continue; // below
        }
        let mut reassembler = reassembler(MAX_SNAPSHOT_BYTES);
        for step in list(&script["steps"]) {
            match text(&step["op"]) {
                "feed" => {
                    let bytes = data(&step["data"]);
                    let chunk = Chunk {
                        origin: word(&step["origin"]),
                        seq_through: word(&step["seq"]),
                        index: number(&step["index"]) as u32,
                        total: number(&step["total"]) as u32,
                        bytes: &bytes,
                    };
                    check_fed(reassembler.feed(&chunk, 0.0), &step["result"]);
                }
                "cancel" => {
                    reassembler.cancel(word(&step["origin"]));
                }
                "sweep_stale_0ms" => assert_eq!(reassembler.sweep(0.0, 0.0) as u64, number(&step["evicted"])),
                op => panic!("unknown step {op} in {name}"),
            }
            assert_eq!(
                reassembler.pending_count() as u64,
                number(&step["pending"]),
                "{name}: {step}"
            );
        }
    }
}

#[test]
fn byte_cap() {
    let vectors = file("reassembly");
    let vector = list(&vectors)
        .iter()
        .find(|script| script["name"] == "byte cap (recipe)")
        .unwrap();
    let cap = number(&vector["cap"]);
    let mut reassembler = reassembler(cap);
    let fill = [7; 7000];
    let mut feed = |seq_through, index, length: usize| {
        let chunk = Chunk {
            origin: 1,
            seq_through,
            index,
            total: 20_000,
            bytes: &fill[..length],
        };
        reassembler.feed(&chunk, 0.0).map(|whole| assert!(whole.is_none()))
    };
    let first_error = &vector["first_error"];
    let refused = number(&first_error["index"]) as u32;
    for index in 0..refused {
        feed(5, index, 7000).unwrap();
    }
    assert_eq!(u64::from(refused) - 1, number(&vector["last_accepted_index"]));
    let fields = &first_error["error_fields"];
    let expected = Error::SnapshotTooLarge {
        buffered: word(&fields["buffered"]),
        incoming: word(&fields["incoming"]),
        max: word(&fields["cap"]),
    };
    assert_eq!(feed(5, refused, 7000), Err(expected));
    feed(5, 15_000, 6864).unwrap();
    assert!(feed(5, 15_001, 1).is_err());
    feed(5, 0, 6999).unwrap();
    feed(5, 15_001, 1).unwrap();
    feed(6, 0, 7000).unwrap();
    assert_eq!(reassembler.pending_count() as u64, number(&vector["pending"]));
}
