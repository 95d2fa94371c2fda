// SPDX-License-Identifier: GPL-2.0

//! Images of the generated tree, laid out in every way that mkfs.erofs offers without
//! compression.

use crate::image::{Content, Image};

/// Tails inline, both kinds of inodes: what mkfs.erofs makes by itself.
pub(super) const INLINE: Image = zoo("inline", &[], false);
/// No inline tails.
pub(super) const PLAIN: Image = zoo("plain", &["-E^inline_data"], false);
/// Extended inodes only.
pub(super) const EXTENDED: Image = zoo("extended", &["-Eforce-inode-extended"], false);
/// Compact inodes, but for files whose owner does not fit.
pub(super) const COMPACT: Image = zoo("compact", &[], true);
/// Blocks smaller than pages.
pub(super) const SMALL_BLOCKS: Image = zoo("blocks512", &["-b512"], false);

/// Those that can be mounted with `-o dax`.
pub(super) const ALL: [Image; 4] = [INLINE, PLAIN, EXTENDED, COMPACT];

/// The names of [`ALL`].
pub(super) const NAMES: [&str; 4] = [INLINE.name, PLAIN.name, EXTENDED.name, COMPACT.name];

const fn zoo(name: &'static str, mkfs: &'static [&'static str], one_time: bool) -> Image {
    Image::good(name, Content::Zoo { mkfs, one_time })
}
