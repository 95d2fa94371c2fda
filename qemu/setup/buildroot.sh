#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The build root: a Debian trixie with every tool of the project, whose compilers are
# those that built the stock kernel. Everything is built and run in it (enter.sh).

# shellcheck source=qemu/setup/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=qemu/setup/host.sh
. "$SETUP/host.sh"

packages() { sed 's/#.*//' "$SETUP/packages" | xargs | tr ' ' ,; }

bootstrap() {
    local proxies
    mapfile -t proxies < <(proxy_options)
    "${NAMESPACE[@]}" mmdebstrap --mode=root --variant=minbase --keyring="$KEYRING" \
        --include="$(packages)" \
        --aptopt='APT::Install-Recommends "false"' \
        --aptopt='APT::Sandbox::User "root"' \
        "${proxies[@]}" \
        --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' \
        trixie "$1/root" \
        "deb $MIRROR trixie main" "deb $MIRROR trixie-backports main"
}

make_buildroot() {
    need_debian
    need_namespaces
    need_room
    need_package_lists
    need_mmdebstrap
    need_trixie_keys
    need_mirror
    run_logged "build root: Debian trixie from $MIRROR (1 to 2 minutes)" buildroot bootstrap "$1"
    echo "$MIRROR" >"$1/mirror"
}

stage "$BUILDROOT" "build root" make_buildroot
