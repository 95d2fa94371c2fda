// SPDX-License-Identifier: GPL-2.0

//! Images of the generated tree, laid out in every way that mkfs.erofs offers without
//! compression.

use anyhow::{Context, Result};
use erodax_agent::guest::module::Module;

use crate::{
    erodax::{load, serve_initrd, unload, Device, GOOD},
    image::{Content, Craft, Data, Image, Tree, Zoo},
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
    Content::Zoo(Zoo {
        one_time: true,
        ..Zoo::DEFAULT
    }),
);
/// No inline tails, and something else than zeros after the end of each file.
pub(super) const GARBAGE: Image = Image::good(
    "garbage",
    Content::Zoo(Zoo {
        mkfs: &["-E^inline_data"],
        craft: Some(Craft::Garbage),
        ..Zoo::DEFAULT
    }),
);
/// Blocks smaller than pages.
pub(super) const SMALL_BLOCKS: Image = zoo("blocks512", &["-b512"]);

/// Large files wherever mkfs.erofs puts them.
pub(super) const LARGE: Image = large("large", &["-E^inline_data"], None);
/// The same with each of them at a multiple of 2 MiB.
pub(super) const ALIGNED: Image = large("aligned", &["-E^inline_data"], Some(Craft::Aligned));
/// With tails inline, so that inodes are between the files' data.
pub(super) const ALIGNED_INLINE: Image = large("aligned-inline", &[], Some(Craft::Aligned));

/// With filters of xattrs' names, and a label.
pub(super) const FILTERED: Image = zoo("filtered", &["-Exattr-name-filter", "-L", LABEL]);
/// Files of chunks of one block, with a map of 4 bytes for each.
pub(super) const CHUNKED: Image = zoo("chunked", &["--chunksize=4096"]);
/// Larger chunks, with an index of 8 bytes for each.
pub(super) const CHUNK_INDEXES: Image = zoo(
    "chunk-indexes",
    &["--chunksize=65536", "-Eforce-chunk-indexes"],
);
/// With a file of very many extents, and one that is a hole larger than any memory.
pub(super) const LONG: Image = Image::good(
    "long",
    Content::Zoo(Zoo {
        tree: Tree::Sample,
        mkfs: &["--chunksize=4096", "-Eforce-inode-extended"],
        craft: Some(Craft::Long),
        ..Zoo::DEFAULT
    }),
);
/// Files of chunks smaller than pages.
pub(super) const SMALL_CHUNKS: Image = zoo("chunked512", &["-b512", "--chunksize=512"]);

/// Data on a second device.
pub(super) const DEVICES: Image = Image::good(
    "devices",
    Content::Zoo(Zoo {
        mkfs: &["--chunksize=4096"],
        data: Data::Blob,
        ..Zoo::DEFAULT
    }),
);

/// The label of [`FILTERED`].
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
pub(super) const FEATURES: [Image; 3] = [FILTERED, CHUNKED, CHUNK_INDEXES];

/// Serves [`DEVICES`] as what it is.
pub(super) fn serve_devices() -> Result<Module> {
    let module = serve_initrd()?;
    let regions = Device::of(DEVICES.name)?.regions()?;
    unload(module)?;
    load(&format!("region={regions}")).context("insmod")
}

const fn large(name: &'static str, mkfs: &'static [&'static str], craft: Option<Craft>) -> Image {
    Image::good(
        name,
        Content::Zoo(Zoo {
            tree: Tree::Large,
            mkfs,
            craft,
            ..Zoo::DEFAULT
        }),
    )
}

const fn zoo(name: &'static str, mkfs: &'static [&'static str]) -> Image {
    Image::good(
        name,
        Content::Zoo(Zoo {
            mkfs,
            ..Zoo::DEFAULT
        }),
    )
}
