// SPDX-License-Identifier: GPL-2.0

//! Further images of the small tree: above all of the ways to compress, of which a kernel has to
//! decode what the checks of `erodax-format` only map.

use crate::{Row, Source::Directory, Source::Tar};

/// The images.
pub(crate) const IMAGES: &[Row] = &[
    ("plain-4096", Tar, &["-E^inline_data"]),
    ("chunks-4096", Directory, &["--chunksize=4096"]),
    (
        "indexes-4096",
        Directory,
        &["--chunksize=8192", "-Eforce-chunk-indexes"],
    ),
    ("lz4-4096", Directory, &["-zlz4"]),
    ("lz4-large", Directory, &["-b1024", "-zlz4hc", "-C8192"]),
    ("lzma", Directory, &["-b1024", "-zlzma", "-C4096"]),
    ("deflate", Directory, &["-b512", "-zdeflate", "-C2048"]),
    ("zstd", Directory, &["-b512", "-zzstd", "-C4096"]),
    ("tails", Directory, &["-b512", "-zlz4", "-Eztailpacking"]),
    ("tails-zstd", Directory, &["-zzstd", "-Eztailpacking"]),
    ("dedupe", Directory, &["-b512", "-zlz4", "-Ededupe"]),
    ("interlaced", Directory, &["-b512", "-zlz4", "-Efragments"]),
    (
        "everything",
        Directory,
        &[
            "-b512",
            "-zdeflate",
            "-C4096",
            "-Eztailpacking,fragments,dedupe",
        ],
    ),
];

/// Those that take mkfs.erofs 1.9 or newer.
pub(crate) const NEWER: &[Row] = &[
    ("extents-zstd", Directory, &["-E48bit", "-zzstd", "-C8192"]),
    (
        "extents-tails",
        Directory,
        &[
            "-b512",
            "-E48bit,ztailpacking,fragments",
            "-zlz4hc",
            "-C2048",
        ],
    ),
    ("directories", Directory, &["-b512", "-zlz4", "--zD"]),
    (
        "metabox-lz4",
        Directory,
        &["-b512", "-zlz4", "-C4096", "-m1024:lz4"],
    ),
];
