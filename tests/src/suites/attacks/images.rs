// SPDX-License-Identifier: GPL-2.0

//! What attacks are made of: real images.

use crate::{
    erodax::GOOD,
    image::{Content, Image, Maker, Tree, Zoo, BROKEN_STREAM},
};

const fn sample(name: &'static str, mkfs: &'static [&'static str], one_time: bool) -> Image {
    let zoo = Zoo {
        tree: Tree::Sample,
        mkfs,
        one_time,
        ..Zoo::DEFAULT
    };
    Image::good(name, Content::Zoo(zoo))
}

const fn compressed(name: &'static str, maker: Maker, mkfs: &'static [&'static str]) -> Image {
    let zoo = Zoo {
        tree: Tree::Compressible,
        maker,
        mkfs,
        ..Zoo::DEFAULT
    };
    Image::good(name, Content::Zoo(zoo))
}

/// The file of compressed images that is attacked: of many lclusters and some pclusters.
pub(super) const COMPRESSED: &str = BROKEN_STREAM;

/// Compact inodes, tails inline, no filters that would keep xattrs from being looked at.
pub(super) const FLAT: Image = sample("flat", &["-E^xattr-name-filter"], true);

/// Extended inodes, no tails.
pub(super) const EXTENDED: Image = sample(
    "extended",
    &["-Eforce-inode-extended", "-E^inline_data"],
    false,
);

/// An index of 8 bytes for each block, extended inodes.
pub(super) const CHUNKS: Image = sample(
    "chunks",
    &[
        "--chunksize=4096",
        "-Eforce-chunk-indexes,force-inode-extended",
    ],
    false,
);

/// Shared xattrs, of which some have a long prefix.
pub(super) const SHARED: Image = Image::good(
    "shared",
    Content::Zoo(Zoo {
        tree: Tree::Shared,
        mkfs: &[
            "-x1",
            "-E^xattr-name-filter",
            "--xattr-prefix=user.in.common.",
        ],
        ..Zoo::DEFAULT
    }),
);

/// LZ4 with compact indexes and pclusters of one block, tails inline.
pub(super) const TAILS: Image =
    compressed("lz4-tails", Maker::Stable, &["-zlz4", "-Eztailpacking"]);

/// LZ4 with full indexes and large pclusters.
pub(super) const FULL: Image = compressed(
    "lz4hc-legacy",
    Maker::Next,
    &["-zlz4hc", "-C65536", "-Elegacy-compress"],
);

/// LZ4 with encoded extents, extended inodes.
pub(super) const RECORDS: Image = compressed(
    "extents-64k",
    Maker::Next,
    &["-zlz4hc", "-C65536", "-E48bit,force-inode-extended"],
);

/// Zstd with full indexes.
pub(super) const ZSTD: Image = compressed(
    "zstd-legacy",
    Maker::Next,
    &["-zzstd", "-C65536", "-Elegacy-compress"],
);

/// Metadata in a compressed metabox.
pub(super) const METABOX: Image =
    compressed("metabox-lz4", Maker::Next, &["-zlz4hc", "-m4096:lz4hc"]);

/// Pclusters that several files use.
pub(super) const DEDUPE: Image =
    compressed("dedupe", Maker::Stable, &["-zlz4hc", "-Ededupe", "-C65536"]);

pub(super) const ALL: [Image; 11] = [
    Image::good(GOOD, Content::Small),
    FLAT,
    EXTENDED,
    CHUNKS,
    SHARED,
    TAILS,
    FULL,
    RECORDS,
    ZSTD,
    METABOX,
    DEDUPE,
];
