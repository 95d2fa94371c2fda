// SPDX-License-Identifier: GPL-2.0

//! Images of the generated tree, laid out in every way that mkfs.erofs offers without
//! compression.

use crate::image::{Content, Image};

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

/// Those that can be mounted with `-o dax`.
pub(super) const ALL: [Image; 4] = [INLINE, PLAIN, EXTENDED, COMPACT];

/// The names of [`ALL`].
pub(super) const NAMES: [&str; 4] = [INLINE.name, PLAIN.name, EXTENDED.name, COMPACT.name];

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
