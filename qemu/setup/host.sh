# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2034 # formats of apt, and variables that buildroot.sh uses
#
# What making the build root needs of the machine: a Debian whose apt reaches a mirror,
# mmdebstrap, the archive's keys, namespaces, room on the disk. Root gets what is missing
# through apt-get; for an ordinary user packages are unpacked into the cache, or named.

HOST=$CACHE/host
NEEDED_GIB=8

# apt-get of the machine. An ordinary user can't fill missing package lists, and gets own ones.
APT_OPTIONS=()
host_apt() { apt-get -q "${APT_OPTIONS[@]}" "$@"; }

index_targets() { host_apt indextargets --format "$1" 'Created-By: Packages'; }

need_debian() {
    command -v apt-get >/dev/null || die "no apt-get: the set-up needs Debian 12 or 13" \
        "Elsewhere, build against a prepared kernel tree with: make KDIR=…"
    [ "$(dpkg --print-architecture)" = amd64 ] || die "the set-up needs an amd64 machine"
}

need_package_lists() {
    [ -z "$(index_targets '$(FILENAME)')" ] || return 0
    if ! is_root; then
        mkdir -p "$HOST/lists/partial" "$HOST/apt"
        APT_OPTIONS=(-o "Dir::State::lists=$HOST/lists" -o "Dir::Cache=$HOST/apt")
    fi
    run_logged "package lists of this machine" host-update host_apt update
}

install() {
    if ! host_apt install -y --no-install-recommends "$@"; then
        # The lists may name versions that the mirror has replaced since.
        host_apt update
        host_apt install -y --no-install-recommends "$@"
    fi
}

unpack() {
    local dir=$HOST/$1
    rm -rf "$dir" "$dir.new"
    mkdir -p "$dir.new"
    cd "$dir.new" || return
    host_apt download "$1"
    dpkg -x "$1"_*.deb .
    mv "$dir.new" "$dir"
}

# provide PACKAGE: installs it as root, unpacks it into the cache otherwise.
provide() {
    if is_root; then
        DEBIAN_FRONTEND=noninteractive run_logged "installing $1" "host-$1" install "$1"
    else
        run_logged "fetching $1 (not installed on this machine)" "host-$1" unpack "$1"
    fi
}

need_namespaces() {
    local reason
    if is_root; then
        reason=$("${NAMESPACE[@]}" true 2>&1) || die "root may not make a mount namespace: $reason" \
            "A container needs CAP_SYS_ADMIN for this (docker run --privileged)."
        return
    fi
    local file
    command -v newuidmap >/dev/null || die "newuidmap is missing" \
        "It maps uids for an ordinary user: sudo apt-get install uidmap mmdebstrap"
    for file in /etc/subuid /etc/subgid; do
        grep -qsE "^($(id -un)|$(id -u)):" "$file" || die "$file grants $(id -un) no ids" \
            "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $(id -un)"
    done
    reason=$(unshare --user true 2>&1) || die "this machine denies user namespaces: $reason" \
        "See the sysctls user.max_user_namespaces and kernel.unprivileged_userns_clone, or run as root."
    reason=$("${NAMESPACE[@]}" true 2>&1) || die "the ids of /etc/subuid and /etc/subgid cannot be mapped: $reason"
}

need_room() {
    local free
    mkdir -p "$CACHE"
    free=$(df --output=avail -BG "$CACHE" | tail -n 1 | tr -dc 0-9)
    [ "$free" -ge "$NEEDED_GIB" ] || die "only $free GiB free for $CACHE, the set-up needs $NEEDED_GIB" \
        "Free some, or set ERODAX_CACHE to a directory on another disk."
}

need_mmdebstrap() {
    PATH=$PATH:$HOST/mmdebstrap/usr/bin
    ! command -v mmdebstrap >/dev/null || return 0
    is_root || runs_mmdebstrap || die "mmdebstrap and what it runs on are missing" \
        "sudo apt-get install mmdebstrap"
    provide mmdebstrap
}

runs_mmdebstrap() {
    command -v python3 >/dev/null && perl -MEnglish -MGetopt::Long -MPod::Usage -e 1 2>/dev/null
}

# Sets KEYRING. The first releases of Debian 12 came without the keys that sign trixie.
need_trixie_keys() {
    local keyrings=/usr/share/keyrings
    if [ ! -e "$keyrings"/debian-archive-trixie-stable.gpg ]; then
        provide debian-archive-keyring
        is_root || keyrings=$HOST/debian-archive-keyring$keyrings
    fi
    KEYRING=$keyrings/debian-archive-keyring.gpg
    [ -e "$keyrings"/debian-archive-trixie-stable.gpg ] ||
        die "debian-archive-keyring of this machine's mirror lacks the keys of trixie" \
            "Bring the machine up to date: apt-get update && apt-get upgrade"
}

# Prints the first entry of a mirror list, which is how Debian's cloud images name theirs.
first_of_list() { sed -nE 's/^([a-z]+:[^[:space:]]+).*/\1/p; T; q' "${1#mirror+file:}"; }

# Sets MIRROR: the one this machine already uses.
need_mirror() {
    MIRROR=${ERODAX_MIRROR:-}
    [ -z "$MIRROR" ] || return 0
    local uri
    for uri in $(index_targets '$(REPO_URI)'); do
        case $uri in mirror+file:*) uri=$(first_of_list "${uri%/}") ;; esac
        case ${uri%/} in */debian) MIRROR=${uri%/} && return ;; esac
    done
    die "no Debian mirror in this machine's apt configuration (a source that ends in /debian)" \
        "Name one: make ERODAX_MIRROR=URL …"
}

# Options of apt that the build root has to share with the machine to reach the mirror.
proxy_options() {
    local scheme proxy
    for scheme in http https; do
        eval "$(apt-config shell proxy "Acquire::$scheme::Proxy")"
        [ -z "${proxy:-}" ] || printf '%s\n' "--aptopt=Acquire::$scheme::Proxy \"$proxy\""
        proxy=
    done
}
