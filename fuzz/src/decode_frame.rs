use migration_core::columns::decode_row;
use migration_core::events::{decode_columns, encode_events, Event, EVENT_ROW_SIZE};
use migration_core::message::{decode, Message};

/// Any bytes are refused with a reason, or decode to a message whose encoding is their first bytes; the row that a batch
/// would have for them says the same.
pub fn check(bytes: &[u8]) {
    let row = decode_row(bytes, 0);
    let message = match decode(bytes) {
        Ok(message) => message,
        Err(error) => {
            assert_eq!(row.status, error.kind().status());
            assert_eq!((row.base_length, row.origin, row.word), (0, 0, 0));
            assert!(!error.to_string().is_empty() && !error.details().is_empty());
            return;
        }
    };
    let mut encoded = Vec::new();
    message.encode(&mut encoded).expect("what was decoded encodes");
    assert_eq!(
        Some(encoded.as_slice()),
        bytes.get(..encoded.len()),
        "the encoding is the frame without its trailer"
    );
    assert_eq!(encoded.len(), message.encoded_length());
    assert_eq!(decode(&encoded), Ok(message));
    assert_eq!((row.status, row.base_length as usize), (0, encoded.len()));
    assert_eq!(
        (row.origin, row.word, row.kind),
        (message.origin(), message.word(), message.type_byte())
    );
    if let Message::BufferedEvents { origin, events } = message {
        let list: Vec<Event<'_>> = events.iter().collect();
        assert_eq!(list.len(), events.count() as usize);
        let mut again = Vec::new();
        encode_events(&mut again, origin, &list).expect("events that were decoded encode");
        assert_eq!(again, encoded);
        let mut memory = vec![0; list.len() * EVENT_ROW_SIZE];
        assert_eq!(decode_columns(bytes, &mut memory), Ok(true));
        if let Some(first) = list.first() {
            assert_eq!(memory.first_chunk(), Some(&first.link.origin_hash.to_ne_bytes()));
            assert!(events.verify_chain(first.link, first.payload) <= events.count());
        }
    }
}
