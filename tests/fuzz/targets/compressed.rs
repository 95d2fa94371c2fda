// SPDX-License-Identifier: GPL-2.0

//! Compressed files as a whole: map headers, configurations of algorithms, parts of files in the
//! packed inode, metadata that is compressed itself.

#![no_main]

use erodax_mutation::{check, field::Structure};

erodax_fuzz::image_target!(
    check::pclusters,
    &[
        Structure::MapHeader,
        Structure::Algorithm,
        Structure::SuperBlock,
        Structure::CompactInode,
        Structure::ExtendedInode,
    ]
);
