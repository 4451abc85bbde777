//! The event log and the ledger over many entries: order, memory, what forgetting gives back.

use migration_core::bindings::Binding;
use migration_core::event_log::EventLog;
use migration_core::events::Event;
use migration_core::ledger::{Ledger, RebindPhase};
use migration_core::link::CausalLink;
use migration_core::message::{decode, Message};
use migration_core::{Error, ErrorKind};

const MIB: u64 = 1 << 20;

fn event(payload: &[u8], sequence: u64) -> Event<'_> {
    let link = CausalLink {
        origin_hash: 1,
        horizon: 2,
        sequence,
        parent_hash: 4,
    };
    Event {
        link,
        payload,
        received_at: sequence * 10,
    }
}

fn filled(events: u64, payload: usize) -> EventLog {
    let mut log = EventLog::new(1_000_000, 64 * MIB);
    let payload = vec![7; payload];
    for i in 0..events {
        assert_eq!(log.append(&event(&payload, i)), Ok(i + 1));
    }
    log
}

#[test]
fn an_event_costs_at_most_64_bytes_over_its_payload() {
    for (events, payload) in [
        (100_000, 0),
        (100_000, 1),
        (100_000, 100),
        (5_000, 7_000),
        (60, 300_000),
    ] {
        let log = filled(events, payload);
        let over = log.memory() as u64 - log.bytes();
        // A constant beside it: the last segment may be grown to twice what stands in it.
        assert!(
            over <= 64 * events + 512 * 1024,
            "{events} events of {payload} bytes: {over} bytes over"
        );
        assert_eq!(log.bytes(), events * payload as u64);
    }
}

#[test]
fn forgetting_gives_memory_back() {
    let mut log = filled(200_000, 100);
    let full = log.memory();
    assert_eq!(log.truncate(100_000), 100_000);
    assert!(log.memory() < full * 55 / 100, "{} of {full} left", log.memory());
    assert_eq!(
        (log.count(), log.bytes(), log.first_number()),
        (100_000, 100 * 100_000, 100_001)
    );
    assert_eq!(log.get(100_000), None);
    assert_eq!(log.get(100_001), Some(event(&[7; 100], 100_000)));
    assert_eq!(log.truncate(u64::MAX), 100_000);
    assert!(log.memory() < 16 << 10, "{} bytes", log.memory());
    assert_eq!(log.append(&event(b"x", 1)), Ok(200_001));
    assert_eq!(log.get(200_001), Some(event(b"x", 1)));
}

#[test]
fn caps_are_in_events_and_in_bytes() {
    let mut log = EventLog::new(2, 10);
    log.append(&event(b"12345678", 1)).unwrap();
    let full = Error::BufferFull {
        events: 1,
        bytes: 8,
        max_events: 2,
        max_bytes: 10,
    };
    assert_eq!(log.append(&event(b"123", 2)), Err(full));
    log.append(&event(b"12", 2)).unwrap();
    assert_eq!(log.append(&event(b"", 3)).unwrap_err().kind(), ErrorKind::BufferFull);
    log.truncate(1);
    assert_eq!(log.append(&event(b"12345678", 3)), Ok(3));
}

#[test]
fn frames_cross_segments_and_renumber() {
    let log = filled(10_000, 100);
    let (mut next, mut seen) = (1, 0);
    while next < log.next_number() {
        let plan = log.plan_frame(next, 300_000, u32::MAX).unwrap();
        let mut frame = vec![0; plan.length];
        log.write_frame(&plan, &mut frame, 9, Some(5_000 + next)).unwrap();
        let Ok(Message::BufferedEvents { origin: 9, events }) = decode(&frame) else {
            panic!("no frame")
        };
        for (i, got) in events.iter().enumerate() {
            let number = next + i as u64;
            let mut expected = event(&[7; 100], number - 1);
            expected.link.sequence = 5_000 + number;
            assert_eq!(got, expected);
        }
        assert!(plan.count > 0 && plan.length <= 300_000);
        seen += plan.count;
        next = plan.from + u64::from(plan.count);
    }
    assert_eq!(seen, 10_000);
}

fn name(i: usize) -> Vec<u8> {
    format!("sensors/unit-{i}").into_bytes()
}

fn binding<'a>(publisher: u64, channel: &'a [u8], token: Option<&'a [u8]>) -> Binding<'a> {
    Binding {
        publisher,
        channel,
        token,
    }
}

#[test]
fn a_ledger_keeps_order_and_books_through_many_changes() {
    let mut ledger = Ledger::default();
    for i in 0..20_000 {
        ledger.record(&binding(i as u64, &name(i), Some(&[1; 40]))).unwrap();
    }
    ledger.begin_rebind();
    ledger.mark_tried(19_999, &name(19_999));
    ledger.mark_failed(19_999, &name(19_999), "no route");
    for i in (0..20_000).filter(|i| i % 10 != 9) {
        assert!(ledger.forget(i as u64, &name(i)));
    }
    for round in 0..200u8 {
        ledger.record(&binding(9, &name(9), Some(&vec![round; 5_000]))).unwrap();
    }
    assert_eq!(ledger.len(), 2_000);
    let publishers: Vec<u64> = ledger.iter().map(|binding| binding.publisher).collect();
    assert_eq!(publishers, (0..2_000).map(|i| i * 10 + 9).collect::<Vec<u64>>());
    assert_eq!(ledger.get(9, &name(9)), Some(binding(9, &name(9), Some(&[199; 5_000]))));
    assert_eq!(ledger.get(8, &name(8)), None);
    let state = ledger.rebind_state(19_999, &name(19_999)).unwrap();
    assert_eq!(
        (state.phase, state.tries, state.reason),
        (RebindPhase::Failed, 1, Some("no route"))
    );
    assert_eq!(
        (ledger.rebind_counts().pending, ledger.rebind_counts().failed),
        (1_999, 1)
    );
    assert_eq!(ledger.pending(3).len(), 3);
    assert!(Ledger::parse(&ledger.encode()).unwrap().iter().eq(ledger.iter()));
}

#[test]
fn the_difference_does_not_depend_on_order() {
    let mut one = Ledger::default();
    let mut other = Ledger::default();
    for i in 0..1_000 {
        let (a, b) = (i, 999 - i);
        if a != 500 {
            one.record(&binding(1, &name(a), None)).unwrap();
        }
        if b != 300 {
            other
                .record(&binding(1, &name(b), (b == 700).then_some(b"t".as_slice())))
                .unwrap();
        }
    }
    let difference = one.difference(&other).unwrap();
    let names = |ledger: &Ledger, places: &[u32]| -> Vec<Vec<u8>> {
        places
            .iter()
            .map(|place| ledger.at(*place).unwrap().channel.to_vec())
            .collect()
    };
    assert_eq!(names(&other, &difference.add), [name(500)]);
    assert_eq!(names(&one, &difference.drop), [name(300)]);
    assert_eq!(names(&other, &difference.token_changed), [name(700)]);
}
