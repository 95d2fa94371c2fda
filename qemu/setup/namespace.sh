#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# namespace.sh ROOT DIR… -- COMMAND…: the part of enter.sh that runs in the new mount
# namespace. What is mounted here vanishes with the command.

set -euo pipefail
root=$1
shift

# bind SOURCE [TARGET]: shows a directory or a file of the machine, if it exists.
bind() {
    local target=$root${2:-$1}
    [ -e "$1" ] || return 0
    if [ -d "$1" ]; then mkdir -p "$target"; else mkdir -p "${target%/*}" && touch "$target"; fi
    mount --rbind "$1" "$target"
}

while [ "$1" != -- ]; do
    bind "$1"
    shift
done
shift
for dir in /dev /proc /sys; do bind $dir; done

# Name service and certificates are the machine's: some networks have their own authority.
certificates=/etc/ssl/certs/ca-certificates.crt
bind /etc/resolv.conf
bind "${SSL_CERT_FILE:-$certificates}" $certificates

# chroot leaves the directory, and `cd` has to happen inside.
# shellcheck disable=SC2016 # the inner shell expands these
exec chroot "$root" /bin/sh -c 'cd "$0" && exec "$@"' "$(pwd -P)" "$@"
