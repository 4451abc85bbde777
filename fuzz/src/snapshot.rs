use migration_core::hash::origin_hash;
use migration_core::snapshot::decode;

/// Any bytes are refused with a reason, or decode to a snapshot whose encoding is exactly they, and which keeps its two
/// promises. Since chance does not find the hash of an entity id, bytes long enough are tried a second time with their
/// links set right.
pub fn check(bytes: &[u8]) {
    check_one(bytes);
    let mut mended = bytes.to_vec();
    let Some(entity_id) = bytes.get(5..).and_then(|rest| rest.first_chunk::<32>()) else {
        return;
    };
    if mended.len() >= 69 {
        mended[45..53].copy_from_slice(&origin_hash(entity_id).to_le_bytes());
        mended.copy_within(37..45, 61);
        check_one(&mended);
    }
}

fn check_one(bytes: &[u8]) {
    match decode(bytes) {
        Ok(snapshot) => {
            assert_eq!(snapshot.chain_link.sequence, snapshot.through_seq);
            assert_eq!(snapshot.chain_link.origin_hash, origin_hash(&snapshot.entity_id));
            let mut encoded = Vec::new();
            snapshot.encode(&mut encoded).expect("what was decoded encodes");
            assert_eq!(encoded, bytes);
        }
        Err(error) => assert!(!error.to_string().is_empty() && !error.details().is_empty()),
    }
}
