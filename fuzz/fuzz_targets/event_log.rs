#![no_main]

libfuzzer_sys::fuzz_target!(|script: migration_fuzz::event_log::Script| migration_fuzz::event_log::check(&script));
