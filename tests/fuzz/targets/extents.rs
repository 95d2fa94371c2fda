// SPDX-License-Identifier: GPL-2.0

//! Flat data and chunks.

#![no_main]

use erodax_mutation::{check, field::Structure};

erodax_fuzz::image_target!(
    check::extents,
    &[
        Structure::CompactInode,
        Structure::ExtendedInode,
        Structure::BlockMapEntry,
        Structure::ChunkIndex,
    ]
);
