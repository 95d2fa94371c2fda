#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The stock kernel and a tree to build modules against. Debian's headers carry no Rust
# metadata, so the Rust part is built again from Debian's source with the same compiler,
# which gives the same symbols; nothing else of the kernel is built.

# shellcheck source=qemu/setup/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=qemu/setup/layout.sh
. "$SETUP/layout.sh"

# The packages of one kernel release.
packages_of() { echo "linux-source-$SERIES" linux-{base,binary,headers,modules}-"$1"; }

# The versions of a package in the index, newest first.
versions() { in_root apt-cache madison "$1" | awk '{ print $3 }' | sort -rVu; }

# Releases of the series and flavour that the index knows, newest first.
releases() {
    in_root apt-cache pkgnames "linux-headers-$SERIES" | sed -n "s/^linux-headers-//p" |
        grep -E "^${SERIES}[.+-].*[0-9]-$FLAVOUR\$" | sort -rV
}

# missing RELEASE VERSION: the packages that the index lacks in this version.
missing() {
    local package
    for package in $(packages_of "$1"); do
        grep -qxF "$2" <<<"$(versions "$package")" || echo "$package"
    done
}

# Prints the newest release, and the version, whose packages are all in the index.
resolve() {
    local release version lacking newest=
    for release in $(releases); do
        for version in $(versions "linux-headers-$release"); do
            lacking=$(missing "$release" "$version")
            [ -n "$lacking" ] || { echo "$release" "$version" && return; }
            newest=${newest:-"$release $version lacks: $(xargs <<<"$lacking")"}
        done
    done
    die "trixie-backports of $(<"$BUILDROOT/mirror") has no complete kernel $SERIES ($FLAVOUR)" \
        "${newest:-"there is no linux-headers-$SERIES.*-$FLAVOUR at all"}" \
        "Try another ERODAX_MIRROR, or build against a prepared tree with make KDIR=…" \
        "The supported series is the one in $SETUP/series."
}

download() (
    cd "$1"
    shift
    in_root apt-get -q download "$@"
)

# Once here they stay: a later release of the series comes only with a new cache.
fetch_packages() {
    local found release version packages
    run_logged "package lists of trixie-backports" kernel-update in_root apt-get -q update
    found=$(resolve)
    read -r release version <<<"$found"
    read -ra packages <<<"$(packages_of "$release")"
    run_logged "kernel $release, version $version: downloading (about 200 MB)" kernel-download \
        download "$1" "${packages[@]/%/=$version}"
    echo "$release" >"$1/release"
}

# The modules, the image and what the headers package knows of the build; then the source.
unpack_packages() {
    local package
    for package in "$KERNEL_PACKAGES"/linux-*.deb; do
        case ${package##*/} in
        linux-source-*) unpack_source "$package" "$1/source" ;;
        *) in_root dpkg -x "$package" "$1/image" ;;
        esac
    done
    in_root depmod -b "$1/image/usr" "$(stock_release)"
}

# Graphics drivers are a third of the source, and building modules needs none of them.
unpack_source() {
    mkdir "$2"
    # shellcheck disable=SC2016 # the inner shell expands these
    in_root bash -o pipefail -c 'dpkg --fsys-tarfile "$0" |
        tar -xO --wildcards "./usr/src/linux-source-*.tar.xz" |
        tar -xJ --strip-components=1 -C "$1" \
            --exclude="*/drivers/gpu/*.[ch]" --exclude="*/Documentation/*.rst"' "$1" "$2"
}

check_compiler() {
    local ours theirs
    ours=$(in_root rustc --version)
    theirs=$(config_value "$1" CONFIG_RUSTC_VERSION_TEXT)
    [ "$ours" = "$theirs" ] || die "the build root's compiler did not build this kernel" \
        "build root: $ours" "kernel:     ${theirs:-built without Rust}"
}

# prepare DIR CC TARGET…
prepare() {
    local dir=$1 cc=$2 upstream
    shift 2
    upstream=$(in_root make -s -C "$dir/source" kernelversion)
    in_root make -C "$dir/source" -j "$JOBS" O="$dir/build" CC="$cc" \
        LOCALVERSION="${RELEASE#"$upstream"}" "$@"
}

# Every Rust symbol that the stock kernel exports has to be one that the tree exports.
check_tree() {
    local build=$1 file lost
    [ "$(tree_release "$build")" = "$RELEASE" ] ||
        die "the prepared tree is of $(tree_release "$build"), the stock kernel of $RELEASE"
    for file in libkernel.rmeta libcore.rmeta libmacros.so; do
        [ -e "$build/rust/$file" ] || die "the prepared tree has no rust/$file"
    done
    lost=$(comm -23 \
        <(awk '$2 ~ /^_R/ && $3 == "vmlinux" { print $2 }' "$build/Module.symvers" | sort) \
        <(sed -n 's/^EXPORT_SYMBOL_RUST_GPL(\(_R.*\));$/\1/p' \
            "$build"/rust/exports_*_generated.h | sort))
    [ -z "$lost" ] || die "the prepared tree does not export what the stock kernel does:" \
        "$(wc -l <<<"$lost") Rust symbols differ, the first is $(head -n 1 <<<"$lost")"
}

make_tree() {
    local headers=$1/image/usr/src/linux-headers-$RELEASE build=$1/build cc
    run_logged "kernel $RELEASE: unpacking" kernel-unpack unpack_packages "$1"
    check_compiler "$headers/.config"
    cc=$(config_value "$headers/.config" CONFIG_CC_VERSION_TEXT)
    mkdir "$build"
    cp "$headers/.config" "$headers/Module.symvers" "$headers/vmlinux" "$build"
    run_logged "kernel $RELEASE: configuring" kernel-config prepare "$1" "${cc%% *}" olddefconfig
    run_logged "kernel $RELEASE: preparing the Rust tree (about 2 minutes)" kernel-prepare \
        prepare "$1" "${cc%% *}" prepare modules_prepare
    check_tree "$build"
}

"$SETUP/buildroot.sh"
stage "$KERNEL_PACKAGES" "kernel packages" fetch_packages
RELEASE=$(stock_release)
stage "$(stock_dir)" "kernel tree" make_tree
