#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The crates of both Cargo.lock, so that cargo works offline from here on.

# shellcheck source=qemu/setup/common.sh
. "$(dirname "$0")/common.sh"

fetch_crates() {
    local manifest
    for manifest in Cargo.toml tests/fuzz/Cargo.toml; do
        run_logged "crates of ${manifest%toml}lock" crates in_root cargo fetch --locked \
            --manifest-path "$manifest" --target x86_64-unknown-linux-gnu
    done
}

cd "$TOP"
"$SETUP/buildroot.sh"
stage "$CRATES" crates fetch_crates
