// SPDX-License-Identifier: GPL-2.0

//! What changes in the superblock when an image gets longer or shorter.

use super::*;
use crate::change::{split, Change};
use core::mem::offset_of;

fn place(field: usize) -> u64 {
    SUPER_OFFSET.saturating_add(to_u64(field))
}

impl SuperBlock {
    /// What makes the superblock say that `image` has `blocks` blocks.
    /// The [checksum](SuperBlock::checksum_change) changes too.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] if it has no room for the number: 32 bits, or 48 in an image whose
    /// superblock has `blocks_hi`.
    pub fn blocks_changes(image: &(impl Image + ?Sized), blocks: u64) -> Result<[Change; 2]> {
        let raw: RawSuperBlock = image.read(SUPER_OFFSET)?;
        let (low, high) = match split(blocks) {
            Some(parts) if raw.has_wide_root() => parts,
            // The field has the root's nid.
            Some((low, 0)) => (low, raw.rb.get()),
            _ => return Err(Error::Unsupported("a number of blocks that large")),
        };
        Ok([
            Change::word(place(offset_of!(RawSuperBlock, blocks_lo)), low),
            Change::half(place(offset_of!(RawSuperBlock, rb)), high),
        ])
    }

    /// What makes the superblock state the checksum that it has, if it has one.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] and [`Error::OutOfBounds`], as from [`read`](SuperBlock::read).
    pub fn checksum_change(image: &(impl Image + ?Sized)) -> Result<Option<Change>> {
        let raw: RawSuperBlock = image.read(SUPER_OFFSET)?;
        let sb = Self::decode(&raw)?;
        if !sb.has_compat(compat::CHECKSUM) {
            return Ok(None);
        }
        let checksum = sb.checksum(image, &raw)?;
        let place = place(offset_of!(RawSuperBlock, checksum));
        Ok(Some(Change::word(place, checksum)))
    }
}
