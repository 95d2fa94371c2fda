#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs tests under Miri, which finds undefined behaviour: the unit tests of src/format, and those of
# the LZ4 decoder. Not those that test a property with many cases, which would take hours; of the LZ4
# decoder's, which has all of the unsafe code, a few cases each.
#
# Miri needs a nightly toolchain, which is kept in the cache, in a directory of its own: the build
# root and its compiler stay as they are.

# shellcheck source=qemu/setup/common.sh
. "$(dirname "$0")/common.sh"

SERVER=https://static.rust-lang.org/dist
LZ4_CASES=${PROPTEST_CASES:-2}
# Of processor time, for each of the two runs.
MOST_SECONDS=900

# By apt's own downloader: it checks the sum, and the build root has no other one.
download() {
    local path component sum archive
    while read -r path component sum; do
        archive=${path#*/}
        in_root /usr/lib/apt/apt-helper download-file "$SERVER/$path.tar.xz" "$1/archive" \
            "SHA256:$sum"
        tar -xJf "$1/archive" -C "$1" --strip-components=2 "$archive/$component"
        rm "$1/archive"
    done < <(sed '/^#/d' "$SETUP/miri-toolchain")
}

# nightly DIR [NAME=VALUE…] COMMAND…: with this toolchain, and the standard library as Miri needs it.
nightly() {
    local dir=$1
    shift
    in_root env PATH="$dir/bin:/usr/bin:/bin" MIRI_SYSROOT="$dir/sysroot" "$@"
}

make_toolchain() {
    run_logged "nightly Rust with Miri: downloading" miri-download download "$1"
    run_logged "Miri: the standard library" miri-setup nightly "$1" cargo miri setup
}

# miri_test OPTION…: proptest asks for the current directory and for random numbers, which
# Miri denies otherwise.
miri_test() {
    nightly "$MIRI" MIRIFLAGS=-Zmiri-disable-isolation PROPTEST_CASES="$LZ4_CASES" \
        prlimit --cpu="$MOST_SECONDS" \
        cargo miri test --locked --offline --target-dir "$TARGET/miri" "$@"
}

stage "$MIRI" "nightly Rust with Miri" make_toolchain
run_logged "Miri: unit tests of src/format" miri-format miri_test --package erodax-format --lib
run_logged "Miri: tests of the LZ4 decoder" miri-lz4 miri_test --package erodax-mutation --test lz4
grep -h '^test result' "$CACHE"/log/miri-{format,lz4}.log | sed 's/^/    /' >&2
