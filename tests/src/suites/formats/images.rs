// SPDX-License-Identifier: GPL-2.0

//! An image for every row of the format's table of features.

use crate::image::{concatenated, Content, Craft, Data, Image, Maker, Tree, Zoo};

/// Features of `struct erofs_super_block`.
mod bits {
    pub(super) const XATTR_FILTER: u32 = 1 << 2;
    pub(super) const SHARED_EA_IN_METABOX: u32 = 1 << 3;
    pub(super) const PLAIN_XATTR_PFX: u32 = 1 << 4;
    pub(super) const ISHARE_XATTRS: u32 = 1 << 5;

    pub(super) const CHUNKED_FILE: u32 = 1 << 2;
    pub(super) const DEVICE_TABLE: u32 = 1 << 3;
    pub(super) const FRAGMENTS: u32 = 1 << 5;
    pub(super) const XATTR_PREFIXES: u32 = 1 << 6;
    pub(super) const WIDE: u32 = 1 << 7;
    pub(super) const METABOX: u32 = 1 << 8;
}

const SAMPLE: Zoo = Zoo {
    tree: Tree::Sample,
    ..Zoo::DEFAULT
};

const fn stable(name: &'static str, mkfs: &'static [&'static str]) -> Image {
    Image::good(name, Content::Zoo(Zoo { mkfs, ..SAMPLE }))
}

const fn shared(name: &'static str, maker: Maker, mkfs: &'static [&'static str]) -> Image {
    let zoo = Zoo {
        tree: Tree::Shared,
        maker,
        mkfs,
        ..Zoo::DEFAULT
    };
    Image::good(name, Content::Zoo(zoo))
}

const fn next(name: &'static str, mkfs: &'static [&'static str]) -> Image {
    let maker = Maker::Next;
    let zoo = Zoo {
        maker,
        mkfs,
        ..SAMPLE
    };
    Image::good(name, Content::Zoo(zoo))
}

const fn crafted(
    name: &'static str,
    craft: Craft,
    one_time: bool,
    mkfs: &'static [&'static str],
) -> Image {
    let zoo = Zoo {
        mkfs,
        one_time,
        craft: Some(craft),
        ..SAMPLE
    };
    Image::good(name, Content::Zoo(zoo))
}

const fn with_data(
    name: &'static str,
    maker: Maker,
    data: Data,
    craft: Option<Craft>,
    mkfs: &'static [&'static str],
) -> Image {
    let zoo = Zoo {
        maker,
        mkfs,
        data,
        craft,
        ..SAMPLE
    };
    Image::good(name, Content::Zoo(zoo))
}

/// What the build root's mkfs.erofs can do and the whole tree's images have not.
pub(super) const STABLE: [Image; 8] = [
    stable("stable-1024", &["-b1024"]),
    stable("stable-2048", &["-b2048", "-E^inline_data"]),
    stable(
        "stable-times",
        &["--all-time", "-Enosbcrc", "-L", "fifteen letters"],
    ),
    stable("stable-no-times", &["--ignore-mtime"]),
    stable(
        "stable-map",
        &["--chunksize=8192", "-Eforce-inode-blockmap"],
    ),
    stable("stable-unfiltered", &["-E^xattr-name-filter"]),
    shared("stable-shared", Maker::Stable, &["-x1"]),
    shared(
        "stable-shared-512",
        Maker::Stable,
        &["-x1", "-b512", PREFIX],
    ),
];

const PREFIX: &str = "--xattr-prefix=user.in.common.";
const OTHER_PREFIX: &str = "--xattr-prefix=trusted.in.";

pub(super) const NEXT: [Image; 12] = [
    next("next", &[]),
    next("next-plain-512", &["-E^inline_data", "-b512"]),
    next("next-chunked", &["--chunksize=4096"]),
    next(
        "next-indexes",
        &["--chunksize=65536", "-Eforce-chunk-indexes"],
    ),
    next("next-48bit", &["-E48bit"]),
    next(
        "next-48bit-chunked",
        &["-E48bit", "--chunksize=4096", "-Eforce-chunk-indexes"],
    ),
    next("next-zone", &["--MZ", "-b2048"]),
    next("next-zone-of-directories", &["--MZ=id", "-Edot-omitted"]),
    next("next-dot-omitted", &["-Edot-omitted", "-b1024"]),
    next(
        "next-digests",
        &["--xattr-inode-digest=trusted.digest", "-E^inline_data"],
    ),
    next("next-prefixes", &[PREFIX, OTHER_PREFIX]),
    next(
        "next-prefixes-packed",
        &["-Efragments", PREFIX, OTHER_PREFIX],
    ),
];

/// Metadata in an inode. Where that inode is in a metadata zone, mkfs.erofs 1.9.4 leaves zeros in
/// place of some of the inodes, as fsck.erofs says: no such image is here.
pub(super) const METABOX: [Image; 4] = [
    next("metabox", &["-m4096"]),
    next(
        "metabox-512",
        &["-m512", "-b512", "-Edot-omitted", "-E48bit"],
    ),
    next("metabox-prefixes", &["-m4096", PREFIX, OTHER_PREFIX]),
    next(
        "metabox-chunked",
        &["-m4096", "--chunksize=4096", "-Eforce-chunk-indexes"],
    ),
];

/// Inodes in the metabox, and xattrs in common out of it.
pub(super) const METABOX_SHARED: Image =
    shared("metabox-shared", Maker::Next, &["-m4096", "-x1", PREFIX]);

pub(super) const CRAFTED: [Image; 6] = [
    crafted("crafted-compact", Craft::Compact, true, &[]),
    crafted("crafted-extended", Craft::Extended, false, &[]),
    crafted(
        "crafted-unfiltered",
        Craft::Unfiltered,
        false,
        &["-Exattr-name-filter"],
    ),
    crafted(
        "crafted-indexes",
        Craft::Indexes,
        false,
        &["--chunksize=4096", "-Eforce-chunk-indexes"],
    ),
    crafted(
        "crafted-map",
        Craft::Map,
        false,
        &["--chunksize=4096", "-Eforce-inode-blockmap"],
    ),
    Image::good(
        "crafted-metabox-shared",
        Content::Zoo(Zoo {
            tree: Tree::Shared,
            maker: Maker::Next,
            mkfs: &["-m4096", "-x1", PREFIX],
            craft: Some(Craft::SharedInMetabox),
            ..Zoo::DEFAULT
        }),
    ),
];

const CHUNKED: &[&str] = &["--chunksize=4096"];

pub(super) const DEVICES: [Image; 7] = [
    with_data("stable-blob", Maker::Stable, Data::Blob, None, CHUNKED),
    with_data("next-blob", Maker::Next, Data::Blob, None, CHUNKED),
    with_data("stable-archive", Maker::Stable, Data::Archive, None, &[]),
    with_data(
        "next-archive",
        Maker::Next,
        Data::Archive,
        None,
        &["-E48bit"],
    ),
    with_data("stable-layers", Maker::Stable, Data::Layers, None, &[]),
    with_data("next-layers", Maker::Next, Data::Layers, None, &[]),
    with_data(
        "crafted-redirected",
        Maker::Stable,
        Data::Blob,
        Some(Craft::Redirected),
        CHUNKED,
    ),
];

/// Those of [`DEVICES`] whose further devices are given to the drivers, too.
pub(super) const GIVEN: [&str; 4] = [
    "next-blob",
    "stable-archive",
    "next-layers",
    "crafted-redirected",
];

pub(in crate::suites) const CROWD: Image = Image::good(
    "crowd",
    Content::Zoo(Zoo {
        tree: Tree::Crowd,
        ..Zoo::DEFAULT
    }),
);

pub(super) const BROKEN: Image = crafted("broken", Craft::Broken, true, &[]);

/// Which images must have which features, compatible ones and others.
pub(super) const FEATURES: [(&str, u32, u32); 22] = [
    ("stable-map", bits::XATTR_FILTER, bits::CHUNKED_FILE),
    (
        "stable-shared-512",
        bits::XATTR_FILTER,
        bits::XATTR_PREFIXES,
    ),
    ("next-48bit", 0, bits::WIDE),
    ("next-48bit-chunked", 0, bits::WIDE | bits::CHUNKED_FILE),
    ("next-dot-omitted", 0, bits::WIDE),
    ("next-digests", bits::ISHARE_XATTRS, bits::XATTR_PREFIXES),
    ("next-prefixes", bits::PLAIN_XATTR_PFX, bits::XATTR_PREFIXES),
    (
        "next-prefixes-packed",
        0,
        bits::XATTR_PREFIXES | bits::FRAGMENTS,
    ),
    ("metabox", 0, bits::METABOX | bits::WIDE),
    ("metabox-prefixes", 0, bits::METABOX | bits::XATTR_PREFIXES),
    ("metabox-512", 0, bits::METABOX | bits::WIDE),
    ("metabox-shared", 0, bits::METABOX | bits::XATTR_PREFIXES),
    (
        "crafted-metabox-shared",
        bits::SHARED_EA_IN_METABOX,
        bits::METABOX,
    ),
    ("metabox-chunked", 0, bits::METABOX | bits::CHUNKED_FILE),
    ("crafted-unfiltered", bits::XATTR_FILTER, 0),
    ("stable-blob", 0, bits::DEVICE_TABLE),
    ("next-blob", 0, bits::DEVICE_TABLE),
    ("stable-archive", 0, bits::DEVICE_TABLE),
    ("next-archive", 0, bits::DEVICE_TABLE | bits::WIDE),
    ("stable-layers", 0, bits::DEVICE_TABLE),
    ("next-layers", 0, bits::DEVICE_TABLE),
    ("crafted-redirected", 0, bits::DEVICE_TABLE),
];

/// Every image of the suite.
pub(super) const ALL: [Image; 52] = concatenated(&[
    &STABLE,
    &NEXT,
    &METABOX,
    &CRAFTED,
    &DEVICES,
    &[METABOX_SHARED, CROWD, BROKEN],
    &super::damage::IMAGES,
]);
