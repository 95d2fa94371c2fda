#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The payload that `make run` boots in place: a minimal Debian trixie as its packages make
# it, a file of 48 MiB to read, and qemu/payload/init, which reports what it finds.

# shellcheck source=qemu/setup/common.sh
. "$(dirname "$0")/common.sh"

# Device nodes are the init's business, and an ordinary user could not make them.
make_base() {
    in_root mmdebstrap --mode=root --variant=minbase \
        --skip=output/dev,output/mknod \
        trixie "$1/tree" "deb $(<"$BUILDROOT/mirror") trixie main"
}

# Everything that tells of the machine or of the moment.
forget_the_machine() {
    local tree=$1/tree
    in_root find "$tree/dev" "$tree/var/log" "$tree/var/lib/apt/lists" "$tree/var/cache/apt" \
        -mindepth 1 -delete
    in_root rm -f "$tree/etc/resolv.conf" "$tree/etc/apt/apt.conf.d/99mmdebstrap" \
        "$tree/var/cache/ldconfig/aux-cache"
    # shellcheck disable=SC2016 # the inner shell expands this
    in_root sh -c 'echo erodax >"$0/etc/hostname"; : >"$0/etc/machine-id"' "$tree"
}

# The same bytes everywhere; nothing compresses them, nothing repeats.
add_bulk() {
    in_root mkdir -p "$1/tree/usr/share/erodax"
    in_root python3 -c 'import random, sys
with open(sys.argv[1], "wb") as bulk: bulk.write(random.Random(48).randbytes(48 << 20))' \
        "$1/tree/usr/share/erodax/payload.bin"
}

write_manifest() {
    # shellcheck disable=SC2016 # the inner shell expands these
    in_root bash -o pipefail -c 'cd "$0/tree" && find . -type f -printf "%P\0" |
        LC_ALL=C sort -z | xargs -0 sha256sum -- >"$0/manifest.sha256"' "$1"
}

build() {
    make_base "$1"
    forget_the_machine "$1"
    add_bulk "$1"
    in_root install -m 755 "$TOP/qemu/payload/init" "$1/tree/usr/sbin/init"
    write_manifest "$1"
}

make_payload() {
    run_logged "payload: Debian trixie and 48 MiB (about a minute)" payload build "$1"
    say "payload: $(wc -l <"$1/manifest.sha256") files, $(in_root du -sm "$1/tree" | cut -f1) MiB"
}

"$SETUP/buildroot.sh"
stage "$PAYLOAD" payload make_payload
