use migration_core::bindings::{Binding, Bindings};
use migration_core::ledger::Ledger;
use migration_core::snapshot::{self, Snapshot};
use migration_core::ErrorKind;

use crate::json::{bytes, file, link, list, number, text, word};

fn encode(snapshot: &Snapshot<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    snapshot.encode(&mut out).unwrap();
    assert_eq!(out.len(), snapshot.encoded_length());
    out
}

#[test]
fn snapshots() {
    for vector in list(&file("snapshots")) {
        let encoded = bytes(&vector["encoded"]);
        let snapshot = snapshot::decode(&encoded).unwrap();
        assert_eq!(snapshot.entity_id.to_vec(), bytes(&vector["entity_id"]));
        assert_eq!(snapshot.through_seq, word(&vector["through_seq"]));
        assert_eq!(snapshot.chain_link, link(&vector["chain_link"]));
        assert_eq!(snapshot.created_at, word(&vector["created_at"]));
        assert_eq!(snapshot.state.to_vec(), bytes(&vector["state"]));
        assert_eq!(snapshot.bindings.to_vec(), bytes(&vector["bindings"]));
        let envelope = vector["identity_envelope"]
            .as_str()
            .map(|hex| hex::decode(hex).unwrap());
        assert_eq!(snapshot.identity_envelope.map(|envelope| envelope.to_vec()), envelope);
        assert_eq!(encode(&snapshot), encoded);
        assert_eq!(encoded.len() as u64, number(&vector["encoded_len"]));
    }
}

#[test]
fn snapshot_rejects() {
    for vector in list(&file("snapshot_rejects")) {
        let error = snapshot::decode(&bytes(&vector["bytes"])).expect_err(text(&vector["note"]));
        assert!(!error.to_string().is_empty());
    }
}

#[test]
fn snapshot_oddities() {
    for vector in list(&file("snapshot_accepts_oddities")) {
        let snapshot = bytes(&vector["bytes"]);
        assert_eq!(
            encode(&snapshot::decode(&snapshot).unwrap()),
            bytes(&vector["reencoded"])
        );
    }
}

#[test]
fn snapshots_refuse_to_be_written_when_they_would_not_be_read() {
    let vectors = file("snapshots");
    let encoded = bytes(&list(&vectors)[0]["encoded"]);
    let good = snapshot::decode(&encoded).unwrap();
    let seq = Snapshot {
        through_seq: good.through_seq + 1,
        ..good
    };
    assert_eq!(seq.encode(&mut Vec::new()).unwrap_err().kind(), ErrorKind::SeqMismatch);
    let entity = Snapshot {
        entity_id: [1; 32],
        ..good
    };
    assert_eq!(
        entity.encode(&mut Vec::new()).unwrap_err().kind(),
        ErrorKind::OriginMismatch
    );
}

#[test]
fn ledgers() {
    let vectors = file("bindings");
    for vector in list(&vectors["ledgers"]) {
        let encoded = bytes(&vector["encoded"]);
        let subscriptions = list(&vector["subscriptions"]);
        let mut recorded = Ledger::default();
        let mut reader = Bindings::new(&encoded).unwrap();
        let mut written = (subscriptions.len() as u32).to_le_bytes().to_vec();
        for subscription in subscriptions {
            let token = subscription["token"].as_str().map(|hex| hex::decode(hex).unwrap());
            let expected = Binding {
                publisher: word(&subscription["publisher"]),
                channel: text(&subscription["channel"]).as_bytes(),
                token: token.as_deref(),
            };
            assert_eq!(reader.next_binding().unwrap().unwrap().0, expected);
            expected.write(&mut written);
            recorded.record(&expected).unwrap();
        }
        assert_eq!(reader.next_binding(), Ok(None));
        assert_eq!(written, encoded);
        let parsed = Ledger::parse(&encoded).unwrap();
        assert!(parsed.iter().eq(recorded.iter()));
        assert_eq!(parsed.difference(&recorded).unwrap(), Default::default());
        // One vector names a subscription twice: as a list its bytes are these (above), in a ledger it is one entry.
        if parsed.len() == subscriptions.len() {
            assert_eq!(parsed.encode(), encoded);
            assert_eq!(recorded.encode(), encoded);
        } else {
            assert_eq!(Ledger::parse(&parsed.encode()).unwrap().len(), 1);
        }
    }
    for vector in list(&vectors["accepts"]) {
        let ledger = Ledger::parse(&bytes(&vector["bytes"])).unwrap();
        assert_eq!(ledger.len() as u64, number(&vector["count"]));
        assert_eq!(ledger.encode(), bytes(&vector["reencoded"]));
    }
    for vector in list(&vectors["rejects"]) {
        assert!(Ledger::parse(&bytes(&vector["bytes"])).is_err(), "{}", vector["note"]);
    }
}

#[test]
fn long_token_is_refused() {
    assert_eq!(file("bindings")["to_bytes_panics_on_65536_byte_token"], true);
    let mut ledger = Ledger::default();
    let token = vec![0; 65_536];
    let mut record = |length| {
        ledger.record(&Binding {
            publisher: 1,
            channel: b"a",
            token: token.get(..length),
        })
    };
    assert_eq!(record(65_536).unwrap_err().kind(), ErrorKind::TokenTooLong);
    record(65_535).unwrap();
}
