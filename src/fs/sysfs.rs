// SPDX-License-Identifier: GPL-2.0

//! What sysfs shows of a mounted image; docs/ABI/sysfs-fs-erodax describes it.

use super::Erofs;
use crate::vfs::Attribute;
use erodax_format::names::Uuid;
use kernel::{prelude::*, str::BStr};

pub(super) const ATTRIBUTES: &[Attribute<Erofs>] = &[
    Attribute::new(c"block_size", |fs, text| {
        text.add(fmt!("{}\n", fs.sb.block_size()))
    }),
    Attribute::new(c"dax", |fs, text| {
        text.add(fmt!(
            "{}\n",
            if fs.maps_directly() {
                "mapped"
            } else {
                "copied"
            }
        ))
    }),
    Attribute::new(c"devices", |fs, text| {
        fs.options
            .devices
            .iter()
            .try_for_each(|path| text.add(fmt!("{}\n", BStr::from_bytes(path.to_bytes()))))
    }),
    Attribute::new(c"features", |fs, text| {
        fs.sb
            .features()
            .try_for_each(|feature| text.add(fmt!("{}\n", format_args!("{feature}"))))
    }),
    Attribute::new(c"inodes", |fs, text| text.add(fmt!("{}\n", fs.sb.inodes()))),
    Attribute::new(c"label", |fs, text| {
        text.add(fmt!("{}\n", BStr::from_bytes(fs.sb.volume_name())))
    }),
    Attribute::new(c"root_nid", |fs, text| {
        text.add(fmt!("{}\n", fs.sb.root_nid()))
    }),
    Attribute::new(c"source", |fs, text| {
        text.add(fmt!("{}\n", fs.source_name()))
    }),
    Attribute::new(c"uuid", |fs, text| {
        text.add(fmt!("{}\n", format_args!("{}", Uuid(fs.sb.uuid()))))
    }),
];
