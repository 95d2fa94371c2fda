// SPDX-License-Identifier: GPL-2.0

//! Compact indexes of compressed files, with their map header.

#![no_main]

use erodax_mutation::{check, field::Structure};

erodax_fuzz::image_target!(
    check::pclusters,
    &[
        Structure::MapHeader,
        Structure::SmallPack,
        Structure::LargePack,
    ]
);
