// SPDX-License-Identifier: GPL-2.0

//! An image for each way in which mkfs.erofs compresses.

use crate::image::{concatenated, Content, Craft, Image, Maker, Tree, Zoo};

/// Incompatible features of `struct erofs_super_block`.
mod bits {
    pub(super) const LZ4_0PADDING: u32 = 1;
    pub(super) const COMPR_CFGS: u32 = 1 << 1;
    pub(super) const ZTAILPACKING: u32 = 1 << 4;
    pub(super) const FRAGMENTS_OR_DEDUPE: u32 = 1 << 5;
    pub(super) const WIDE: u32 = 1 << 7;
    pub(super) const METABOX: u32 = 1 << 8;
}

const fn of(
    name: &'static str,
    maker: Maker,
    mkfs: &'static [&'static str],
    craft: Option<Craft>,
) -> Image {
    let zoo = Zoo {
        tree: Tree::Compressible,
        maker,
        mkfs,
        craft,
        ..Zoo::DEFAULT
    };
    Image::good(name, Content::Zoo(zoo))
}

const fn dense(name: &'static str, mkfs: &'static [&'static str]) -> Image {
    let zoo = Zoo {
        tree: Tree::Dense,
        maker: Maker::Next,
        mkfs,
        ..Zoo::DEFAULT
    };
    Image::good(name, Content::Zoo(zoo))
}

const fn stable(name: &'static str, mkfs: &'static [&'static str]) -> Image {
    of(name, Maker::Stable, mkfs, None)
}

const fn next(name: &'static str, mkfs: &'static [&'static str]) -> Image {
    of(name, Maker::Next, mkfs, None)
}

const fn broken(name: &'static str, mkfs: &'static [&'static str]) -> Image {
    of(name, Maker::Stable, mkfs, Some(Craft::Streams))
}

/// The largest pclusters.
pub(in crate::suites) const LZ4_LARGE: Image = stable("lz4hc-1m", &["-zlz4hc", "-C1048576"]);

pub(super) const LZ4: [Image; 6] = [
    stable("lz4", &["-zlz4"]),
    stable("lz4hc", &["-zlz4hc"]),
    stable("lz4hc-64k", &["-zlz4hc", "-C65536"]),
    LZ4_LARGE,
    next("lz4hc-legacy", &["-zlz4hc", "-C65536", "-Elegacy-compress"]),
    stable("lz4-tails", &["-zlz4", "-Eztailpacking"]),
];

pub(super) const SMALL_BLOCKS: [Image; 3] = [
    stable("lz4-512", &["-zlz4", "-b512"]),
    stable(
        "lz4hc-1024",
        &["-zlz4hc", "-b1024", "-C8192", "-Eztailpacking"],
    ),
    stable("lz4hc-2048", &["-zlz4hc", "-b2048", "-C65536"]),
];

pub(super) const SHARED: [Image; 5] = [
    stable("fragments", &["-zlz4hc", "-Efragments", "-C65536"]),
    next(
        "fragments-legacy",
        &["-zlz4", "-Efragments,legacy-compress"],
    ),
    stable("all-fragments", &["-zlz4hc", "-Eall-fragments"]),
    stable("dedupe", &["-zlz4hc", "-Ededupe", "-C65536"]),
    stable(
        "dedupe-fragments",
        &["-zlz4hc", "-Eall-fragments,dedupe", "-C32768"],
    ),
];

pub(in crate::suites) const LZMA: Image = stable("lzma", &["-zlzma", "-C65536"]);
/// By libdeflate: the other encoder, of mkfs.erofs 1.8.6 itself, makes wrong data of some files.
pub(in crate::suites) const DEFLATE: Image = stable("deflate", &["-zlibdeflate", "-C65536"]);
pub(in crate::suites) const ZSTD: Image = stable("zstd", &["-zzstd", "-C65536"]);
pub(in crate::suites) const ZSTD_SHARED: Image =
    stable("zstd-shared", &["-zzstd", "-C65536", "-Ededupe,fragments"]);

pub(super) const OTHERS: [Image; 6] = [
    LZMA,
    DEFLATE,
    ZSTD,
    ZSTD_SHARED,
    stable("lzma-512", &["-zlzma", "-b512"]),
    next("deflate-tails", &["-zdeflate", "-Eztailpacking"]),
];

/// Extents in place of indexes.
pub(super) const EXTENTS: [Image; 5] = [
    next("extents", &["-zlz4hc", "-E48bit"]),
    next("extents-512", &["-zlz4hc", "-C65536", "-b512", "-E48bit"]),
    next("extents-fragments", &["-zlz4hc", "-Efragments", "-E48bit"]),
    next(
        "extents-zstd",
        &["-zzstd", "-C65536", "-Efragments,dedupe", "-E48bit"],
    ),
    next("extents-lzma", &["-zlzma", "-C1048576", "-E48bit"]),
];

/// Compressed metadata.
pub(in crate::suites) const METABOX: Image = next("metabox-lz4", &["-zlz4hc", "-m4096:lz4hc"]);
/// Compressed directories.
pub(in crate::suites) const DIRECTORIES: Image =
    next("directories", &["-zlz4hc", "--zD", "-Efragments"]);

/// Metadata that is elsewhere or compressed itself.
pub(super) const METADATA: [Image; 7] = [
    next("lz4-zone", &["-zlz4hc", "--MZ"]),
    next("lz4-metabox", &["-zlz4hc", "-m4096"]),
    METABOX,
    next("metabox-lz4-1024", &["-zlz4hc", "-m1024:lz4hc", "-b1024"]),
    next(
        "metabox-lz4-fragments",
        &["-zlz4hc", "-m4096:lz4hc", "-E48bit", "-Efragments"],
    ),
    DIRECTORIES,
    next(
        "directories-all",
        &["-zlz4hc", "--zD", "-Eall-fragments", "-C65536"],
    ),
];

/// Each algorithm, with a broken stream.
pub(super) const BROKEN: [Image; 4] = [
    broken("broken-lz4", &["-zlz4hc", "-C16384"]),
    broken("broken-lzma", &["-zlzma", "-C16384"]),
    broken("broken-deflate", &["-zlibdeflate", "-C16384"]),
    broken("broken-zstd", &["-zzstd", "-C16384"]),
];

/// LZ4 streams at the begin of their blocks, not at the end, which stock EROFS has given up.
pub(super) const UNPADDED: [Image; 2] = [
    stable("unpadded", &["-zlz4hc", "-Elegacy-compress"]),
    stable("unpadded-64k", &["-zlz4hc", "-Elegacy-compress", "-C65536"]),
];

/// Heads of the second type, with another algorithm than the first one has and with the same one.
pub(super) const SECOND_HEADS: [Image; 2] = [
    of(
        "head2",
        Maker::Stable,
        &["-zzstd:lz4hc", "-C32768"],
        Some(Craft::SecondHeads),
    ),
    of(
        "head2-legacy",
        Maker::Next,
        &["-zlz4hc", "-C16384", "-Elegacy-compress"],
        Some(Craft::SecondHeads),
    ),
];

/// With extents of which each starts with an lcluster; and with the same where some are holes.
pub(super) const SHORT_EXTENTS: Image = next("short-extents", SHORT);
pub(super) const HOLES: [Image; 2] = [
    of("holes", Maker::Next, SHORT, Some(Craft::Holes)),
    of(
        "holes-compact",
        Maker::Next,
        &["-zlz4hc", "-C65536", "--max-extent-bytes=65536"],
        Some(Craft::HolesOfNoBlocks),
    ),
];
const SHORT: &[&str] = &[
    "-zlz4hc",
    "-C65536",
    "-Elegacy-compress",
    "--max-extent-bytes=65536",
];

/// With the options of [`LZ4`]'s fifth image: holes that start inside of lclusters.
pub(super) const HOLES_INSIDE: Image = of(
    "holes-inside",
    Maker::Next,
    &["-zlz4hc", "-C65536", "-Elegacy-compress"],
    Some(Craft::HolesInside),
);

/// With extents of the fewest and the most pages that are mapped to be decoded to, and between them
/// some that begin in the middle of pages.
pub(super) const SPANS: [Image; 3] = [
    dense(
        "span-of-5-pages",
        &["-zlz4hc", "-C65536", "--max-extent-bytes=20480"],
    ),
    dense(
        "span-of-64-pages",
        &["-zlz4hc", "-C1048576", "--max-extent-bytes=262144"],
    ),
    dense(
        "spans-at-odd-places",
        &["-zlz4hc", "-C1048576", "--max-extent-bytes=100001"],
    ),
];

/// The same of other algorithms, and in blocks that are smaller than pages.
pub(super) const OTHER_SPANS: [Image; 3] = [
    dense(
        "spans-zstd",
        &["-zzstd", "-C131072", "-b2048", "--max-extent-bytes=150001"],
    ),
    dense(
        "spans-deflate",
        &["-zdeflate", "-C65536", "--max-extent-bytes=70001"],
    ),
    dense(
        "spans-lzma",
        &["-zlzma", "-C65536", "--max-extent-bytes=200001"],
    ),
];

/// With extents that are too long for that, up to the longest.
pub(super) const LONGEST: Image = dense("longest-extents", &["-zlz4hc", "-C1048576", "-E48bit"]);

/// Small images with much in them, of several algorithms. An extent of the longest would have a reader
/// take 8 MB at once.
pub(super) const MANY: [Image; 4] = [SPANS[1], SPANS[2], OTHER_SPANS[0], OTHER_SPANS[2]];

/// Which images must have which features, compatible ones and others.
pub(super) const FEATURES: [(&str, u32, u32); 11] = [
    ("lz4", 0, bits::LZ4_0PADDING),
    ("lz4hc-64k", 0, bits::COMPR_CFGS),
    ("lz4-tails", 0, bits::ZTAILPACKING),
    ("fragments", 0, bits::FRAGMENTS_OR_DEDUPE),
    ("dedupe", 0, bits::FRAGMENTS_OR_DEDUPE),
    ("lzma", 0, bits::COMPR_CFGS),
    ("extents", 0, bits::WIDE),
    ("lz4-metabox", 0, bits::METABOX),
    ("metabox-lz4", 0, bits::METABOX),
    ("metabox-lz4-1024", 0, bits::METABOX),
    ("extents-lzma", 0, bits::WIDE | bits::COMPR_CFGS),
];

/// Every image of the suite.
pub(super) const ALL: [Image; 51] = concatenated(&[
    &LZ4,
    &SMALL_BLOCKS,
    &SHARED,
    &OTHERS,
    &EXTENTS,
    &METADATA,
    &BROKEN,
    &UNPADDED,
    &SECOND_HEADS,
    &[SHORT_EXTENTS],
    &HOLES,
    &[HOLES_INSIDE],
    &SPANS,
    &OTHER_SPANS,
    &[LONGEST],
]);
