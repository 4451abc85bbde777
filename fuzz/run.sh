#!/bin/sh
# Runs fuzz targets for a fixed number of executions; see docs/fuzzing.md.
#   fuzz/run.sh [executions] [target…]       default: 100,000 of every target
# SANITIZER=address looks for memory errors too, several times slower: the core has no unsafe code, so it is off by default.
set -eu
cd "$(dirname "$0")/.."

runs=${1:-100000}
[ $# -gt 0 ] && shift
targets=${*:-decode_frame decode_batch snapshot bindings reassembler event_log}
toolchain=${FUZZ_TOOLCHAIN:-nightly}

rustup run "$toolchain" rustc --version >/dev/null 2>&1 || rustup toolchain install "$toolchain" --profile minimal
cargo fuzz --version >/dev/null 2>&1 || cargo install cargo-fuzz --version 0.13.2 --locked

# What a run finds goes into a folder of its own, not into the committed corpus.
work=fuzz/corpus-work
cargo run --quiet --release --locked --manifest-path fuzz/Cargo.toml --example seed_corpus -- "$work"
cargo "+$toolchain" fuzz build --features libfuzzer --sanitizer "${SANITIZER:-none}"

for target in $targets; do
  mkdir -p "$work/$target" "fuzz/corpus/$target"
  echo "fuzzing $target: $runs executions"
  cargo "+$toolchain" fuzz run --features libfuzzer --sanitizer "${SANITIZER:-none}" "$target" "$work/$target" "fuzz/corpus/$target" -- \
    -runs="$runs" -max_len=20000 -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0
done
