#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# module.sh: builds erodax.ko against the stock kernel's tree, the debug kernel's, or KDIR.
# module.sh clippy: lints the module's sources in a copy, which leaves erodax.ko alone.

# shellcheck source=qemu/setup/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=qemu/setup/layout.sh
. "$SETUP/layout.sh"

check_explicit_tree() {
    local release file
    [ -e "$KDIR/Makefile" ] || die "KDIR=$KDIR is no kernel tree: it has no Makefile"
    [ -e "$KDIR/include/config/auto.conf" ] ||
        die "KDIR=$KDIR is not prepared" "Configure it with CONFIG_RUST=y and run there: make modules_prepare"
    release=$(tree_release "$KDIR") || die "KDIR=$KDIR has no include/config/kernel.release"
    case $release in
    "$SERIES" | "$SERIES"[!0-9]*) ;;
    *) die "KDIR=$KDIR is a kernel $release: erodax supports the series $SERIES" ;;
    esac
    [ "$(config_value "$KDIR/include/config/auto.conf" CONFIG_RUST)" = y ] ||
        die "KDIR=$KDIR is configured without CONFIG_RUST" \
            "Run there: make rustavailable, enable CONFIG_RUST, make modules_prepare"
    for file in libcore.rmeta libkernel.rmeta libmacros.so; do
        [ -e "$KDIR/rust/$file" ] || die "KDIR=$KDIR has no Rust metadata: rust/$file is missing" \
            "Headers of distributions carry none. Run make modules_prepare in the kernel's complete" \
            "source, or leave KDIR out: then a tree for Debian's stock kernel is prepared."
    done
    [ -e "$KDIR/Module.symvers" ] || die "KDIR=$KDIR has no Module.symvers" \
        "Build that kernel, or copy the file from its headers package."
}

# rustc reads only the metadata that the very same rustc wrote.
reads_metadata() { [ "$("$@" rustc --version 2>/dev/null)" = "$TREE_RUSTC" ]; }

# Sets COMPILER to the make variables that name the tree's own C compiler, CC to its command.
find_compiler() {
    local config=$KDIR/include/config/auto.conf
    TREE_RUSTC=$(config_value "$config" CONFIG_RUSTC_VERSION_TEXT)
    if [ "$(config_value "$config" CONFIG_CC_IS_CLANG)" = y ]; then
        CC=clang COMPILER=(LLVM=1)
    else
        CC=$(config_value "$config" CONFIG_CC_VERSION_TEXT)
        CC=${CC%% *} COMPILER=("CC=$CC")
    fi
}

# Sets RUN to what goes before a command: the build root, or nothing that changes anything.
find_builder() {
    local on_host=(env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL)
    RUN=(in_root)
    if [ -n "$EXPLICIT_KDIR" ] && command -v "$CC" bindgen >/dev/null && reads_metadata "${on_host[@]}"; then
        RUN=("${on_host[@]}")
        say "building on this machine: its rustc made the metadata of $KDIR"
        return
    fi
    reads_metadata in_root || die "no rustc here can read the Rust metadata of $KDIR" \
        "the tree:     ${TREE_RUSTC:-unknown}" \
        "build root:   $(in_root rustc --version)" \
        "this machine: $(rustc --version 2>/dev/null || echo none)"
    [ -z "$EXPLICIT_KDIR" ] || say "building in the build root: its rustc made the metadata of $KDIR"
}

# kbuild DIR VARIABLE…
kbuild() {
    local dir=$1
    shift
    "${RUN[@]}" make --no-print-directory -C "$KDIR" -j "$JOBS" M="$dir" "${COMPILER[@]}" ${V:+"V=$V"} "$@" modules
}

# copy_sources DIR: what was built there stays.
copy_sources() {
    mkdir -p "$1"
    cd "$TOP"
    in_root rsync -a --delete --exclude-from=.gitignore Kbuild src dax vendor "$1/"
}

build() {
    local dir=${KO%/*}
    [ "$dir" = "$TOP" ] || copy_sources "$dir"
    kbuild "$dir"
    say "$KO: built for $KERNEL_RELEASE"
}

clippy() {
    copy_sources "$TARGET/clippy"
    kbuild "$TARGET/clippy" CLIPPY=1 KRUSTFLAGS=-Dwarnings
}

[ -z "$EXPLICIT_KDIR" ] || check_explicit_tree
find_kernel || die "the kernel is not prepared" "Run: make"
find_compiler
find_builder
case ${1:-} in
clippy) clippy ;;
*) build ;;
esac
