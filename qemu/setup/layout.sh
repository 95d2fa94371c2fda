# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Where the kernel and the products are. KDIR, KERNEL_IMAGE and KERNEL_MODULES of the user
# go before those of the kernel that ERODAX_KERNEL names: stock, which is the default, or debug.

KO=$TOP/erodax.ko
case ${ERODAX_KERNEL:=stock} in
stock) ;;
# In a copy of its own, so that erodax.ko stays the stock kernel's.
debug) KO=$TARGET/debug-kernel/erodax.ko ;;
*) die "ERODAX_KERNEL=$ERODAX_KERNEL is neither stock nor debug" ;;
esac
export ERODAX_KERNEL

for name in KDIR KERNEL_IMAGE KERNEL_MODULES; do
    if [ -n "${!name:-}" ]; then
        path=$(realpath -e "${!name}" 2>/dev/null) || die "$name=${!name} does not exist"
        export "$name=$path"
    else
        unset $name
    fi
done
EXPLICIT_KDIR=${KDIR:-}
[ -z "$EXPLICIT_KDIR" ] || [ "$ERODAX_KERNEL" = stock ] ||
    die "KDIR=$KDIR is a kernel of its own: leave ERODAX_KERNEL=$ERODAX_KERNEL out"

stock_release() { cat "$KERNEL_PACKAGES/release" 2>/dev/null; }

# The prepared tree depends on the recipe, on its compilers and on the packages' version.
stock_dir() {
    local key
    key=$({ cat "$SETUP/kernel.sh" && ls "$KERNEL_PACKAGES" && echo "${BUILDROOT##*/}"; } |
        sha256sum | cut -c1-12)
    echo "$CACHE/kernel-$SERIES-$FLAVOUR-$key"
}

# The debug kernel is made from the stock kernel's source, which the name of its tree tells.
debug_dir() {
    local key
    key=$({ grep ^CONFIG_ "$SETUP/debug.config" && basename "$(stock_dir)"; } | sha256sum | cut -c1-12)
    echo "$CACHE/kernel-$SERIES-debug-$key"
}

tree_release() { cat "$1/include/config/kernel.release" 2>/dev/null; }

# config_value FILE NAME: the value of an option in a kernel's .config, without quotes.
config_value() { sed -nE "s/^$2=\"?([^\"]*)\"?\$/\1/p" "$1"; }

# A tree made with O= names its source in a generated makefile; others are their own source.
tree_source() {
    local makefile
    makefile=$(sed -nE 's/^include (\/.*\/Makefile)$/\1/p' "$1/Makefile" | head -n 1)
    realpath "$(dirname "${makefile:-$1/Makefile}")"
}

# What the build root has to show besides the checkout and the cache.
explicit_paths() {
    if [ -n "$EXPLICIT_KDIR" ]; then
        echo "$EXPLICIT_KDIR"
        [ ! -e "$EXPLICIT_KDIR/Makefile" ] || tree_source "$EXPLICIT_KDIR"
    fi
    [ -z "${KERNEL_IMAGE:-}" ] || dirname "$KERNEL_IMAGE"
    [ -z "${KERNEL_MODULES:-}" ] || echo "$KERNEL_MODULES"
}

# Sets KDIR, KERNEL_IMAGE, KERNEL_MODULES and KERNEL_RELEASE; fails before the set-up has run.
# A tree of the stock kernel's release boots the stock kernel, another boots its own image.
find_kernel() {
    local release stock=
    if [ "$ERODAX_KERNEL" = debug ]; then
        KDIR=$(debug_dir)/build
        KERNEL_RELEASE=$(tree_release "$KDIR") || return 1
        KERNEL_MODULES=$(debug_dir)/image/lib/modules/$KERNEL_RELEASE
    fi
    if [ -e "$KERNEL_PACKAGES/.complete" ]; then
        release=$(stock_release)
        stock=$(stock_dir)
    fi
    : "${KDIR:=${stock:+$stock/build}}"
    [ -n "$KDIR" ] && KERNEL_RELEASE=$(tree_release "$KDIR") || return 1
    if [ -n "$stock" ] && [ "$KERNEL_RELEASE" = "$release" ]; then
        : "${KERNEL_IMAGE:=$stock/image/usr/lib/modules/$release/vmlinuz}"
        : "${KERNEL_MODULES:=$stock/image/usr/lib/modules/$release}"
    else
        : "${KERNEL_IMAGE:=$KDIR/arch/x86/boot/bzImage}"
        : "${KERNEL_MODULES:=}"
    fi
}

# What the tools, the harness and its tests find in their environment.
export_layout() {
    export ERODAX_CACHE=$CACHE ERODAX_KO=$KO ERODAX_STATIC=$STATIC ERODAX_PAYLOAD=$PAYLOAD
    export ERODAX_WORK=$TARGET/vm ERODAX_MKFS_NEW=$EROFS_UTILS/bin/mkfs.erofs
    export ERODAX_DEBUGGER=$DEBUGGER/tree
    find_kernel || return 0
    export ERODAX_KERNEL_IMAGE=$KERNEL_IMAGE ERODAX_KERNEL_MODULES=$KERNEL_MODULES
    export ERODAX_KERNEL_RELEASE=$KERNEL_RELEASE
}
