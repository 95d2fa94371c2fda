// SPDX-License-Identifier: GPL-2.0

//! Encoded extents of compressed files, with their map header.

#![no_main]

use erodax_mutation::{check, field::Structure};

erodax_fuzz::image_target!(
    check::pclusters,
    &[
        Structure::MapHeader,
        Structure::ExtentBase,
        Structure::Extent4,
        Structure::Extent8,
        Structure::Extent16,
        Structure::Extent32,
    ]
);
