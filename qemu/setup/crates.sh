#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The crates of Cargo.lock, so that cargo works offline from here on.

# shellcheck source=qemu/setup/common.sh
. "$(dirname "$0")/common.sh"

fetch_crates() {
    run_logged "crates of Cargo.lock" crates \
        in_root cargo fetch --locked --target x86_64-unknown-linux-gnu
}

cd "$TOP"
"$SETUP/buildroot.sh"
stage "$CRATES" crates fetch_crates
