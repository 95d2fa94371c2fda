// SPDX-License-Identifier: GPL-2.0

//! Extended attributes.

#![no_main]

use erodax_mutation::{check, field::Structure};

erodax_fuzz::image_target!(
    check::xattrs,
    &[
        Structure::XattrHeader,
        Structure::XattrEntry,
        Structure::XattrPrefix,
    ]
);
