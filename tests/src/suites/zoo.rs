// SPDX-License-Identifier: GPL-2.0

//! Images of the generated tree, laid out in every way that mkfs.erofs offers without
//! compression.

use std::{fs::File, os::unix::fs::FileExt};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::module::Module;

use crate::{
    erodax::{load, serve_initrd, unload, Device, GOOD},
    image::{Content, Image},
    suites::BIGGER,
    Machine,
};

/// Tails inline, both kinds of inodes: what mkfs.erofs makes by itself.
pub(super) const INLINE: Image = zoo("inline", &[]);
/// No inline tails.
pub(super) const PLAIN: Image = zoo("plain", &["-E^inline_data"]);
/// Extended inodes only.
pub(super) const EXTENDED: Image = zoo("extended", &["-Eforce-inode-extended"]);
/// Compact inodes, but for files whose owner does not fit.
pub(super) const COMPACT: Image = Image::good(
    "compact",
    Content::Zoo {
        mkfs: &[],
        one_time: true,
        garbage: false,
    },
);
/// No inline tails, and something else than zeros after the end of each file.
pub(super) const GARBAGE: Image = Image::good(
    "garbage",
    Content::Zoo {
        mkfs: &["-E^inline_data"],
        one_time: false,
        garbage: true,
    },
);
/// Blocks smaller than pages.
pub(super) const SMALL_BLOCKS: Image = zoo("blocks512", &["-b512"]);

/// Everything that two files have in common is stored once, with name filters; and a label.
pub(super) const SHARED: Image = zoo("shared", &["-x1", "-Exattr-name-filter", "-L", LABEL]);
/// Files of chunks of one block, with a map of 4 bytes for each.
pub(super) const CHUNKED: Image = zoo("chunked", &["--chunksize=4096"]);
/// Larger chunks, with an index of 8 bytes for each.
pub(super) const CHUNK_INDEXES: Image = zoo(
    "chunk-indexes",
    &["--chunksize=65536", "-Eforce-chunk-indexes"],
);
/// Files of chunks smaller than pages.
pub(super) const SMALL_CHUNKS: Image = zoo("chunked512", &["-b512", "--chunksize=512"]);

/// Data on a second device.
pub(super) const DEVICES: Image = Image::good("devices", Content::Devices);

/// The label of [`SHARED`].
pub(super) const LABEL: &str = "a label";

/// A VM with those of one device that need no further feature, and a good small image.
pub(super) const MACHINE: Machine = Machine {
    images: &[
        Image::good(GOOD, Content::Small),
        INLINE,
        PLAIN,
        EXTENDED,
        COMPACT,
        SMALL_BLOCKS,
    ],
    ..BIGGER
};

/// Those that can be mounted with `-o dax`.
pub(super) const ALL: [Image; 4] = [INLINE, PLAIN, EXTENDED, COMPACT];

/// The names of [`ALL`].
pub(super) const NAMES: [&str; 4] = [INLINE.name, PLAIN.name, EXTENDED.name, COMPACT.name];

/// Those with features that not every image has.
pub(super) const FEATURES: [Image; 3] = [SHARED, CHUNKED, CHUNK_INDEXES];

/// The `region=` of [`DEVICES`] as what it is: the image, and the data behind it. The module must
/// be loaded with the initrd's images.
pub(super) fn regions_of_devices() -> Result<String> {
    const SUPERBLOCK: u64 = 1024;
    const BLOCKS_LO: u64 = 36;
    let whole = Device::of(DEVICES.name)?;
    let mut blocks = [0; 4];
    File::open(&whole.node)?.read_exact_at(&mut blocks, SUPERBLOCK + BLOCKS_LO)?;
    let size = u64::from(u32::from_le_bytes(blocks)) * 4096;
    ensure!(size < whole.size, "{size} bytes, of {}", whole.size);
    let (address, data) = (whole.address, whole.size - size);
    Ok(format!("{address:#x},{size},{:#x},{data}", address + size))
}

/// Serves [`DEVICES`] as what it is.
pub(super) fn serve_devices() -> Result<Module> {
    let module = serve_initrd()?;
    let regions = regions_of_devices()?;
    unload(module)?;
    load(&format!("region={regions}")).context("insmod")
}

const fn zoo(name: &'static str, mkfs: &'static [&'static str]) -> Image {
    Image::good(
        name,
        Content::Zoo {
            mkfs,
            one_time: false,
            garbage: false,
        },
    )
}
