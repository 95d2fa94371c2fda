// SPDX-License-Identifier: GPL-2.0

//! Where the bytes of uncompressed files are (`EROFS_INODE_FLAT_PLAIN`, `EROFS_INODE_FLAT_INLINE`).
//!
//! Flat data is a run of consecutive blocks from the inode's start block on. With `FLAT_INLINE`, the
//! last block of it, which may be a whole one, follows the inode and its xattrs instead (the
//! "tail"), and does not cross a block boundary there.

use crate::image::to_u64;
use crate::inode::{Inode, Layout};
use crate::superblock::SuperBlock;
use crate::{Error, Image, Result};

/// Bytes of a file that are together in the image, or are a hole together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// They are in the image, if it is long enough: who reads them checks that.
    Data {
        /// Where they start, from the image's start.
        offset: u64,
        /// How many bytes they are; at least one, and all before the end of the file.
        len: u64,
    },
    /// They are zeros that are not in the image.
    Hole {
        /// How many bytes they are; at least one, and all before the end of the file.
        len: u64,
    },
}

/// The last bytes of a file whose data ends inline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InlineTail {
    /// Where they are in the file: a multiple of the block size.
    pub pos: u64,
    /// Where they start in the image.
    pub offset: u64,
    /// How many they are: 1 to the block size, up to the end of the file.
    pub len: u64,
}

impl Inode {
    /// The extent that contains byte `pos` of the file, from that byte on.
    ///
    /// # Errors
    ///
    /// * [`Error::OutOfBounds`]: `pos` is not before the end of the file
    /// * [`Error::Corrupt`]: the address is too large, or the tail crosses a block boundary
    /// * [`Error::Unsupported`]: the inode's data is not flat
    #[inline]
    pub fn extent_at(&self, sb: &SuperBlock, pos: u64) -> Result<Extent> {
        let left = match self.size.checked_sub(pos) {
            None | Some(0) => return Err(Error::OutOfBounds),
            Some(left) => left,
        };
        match self.layout {
            Layout::FlatPlain => self.blocks_at(sb, pos, left),
            Layout::FlatInline => {
                let tail_pos = self.tail_pos(sb);
                match tail_pos.checked_sub(pos) {
                    None | Some(0) => self.tail_at(sb, pos.saturating_sub(tail_pos), left),
                    Some(before_tail) => self.blocks_at(sb, pos, before_tail),
                }
            }
            Layout::CompressedFull | Layout::CompressedCompact => {
                Err(Error::Unsupported("compressed data"))
            }
            Layout::ChunkBased => Err(Error::Unsupported("chunk-based data")),
        }
    }

    /// The bytes at the end of the file that are not in blocks of their own.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if they cross a block boundary of the image.
    pub fn inline_tail(&self, sb: &SuperBlock) -> Result<Option<InlineTail>> {
        if self.layout != Layout::FlatInline || self.size == 0 {
            return Ok(None);
        }
        let pos = self.tail_pos(sb);
        let len = self.size.saturating_sub(pos);
        let offset = self.tail_offset(sb, len)?;
        Ok(Some(InlineTail { pos, offset, len }))
    }

    /// Copies bytes of the file from byte `pos` on until `buf` is full or the file ends, and returns
    /// how many.
    ///
    /// # Errors
    ///
    /// Those of [`extent_at`](Inode::extent_at), and [`Error::OutOfBounds`] if an extent is not in
    /// the image.
    pub fn read_data(
        &self,
        image: &(impl Image + ?Sized),
        sb: &SuperBlock,
        pos: u64,
        buf: &mut [u8],
    ) -> Result<usize> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = pos.saturating_add(to_u64(done));
            if at >= self.size {
                break;
            }
            done = done.saturating_add(self.read_extent(image, sb, at, rest)?);
        }
        Ok(done)
    }

    /// Copies the target of a symbolic link to the start of `buf` and returns that part of it.
    ///
    /// # Errors
    ///
    /// Those of [`read_data`](Inode::read_data), and [`Error::Corrupt`] if the target is empty, longer
    /// than `buf`, or has a NUL.
    pub fn read_link<'b>(
        &self,
        image: &(impl Image + ?Sized),
        sb: &SuperBlock,
        buf: &'b mut [u8],
    ) -> Result<&'b [u8]> {
        let target = usize::try_from(self.size)
            .ok()
            .and_then(|len| buf.get_mut(..len))
            .ok_or(Error::Corrupt("symlink target too long"))?;
        self.read_data(image, sb, 0, target)?;
        if target.is_empty() || target.contains(&0) {
            return Err(Error::Corrupt("symlink target empty or with a NUL"));
        }
        Ok(target)
    }

    /// Copies as much of one extent as `buf` takes; at least one byte.
    fn read_extent(
        &self,
        image: &(impl Image + ?Sized),
        sb: &SuperBlock,
        pos: u64,
        buf: &mut [u8],
    ) -> Result<usize> {
        let extent = self.extent_at(sb, pos)?;
        let (Extent::Data { len, .. } | Extent::Hole { len }) = extent;
        let count = usize::try_from(len).unwrap_or(usize::MAX).min(buf.len());
        let part = buf.get_mut(..count).unwrap_or_default();
        match extent {
            Extent::Data { offset, .. } => image.read_at(offset, part)?,
            Extent::Hole { .. } => part.fill(0),
        }
        Ok(count)
    }

    /// `len` bytes from `pos` on that are in the inode's blocks.
    #[inline]
    fn blocks_at(&self, sb: &SuperBlock, pos: u64, len: u64) -> Result<Extent> {
        let Some(block) = self.start_block() else {
            return Ok(Extent::Hole { len });
        };
        let offset = sb
            .block_start(block)?
            .checked_add(pos)
            .ok_or(Error::Corrupt("block address too large"))?;
        Ok(Extent::Data { offset, len })
    }

    /// The `len` bytes of the tail from its byte `skip` on.
    #[inline]
    fn tail_at(&self, sb: &SuperBlock, skip: u64, len: u64) -> Result<Extent> {
        let start = self.tail_offset(sb, skip.saturating_add(len))?;
        let offset = start.checked_add(skip).ok_or(Error::OutOfBounds)?;
        Ok(Extent::Data { offset, len })
    }

    /// Where in a file with inline data and at least one byte the tail starts.
    #[inline]
    fn tail_pos(&self, sb: &SuperBlock) -> u64 {
        sb.round_down(self.size.saturating_sub(1))
    }

    /// Where in the image the tail, `len` bytes long, starts.
    #[inline]
    fn tail_offset(&self, sb: &SuperBlock, len: u64) -> Result<u64> {
        let offset = self.inline_data()?;
        if sb.offset_in_block(offset).saturating_add(len) > u64::from(sb.block_size()) {
            return Err(Error::Corrupt("inline data across a block boundary"));
        }
        Ok(offset)
    }
}

#[cfg(test)]
mod tests;
