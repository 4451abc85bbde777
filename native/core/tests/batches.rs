//! Columns: any alignment, any capacity, any cut.

use migration_core::columns::{ColumnsMut, ROW_SIZE};
use migration_core::message::Message;
use migration_core::ErrorKind;

fn batch(messages: &[Message<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for message in messages {
        out.extend_from_slice(&(message.encoded_length() as u32).to_le_bytes());
        message.encode(&mut out).unwrap();
    }
    out
}

#[test]
fn a_batch_is_decoded_wherever_the_columns_stand() {
    let messages: Vec<Message<'_>> = (0..100)
        .map(|i| Message::ActivateAck {
            origin: u64::MAX - i,
            replayed_seq: i << 60,
        })
        .collect();
    let batch = batch(&messages);
    for shift in 0..8 {
        let mut memory = vec![0xff; shift + 100 * ROW_SIZE];
        let mut columns = ColumnsMut::new(&mut memory[shift..]).unwrap();
        let end = columns.decode_batch(&batch, 0);
        assert_eq!((end.rows, end.next), (100, batch.len()));
        for (i, message) in messages.iter().enumerate() {
            let row = columns.row(i).unwrap();
            assert_eq!(
                (row.origin, row.word, row.kind, row.status),
                (message.origin(), message.word(), 9, 0)
            );
        }
        let length = columns.measure_batch(100).unwrap();
        let mut out = vec![0; length];
        columns.encode_batch(100, &mut out);
        assert_eq!(out, batch);
    }
    assert!(ColumnsMut::new(&mut [0; ROW_SIZE + 1]).is_none());
}

#[test]
fn decoding_stops_at_a_cut_frame_and_at_the_last_row() {
    let whole = batch(&[
        Message::ActivateTarget { origin: 1 },
        Message::CleanupComplete { origin: 2 },
    ]);
    let mut memory = vec![0; 2 * ROW_SIZE];
    for cut in 0..whole.len() {
        let end = ColumnsMut::new(&mut memory).unwrap().decode_batch(&whole[..cut], 0);
        assert_eq!((end.rows, end.next), if cut < 13 { (0, 0) } else { (1, 13) });
    }
    let end = ColumnsMut::new(&mut memory[..ROW_SIZE])
        .unwrap()
        .decode_batch(&whole, 0);
    assert_eq!((end.rows, end.next), (1, 13));
    let end = ColumnsMut::new(&mut memory).unwrap().decode_batch(&whole, 13);
    assert_eq!((end.rows, end.next), (1, 26));
    assert_eq!(ColumnsMut::new(&mut memory).unwrap().decode_batch(&whole, 99).rows, 0);
}

#[test]
fn a_refused_frame_takes_a_row_and_nothing_of_the_one_before() {
    let good = batch(&[Message::TakeSnapshot {
        origin: 5,
        target_node: 6,
    }]);
    let mut bytes = good.clone();
    bytes.extend_from_slice(&[1, 0, 0, 0, 99]);
    bytes.extend_from_slice(&[0, 0, 0, 0]);
    bytes.extend_from_slice(&good);
    let mut memory = vec![0xee; 4 * ROW_SIZE];
    let mut columns = ColumnsMut::new(&mut memory).unwrap();
    assert_eq!(columns.decode_batch(&bytes, 0).rows, 4);
    let rows: Vec<_> = (0..4).map(|i| columns.row(i).unwrap()).collect();
    assert_eq!(rows[1].status, ErrorKind::UnknownType.status());
    assert_eq!(
        (rows[1].kind, rows[1].origin, rows[1].base_length, rows[1].frame_length),
        (99, 0, 0, 1)
    );
    assert_eq!((rows[2].status, rows[2].kind), (ErrorKind::EmptyFrame.status(), 0));
    assert_eq!((rows[3].status, rows[3].origin, rows[3].word), (0, 5, 6));
    assert_eq!(columns.measure_batch(4), Err(1));
}
