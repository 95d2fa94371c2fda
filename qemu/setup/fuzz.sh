#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# fuzz.sh run SECONDS [TARGET]: fuzzes each target of tests/fuzz, or one, for so long.
# fuzz.sh again TARGET INPUT: runs a target once, on a saved input.
# fuzz.sh lint: lints the targets.
#
# Does what `cargo fuzz run --sanitizer none` does, with the build root's stable compiler: the
# code is instrumented by LLVM's pass for coverage, and libFuzzer comes with its crate.

# shellcheck source=qemu/setup/common.sh
. "$(dirname "$0")/common.sh"

SOURCES=$TOP/tests/fuzz
FUZZ=$TARGET/fuzz
TRIPLE=x86_64-unknown-linux-gnu
PROGRAMS=$FUZZ/$TRIPLE/release

# A run that takes longer on one input is a hang.
INPUT_SECONDS=20

INSTRUMENTED='--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module'
for option in level=4 inline-8bit-counters pc-table trace-compares; do
    INSTRUMENTED+=" -Cllvm-args=-sanitizer-coverage-$option"
done

fuzz_cargo() {
    local command=$1
    shift
    in_root env RUSTFLAGS="$INSTRUMENTED" cargo "$command" --locked --offline --release \
        --manifest-path "$SOURCES/Cargo.toml" --target-dir "$FUZZ" --target "$TRIPLE" "$@"
}

targets() { find "$SOURCES/targets" -name '*.rs' -printf '%f\n' | sed 's/\.rs$//' | sort; }

check_target() {
    targets | grep -qxF -- "$1" || die "TARGET=$1 is no fuzz target" "They are: $(targets | xargs)"
}

make_seeds() {
    in_root cargo build --quiet --locked --offline --package erodax-mutation
    in_root "$TARGET/debug/erodax-seeds" "$FUZZ/seeds"
}

# one TARGET SECONDS: what it finds out is kept, and the next run goes on from there.
one() {
    local name=$1 seconds=$2 seeds=images log=$FUZZ/log/$1.log start status=0
    case $name in
    newc) seeds=archives ;;
    lz4) seeds=blocks ;;
    esac
    mkdir -p "$FUZZ"/{log,"corpus/$name","artifacts/$name"}
    start=$(date +%s)
    in_root "$PROGRAMS/$name" "-max_total_time=$seconds" "-timeout=$INPUT_SECONDS" \
        "-artifact_prefix=$FUZZ/artifacts/$name/" -print_final_stats=1 \
        "$FUZZ/corpus/$name" "$FUZZ/seeds/$seeds" >"$log" 2>&1 || status=$?
    [ "$status" -eq 0 ] || report "$name" "$log" "$status"
    say "fuzz $name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") runs in" \
        "$(($(date +%s) - start)) s, coverage $(sed -n 's/.*DONE *cov: \([0-9]*\).*/\1/p' "$log")"
}

report() {
    local name=$1 log=$2 input
    input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
    grep -m 1 -A 3 -E 'panicked at|ERROR: libFuzzer' "$log" | sed 's/^/    | /' >&2 || true
    [ -n "$input" ] || die "fuzz $name: failed with status $3" "the complete log is $log"
    die "fuzz $name: failed" "the complete log is $log" "the input is $input" \
        "again: make fuzz TARGET=$name INPUT=$input"
}

# Each on a processor of its own.
run() {
    local seconds=$1 names
    names=$(targets)
    [ -z "${2:-}" ] || { check_target "$2" && names=$2; }
    [[ $seconds =~ ^[1-9][0-9]*$ ]] || die "SECONDS=$seconds is no number of seconds"
    run_logged "fuzz targets: building" fuzz-build fuzz_cargo build --bins
    run_logged "fuzz targets: seeds" fuzz-seeds make_seeds
    xargs -P "$JOBS" -I NAME "$SETUP/fuzz.sh" one NAME "$seconds" <<<"$names" ||
        die "fuzzing found something, see above"
}

again() {
    check_target "$1"
    [ -e "$2" ] || die "INPUT=$2 does not exist"
    run_logged "fuzz targets: building" fuzz-build fuzz_cargo build --bin "$1"
    in_root env RUST_BACKTRACE=1 "$PROGRAMS/$1" "$(realpath "$2")"
}

case ${1:-} in
run) run "$2" "${3:-}" ;;
one) one "$2" "$3" ;;
again) again "$2" "$3" ;;
lint) fuzz_cargo clippy --all-targets -- -D warnings ;;
*) die "usage: fuzz.sh run SECONDS [TARGET] | again TARGET INPUT | lint" ;;
esac
