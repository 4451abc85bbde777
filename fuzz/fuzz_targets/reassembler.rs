#![no_main]

libfuzzer_sys::fuzz_target!(|script: migration_fuzz::reassembler::Script| migration_fuzz::reassembler::check(&script));
