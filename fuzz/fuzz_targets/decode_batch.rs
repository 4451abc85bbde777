#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| migration_fuzz::decode_batch::check(bytes));
