#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# namespace.sh ROOT DIR… -- COMMAND…: the part of enter.sh that runs in the new mount
# namespace. What is mounted here vanishes with the command.

set -euo pipefail
root=$1
shift

bind() {
    if [ -d "$1" ]; then mkdir -p "$root$2"; else mkdir -p "$root${2%/*}" && touch "$root$2"; fi
    mount --rbind "$1" "$root$2"
}

while [ "$1" != -- ]; do
    bind "$1" "$1"
    shift
done
shift
for dir in /dev /proc /sys; do bind $dir $dir; done

# Name service and certificates are the machine's: some networks have their own authority.
certificates=/etc/ssl/certs/ca-certificates.crt
bind /etc/resolv.conf /etc/resolv.conf
if [ -e "${SSL_CERT_FILE:-$certificates}" ]; then
    bind "${SSL_CERT_FILE:-$certificates}" $certificates
fi

# chroot leaves the directory, and `cd` has to happen inside.
# shellcheck disable=SC2016 # the inner shell expands these
exec chroot "$root" /bin/sh -c 'cd "$0" && exec "$@"' "$PWD" "$@"
