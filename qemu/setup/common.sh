# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2034 # the scripts that source this file use the variables
#
# Shared by the set-up scripts: where things are, progress, and steps that heal.
# Progress goes to stderr, because `make paths` owns stdout.

set -euo pipefail
shopt -s inherit_errexit
umask 022
# chroot and its like, which an ordinary user's path lacks.
export PATH=$PATH:/usr/sbin:/sbin

TOP=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
SETUP=$TOP/qemu/setup
: "${HOME:=$(getent passwd "$(id -u)" | cut -d: -f6)}"
CACHE=$(realpath -m "${ERODAX_CACHE:-$HOME/.cache/erodax}")
TARGET=$(realpath -m "${CARGO_TARGET_DIR:-$TOP/target}")
# Absolute for the scripts that this one calls, which may stand in another directory.
export ERODAX_CACHE=$CACHE CARGO_TARGET_DIR=$TARGET
JOBS=$(nproc)

say() { printf '==> %s\n' "$*" >&2; }

# die WHAT [HINT…]: what is wrong on the first line, what to do about it on the next.
die() {
    printf 'error: %s\n' "$1" >&2
    shift
    [ $# -eq 0 ] || printf '       %s\n' "$@" >&2
    exit 1
}

# The kernel's makefiles cannot handle these characters in a path.
case $TOP$CACHE in
*[[:space:]:]*)
    die "white space or a colon in the path of the checkout or of the cache" \
        "checkout: $TOP" "cache: $CACHE (set ERODAX_CACHE to another directory)"
    ;;
esac

# key FILE…: changes whenever one of the files does.
key() { cat "$@" | sha256sum | cut -c1-12; }

BUILDROOT=$CACHE/buildroot-$(key "$SETUP/buildroot.sh" "$SETUP/packages")
PAYLOAD=$CACHE/payload-$(key "$SETUP/payload.sh" "$TOP/qemu/payload/init")
CRATES=$CACHE/crates-$(key "$TOP/Cargo.lock" "$TOP/tests/fuzz/Cargo.lock")
MIRI=$CACHE/miri-$(key "$SETUP/miri-toolchain")
EROFS_UTILS=$CACHE/erofs-utils-$(key "$SETUP/erofs-utils.sh" "$SETUP/suite.sh" "$SETUP/buildroot.sh" \
    "$SETUP/packages")
DEBUGGER=$CACHE/gdb-$(key "$SETUP/gdb.sh" "$SETUP/suite.sh" "$TOP/qemu/debugger/traced.c" \
    "$SETUP/buildroot.sh" "$SETUP/packages")
STATIC=$TARGET/x86_64-unknown-linux-gnu/release

# The supported series of kernels stands in one place, the file `series`.
SERIES=$(<"$SETUP/series")
FLAVOUR=${ERODAX_FLAVOUR:-cloud-amd64}
KERNEL_PACKAGES=$CACHE/packages-$SERIES-$FLAVOUR

# A private mount namespace, so that no mount outlives the command or is seen outside. An
# ordinary user becomes root of a user namespace with the uids that /etc/subuid grants.
is_root() { [ "$(id -u)" -eq 0 ]; }
NAMESPACE=(unshare --mount)
is_root || NAMESPACE=(unshare --user --map-root-user --map-auto --mount)

in_root() { "$SETUP/enter.sh" "$@"; }

# Trees made in a user namespace belong to other uids, and only its root can remove them.
remove_tree() { "${NAMESPACE[@]}" rm -rf --one-file-system -- "$1"; }

# A job gets its own process group, and all of it ends with the script that started it.
JOB=
TICKER=
LOCK=
stop_job() {
    local group
    for group in $TICKER $JOB; do kill -- "-$group" 2>/dev/null || true; done
    JOB='' TICKER=''
}
trap stop_job EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Shows how long the step has taken and the last line of its log. It ends with the script
# even when that is killed, and leaves the lock to the step.
tick() {
    local log=$1 interval=20 format='    %3d s  %s\n' start=$SECONDS
    [ -z "$LOCK" ] || exec {LOCK}>&-
    if [ -t 2 ]; then interval=1 format='\r\033[K    %3d s  %s'; fi
    while sleep "$interval" && kill -0 $$ 2>/dev/null; do
        # shellcheck disable=SC2059 # the format is one of the two above
        printf "$format" $((SECONDS - start)) \
            "$(tail -n 1 "$log" | tr -dc '[:print:]' | cut -c1-80)" >&2
    done
}

# run_logged WHAT NAME COMMAND…: a long step, with its output in log/NAME.log of the cache.
run_logged() {
    local what=$1 log=$CACHE/log/$2.log start=$SECONDS status=0
    shift 2
    mkdir -p "${log%/*}"
    say "$what"
    : >"$log"
    set -m
    "$@" </dev/null >"$log" 2>&1 &
    JOB=$!
    tick "$log" &
    TICKER=$!
    set +m
    wait "$JOB" || status=$?
    JOB=''
    stop_job
    [ ! -t 2 ] || printf '\r\033[K' >&2
    if [ "$status" -ne 0 ]; then
        tail -n 20 "$log" | sed 's/^/    | /' >&2
        die "failed with status $status: $what" "the complete log is $log"
    fi
    printf '    %3d s  done\n' $((SECONDS - start)) >&2
}

# stage DIR WHAT FUNCTION: makes DIR by `FUNCTION DIR`, unless an earlier run completed it.
# The stamp comes last, so a directory without one is what an interrupted run left. Paths
# inside a prepared kernel tree are absolute: it cannot be made elsewhere and renamed.
stage() {
    local dir=$1 what=$2 make=$3
    [ ! -e "$dir/.complete" ] || return 0
    mkdir -p "$CACHE"
    # Children inherit the lock: those of a killed run are waited for, not raced with.
    exec {LOCK}>"$CACHE/.${dir##*/}.lock"
    if ! flock -n "$LOCK"; then
        say "$what: waiting for another set-up that is making it"
        flock "$LOCK"
    fi
    if [ ! -e "$dir/.complete" ]; then
        if [ -e "$dir" ] && ! rmdir "$dir" 2>/dev/null; then
            say "$what: an earlier run was interrupted, starting anew"
            remove_tree "$dir"
        fi
        mkdir -p "$dir"
        "$make" "$dir"
        touch "$dir/.complete"
    fi
    exec {LOCK}>&-
    LOCK=
}
