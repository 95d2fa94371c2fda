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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{metabox_nid, TestImage, TestInode, CHUNKED, INLINE, PLAIN};

    const NID: usize = 40;

    /// Says that the data is at another block, and reads that again; nothing else may change.
    fn moved(mut image: TestImage, nid: u64, block: u64) -> Result<()> {
        let sb = image.superblock();
        let before = Inode::read(image.image(), &sb, nid)?;
        for change in before.start_block_changes(image.image(), &sb, block)? {
            image.put(usize::try_from(change.offset).unwrap(), change.bytes());
        }
        let after = Inode::read(image.image(), &sb, nid)?;
        assert_eq!(after.start_block(), Some(block));
        let (i_u, high) = (before.i_u, before.high);
        assert_eq!(Inode { i_u, high, ..after }, before);
        Ok(())
    }

    fn moved_to(inode: TestInode, block: u64) -> Result<()> {
        let mut image = TestImage::new(12, 2);
        image.put_inode(NID, &inode);
        moved(image, u64::try_from(NID).unwrap(), block)
    }

    #[test]
    fn each_form_has_its_limit() {
        let mut links = TestInode::file(INLINE, 5000, 1);
        links.nb = 7;
        let narrow = u64::from(u32::MAX);
        moved_to(links, 2).unwrap();
        moved_to(links, narrow - 1).unwrap();
        // All bits set would mean a hole.
        assert!(moved_to(links, narrow).is_err());
        assert!(moved_to(links, narrow + 1).is_err());

        let mut one_link = TestInode::file(PLAIN, 5000, 1);
        one_link.format = FORMAT_NLINK_1;
        let wide = (1 << 48) - 1;
        for inode in [one_link, links.extended()] {
            for block in [0, narrow, narrow + 1, wide - 1] {
                moved_to(inode, block).unwrap();
            }
            assert!(moved_to(inode, wide).is_err());
            assert!(moved_to(inode, wide + 1).is_err());
        }
        let mut no_dot = TestInode::dir(PLAIN, 5000, 1);
        no_dot.format = FORMAT_DOT_OMITTED;
        assert!(moved_to(no_dot, narrow + 1).is_err());
    }

    #[test]
    fn only_flat_data_moves() {
        for inode in [
            TestInode::file(CHUNKED, 5000, 0),
            TestInode::file(PLAIN, 5000, u32::MAX),
        ] {
            assert!(matches!(moved_to(inode, 2), Err(Error::Unsupported(_))));
        }
    }

    #[test]
    fn in_a_metabox() {
        // Its second block, in the image the first, has the inode.
        const BLOCK: usize = 512;
        let mut image = TestImage::new(9, 12);
        image.put_inode(NID, &TestInode::file(CHUNKED, 1024, 0));
        let map = NID * 32 + 32;
        image
            .put(map, &11_u32.to_le_bytes())
            .put(map + 4, &10_u32.to_le_bytes());
        let inode = TestInode::file(INLINE, 600, 3);
        image.put(10 * BLOCK + 64, &inode.encode());
        image.set_metabox(u64::try_from(NID).unwrap());
        moved(image, metabox_nid(512 + 64), 9).unwrap();
    }
}
