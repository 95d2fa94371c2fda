// SPDX-License-Identifier: GPL-2.0

//! Where the bytes of uncompressed files are, and reading them.
//!
//! Flat data (`EROFS_INODE_FLAT_PLAIN`, `EROFS_INODE_FLAT_INLINE`) is a run of consecutive blocks from the inode's start block on. With `FLAT_INLINE`, the
//! last block of it, which may be a whole one, follows the inode and its xattrs instead (the
//! "tail"), and does not cross a block boundary there. The other files that are not compressed are
//! chunk-based.

use crate::image::to_u64;
use crate::inode::{Inode, Layout};
use crate::superblock::SuperBlock;
use crate::volume::Volume;
use crate::{Error, Image, Result};

/// Bytes of a file that are together on a device, or are a hole together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// They are on a device, if it is large enough: who reads them checks that.
    Data {
        /// Which device, see [`Volume::device`]; 0 unless further ones were given.
        device: u16,
        /// Where they start, from the device's start.
        offset: u64,
        /// How many bytes they are; at least one, and all before the end of the file.
        len: u64,
    },
    /// They are zeros that are not stored.
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
    /// How many they are: 1 to the block size, up to the end of the file.
    pub len: u64,
}

impl Inode {
    /// The extent that contains byte `pos` of the file, from that byte on.
    ///
    /// # Errors
    ///
    /// * [`Error::OutOfBounds`]: `pos` is not before the end of the file, or its chunk's address is
    ///   not in the image
    /// * [`Error::Corrupt`]: the address is too large, or the tail crosses a block boundary
    /// * [`Error::NoDevice`]: the data is on a device that the image or the volume lacks
    /// * [`Error::Unsupported`]: the byte [has no place](Inode::is_decoded) of its own
    #[inline]
    pub fn extent_at<V: Volume + ?Sized>(
        &self,
        volume: &V,
        sb: &SuperBlock,
        pos: u64,
    ) -> Result<Extent> {
        self.extent_for(volume, sb, pos, u64::MAX)
    }

    /// The same for a caller who has no use for more than `wanted` bytes, and so need not wait until
    /// the end of a longer extent is found; the extent can be longer nevertheless.
    ///
    /// # Errors
    ///
    /// Those of [`extent_at`](Inode::extent_at).
    // Always inline: what flat data needs is little, and every lookup needs it several times.
    #[inline(always)]
    pub fn extent_for<V: Volume + ?Sized>(
        &self,
        volume: &V,
        sb: &SuperBlock,
        pos: u64,
        wanted: u64,
    ) -> Result<Extent> {
        let left = match self.size.checked_sub(pos) {
            None | Some(0) => return Err(Error::OutOfBounds),
            Some(left) => left,
        };
        match self.layout {
            Layout::FlatPlain => self.blocks_at(volume, sb, pos, left),
            Layout::FlatInline => {
                let tail_pos = self.tail_pos(sb);
                match tail_pos.checked_sub(pos) {
                    None | Some(0) => self.tail_at(volume, sb, pos.saturating_sub(tail_pos), left),
                    Some(before_tail) => self.blocks_at(volume, sb, pos, before_tail),
                }
            }
            _ => self.other_at(volume, sb, pos, left, wanted),
        }
    }

    /// The extent of data that is not flat, away from the short ways to that which is.
    #[inline(never)]
    fn other_at<V: Volume + ?Sized>(
        &self,
        volume: &V,
        sb: &SuperBlock,
        pos: u64,
        left: u64,
        wanted: u64,
    ) -> Result<Extent> {
        match self.layout {
            Layout::ChunkBased => self.chunks_at(volume, sb, pos, left, wanted),
            _ => Err(Error::Unsupported("compressed data")),
        }
    }

    /// The bytes at the end of the file that are not in blocks of their own.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if they cross a block boundary of the metadata.
    #[inline]
    pub fn inline_tail(&self, sb: &SuperBlock) -> Result<Option<InlineTail>> {
        if self.layout != Layout::FlatInline || self.size == 0 {
            return Ok(None);
        }
        let pos = self.tail_pos(sb);
        let len = self.size.saturating_sub(pos);
        self.tail_offset(sb, len)?;
        Ok(Some(InlineTail { pos, len }))
    }

    /// Whether bytes of the file, or all of them, are at no place on a device, as they or the metadata
    /// that they are part of are compressed: [`read_data`](Inode::read_data) reads them.
    #[inline]
    pub fn is_decoded(&self, sb: &SuperBlock) -> bool {
        self.layout.is_compressed() || (self.in_metabox() && self.has_decoded_tail(sb))
    }

    #[inline(never)]
    fn has_decoded_tail(&self, sb: &SuperBlock) -> bool {
        let is_compressed = |metabox: &Inode| metabox.layout.is_compressed();
        self.layout == Layout::FlatInline && sb.metabox().is_ok_and(is_compressed)
    }

    /// Copies bytes of the file from byte `pos` on until `buf` is full or the file ends, and returns
    /// how many.
    ///
    /// # Errors
    ///
    /// Those of [`extent_at`](Inode::extent_at), and [`Error::OutOfBounds`] if an extent is not on
    /// its device; for compressed files, those of [`Volume::read_compressed`].
    pub fn read_data<V: Volume + ?Sized>(
        &self,
        volume: &V,
        sb: &SuperBlock,
        pos: u64,
        buf: &mut [u8],
    ) -> Result<usize> {
        if self.layout.is_compressed() {
            return self.read_decoded(volume, sb, pos, buf);
        }
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = pos.saturating_add(to_u64(done));
            if at >= self.size {
                break;
            }
            done = done.saturating_add(self.read_extent(volume, sb, at, rest)?);
        }
        Ok(done)
    }

    /// The same for compressed files.
    #[inline(never)]
    fn read_decoded<V: Volume + ?Sized>(
        &self,
        volume: &V,
        sb: &SuperBlock,
        pos: u64,
        buf: &mut [u8],
    ) -> Result<usize> {
        let left = usize::try_from(self.size.saturating_sub(pos)).unwrap_or(usize::MAX);
        let len = left.min(buf.len());
        match buf.get_mut(..len) {
            Some(part) if !part.is_empty() => volume.read_compressed(sb, self, pos, part)?,
            _ => {}
        }
        Ok(len)
    }

    /// Copies the target of a symbolic link to the start of `buf` and returns that part of it.
    ///
    /// # Errors
    ///
    /// Those of [`read_data`](Inode::read_data), and [`Error::Corrupt`] if the target is empty, longer
    /// than `buf`, or has a NUL.
    pub fn read_link<'b, V: Volume + ?Sized>(
        &self,
        volume: &V,
        sb: &SuperBlock,
        buf: &'b mut [u8],
    ) -> Result<&'b [u8]> {
        let target = usize::try_from(self.size)
            .ok()
            .and_then(|len| buf.get_mut(..len))
            .ok_or(Error::Corrupt("symlink target too long"))?;
        self.read_data(volume, sb, 0, target)?;
        if target.is_empty() || target.contains(&0) {
            return Err(Error::Corrupt("symlink target empty or with a NUL"));
        }
        Ok(target)
    }

    /// Copies as much of one extent as `buf` takes; at least one byte.
    fn read_extent<V: Volume + ?Sized>(
        &self,
        volume: &V,
        sb: &SuperBlock,
        pos: u64,
        buf: &mut [u8],
    ) -> Result<usize> {
        if self.in_metabox() && self.has_decoded_tail(sb) {
            if let Some(skip) = pos.checked_sub(self.tail_pos(sb)) {
                return self.read_decoded_tail(volume, sb, skip, buf);
            }
        }
        let extent = self.extent_for(volume, sb, pos, to_u64(buf.len()))?;
        let (Extent::Data { len, .. } | Extent::Hole { len }) = extent;
        let count = usize::try_from(len).unwrap_or(usize::MAX).min(buf.len());
        let part = buf.get_mut(..count).unwrap_or_default();
        match extent {
            Extent::Data { device, offset, .. } => volume.device(device)?.read_at(offset, part)?,
            Extent::Hole { .. } => part.fill(0),
        }
        Ok(count)
    }

    /// The same for a tail in a compressed metabox, from the tail's byte `skip` on.
    #[inline(never)]
    fn read_decoded_tail<V: Volume + ?Sized>(
        &self,
        volume: &V,
        sb: &SuperBlock,
        skip: u64,
        buf: &mut [u8],
    ) -> Result<usize> {
        let len = self.size.saturating_sub(self.tail_pos(sb));
        let start = self.tail_offset(sb, len)?;
        let left = usize::try_from(len.saturating_sub(skip)).unwrap_or(usize::MAX);
        let count = left.min(buf.len());
        let part = buf.get_mut(..count).unwrap_or_default();
        let offset = start.checked_add(skip).ok_or(Error::OutOfBounds)?;
        // The metabox inode is not in the metabox itself, so this does not come here again.
        let read = sb.metabox()?.read_data(volume, sb, offset, part)?;
        match read == count && count > 0 {
            true => Ok(count),
            false => Err(Error::OutOfBounds),
        }
    }

    /// `len` bytes from `pos` on that are in the inode's blocks.
    #[inline]
    fn blocks_at<V: Volume + ?Sized>(
        &self,
        volume: &V,
        sb: &SuperBlock,
        pos: u64,
        len: u64,
    ) -> Result<Extent> {
        let Some(block) = self.start_block() else {
            return Ok(Extent::Hole { len });
        };
        let offset = sb
            .block_start(block)?
            .checked_add(pos)
            .ok_or(Error::Corrupt("block address too large"))?;
        sb.locate(volume, 0, offset, len)
    }

    /// The `len` bytes of the tail from its byte `skip` on.
    #[inline]
    fn tail_at<V: Volume + ?Sized>(
        &self,
        volume: &V,
        sb: &SuperBlock,
        skip: u64,
        len: u64,
    ) -> Result<Extent> {
        let start = self.tail_offset(sb, skip.saturating_add(len))?;
        let offset = start.checked_add(skip).ok_or(Error::OutOfBounds)?;
        if self.in_metabox() {
            return metabox_extent(volume, sb, offset, len);
        }
        Ok(Extent::Data {
            device: 0,
            offset,
            len,
        })
    }

    /// Where in a file with inline data and at least one byte the tail starts.
    #[inline]
    fn tail_pos(&self, sb: &SuperBlock) -> u64 {
        sb.round_down(self.size.saturating_sub(1))
    }

    /// Where in the metadata the tail, `len` bytes long, starts.
    #[inline]
    fn tail_offset(&self, sb: &SuperBlock, len: u64) -> Result<u64> {
        let offset = self.behind_xattrs()?;
        if sb.offset_in_block(offset).saturating_add(len) > u64::from(sb.block_size()) {
            return Err(Error::Corrupt("inline data across a block boundary"));
        }
        Ok(offset)
    }
}

/// Up to `len` bytes at `offset` of the metabox.
#[inline(never)]
fn metabox_extent<V: Volume + ?Sized>(
    volume: &V,
    sb: &SuperBlock,
    offset: u64,
    len: u64,
) -> Result<Extent> {
    // The metabox inode is not in the metabox itself, so this does not come here again.
    let extent = sb.metabox()?.extent_for(volume, sb, offset, len)?;
    Ok(match extent {
        Extent::Data {
            device,
            offset,
            len: there,
        } => Extent::Data {
            device,
            offset,
            len: len.min(there),
        },
        Extent::Hole { len: there } => Extent::Hole {
            len: len.min(there),
        },
    })
}

#[cfg(test)]
mod tests;
