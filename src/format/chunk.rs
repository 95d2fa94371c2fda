// SPDX-License-Identifier: GPL-2.0

//! Where the bytes of chunk-based files are (`EROFS_INODE_CHUNK_BASED`).
//!
//! The file is cut into chunks of a power of two of blocks. An array behind the inode and its xattrs,
//! aligned to the size of its elements, has an address for each chunk: either a block number of 4
//! bytes, or a `struct erofs_inode_chunk_index` of 8, which names a device too. All bits of a block
//! number set make the chunk a hole.

use crate::contents::Metadata;
use crate::flat::Extent;
use crate::inode::{Inode, Layout};
use crate::superblock::SuperBlock;
use crate::volume::Volume;
use crate::{Error, Image, Result};
use zerocopy::byteorder::little_endian as le;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, Unaligned};

/// Bits of a chunk format: log2 of the blocks of a chunk.
const FORMAT_BLOCK_BITS: u16 = 0x1F;
/// The array has chunk indexes.
const FORMAT_INDEXES: u16 = 0x20;
/// The upper bits of a block number in a chunk index are valid.
const FORMAT_WIDE: u16 = 0x40;
/// Every bit that the format defines.
const FORMAT_ALL: u16 = 0x7F;

/// `struct erofs_inode_chunk_index`.
#[derive(FromBytes, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct RawChunkIndex {
    startblk_hi: le::U16,
    device_id: le::U16,
    startblk_lo: le::U32,
}

const BLOCK_MAP_ENTRY_SIZE: u64 = 4;
const CHUNK_INDEX_SIZE: u64 = 8;
const _: () = assert!(size_of::<RawChunkIndex>() == 8);

/// Fails for a format with bits that nobody knows.
pub(crate) fn check_format(format: u16) -> Result<()> {
    match format & !FORMAT_ALL {
        0 => Ok(()),
        _ => Err(Error::Unsupported("unknown bits of the chunk format")),
    }
}

/// Where a chunk starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Address {
    device: u16,
    block: u64,
}

/// The array of a chunk-based inode.
struct ChunkMap<'a> {
    sb: &'a SuperBlock,
    format: u16,
    /// Where it starts in the metadata.
    start: u64,
}

impl Inode {
    /// Bytes of a chunk, if the file is chunk-based: a power of two, at least the block size.
    pub fn chunk_size(&self, sb: &SuperBlock) -> Option<u64> {
        let format = self.chunk_format();
        (self.layout == Layout::ChunkBased).then(|| 1_u64.wrapping_shl(chunk_bits(sb, format)))
    }

    /// The extent from byte `pos` on of a chunk-based file that has `left` bytes from there on.
    ///
    /// Chunks that follow each other in the image are one extent, as far as their addresses are in
    /// one block, until it has at least `wanted` bytes.
    #[inline(never)]
    pub(crate) fn chunks_at<V: Volume + ?Sized>(
        &self,
        volume: &V,
        sb: &SuperBlock,
        pos: u64,
        left: u64,
        wanted: u64,
    ) -> Result<Extent> {
        let map = ChunkMap::new(self, sb)?;
        let chunk_size = map.chunk_size();
        let skip = pos & chunk_size.wrapping_sub(1);
        let limit = left.min(wanted).max(1);
        let (first, len) = match Metadata::new(volume, sb, self.in_metabox())? {
            Metadata::Plain(image) => map.run(image, pos, skip, limit)?,
            Metadata::Inside(file) => map.run(&file, pos, skip, limit)?,
        };
        let len = len.min(left);
        let Some(Address { device, block }) = first else {
            return Ok(Extent::Hole { len });
        };
        let offset = sb
            .block_start(block)?
            .checked_add(skip)
            .ok_or(Error::Corrupt("block address too large"))?;
        sb.locate(volume, device, offset, len)
    }
}

/// Log2 of the size of a chunk in bytes: 9 to 43.
fn chunk_bits(sb: &SuperBlock, format: u16) -> u32 {
    sb.block_bits()
        .saturating_add(u32::from(format & FORMAT_BLOCK_BITS))
}

impl<'a> ChunkMap<'a> {
    fn new(inode: &Inode, sb: &'a SuperBlock) -> Result<Self> {
        let mut map = ChunkMap {
            sb,
            format: inode.chunk_format(),
            start: 0,
        };
        map.start = inode
            .behind_xattrs()?
            .checked_next_multiple_of(map.entry_size())
            .ok_or(Error::OutOfBounds)?;
        Ok(map)
    }

    fn chunk_size(&self) -> u64 {
        1_u64.wrapping_shl(chunk_bits(self.sb, self.format))
    }

    fn entry_size(&self) -> u64 {
        match self.format & FORMAT_INDEXES {
            0 => BLOCK_MAP_ENTRY_SIZE,
            _ => CHUNK_INDEX_SIZE,
        }
    }

    /// Where the chunk that has byte `pos` starts, and how many bytes from its byte `skip` on, which
    /// is that byte, are together there.
    fn run<M: Image + ?Sized>(
        &self,
        metadata: &M,
        pos: u64,
        skip: u64,
        limit: u64,
    ) -> Result<(Option<Address>, u64)> {
        let chunk = pos.wrapping_shr(chunk_bits(self.sb, self.format));
        let entry = self
            .entry_size()
            .checked_mul(chunk)
            .and_then(|offset| offset.checked_add(self.start))
            .ok_or(Error::OutOfBounds)?;
        let first = self.read(metadata, entry)?;
        let chunk_blocks = 1_u64.wrapping_shl(u32::from(self.format & FORMAT_BLOCK_BITS));
        let mut len = self.chunk_size().saturating_sub(skip);
        let mut expected = first;
        let mut next = entry.saturating_add(self.entry_size());
        while len < limit && self.sb.offset_in_block(next) != 0 {
            if let Some(address) = &mut expected {
                address.block = address.block.saturating_add(chunk_blocks);
            }
            if self.read(metadata, next) != Ok(expected) {
                break;
            }
            len = len.saturating_add(self.chunk_size());
            next = next.saturating_add(self.entry_size());
        }
        Ok((first, len))
    }

    /// The address at byte `entry` of the metadata; `None` for a hole.
    fn read<M: Image + ?Sized>(&self, metadata: &M, entry: u64) -> Result<Option<Address>> {
        if self.format & FORMAT_INDEXES == 0 {
            let block = metadata.read::<le::U32>(entry)?.get();
            return Ok((block != u32::MAX).then(|| Address {
                device: 0,
                block: u64::from(block),
            }));
        }
        let raw: RawChunkIndex = metadata.read(entry)?;
        let low = raw.startblk_lo.get();
        let high = match self.format & FORMAT_WIDE {
            0 => None,
            _ => Some(raw.startblk_hi.get()),
        };
        let is_hole = low == u32::MAX && high.is_none_or(|high| high == u16::MAX);
        Ok((!is_hole).then(|| Address {
            device: raw.device_id.get() & self.sb.device_id_mask(),
            block: (u64::from(high.unwrap_or(0)) << 32) | u64::from(low),
        }))
    }
}

#[cfg(test)]
mod tests;
