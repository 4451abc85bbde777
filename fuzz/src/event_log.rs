use arbitrary::Arbitrary;
use migration_core::event_log::EventLog;
use migration_core::events::Event;
use migration_core::link::CausalLink;
use migration_core::message::{decode, Message};
use migration_core::ErrorKind;

/// Steps behind it are not run: one may log 350 KB, and ten million scripts must take minutes, not hours.
const MAX_STEPS: usize = 16;

#[derive(Arbitrary, Debug)]
pub struct Script {
    max_events: u8,
    /// Times 2,048: more than a segment holds.
    max_bytes: u8,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Append {
        link: [u8; 32],
        length: u16,
        fill: u8,
        times: u8,
    },
    Frame {
        from: u8,
        max_bytes: u16,
        max_count: u8,
        renumber: Option<u64>,
    },
    Get {
        number: u8,
    },
    Truncate {
        through: u8,
    },
    Clear,
}

struct Owned {
    link: CausalLink,
    payload: Vec<u8>,
    received_at: u64,
}

/// All events since the log began, and how many of them are forgotten.
#[derive(Default)]
struct Model {
    events: Vec<Owned>,
    forgotten: usize,
}

/// Runs a script beside a list of all events: the same numbers, events, frames, digest; limits hold.
pub fn check(script: &Script) {
    let (max_events, max_bytes) = (u64::from(script.max_events), u64::from(script.max_bytes) << 11);
    let mut log = EventLog::new(max_events, max_bytes);
    let mut model = Model::default();
    for step in script.steps.iter().take(MAX_STEPS) {
        run(&mut log, &mut model, step, max_events, max_bytes);
        assert_eq!(log.count() as usize, model.events.len() - model.forgotten);
        assert_eq!(log.next_number() as usize, model.events.len() + 1);
        assert_eq!(
            log.bytes(),
            model.held().map(|event| event.payload.len() as u64).sum::<u64>()
        );
        assert!(log.count() <= max_events && log.bytes() <= max_bytes);
    }
    assert_eq!(log.digest(), model.digest());
}

fn run(log: &mut EventLog, model: &mut Model, step: &Step, max_events: u64, max_bytes: u64) {
    match step {
        Step::Append {
            link,
            length,
            fill,
            times,
        } => {
            for i in 0..times % 40 {
                let payload = vec![fill.wrapping_add(i); (usize::from(*length) % 9000) >> (fill % 8)];
                let link = CausalLink::from_bytes(link);
                let full = log.count() == max_events || log.bytes() + payload.len() as u64 > max_bytes;
                match log.append(&Event {
                    link,
                    payload: &payload,
                    received_at: i.into(),
                }) {
                    Ok(number) => {
                        assert!(!full);
                        model.events.push(Owned {
                            link,
                            payload,
                            received_at: i.into(),
                        });
                        assert_eq!(number as usize, model.events.len());
                    }
                    Err(error) => assert!(full && error.kind() == ErrorKind::BufferFull),
                }
            }
        }
        Step::Frame {
            from,
            max_bytes,
            max_count,
            renumber,
        } => {
            frame(
                log,
                model,
                (*from).into(),
                (*max_bytes).into(),
                (*max_count).into(),
                *renumber,
            );
        }
        Step::Get { number } => {
            let event = log.get((*number).into());
            let expected = usize::from(*number).checked_sub(1).filter(|at| *at >= model.forgotten);
            let expected = expected.and_then(|at| model.events.get(at)).map(Owned::event);
            assert_eq!(event, expected);
        }
        Step::Truncate { through } => {
            let to = usize::from(*through).clamp(model.forgotten, model.events.len());
            assert_eq!(log.truncate((*through).into()) as usize, to - model.forgotten);
            model.forgotten = to;
        }
        Step::Clear => {
            log.clear();
            *model = Model::default();
        }
    }
}

fn frame(log: &EventLog, model: &Model, from: u64, max_bytes: usize, max_count: u32, renumber: Option<u64>) {
    let first = (from as usize)
        .saturating_sub(1)
        .clamp(model.forgotten, model.events.len());
    let first_is_large = model.events.get(first).is_some_and(|event| event.payload.len() > 7000);
    let plan = match log.plan_frame(from, max_bytes, max_count) {
        Ok(plan) => plan,
        Err(error) => {
            assert!(first_is_large && error.kind() == ErrorKind::EventTooLarge);
            return;
        }
    };
    assert!(!first_is_large);
    let mut out = vec![0; plan.length];
    if let Err(error) = log.write_frame(&plan, &mut out, 77, renumber) {
        assert_eq!(error.kind(), ErrorKind::SequenceOverflow);
        assert!(renumber.is_some_and(|first| first.checked_add(u64::from(plan.count) - 1).is_none()));
        return;
    }
    let Ok(Message::BufferedEvents { origin: 77, events }) = decode(&out) else {
        panic!("no frame")
    };
    assert!(plan.count <= max_count.max(1) && (plan.length <= max_bytes || plan.count <= 1));
    assert_eq!(
        (events.count(), plan.count > 0),
        (plan.count, first < model.events.len())
    );
    for (i, event) in events.iter().enumerate() {
        let mut expected = model.events[first + i].event();
        if let Some(number) = renumber {
            expected.link.sequence = number + i as u64;
        }
        assert_eq!(event, expected);
    }
}

impl Owned {
    fn event(&self) -> Event<'_> {
        Event {
            link: self.link,
            payload: &self.payload,
            received_at: self.received_at,
        }
    }
}

impl Model {
    fn held(&self) -> impl Iterator<Item = &Owned> {
        self.events.iter().skip(self.forgotten)
    }

    fn digest(&self) -> [u8; 32] {
        let mut bytes = Vec::new();
        for (at, event) in self.events.iter().enumerate() {
            bytes.extend_from_slice(&(at as u64 + 1).to_le_bytes());
            bytes.extend_from_slice(&event.link.to_bytes());
            bytes.extend_from_slice(&(event.payload.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&event.payload);
        }
        migration_core::hash::blake3(&bytes)
    }
}
