# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Packages of the Debian release SUITE, downloaded and unpacked beside the build root, in which
# nothing changes. STATUS lists the packages that need not be downloaded.

# apt of the build root with package lists of its own, and the build root's keys. The lists'
# signature counts, not their age: a snapshot of the archive will do.
suite_apt() {
    local tool=$1 dir=$2/apt
    shift 2
    # shellcheck disable=SC2153 # the scripts that source this file set them
    in_root "$tool" -q -o Dir::State="$dir" -o Dir::State::status="$STATUS" \
        -o Dir::Cache="$dir/cache" -o Dir::Etc::SourceList="$dir/sources.list" \
        -o Dir::Etc::SourceParts=/dev/null -o Acquire::Languages=none \
        -o Acquire::Check-Valid-Until=false "$@"
}

suite_update() {
    mkdir -p "$1"/apt/{lists/partial,cache/archives/partial}
    echo "deb $(<"$BUILDROOT/mirror") $SUITE main" >"$1/apt/sources.list"
    suite_apt apt-get "$1" update
}

# suite_download DIR PACKAGE: with what it depends on.
suite_download() {
    suite_apt apt-get "$1" install -y --no-install-recommends --download-only "$2"
}

# suite_unpack DIR: all that was downloaded, to DIR/root.
suite_unpack() {
    local package
    for package in "$1"/apt/cache/archives/*.deb; do
        in_root dpkg -x "$package" "$1/root"
    done
}
