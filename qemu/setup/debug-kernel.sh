#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# debug-kernel.sh: builds the debug kernel and its modules from the stock kernel's source.
# debug-kernel.sh is-there: succeeds when that has been done.

# shellcheck source=qemu/setup/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=qemu/setup/layout.sh
. "$SETUP/layout.sh"

# Rust has KASAN with LLVM only; the build root's clang and rustc have the same LLVM.
debug_make() {
    local dir=$1
    shift
    in_root nice make -C "$(stock_dir)/source" -j "$JOBS" O="$dir/build" LLVM=1 \
        LOCALVERSION=-erodax-debug "$@"
}

configure() {
    mkdir "$1/build"
    debug_make "$1" KCONFIG_ALLCONFIG="$SETUP/debug.config" allnoconfig
}

# An option whose dependencies are not met is dropped without a word.
check_config() {
    local lost
    lost=$(comm -23 <(grep -E '^CONFIG_[A-Z0-9_]+=' "$SETUP/debug.config" | sort) \
        <(sort "$1/build/.config"))
    [ -z "$lost" ] || die "the debug kernel's configuration lost options of $SETUP/debug.config" \
        "$(xargs <<<"$lost")" "Their dependencies are in the Kconfig files of $(stock_dir)/source."
}

make_debug_kernel() {
    run_logged "debug kernel: configuring" debug-config configure "$1"
    check_config "$1"
    run_logged "debug kernel: building (10 minutes on 2 processors)" debug-build \
        debug_make "$1" bzImage modules
    run_logged "debug kernel: installing its modules" debug-modules \
        debug_make "$1" INSTALL_MOD_PATH="$1/image" modules_install
}

[ "${1:-}" != is-there ] || exec test -e "$(debug_dir)/.complete"
"$SETUP/kernel.sh"
stage "$(debug_dir)" "debug kernel" make_debug_kernel
