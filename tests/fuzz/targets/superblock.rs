// SPDX-License-Identifier: GPL-2.0

//! The superblock and what belongs to it.

#![no_main]

use erodax_mutation::{check, field::Structure};

erodax_fuzz::image_target!(
    check::superblock,
    &[
        Structure::SuperBlock,
        Structure::Algorithm,
        Structure::DeviceSlot,
        Structure::XattrPrefix,
    ]
);
