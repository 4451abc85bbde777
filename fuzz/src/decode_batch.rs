use migration_core::columns::{decode_row, ColumnsMut, LENGTH_PREFIX_SIZE, ROW_SIZE};

const CAPACITY: usize = 48;

/// The first byte is where decoding starts, modulo the rest; rows say what each frame alone would say, never reach beyond the
/// batch, and a batch decoded in parts is decoded like the whole. Fixed-size rows encode to their frames.
pub fn check(bytes: &[u8]) {
    let Some((start, batch)) = bytes.split_first() else {
        return;
    };
    let start = usize::from(*start) % (batch.len() + 1);
    // At an odd address, so that nothing leans on alignment.
    let mut memory = vec![0xa5; 1 + CAPACITY * ROW_SIZE];
    let mut columns = ColumnsMut::new(&mut memory[1..]).expect("whole rows");
    let end = columns.decode_batch(batch, start);
    assert!(end.rows <= CAPACITY && end.next >= start && end.next <= batch.len());
    let mut at = start;
    for i in 0..end.rows {
        let row = columns.row(i).expect("a row that was filled");
        assert_eq!(row.frame_offset as usize, at + LENGTH_PREFIX_SIZE);
        let frame = &batch[row.frame_offset as usize..][..row.frame_length as usize];
        assert_eq!(row, decode_row(frame, row.frame_offset as usize));
        assert!(row.base_length <= row.frame_length);
        if row.payload_length > 0 {
            assert!(row.payload_offset > row.frame_offset);
            assert!(row.payload_offset + row.payload_length <= row.frame_offset + row.base_length);
        }
        at = row.frame_offset as usize + row.frame_length as usize;
    }
    assert_eq!(at, end.next);
    encode_again(&columns, batch, end.rows);
    in_parts(batch, start, end.rows, end.next);
}

fn encode_again(columns: &ColumnsMut<'_>, batch: &[u8], rows: usize) {
    let Ok(length) = columns.measure_batch(rows) else {
        return;
    };
    let mut out = vec![0; length];
    columns.encode_batch(rows, &mut out);
    let mut at = 0;
    for i in 0..rows {
        let row = columns.row(i).expect("a row that was filled");
        if row.status != 0 {
            return;
        }
        let frame = &batch[row.frame_offset as usize..][..row.base_length as usize];
        assert_eq!(&out[at + LENGTH_PREFIX_SIZE..][..frame.len()], frame);
        at += LENGTH_PREFIX_SIZE + frame.len();
    }
    assert_eq!(at, length);
}

fn in_parts(batch: &[u8], start: usize, rows: usize, next: usize) {
    let mut memory = vec![0; 3 * ROW_SIZE];
    let mut columns = ColumnsMut::new(&mut memory).expect("whole rows");
    let (mut at, mut seen) = (start, 0);
    while seen < rows {
        let end = columns.decode_batch(batch, at);
        assert!(end.rows > 0);
        (at, seen) = (end.next, seen + end.rows);
    }
    if seen == rows {
        assert_eq!(at, next);
    }
}
