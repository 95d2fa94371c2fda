#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Prints where the kernel and the module are, as assignments for a shell.

# shellcheck source=qemu/setup/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=qemu/setup/layout.sh
. "$SETUP/layout.sh"

find_kernel || die "the kernel is not prepared" "Run: make"
for name in KDIR KERNEL_IMAGE KERNEL_MODULES KERNEL_RELEASE KO; do
    printf '%s=%q\n' $name "${!name}"
done
