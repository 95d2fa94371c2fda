// SPDX-License-Identifier: GPL-2.0

//! The superblock (`struct erofs_super_block`), 1024 bytes into the image.

use crate::crc32c::crc32c;
use crate::image::to_u64;
use crate::{Error, Image, Result};
use zerocopy::{byteorder::little_endian as le, IntoBytes};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, Unaligned};

/// Where the superblock is.
const SUPER_OFFSET: u64 = 1024;

const MAGIC: u32 = 0xE0F5_E1E2;

/// Log2 of the smallest block size.
const MIN_BLOCK_BITS: u8 = 9;

/// Log2 of the largest block size, that of a page.
const MAX_BLOCK_BITS: u8 = 12;

/// The superblock and its extension slots end where the largest block does.
const MAX_SUPER_SIZE: u64 = (1 << MAX_BLOCK_BITS) - SUPER_OFFSET;

/// Size of one of the `sb_extslots`.
const EXTENSION_SLOT_SIZE: u64 = 16;

/// An inode can start at any multiple of the size of a compact one; its nid counts these.
const INODE_SLOT_SIZE: u64 = 32;

/// Bit of a nid: the inode is in the metabox inode's data, not in the metadata area.
const NID_METABOX: u64 = 1 << 63;

/// `feature_compat`: the superblock has a checksum.
const COMPAT_CHECKSUM: u32 = 1 << 0;

/// What the checksum starts from.
const CHECKSUM_SEED: u32 = 0x5045_B54A;

/// `feature_incompat`, as far as a bit concerns more than single inodes.
mod incompat {
    /// There are more devices. The same bit says that compressed inodes use a second algorithm;
    /// `extra_devices` tells which is meant.
    pub(super) const DEVICE_TABLE: u32 = 1 << 3;
    pub(super) const WIDE_ADDRESSES: u32 = 1 << 7;
    pub(super) const METABOX: u32 = 1 << 8;
    /// Every bit that the format defines.
    pub(super) const ALL: u32 = (METABOX << 1) - 1;
}

/// `struct erofs_super_block` without extension slots.
#[derive(FromBytes, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct RawSuperBlock {
    magic: le::U32,
    checksum: le::U32,
    feature_compat: le::U32,
    blkszbits: u8,
    sb_extslots: u8,
    rootnid_2b: le::U16,
    inos: le::U64,
    epoch: le::I64,
    fixed_nsec: le::U32,
    blocks_lo: le::U32,
    meta_blkaddr: le::U32,
    xattr_blkaddr: le::U32,
    uuid: [u8; 16],
    volume_name: [u8; 16],
    feature_incompat: le::U32,
    available_compr_algs: le::U16,
    extra_devices: le::U16,
    devt_slotoff: le::U16,
    dirblkbits: u8,
    xattr_prefix_count: u8,
    xattr_prefix_start: le::U32,
    packed_nid: le::U64,
    xattr_filter_reserved: u8,
    ishare_xattr_prefix_id: u8,
    reserved: [u8; 2],
    build_time: le::U32,
    rootnid_8b: le::U64,
    reserved2: le::U64,
}

const RAW_SIZE: u64 = 128;
const _: () = assert!(size_of::<RawSuperBlock>() == 128);

/// What the image says about itself, checked.
///
/// # Invariants
///
/// The block size is 512, 1024, 2048 or 4096, and `block_bits` is its logarithm.
#[derive(Clone, Debug)]
pub struct SuperBlock {
    block_bits: u32,
    block_size: u32,
    root_nid: u64,
    inodes: u64,
    blocks: u64,
    metadata_start: u64,
    epoch: i64,
    fixed_nsec: u32,
    build_time: i64,
    uuid: [u8; 16],
    volume_name: [u8; 16],
    feature_compat: u32,
    feature_incompat: u32,
}

const TRUNCATED: Error = Error::Invalid("image is shorter than its superblock says");

/// Whether the image has EROFS's magic where its superblock would be.
pub fn has_magic(image: &(impl Image + ?Sized)) -> bool {
    image
        .read::<le::U32>(SUPER_OFFSET)
        .is_ok_and(|magic| magic.get() == MAGIC)
}

impl SuperBlock {
    /// Reads and checks the superblock, in the order of Linux's `erofs_read_superblock()`; then
    /// checks that the image has all the bytes that the superblock claims, which Linux does not.
    ///
    /// # Errors
    ///
    /// * [`Error::Invalid`]: no magic, a block size that is not 512 to 4096 bytes, a directory block
    ///   size other than the block size, an unknown incompatible feature, a superblock larger than
    ///   a page, an image shorter than its superblock says
    /// * [`Error::Checksum`]
    /// * [`Error::Unsupported`]: a known feature that changes how everything is addressed
    ///
    /// Features that concern single inodes are not looked at: these inodes fail one by one.
    pub fn read(image: &(impl Image + ?Sized)) -> Result<Self> {
        if image.check(SUPER_OFFSET, RAW_SIZE).is_err() {
            return Err(Error::Invalid("too short for an EROFS superblock"));
        }
        let raw: RawSuperBlock = image.read(SUPER_OFFSET)?;
        if raw.magic.get() != MAGIC {
            return Err(Error::Invalid("no EROFS superblock: wrong magic"));
        }
        let sb = Self::decode(&raw)?;
        if sb.feature_compat & COMPAT_CHECKSUM != 0 {
            sb.check_sum(image, &raw)?;
        }
        if sb.feature_incompat & !incompat::ALL != 0 {
            return Err(Error::Invalid("unknown incompatible feature"));
        }
        let super_size = RAW_SIZE + u64::from(raw.sb_extslots) * EXTENSION_SLOT_SIZE;
        if super_size > MAX_SUPER_SIZE {
            return Err(Error::Invalid("superblock larger than a page"));
        }
        check_supported(&raw)?;
        if sb.size().max(SUPER_OFFSET + super_size) > image.len() {
            return Err(TRUNCATED);
        }
        Ok(sb)
    }

    fn decode(raw: &RawSuperBlock) -> Result<Self> {
        let block_size = match raw.blkszbits {
            bits @ MIN_BLOCK_BITS..=MAX_BLOCK_BITS => 1 << bits,
            0..MIN_BLOCK_BITS => return Err(Error::Invalid("block size under 512 bytes")),
            _ => return Err(Error::Invalid("block size over a page (4096 bytes)")),
        };
        if raw.dirblkbits != 0 {
            return Err(Error::Invalid("directory block size is not the block size"));
        }
        let epoch = raw.epoch.get();
        Ok(SuperBlock {
            block_bits: u32::from(raw.blkszbits),
            block_size,
            root_nid: u64::from(raw.rootnid_2b),
            inodes: raw.inos.get(),
            blocks: u64::from(raw.blocks_lo),
            metadata_start: u64::from(raw.meta_blkaddr).saturating_mul(u64::from(block_size)),
            epoch,
            fixed_nsec: raw.fixed_nsec.get(),
            build_time: epoch.wrapping_add(i64::from(raw.build_time.get())),
            uuid: raw.uuid,
            volume_name: raw.volume_name,
            feature_compat: raw.feature_compat.get(),
            feature_incompat: raw.feature_incompat.get(),
        })
    }

    /// The checksum covers what follows it in its block. A superblock does not fit into blocks of
    /// up to 1024 bytes before it; then it covers a block size from the superblock's start on.
    fn check_sum(&self, image: &(impl Image + ?Sized), raw: &RawSuperBlock) -> Result<()> {
        let block_size = u64::from(self.block_size);
        let end = if block_size > SUPER_OFFSET {
            block_size
        } else {
            SUPER_OFFSET.saturating_add(block_size)
        };
        if end > image.len() {
            return Err(TRUNCATED);
        }
        let covered = raw.as_bytes().get(8..).unwrap_or_default();
        let mut crc = crc32c(CHECKSUM_SEED, covered);
        let mut at = SUPER_OFFSET + RAW_SIZE;
        // Every possible length is a multiple of the piece's.
        let mut piece = [0; 64];
        while at < end {
            image.read_at(at, &mut piece)?;
            crc = crc32c(crc, &piece);
            at = at.saturating_add(to_u64(piece.len()));
        }
        if crc != raw.checksum.get() {
            return Err(Error::Checksum);
        }
        Ok(())
    }

    /// Log2 of the block size: 9 to 12.
    #[inline]
    pub fn block_bits(&self) -> u32 {
        self.block_bits
    }

    /// The block size in bytes: 512, 1024, 2048 or 4096.
    #[inline]
    pub fn block_size(&self) -> u32 {
        self.block_size
    }

    /// The nid of the root directory.
    #[inline]
    pub fn root_nid(&self) -> u64 {
        self.root_nid
    }

    /// How many inodes the image says it has, for `statfs`.
    #[inline]
    pub fn inodes(&self) -> u64 {
        self.inodes
    }

    /// How many blocks the image has.
    #[inline]
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// How many bytes the image claims to have; they are all there.
    #[inline]
    pub fn size(&self) -> u64 {
        self.blocks.saturating_mul(u64::from(self.block_size))
    }

    /// Seconds since 1970 that the times of compact inodes count from.
    #[inline]
    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// The nanoseconds of all times of compact inodes, as stored.
    #[inline]
    pub fn fixed_nsec(&self) -> u32 {
        self.fixed_nsec
    }

    /// When the image was made, in seconds since 1970.
    #[inline]
    pub fn build_time(&self) -> i64 {
        self.build_time
    }

    /// The UUID's 16 bytes in the order in which they are written out.
    #[inline]
    pub fn uuid(&self) -> &[u8; 16] {
        &self.uuid
    }

    /// The label: up to 16 bytes without a NUL, in no particular encoding.
    pub fn volume_name(&self) -> &[u8] {
        let mut parts = self.volume_name.split(|byte| *byte == 0);
        parts.next().unwrap_or_default()
    }

    /// The compatible features, `EROFS_FEATURE_COMPAT_*`.
    #[inline]
    pub fn feature_compat(&self) -> u32 {
        self.feature_compat
    }

    /// The incompatible features, `EROFS_FEATURE_INCOMPAT_*`.
    #[inline]
    pub fn feature_incompat(&self) -> u32 {
        self.feature_incompat
    }

    /// Where inode `nid` starts in the image: `meta_blkaddr` blocks, and 32 bytes for each nid.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if there can be no such inode.
    #[inline]
    pub fn inode_offset(&self, nid: u64) -> Result<u64> {
        if nid & NID_METABOX != 0 {
            return Err(Error::Corrupt("nid in a metabox that the image lacks"));
        }
        nid.checked_mul(INODE_SLOT_SIZE)
            .and_then(|slots| slots.checked_add(self.metadata_start))
            .ok_or(Error::Corrupt("nid too large"))
    }

    /// Where block `block` starts in the image.
    #[inline]
    pub(crate) fn block_start(&self, block: u64) -> Result<u64> {
        block
            .checked_mul(u64::from(self.block_size))
            .ok_or(Error::Corrupt("block address too large"))
    }

    /// How far `pos` is inside its block.
    #[inline]
    pub(crate) fn offset_in_block(&self, pos: u64) -> u64 {
        pos & u64::from(self.block_size.wrapping_sub(1))
    }

    /// The start of the block that `pos` is in.
    #[inline]
    pub(crate) fn round_down(&self, pos: u64) -> u64 {
        pos & !u64::from(self.block_size.wrapping_sub(1))
    }

    /// The number of blocks that `len` bytes take.
    #[inline]
    pub(crate) fn blocks_for(&self, len: u64) -> u64 {
        // By the invariant the shift never wraps; unlike `>>` it leaves no panic behind.
        let whole = len.wrapping_shr(self.block_bits);
        whole.saturating_add(u64::from(self.offset_in_block(len) != 0))
    }
}

/// Fails for known features without which the rest of the image cannot be found.
fn check_supported(raw: &RawSuperBlock) -> Result<()> {
    let features = raw.feature_incompat.get();
    if features & incompat::WIDE_ADDRESSES != 0 {
        return Err(Error::Unsupported("48-bit block addresses"));
    }
    if features & incompat::METABOX != 0 {
        return Err(Error::Unsupported("metadata compression (metabox)"));
    }
    if features & incompat::DEVICE_TABLE != 0 && raw.extra_devices.get() != 0 {
        return Err(Error::Unsupported("extra devices (device table)"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
