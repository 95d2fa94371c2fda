#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# enter.sh COMMAND…: runs COMMAND in the build root, as its root, in the current directory.
# The checkout, the cache and an explicit KDIR are at the same paths as outside.

# shellcheck source=qemu/setup/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=qemu/setup/layout.sh
. "$SETUP/layout.sh"

[ $# -gt 0 ] || die "usage: enter.sh COMMAND…"
"$SETUP/buildroot.sh"
mkdir -p "$CACHE/home" "$TARGET"

# Only these variables pass, so that the machine's own Rust or locale changes nothing.
passed='TERM|CI|NO_COLOR|V|RUST_(BACKTRACE|LOG)|PROPTEST_.*|ERODAX_.*'
passed+='|CARGO_(TERM|NET|PROFILE)_.*|CARGO_(INCREMENTAL|BUILD_JOBS)'
passed+='|(https?|no)_proxy|(HTTPS?|NO)_PROXY'

mapfile -t binds < <(explicit_paths)
export_layout
environment=(
    PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 USER=root
    "HOME=$CACHE/home" "CARGO_HOME=$CACHE/cargo" "CARGO_TARGET_DIR=$TARGET"
)
for name in $(compgen -e | grep -xE "$passed"); do environment+=("$name=${!name}"); done

# The script becomes the command: its signals, terminal and exit status are the command's.
exec "${NAMESPACE[@]}" "$SETUP/namespace.sh" "$BUILDROOT/root" \
    "$CACHE" "$TOP" "$TARGET" "${binds[@]}" -- env -i "${environment[@]}" "$@"
