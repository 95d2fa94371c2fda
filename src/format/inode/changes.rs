// SPDX-License-Identifier: GPL-2.0

//! What changes in an inode when its data moves.

use super::*;
use crate::change::{split, Change};
use crate::contents::Metadata;
use crate::flat::Extent;
use crate::image::to_u64;
use core::mem::offset_of;

/// `i_u` is at the same place in both forms, and like the head in the slot that the inode starts in:
/// no block boundary is between them and its start.
const I_U: usize = size_of::<RawHead>() + offset_of!(RawExtended, i_u);
const _: () = assert!(offset_of!(RawCompact, i_u) == offset_of!(RawExtended, i_u));

impl Inode {
    /// What makes this inode, whose data is flat and not a hole, say that its data starts at block
    /// `block`.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] if the data is not flat, the inode has no room for the number, or its
    /// bytes are not in the image, as the metabox is compressed; those of [`Inode::read`].
    pub fn start_block_changes<V: Volume + ?Sized>(
        &self,
        volume: &V,
        sb: &SuperBlock,
        block: u64,
    ) -> Result<[Change; 2]> {
        if !matches!(self.layout, Layout::FlatPlain | Layout::FlatInline) || self.hole {
            return Err(Error::Unsupported("moving data that is not flat"));
        }
        let start = sb.inode_offset(self.nid)?;
        let head: RawHead = Metadata::new(volume, sb, self.in_metabox())?.read(start)?;
        let i_format = head.i_format.get();
        let is_wide = i_format & FORMAT_EXTENDED != 0
            || (self.file_type != FileType::Directory && i_format & FORMAT_NLINK_1 != 0);
        let (low, high) = match split(block) {
            Some(parts) if is_wide && parts != (u32::MAX, u16::MAX) => parts,
            // The field has the number of links. All bits set would mean a hole.
            Some((low, 0)) if !is_wide && low != u32::MAX => (low, head.i_nb.get()),
            _ => return Err(Error::Unsupported("a block number that large")),
        };
        let place = |field| self.place(volume, sb, start.saturating_add(to_u64(field)));
        Ok([
            Change::word(place(I_U)?, low),
            Change::half(place(offset_of!(RawHead, i_nb))?, high),
        ])
    }

    /// Where in the image byte `offset` of the metadata that the inode is in is.
    fn place<V: Volume + ?Sized>(&self, volume: &V, sb: &SuperBlock, offset: u64) -> Result<u64> {
        if !self.in_metabox() {
            return Ok(offset);
        }
        match sb.metabox()?.extent_at(volume, sb, offset)? {
            Extent::Data {
                device: 0, offset, ..
            } => Ok(offset),
            _ => Err(Error::Unsupported("a metabox that is not in the image")),
        }
    }
}
