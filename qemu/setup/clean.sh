#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# clean.sh checkout: removes what Kbuild, cargo and the harness made in the checkout.
# clean.sh cache [all]: removes what no current key names from the cache, or all of it.

# shellcheck source=qemu/setup/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=qemu/setup/layout.sh
. "$SETUP/layout.sh"

checkout() {
    find "$TOP" \( -path "$TOP/.git" -o -path "$TARGET" -o -path "$CACHE" \) -prune -o -type f \( \
        -name '*.o' -o -name '*.ko' -o -name '*.mod' -o -name '*.mod.c' -o -name '*.rmeta' \
        -o -name '.*.cmd' -o -name modules.order -o -name Module.symvers \
        -o -name bindings_generated.rs \) -exec rm -f {} +
    rm -rf "$TOP/target"
}

# What the current keys name: a kernel for each flavour that has been used.
current() {
    printf '%s\n' "$BUILDROOT" "$PAYLOAD" "$CRATES" "$EROFS_UTILS" "$DEBUGGER" "$MIRI"
    for KERNEL_PACKAGES in "$CACHE/packages-$SERIES-"*; do
        FLAVOUR=${KERNEL_PACKAGES#"$CACHE/packages-$SERIES-"}
        printf '%s\n' "$KERNEL_PACKAGES" "$(stock_dir)" "$(debug_dir)"
    done
}

cache() {
    local dir keep
    shopt -s nullglob
    keep=$(current)
    for dir in "$CACHE"/{buildroot,payload,crates,erofs-utils,gdb,miri,packages,kernel}-*/ \
        "$CACHE"/{cargo,home,host,log}/; do
        dir=${dir%/}
        [ -d "$dir" ] || continue
        case $1$dir in
        all*) ;;
        */cargo | */home | */host | */log) continue ;;
        *) ! grep -qxF "$dir" <<<"$keep" || continue ;;
        esac
        say "removing $("${NAMESPACE[@]}" du -sh "$dir" | tr '\t' ' ')"
        remove_tree "$dir"
    done
    [ -z "$1" ] || rm -f "$CACHE"/.*.lock
    say "left in $CACHE: $("${NAMESPACE[@]}" du -sh "$CACHE" | cut -f1)"
}

case $1 in
checkout) checkout ;;
cache) cache "${2:-}" ;;
esac
