//! The kinds of the core are those that TypeScript knows, in the order in which statuses count them.

use migration_core::error::CODEC_KINDS;
use migration_core::ErrorKind;

fn kinds_of_typescript() -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../lib/errors.ts");
    let source = std::fs::read_to_string(path).unwrap();
    let list = source
        .split("CODEC_ERROR_KINDS = [")
        .nth(1)
        .and_then(|rest| rest.split("] as const").next())
        .unwrap();
    let lines = list.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines
        .flat_map(|line| {
            line.split('\'')
                .skip(1)
                .step_by(2)
                .map(String::from)
                .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn are_those_of_typescript() {
    let ours: Vec<&str> = ErrorKind::ALL[..CODEC_KINDS].iter().map(|kind| kind.name()).collect();
    assert_eq!(ours, kinds_of_typescript());
    for (at, kind) in ErrorKind::ALL.iter().enumerate() {
        assert_eq!(usize::from(kind.status()), at + 1);
    }
}
