// SPDX-License-Identifier: GPL-2.0

//! A mount and a walk over the whole image.

#![no_main]

use erodax_mutation::check;

erodax_fuzz::image_target!(check::image, &[]);
