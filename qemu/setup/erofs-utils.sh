#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A second erofs-utils for the tests, beside the build root's own: that of the next Debian
# release, which makes images that trixie's cannot. Nothing of the build root changes.

# shellcheck source=qemu/setup/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=qemu/setup/suite.sh
. "$SETUP/suite.sh"

SUITE=forky
# What the build root has, at least as new, is not downloaded.
STATUS=/var/lib/dpkg/status
OLDEST=1.9

# Prints the newest version in the index.
newest() {
    local version
    version=$(suite_apt apt-cache "$1" madison erofs-utils | awk '{ print $3 }' | sort -rVu |
        head -n 1)
    [ -n "$version" ] || die "$SUITE of $(<"$BUILDROOT/mirror") has no erofs-utils" \
        "Try another mirror: make ERODAX_MIRROR=URL …"
    in_root dpkg --compare-versions "$version" ge "$OLDEST" ||
        die "erofs-utils of $SUITE is $version: the tests need $OLDEST or newer" \
            "The mirror $(<"$BUILDROOT/mirror") may be out of date; name another one with ERODAX_MIRROR."
    echo "$version"
}

# wrap DIR TOOL: a command that finds those libraries, and a newer C library with its own loader.
wrap() {
    local root=$1/root loader command
    command=$root/usr/bin/$2
    loader=$root/usr/lib64/ld-linux-x86-64.so.2
    [ ! -e "$loader" ] || command="$loader $command"
    cat >"$1/bin/$2" <<-END
	#!/bin/sh
	LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu exec $command "\$@"
	END
    chmod 755 "$1/bin/$2"
}

check() {
    local told
    told=$(in_root "$1/bin/mkfs.erofs" --version 2>&1) ||
        die "erofs-utils $2 does not run in the build root" "$told"
    case $told in
    *" ${2%-*}"*) ;;
    *) die "mkfs.erofs of erofs-utils $2 says that it is: $(head -n 1 <<<"$told")" ;;
    esac
}

make_erofs_utils() {
    local version tool
    run_logged "package lists of $SUITE" erofs-utils-update suite_update "$1"
    version=$(newest "$1")
    run_logged "erofs-utils $version: downloading" erofs-utils-download suite_download "$1" \
        "erofs-utils=$version"
    suite_unpack "$1"
    mkdir "$1/bin"
    for tool in mkfs.erofs fsck.erofs dump.erofs; do wrap "$1" $tool; done
    check "$1" "$version"
    remove_tree "$1/apt"
    say "erofs-utils $version: $1/bin"
}

"$SETUP/buildroot.sh"
stage "$EROFS_UTILS" "erofs-utils" make_erofs_utils
