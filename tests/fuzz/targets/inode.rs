// SPDX-License-Identifier: GPL-2.0

//! Inodes.

#![no_main]

use erodax_mutation::{check, field::Structure};

erodax_fuzz::image_target!(
    check::inode,
    &[Structure::CompactInode, Structure::ExtendedInode]
);
