use migration_core::hash::{node_id, origin_hash};
use migration_core::link::{horizon_bits, CausalLink};
use migration_core::{channel, link::parent_hash};

use crate::json::{bytes, file, link, list, number, text, word};

#[test]
fn hashes_of_entity_ids() {
    for vector in list(&file("identity")) {
        let entity_id: [u8; 32] = bytes(&vector["public_key"]).try_into().unwrap();
        assert_eq!(origin_hash(&entity_id), word(&vector["origin_hash"]));
        assert_eq!(node_id(&entity_id), word(&vector["node_id"]));
    }
}

#[test]
fn chains() {
    let vectors = file("causal");
    for chain in list(&vectors["chains"]) {
        let genesis = link(&chain["genesis"]);
        assert_eq!(genesis, CausalLink::genesis(word(&chain["origin"])));
        let (mut previous, mut payload) = (genesis, Vec::new());
        for event in list(&chain["events"]) {
            assert_eq!(previous.to_bytes().to_vec(), bytes(&event["prev_link"]));
            let next = previous.next(&payload, word(&event["horizon"])).unwrap();
            assert_eq!(next, link(&event["link"]));
            assert!(previous.is_continued_by(&payload, &next));
            (previous, payload) = (next, bytes(&event["payload"]));
        }
        assert_eq!(
            parent_hash(&previous.to_bytes(), &payload),
            word(&chain["next_parent_hash_after_last"])
        );
    }
    let last = link(&vectors["next_at_u64_max_minus_1"]);
    assert_eq!(last.sequence, u64::MAX);
    assert_eq!(vectors["next_at_u64_max_is_none"], true);
    assert!(last.next(&[], 0).is_err());
}

#[test]
fn parent_hashes() {
    for vector in list(&file("causal")["parent_hashes"]) {
        let link = link(&vector["link"]).to_bytes();
        assert_eq!(parent_hash(&link, &bytes(&vector["payload"])), word(&vector["hash"]));
    }
}

#[test]
fn horizon_sets_one_to_three_bits() {
    for origin in 0..1000 {
        assert!((1..=3).contains(&horizon_bits(origin).count_ones()));
    }
}

#[test]
fn channel_names() {
    for vector in list(&file("bindings")["channel_names"]) {
        let name = bytes(&vector["name_hex"]);
        match channel::validate(&name, 0) {
            Ok(()) => {
                assert_eq!(vector["valid"], true, "{vector}");
                let hash = channel::hash(&name);
                assert_eq!(hash, word(&vector["hash"]));
                assert_eq!(hash & 0xffff, number(&vector["wire_hash"]));
                assert_eq!(channel::depth(&name) as u64, number(&vector["depth"]));
            }
            Err(error) => {
                assert_eq!(vector["valid"], false, "{vector}");
                assert_eq!(
                    error.kind().name(),
                    format!("channel-name-{}", text(&vector["error_kind"])),
                    "{vector}"
                );
            }
        }
    }
}
