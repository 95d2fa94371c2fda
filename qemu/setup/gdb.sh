#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The tree of an image with a debugger: gdb of Debian trixie, the libraries that it loads, and
# qemu/debugger/traced.c as a program. Nothing of the build root changes.

# shellcheck source=qemu/setup/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=qemu/setup/suite.sh
. "$SETUP/suite.sh"

SUITE=trixie
# The tree has to have all of it.
STATUS=/dev/null
LIBRARIES=usr/lib/x86_64-linux-gnu
LOADER=usr/lib64/ld-linux-x86-64.so.2

# What the loader finds for gdb.
libraries() {
    in_root chroot "$1/root" "/$LOADER" --list /usr/bin/gdb |
        awk '$2 == "=>" { print substr($3, 2) }'
}

# Of the packages, what gdb does not run without: it is half of them. Python's modules are not
# among that; gdb says so, and goes on.
pick() {
    local files
    mapfile -t files < <(libraries "$1")
    files+=(usr/bin/gdb "$LIBRARIES"/gconv/{gconv-modules,UTF-32.so})
    in_root mkdir -p "$1"/tree/{dev,proc}
    # shellcheck disable=SC2016 # the inner shell expands these
    in_root sh -c 'cd "$0/root" && cp --dereference --parents "$@" "$0/tree"' "$1" "${files[@]}"
    in_root ln -s usr/bin usr/lib usr/lib64 "$1/tree"
}

# At fixed addresses, so that gdb can compare all of it with the file.
compile() {
    in_root gcc -g -O1 -no-pie "$TOP/qemu/debugger/traced.c" -o "$1/tree/usr/bin/traced"
}

make_gdb() {
    run_logged "package lists of $SUITE" gdb-update suite_update "$1"
    run_logged "gdb: downloading" gdb-download suite_download "$1" gdb
    suite_unpack "$1"
    pick "$1"
    compile "$1"
    remove_tree "$1/apt"
    remove_tree "$1/root"
    say "gdb: $(in_root du -sm "$1/tree" | cut -f1) MiB"
}

"$SETUP/buildroot.sh"
stage "$DEBUGGER" "gdb" make_gdb
