// SPDX-License-Identifier: GPL-2.0

//! Data on further devices.

#![no_main]

use erodax_mutation::{check, field::Structure};

erodax_fuzz::image_target!(
    check::devices,
    &[Structure::DeviceSlot, Structure::ChunkIndex]
);
