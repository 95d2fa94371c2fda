// SPDX-License-Identifier: GPL-2.0

//! Listing and lookup of directories.

#![no_main]

use erodax_mutation::{check, field::Structure};

erodax_fuzz::image_target!(
    check::directory,
    &[Structure::Dirent, Structure::CompactInode]
);
