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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{field, TestImage};

    fn apply(image: &mut TestImage, change: &Change) {
        image.put(usize::try_from(change.offset).unwrap(), change.bytes());
    }

    /// Says that an image has so many blocks, and reads that again.
    fn resized(image: &mut TestImage, blocks: u64) -> Result<u64> {
        let raw: RawSuperBlock = image.image().read(SUPER_OFFSET)?;
        let root = SuperBlock::decode(&raw)?.root_nid();
        for change in SuperBlock::blocks_changes(image.image(), blocks)? {
            apply(image, &change);
        }
        let raw: RawSuperBlock = image.image().read(SUPER_OFFSET)?;
        let sb = SuperBlock::decode(&raw)?;
        assert_eq!(sb.root_nid(), root);
        Ok(sb.blocks())
    }

    #[test]
    fn blocks_have_as_many_bits_as_there_is_room_for() {
        let narrow = u64::from(u32::MAX);
        let mut image = TestImage::new(12, 3);
        image.put(field::ROOT_NID, &36_u16.to_le_bytes());
        assert_eq!(resized(&mut image, narrow), Ok(narrow));
        assert!(resized(&mut image, narrow + 1).is_err());
        // A 48-bit image that has the root's nid in the short field still.
        image.enable(incompat::WIDE_ADDRESSES);
        assert!(resized(&mut image, narrow + 1).is_err());
        image.put(field::WIDE_ROOT_NID, &36_u64.to_le_bytes());
        for blocks in [5, narrow + 1, (1 << 48) - 1] {
            assert_eq!(resized(&mut image, blocks), Ok(blocks));
        }
        assert!(resized(&mut image, 1 << 48).is_err());
    }

    #[test]
    fn the_checksum_is_made_right_if_there_is_one() {
        for bits in 9..=12 {
            let mut image = TestImage::new(bits, 16);
            assert_eq!(SuperBlock::checksum_change(image.image()), Ok(None));
            image.put(field::FEATURE_COMPAT, &1_u32.to_le_bytes());
            assert_eq!(SuperBlock::read(image.image()).err(), Some(Error::Checksum));
            let change = SuperBlock::checksum_change(image.image()).unwrap();
            apply(&mut image, &change.unwrap());
            SuperBlock::read(image.image()).unwrap();
        }
    }
}
