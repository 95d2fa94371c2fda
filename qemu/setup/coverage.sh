#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# How many lines of src/format its tests run, file by file; fails if that is too little.
#
# Only the crates of the workspace are instrumented: what they depend on is built once for this
# and for `make test`.

# shellcheck source=qemu/setup/common.sh
. "$(dirname "$0")/common.sh"

LEAST=90
COVERAGE=$TARGET/coverage

# Tests, and what they share, are not what is measured; nor is what rustc and crates bring along.
NOT_MEASURED='/(tests|testing)(/|\.rs)|^/rustc/|/registry/'

instrumented_test() {
    # cargo runs the compiler through this, for the workspace's own crates.
    printf '#!/bin/sh\nexec "$@" -Cinstrument-coverage\n' >"$COVERAGE/rustc"
    chmod 755 "$COVERAGE/rustc"
    in_root env RUSTC_WORKSPACE_WRAPPER="$COVERAGE/rustc" \
        LLVM_PROFILE_FILE="$COVERAGE/profiles/%p-%m.profraw" \
        cargo test --locked --offline --package erodax-format --lib --tests "$@"
}

# The programs that the tests consist of.
test_programs() {
    instrumented_test --no-run --message-format=json 2>/dev/null |
        sed -nE 's/.*"executable":"([^"]+)".*/\1/p'
}

measure() {
    instrumented_test
    in_root llvm-profdata merge --sparse --output "$COVERAGE/profile" "$COVERAGE/profiles"
}

cd "$TOP"
rm -rf "$COVERAGE"
mkdir -p "$COVERAGE/profiles"
run_logged "coverage: the tests of src/format" coverage measure
objects=()
for program in $(test_programs); do objects+=(--object "$program"); done
in_root llvm-cov report --instr-profile "$COVERAGE/profile" \
    --ignore-filename-regex "$NOT_MEASURED" --show-region-summary=false \
    --show-branch-summary=false "${objects[@]}" | tee "$COVERAGE/table"
lines=$(awk '$1 == "TOTAL" { sub("%", "", $NF); print $NF }' "$COVERAGE/table")
awk -v lines="$lines" -v least=$LEAST 'BEGIN { exit !(lines + 0 >= least) }' ||
    die "the tests of src/format run ${lines:-none} % of its lines, at least $LEAST are wanted" \
        "Which they leave out: llvm-cov show, with the same options, in qemu/setup/enter.sh"
say "coverage: $lines % of the lines of src/format"
