use migration_core::chunking::{self, MAX_SNAPSHOT_CHUNK_SIZE, MAX_TOTAL_CHUNKS};
use migration_core::columns::{decode_row, Row};
use migration_core::events::{encode_events, Event, MAX_BUFFERED_EVENTS, MIN_EVENT_WIRE_SIZE};
use migration_core::failure::FailureReason;
use migration_core::link::CAUSAL_LINK_SIZE;
use migration_core::message::{decode, Message, SUBPROTOCOL_MIGRATION};
use migration_core::{snapshot, ErrorKind};
use serde_json::Value;

use crate::json::{bytes, file, link, list, number, text, word};

fn encode(message: &Message<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut out).unwrap();
    assert_eq!(out.len(), message.encoded_length());
    out
}

/// The message that a vector's fields describe is the one that was decoded.
fn check_fields(message: &Message<'_>, kind: &str, fields: &Value) {
    assert_eq!(message.name(), kind);
    assert_eq!(message.origin(), word(&fields["daemon_origin"]));
    match message {
        Message::TakeSnapshot { target_node, .. } | Message::CutoverNotify { target_node, .. } => {
            assert_eq!(*target_node, word(&fields["target_node"]));
        }
        Message::SnapshotReady {
            seq_through,
            chunk_index,
            total_chunks,
            chunk,
            ..
        } => {
            assert_eq!(*seq_through, word(&fields["seq_through"]));
            assert_eq!(u64::from(*chunk_index), number(&fields["chunk_index"]));
            assert_eq!(u64::from(*total_chunks), number(&fields["total_chunks"]));
            assert_eq!(chunk.to_vec(), bytes(&fields["snapshot_bytes"]));
        }
        Message::RestoreComplete { restored_seq, .. } => assert_eq!(*restored_seq, word(&fields["restored_seq"])),
        Message::ReplayComplete {
            replayed_seq,
            target_head,
            ..
        } => {
            assert_eq!(*replayed_seq, word(&fields["replayed_seq"]));
            assert_eq!(*target_head, link(&fields["target_head"]));
        }
        Message::ActivateAck { replayed_seq, .. } => assert_eq!(*replayed_seq, word(&fields["replayed_seq"])),
        Message::CleanupComplete { .. } | Message::ActivateTarget { .. } => {}
        Message::MigrationFailed { reason, .. } => check_reason(reason, &fields["reason"]),
        Message::BufferedEvents { events, .. } => {
            let expected = list(&fields["events"]);
            assert_eq!(events.count() as usize, expected.len());
            for (event, expected) in events.iter().zip(expected) {
                assert_eq!(event.link, link(&expected["link"]));
                assert_eq!(event.payload.to_vec(), bytes(&expected["payload"]));
                assert_eq!(event.received_at, word(&expected["received_at"]));
            }
        }
    }
}

fn check_reason(reason: &FailureReason<'_>, expected: &Value) {
    assert_eq!(u64::from(reason.code()), number(&expected["code"]));
    assert_eq!(Some(reason.is_retriable()), expected["retriable"].as_bool());
    match reason {
        FailureReason::StateFailed(message) | FailureReason::IdentityTransportFailed(message) => {
            assert_eq!(message.as_bytes(), bytes(&expected["message_hex"]));
        }
        FailureReason::NotReadyTimeout { attempts } => {
            assert_eq!(u64::from(*attempts), number(&expected["attempts"]));
        }
        _ => {}
    }
}

#[test]
fn messages() {
    let vectors = file("messages");
    for vector in list(&vectors) {
        let frame = bytes(&vector["encoded"]);
        let message = decode(&frame).unwrap();
        check_fields(&message, text(&vector["kind"]), &vector["fields"]);
        assert_eq!(encode(&message), frame);
        if let Message::BufferedEvents { origin, events } = message {
            let events: Vec<Event<'_>> = events.iter().collect();
            let mut out = Vec::new();
            encode_events(&mut out, origin, &events).unwrap();
            assert_eq!(out, frame);
        }
    }
}

#[test]
fn rejects() {
    let vectors = file("rejects");
    for vector in list(&vectors) {
        let frame = bytes(&vector["bytes"]);
        let error = decode(&frame).expect_err(text(&vector["note"]));
        assert!(
            !error.to_string().is_empty() && !error.details().is_empty(),
            "{error:?}"
        );
        let row = decode_row(&frame, 4);
        assert_eq!(row.status, error.kind().status());
        assert_eq!(
            (row.base_length, row.origin, row.index, row.payload_length),
            (0, 0, 0, 0)
        );
    }
}

#[test]
fn precedence_of_refusals() {
    let kind_of = |note: &str| {
        let vectors = file("rejects");
        let vector = list(&vectors).iter().find(|vector| vector["note"] == note).cloned();
        let frame = bytes(&vector.unwrap_or_else(|| panic!("no vector {note}"))["bytes"]);
        decode(&frame).unwrap_err().kind()
    };
    assert_eq!(
        kind_of("SnapshotReady precedence: total 0 and len 7001"),
        ErrorKind::ZeroTotalChunks
    );
    assert_eq!(
        kind_of("SnapshotReady precedence: total MAX+1 and idx beyond"),
        ErrorKind::TotalChunksTooLarge
    );
    assert_eq!(
        kind_of("SnapshotReady precedence: idx>=total and len 7001"),
        ErrorKind::ChunkIndexOutOfRange
    );
    assert_eq!(
        kind_of("SnapshotReady precedence: len 7001 and truncated"),
        ErrorKind::ChunkTooLarge
    );
    assert_eq!(
        kind_of("BufferedEvents payload 7001 before truncation precedence"),
        ErrorKind::EventTooLarge
    );
    assert_eq!(kind_of("BufferedEvents count=u32max"), ErrorKind::EventCountTooLarge);
    assert_eq!(kind_of("MigrationFailed code 3 utf8 surrogate"), ErrorKind::InvalidUtf8);
}

#[test]
fn accepts_with_trailing() {
    let vectors = file("accepts_with_trailing");
    for vector in list(&vectors) {
        let frame = bytes(&vector["bytes"]);
        let message = decode(&frame).unwrap();
        assert_eq!(message.name(), text(&vector["kind"]));
        assert_eq!(encode(&message), bytes(&vector["reencoded"]));
        assert_eq!(
            (frame.len() - message.encoded_length()) as u64,
            number(&vector["trailing_len"])
        );
    }
}

#[test]
fn mutations() {
    let vectors = file("mutations");
    for vector in list(&vectors) {
        let frame = bytes(&vector["bytes"]);
        match (decode(&frame), text(&vector["verdict"])) {
            (Ok(message), "accept") => {
                assert_eq!(message.name(), text(&vector["kind"]));
                assert_eq!(encode(&message), bytes(&vector["reencoded"]));
                assert_eq!(decode_row(&frame, 0).base_length as usize, message.encoded_length());
            }
            (Err(_), "reject") => {}
            (verdict, expected) => panic!("{verdict:?}, expected {expected}: {vector}"),
        }
    }
}

#[test]
fn refuses_to_encode_what_is_not_decoded() {
    let ready = |chunk_index, total_chunks, chunk| {
        let message = Message::SnapshotReady {
            origin: 1,
            seq_through: 1,
            chunk_index,
            total_chunks,
            chunk,
        };
        let mut out = vec![7];
        let kind = message.encode(&mut out).unwrap_err().kind();
        assert_eq!(out, [7]);
        kind
    };
    let failed = |reason| {
        Message::MigrationFailed { origin: 1, reason }
            .encode(&mut Vec::new())
            .unwrap_err()
            .kind()
    };
    let event = Event {
        link: Default::default(),
        payload: &[0; 7001],
        received_at: 0,
    };
    let long = "x".repeat(65_536);
    for vector in list(&file("encode_asymmetry")) {
        let refused = match text(&vector["case"]) {
            "SnapshotReady total_chunks=0" => ready(0, 0, &[0]),
            "SnapshotReady total_chunks=MAX+1" => ready(0, MAX_TOTAL_CHUNKS + 1, &[0]),
            "SnapshotReady chunk_index=total" => ready(3, 3, &[0]),
            "SnapshotReady 7001 byte chunk" => ready(0, 1, &[0; 7001]),
            "BufferedEvents with a 7001 byte event" => encode_events(&mut vec![], 1, &[event]).unwrap_err().kind(),
            "MigrationFailed StateFailed 65536 byte string" => failed(FailureReason::StateFailed(&long)),
            "MigrationFailed IdentityTransportFailed 65536 byte string" => {
                failed(FailureReason::IdentityTransportFailed(&long))
            }
            case if case.starts_with("BufferedEvents count=") => {
                let count: u32 = if case.contains("1000001, daemon") {
                    1_000_001
                } else {
                    1_000_000
                };
                let mut frame = vec![0; 13 + 1_000_001 * MIN_EVENT_WIRE_SIZE];
                frame[0] = 7;
                frame[1] = 1;
                frame[9..13].copy_from_slice(&count.to_le_bytes());
                let decoded = decode(&frame);
                assert_eq!(decoded.is_ok(), vector["decode"] == "ok", "{case}");
                match decoded {
                    Ok(_) => continue,
                    Err(error) => error.kind(),
                }
            }
            case => panic!("unknown case {case}"),
        };
        assert_ne!(refused.name(), "disposed");
    }
}

#[test]
fn chunking_by_length() {
    for vector in list(&file("chunking")) {
        let size = number(&vector["size"]);
        let count = chunking::chunk_count(size);
        assert_eq!(count, number(&vector["chunks"]));
        let snapshot = vec![0x5a; size as usize];
        let mut headers = vec![0; 29 * count as usize];
        chunking::write_headers(&mut headers, 9, 11, size, 0, count as u32).unwrap();
        for (index, header) in headers.chunks_exact(29).enumerate() {
            let length = chunking::chunk_length(size, index as u64);
            assert_eq!(length, number(&list(&vector["lens"])[index]));
            let at = index * MAX_SNAPSHOT_CHUNK_SIZE;
            let frame = [header, &snapshot[at..at + length as usize]].concat();
            assert_eq!(frame.len() as u64, number(&list(&vector["encoded_lens"])[index]));
            let (total_chunks, chunk) = (count as u32, &snapshot[at..at + length as usize]);
            let expected = Message::SnapshotReady {
                origin: 9,
                seq_through: 11,
                chunk_index: index as u32,
                total_chunks,
                chunk,
            };
            assert_eq!(decode(&frame), Ok(expected));
        }
    }
}

#[test]
fn constants() {
    let vectors = file("constants");
    for (name, value) in vectors.as_object().unwrap() {
        let ours = match name.as_str() {
            "CAUSAL_LINK_SIZE" => CAUSAL_LINK_SIZE as u64,
            "IDENTITY_ENVELOPE_SIZE" => snapshot::IDENTITY_ENVELOPE_SIZE as u64,
            "IDENTITY_ENVELOPE_VERSION" => snapshot::IDENTITY_ENVELOPE_VERSION.into(),
            "MAX_BUFFERED_EVENTS" => MAX_BUFFERED_EVENTS.into(),
            // The reference's fixed limit; ours is configuration (PROTOCOL.md §8).
            "MAX_PENDING_REASSEMBLY_BYTES" => 64 << 20,
            "MAX_SNAPSHOT_CHUNK_SIZE" => MAX_SNAPSHOT_CHUNK_SIZE as u64,
            "MAX_TOTAL_CHUNKS" => MAX_TOTAL_CHUNKS.into(),
            "MIN_EVENT_WIRE_SIZE" => MIN_EVENT_WIRE_SIZE as u64,
            "SNAPSHOT_FIXED_OVERHEAD_NO_ENVELOPE" => snapshot::SNAPSHOT_FIXED_OVERHEAD as u64,
            "SNAPSHOT_VERSION" => snapshot::SNAPSHOT_VERSION.into(),
            "SUBPROTOCOL_MIGRATION" => SUBPROTOCOL_MIGRATION.into(),
            _ => panic!("unknown constant {name}"),
        };
        assert_eq!(ours, number(value), "{name}");
    }
}

#[test]
fn rows_say_what_messages_say() {
    for vector in list(&file("messages")) {
        let frame = bytes(&vector["encoded"]);
        let row = decode_row(&frame, 100);
        let message = decode(&frame).unwrap();
        let payload = &frame[row.payload_offset.saturating_sub(100) as usize..][..row.payload_length as usize];
        let common = Row {
            origin: message.origin(),
            word: message.word(),
            frame_offset: 100,
            frame_length: frame.len() as u32,
            base_length: frame.len() as u32,
            kind: message.type_byte(),
            ..row
        };
        assert_eq!(row, common);
        match message {
            Message::SnapshotReady {
                chunk_index,
                total_chunks,
                chunk,
                ..
            } => {
                assert_eq!((row.index, row.total, payload), (chunk_index, total_chunks, chunk));
            }
            Message::ReplayComplete { target_head, .. } => assert_eq!(payload, target_head.to_bytes()),
            Message::BufferedEvents { events, .. } => {
                assert_eq!((row.index, payload), (events.count(), events.wire_bytes()));
            }
            Message::MigrationFailed { reason, .. } => {
                assert_eq!(row.index, u32::from(reason.code()));
                match reason {
                    FailureReason::StateFailed(text) | FailureReason::IdentityTransportFailed(text) => {
                        assert_eq!(payload, text.as_bytes());
                    }
                    FailureReason::NotReadyTimeout { attempts } => assert_eq!(row.total, u32::from(attempts)),
                    _ => assert_eq!((row.payload_offset, row.payload_length), (0, 0)),
                }
            }
            _ => assert_eq!((row.payload_offset, row.payload_length), (0, 0)),
        }
    }
}
