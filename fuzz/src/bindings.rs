use std::collections::BTreeMap;

use migration_core::bindings::{Binding, Bindings};
use migration_core::ledger::{Ledger, RebindPhase};

/// Half of the bytes is read as a ledger, half as another: both are refused with a reason or hold what a list of the bindings
/// holds; they encode to what reads the same; their difference turns the one into the other; and the book of a rebind adds
/// up.
pub fn check(bytes: &[u8]) {
    let Some((split, bytes)) = bytes.split_first() else {
        return;
    };
    let at = usize::from(*split) * bytes.len() / 255;
    let (one, other) = bytes.split_at(at);
    let (Some(mut one), Some(other)) = (read(one), read(other)) else {
        return;
    };
    turn_into(&mut one, &other);
    rebind(&mut one, *split);
}

type Model = BTreeMap<(u64, Vec<u8>), (usize, Option<Vec<u8>>)>;

fn model_of(bytes: &[u8]) -> Option<Model> {
    let mut reader = Bindings::new(bytes).ok()?;
    let mut model = Model::new();
    while let Some((binding, _)) = reader.next_binding().ok()? {
        binding.check().expect("what was decoded is valid");
        let place = model.len();
        let entry = model
            .entry((binding.publisher, binding.channel.to_vec()))
            .or_insert((place, None));
        entry.1 = binding.token.map(<[u8]>::to_vec);
    }
    Some(model)
}

fn read(bytes: &[u8]) -> Option<Ledger> {
    let model = model_of(bytes);
    let ledger = Ledger::parse(bytes);
    assert_eq!(ledger.is_ok(), model.is_some());
    let (ledger, model) = (ledger.ok()?, model?);
    assert_eq!(ledger.len(), model.len());
    for (place, binding) in ledger.iter().enumerate() {
        let expected = model
            .get(&(binding.publisher, binding.channel.to_vec()))
            .expect("it is in the bytes");
        assert_eq!((place, binding.token), (expected.0, expected.1.as_deref()));
        assert_eq!(ledger.get(binding.publisher, binding.channel), Some(binding));
    }
    let encoded = ledger.encode();
    assert_eq!(encoded.len(), ledger.encoded_length());
    let again = Ledger::parse(&encoded).expect("what was encoded is read");
    assert!(again.iter().eq(ledger.iter()));
    assert_eq!(again.encode(), encoded);
    Some(ledger)
}

fn turn_into(one: &mut Ledger, wanted: &Ledger) {
    let difference = one.difference(wanted).expect("memory");
    let drop: Vec<(u64, Vec<u8>)> = (difference.drop.iter())
        .map(|place| one.at(*place).expect("it is held"))
        .map(|binding| (binding.publisher, binding.channel.to_vec()))
        .collect();
    for (publisher, channel) in drop {
        assert!(one.forget(publisher, &channel));
        assert!(!one.forget(publisher, &channel));
    }
    for place in difference.add.iter().chain(&difference.token_changed) {
        let binding: Binding<'_> = wanted.at(*place).expect("it is held");
        one.record(&binding).expect("what is held is valid");
    }
    assert_eq!(one.difference(wanted).expect("memory"), Default::default());
    assert_eq!(one.len(), wanted.len());
    assert_eq!(one.encoded_length(), one.encode().len());
}

fn rebind(ledger: &mut Ledger, seed: u8) {
    ledger.begin_rebind();
    let all = ledger.len() as u32;
    assert_eq!(ledger.rebind_counts().pending, all);
    let pending = ledger.pending(usize::from(seed));
    let keys: Vec<(u64, Vec<u8>)> = (pending.iter())
        .map(|place| ledger.at(*place).expect("it is held"))
        .map(|binding| (binding.publisher, binding.channel.to_vec()))
        .collect();
    for (i, (publisher, channel)) in keys.iter().enumerate() {
        assert!(ledger.mark_tried(*publisher, channel));
        match (i + usize::from(seed)) % 4 {
            0 => assert!(ledger.mark_done(*publisher, channel)),
            1 => assert!(ledger.mark_failed(*publisher, channel, "no route")),
            2 => assert!(ledger.forget(*publisher, channel)),
            _ => {
                assert!(ledger.mark_failed(*publisher, channel, "away"));
                assert!(ledger.mark_tried(*publisher, channel));
                let state = ledger.rebind_state(*publisher, channel).expect("it is held");
                assert_eq!(
                    (state.phase, state.tries, state.reason),
                    (RebindPhase::Pending, 2, None)
                );
            }
        }
    }
    let counts = ledger.rebind_counts();
    assert_eq!(
        (counts.idle + counts.pending + counts.done + counts.failed) as usize,
        ledger.len()
    );
    assert_eq!(ledger.pending(usize::MAX).len() as u32, counts.pending);
}
