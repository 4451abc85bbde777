//! Reads a vector file and its spellings: byte strings are hex, u64 are decimal strings.

use serde_json::Value;

pub fn file(name: &str) -> Value {
    let path = format!("{}/../../test/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no string: {value}"))
}

pub fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(text(value)).unwrap_or_else(|error| panic!("{error}: {value}"))
}

pub fn word(value: &Value) -> u64 {
    text(value).parse().unwrap_or_else(|error| panic!("{error}: {value}"))
}

pub fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}

pub fn link(value: &Value) -> migration_core::link::CausalLink {
    let link = migration_core::link::CausalLink {
        origin_hash: word(&value["origin_hash"]),
        horizon: word(&value["horizon_encoded"]),
        sequence: word(&value["sequence"]),
        parent_hash: word(&value["parent_hash"]),
    };
    assert_eq!(link.to_bytes().to_vec(), bytes(&value["bytes"]));
    assert_eq!(migration_core::link::CausalLink::from_bytes(&link.to_bytes()), link);
    link
}
