// SPDX-License-Identifier: GPL-2.0

//! The superblock (`struct erofs_super_block`), 1024 bytes into the image.

use crate::algorithms::{self, Algorithm, Algorithms};
use crate::crc32c::crc32c;
use crate::features::{compat, incompat};
use crate::image::to_u64;
use crate::inode::{FileType, Inode};
use crate::volume::SLOT_SIZE;
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

/// What the checksum starts from.
const CHECKSUM_SEED: u32 = 0x5045_B54A;

/// `struct erofs_super_block` without extension slots.
#[derive(FromBytes, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct RawSuperBlock {
    magic: le::U32,
    checksum: le::U32,
    feature_compat: le::U32,
    blkszbits: u8,
    sb_extslots: u8,
    /// `rootnid_2b`, or `blocks_hi` of 48-bit images that use `rootnid_8b`.
    rb: le::U16,
    inos: le::U64,
    epoch: le::I64,
    fixed_nsec: le::U32,
    blocks_lo: le::U32,
    meta_blkaddr: le::U32,
    xattr_blkaddr: le::U32,
    uuid: [u8; 16],
    volume_name: [u8; 16],
    feature_incompat: le::U32,
    /// `available_compr_algs`, or `lz4_max_distance` of images without configurations.
    u1: le::U16,
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

impl RawSuperBlock {
    /// Whether the root's nid is in `rootnid_8b`.
    fn has_wide_root(&self) -> bool {
        let is_wide = self.feature_incompat.get() & incompat::WIDE_ADDRESSES != 0;
        is_wide && self.rootnid_8b.get() != 0
    }
}

const RAW_SIZE: u64 = 128;
const _: () = assert!(size_of::<RawSuperBlock>() == 128);

/// The first extension slot.
#[derive(FromBytes, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct RawExtension {
    metabox_nid: le::U64,
    reserved3: le::U64,
}

const _: () = assert!(size_of::<RawExtension>() == 16);

/// What the image says about itself, checked.
///
/// # Invariants
///
/// * The block size is 512, 1024, 2048 or 4096, and `block_bits` is its logarithm.
/// * Neither the metabox inode nor the packed one is in the metabox.
#[derive(Clone, Debug)]
pub struct SuperBlock {
    block_bits: u32,
    block_size: u32,
    root_nid: u64,
    inodes: u64,
    blocks: u64,
    total_blocks: u64,
    metadata_start: u64,
    xattr_start: u64,
    xattr_prefix_start: u64,
    xattr_prefix_count: u8,
    has_xattr_filter: bool,
    extra_devices: u16,
    device_id_mask: u16,
    device_table: u64,
    epoch: i64,
    fixed_nsec: u32,
    build_time: i64,
    uuid: [u8; 16],
    volume_name: [u8; 16],
    feature_compat: u32,
    feature_incompat: u32,
    algorithms: Algorithms,
    packed: Option<Inode>,
    metabox: Option<Inode>,
}

const TRUNCATED: Error = Error::Invalid("image is shorter than its superblock says");

/// Whether the image has EROFS's magic where its superblock would be.
pub fn has_magic(image: &(impl Image + ?Sized)) -> bool {
    image
        .read::<le::U32>(SUPER_OFFSET)
        .is_ok_and(|magic| magic.get() == MAGIC)
}

impl SuperBlock {
    /// Reads and checks the superblock and what belongs to it, in the order of Linux's
    /// `erofs_read_superblock()` and `erofs_fc_fill_super()`; and checks that the image has all the
    /// bytes that the superblock claims, which Linux does not.
    ///
    /// # Errors
    ///
    /// * [`Error::Invalid`]: no magic, a block size that is not 512 to 4096 bytes, a directory block
    ///   size other than the block size, an unknown incompatible feature, a superblock larger than
    ///   a page, an image shorter than its superblock says, a bad configuration of an algorithm
    /// * [`Error::Checksum`]
    /// * [`Error::Corrupt`]: a prefix of digest xattrs that is not among the long prefixes, a metabox
    ///   without a nid or in itself; those of [`Inode::read`] for the metabox and packed inodes
    /// * [`Error::Unsupported`]: an unknown algorithm
    /// * [`Error::OutOfBounds`]: tables or special inodes past the end of the image
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
        let mut sb = Self::decode(&raw)?;
        if sb.has_compat(compat::CHECKSUM) && sb.checksum(image, &raw)? != raw.checksum.get() {
            return Err(Error::Checksum);
        }
        if sb.feature_incompat & !incompat::ALL != 0 {
            return Err(Error::Invalid("unknown incompatible feature"));
        }
        let end = SUPER_OFFSET + RAW_SIZE + u64::from(raw.sb_extslots) * EXTENSION_SLOT_SIZE;
        if end > SUPER_OFFSET + MAX_SUPER_SIZE {
            return Err(Error::Invalid("superblock larger than a page"));
        }
        if sb.size().max(end) > image.len() {
            return Err(TRUNCATED);
        }
        if sb.has_compat(compat::DIGEST_XATTRS)
            && raw.ishare_xattr_prefix_id >= raw.xattr_prefix_count
        {
            return Err(Error::Corrupt("unknown xattr prefix for digests"));
        }
        let metabox_nid = sb.read_metabox_nid(image, &raw)?;
        sb.read_algorithms(image, &raw, end)?;
        sb.read_devices(image)?;
        sb.read_special_inodes(image, raw.packed_nid.get(), metabox_nid)?;
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
        let block_start = |block: le::U32| u64::from(block).saturating_mul(u64::from(block_size));
        let epoch = raw.epoch.get();
        let feature_compat = raw.feature_compat.get();
        let feature_incompat = raw.feature_incompat.get();
        let blocks_lo = u64::from(raw.blocks_lo);
        // One field, two meanings: a short nid of the root, or the upper bits of `blocks`.
        let rb = u64::from(raw.rb);
        let (root_nid, blocks) = match raw.has_wide_root() {
            true => (raw.rootnid_8b.get(), (rb << 32) | blocks_lo),
            false => (rb, blocks_lo),
        };
        let extra_devices = match feature_incompat & incompat::DEVICE_TABLE {
            0 => 0,
            _ => raw.extra_devices.get(),
        };
        Ok(SuperBlock {
            block_bits: u32::from(raw.blkszbits),
            block_size,
            root_nid,
            inodes: raw.inos.get(),
            blocks,
            total_blocks: blocks,
            metadata_start: block_start(raw.meta_blkaddr),
            xattr_start: block_start(raw.xattr_blkaddr),
            xattr_prefix_start: u64::from(raw.xattr_prefix_start) << 2,
            xattr_prefix_count: raw.xattr_prefix_count,
            has_xattr_filter: feature_compat & compat::XATTR_FILTER != 0
                && raw.xattr_filter_reserved == 0,
            extra_devices,
            device_id_mask: id_mask(extra_devices),
            device_table: u64::from(raw.devt_slotoff).saturating_mul(SLOT_SIZE),
            epoch,
            fixed_nsec: raw.fixed_nsec.get(),
            build_time: epoch.wrapping_add(i64::from(raw.build_time.get())),
            uuid: raw.uuid,
            volume_name: raw.volume_name,
            feature_compat,
            feature_incompat,
            algorithms: Algorithms::default(),
            packed: None,
            metabox: None,
        })
    }

    /// The nid of the metabox inode, if the image has one.
    fn read_metabox_nid(
        &self,
        image: &(impl Image + ?Sized),
        raw: &RawSuperBlock,
    ) -> Result<Option<u64>> {
        if !self.has_incompat(incompat::METABOX) {
            return Ok(None);
        }
        if raw.sb_extslots == 0 {
            return Err(Error::Corrupt("metabox without a nid"));
        }
        let extension: RawExtension = image.read(SUPER_OFFSET + RAW_SIZE)?;
        let nid = extension.metabox_nid.get();
        if is_in_metabox(nid) {
            return Err(Error::Corrupt("metabox inode in the metabox"));
        }
        Ok(Some(nid))
    }

    /// Finds out which algorithms the image uses; their configurations start at byte `pos`.
    fn read_algorithms(
        &mut self,
        image: &(impl Image + ?Sized),
        raw: &RawSuperBlock,
        pos: u64,
    ) -> Result<()> {
        if self.has_incompat(incompat::ALGORITHMS) {
            self.algorithms = algorithms::read(image, raw.u1.get(), pos, self.block_bits)?;
            return Ok(());
        }
        if self.has_incompat(incompat::LZ4_ZERO_PADDING) || raw.u1.get() != 0 {
            self.algorithms = Algorithms::LZ4_ONLY;
        }
        Ok(())
    }

    /// Sums up the blocks of all devices.
    fn read_devices(&mut self, image: &(impl Image + ?Sized)) -> Result<()> {
        for id in 1..=self.extra_devices {
            let slot = self.device_slot(image, id)?;
            self.total_blocks = self.total_blocks.saturating_add(slot.blocks);
        }
        Ok(())
    }

    fn read_special_inodes(
        &mut self,
        image: &(impl Image + ?Sized),
        packed_nid: u64,
        metabox_nid: Option<u64>,
    ) -> Result<()> {
        if self.has_incompat(incompat::FRAGMENTS) && packed_nid != 0 {
            // A nid in the metabox is an error, as there is none yet: like in Linux.
            self.packed = Some(Inode::read(image, self, packed_nid)?);
        }
        let Some(nid) = metabox_nid else {
            return Ok(());
        };
        let inode = Inode::read(image, self, nid)?;
        match inode.file_type() {
            FileType::Regular | FileType::Directory | FileType::Symlink => {
                self.metabox = Some(inode);
                Ok(())
            }
            _ => Err(Error::Corrupt("metabox inode that has no data")),
        }
    }

    /// The checksum covers what follows it in its block. A superblock does not fit into blocks of
    /// up to 1024 bytes before it; then it covers a block size from the superblock's start on.
    fn checksum(&self, image: &(impl Image + ?Sized), raw: &RawSuperBlock) -> Result<u32> {
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
        Ok(crc)
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

    /// How many blocks the image has, without further devices.
    #[inline]
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// How many blocks the image and its further devices have, for `statfs`.
    #[inline]
    pub fn total_blocks(&self) -> u64 {
        self.total_blocks
    }

    /// How many further devices the image has data on.
    #[inline]
    pub fn extra_devices(&self) -> u16 {
        self.extra_devices
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

    /// Which number `nid` is shown as (`st_ino`, `d_ino`): like Linux's `erofs_nid_to_ino64()`, so
    /// that inodes in a metabox have small numbers too.
    #[inline]
    pub fn inode_number(&self, nid: u64) -> u64 {
        if !self.has_incompat(incompat::METABOX) {
            return nid;
        }
        let low = nid & 0x7FFF_FFFF;
        let high = (nid << 1) & !0xFFFF_FFFF;
        high | low | (nid >> 63 << 31)
    }

    #[inline]
    pub(crate) fn has_compat(&self, bit: u32) -> bool {
        self.feature_compat & bit != 0
    }

    /// Whether some files are chunk-based, so that blocks may belong to more than one of them.
    #[inline]
    pub fn has_chunked_files(&self) -> bool {
        self.has_incompat(incompat::CHUNKED_FILE)
    }

    #[inline]
    pub(crate) fn has_incompat(&self, bit: u32) -> bool {
        self.feature_incompat & bit != 0
    }

    /// Where inode `nid` starts: 32 bytes for each nid, in the image from `meta_blkaddr` blocks on,
    /// or in the metabox.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if there can be no such inode.
    #[inline]
    pub fn inode_offset(&self, nid: u64) -> Result<u64> {
        let start = match is_in_metabox(nid) {
            false => self.metadata_start,
            true => 0,
        };
        (nid & !NID_METABOX)
            .checked_mul(INODE_SLOT_SIZE)
            .and_then(|slots| slots.checked_add(start))
            .ok_or(Error::Corrupt("nid too large"))
    }

    /// The algorithms that compressed data can have.
    #[inline]
    pub fn algorithms(&self) -> &Algorithms {
        &self.algorithms
    }

    /// The metabox inode, which is not in the metabox.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if the image has none.
    pub fn metabox(&self) -> Result<&Inode> {
        self.metabox
            .as_ref()
            .ok_or(Error::Corrupt("address in a metabox that the image lacks"))
    }

    /// The packed inode, which has parts of files and is not in the metabox, if there is one.
    pub fn packed(&self) -> Option<&Inode> {
        self.packed.as_ref()
    }

    /// Fails if the image cannot have compressed inodes.
    pub(crate) fn check_algorithms(&self) -> Result<()> {
        match self.algorithms.is_empty() {
            true => Err(Error::Corrupt(
                "compressed inode in an image without algorithms",
            )),
            false => Ok(()),
        }
    }

    /// Fails if the image cannot have data compressed by `algorithm`.
    pub(crate) fn check_algorithm(&self, algorithm: Algorithm) -> Result<()> {
        match self.algorithms.contains(algorithm) {
            true => Ok(()),
            false => Err(Error::Corrupt(
                "algorithm that the superblock does not name",
            )),
        }
    }

    /// The bits of a device id that count; 0 without further devices.
    pub(crate) fn device_id_mask(&self) -> u16 {
        self.device_id_mask
    }

    /// Where the device table starts.
    pub(crate) fn device_table(&self) -> u64 {
        self.device_table
    }

    /// Where shared xattrs start.
    pub(crate) fn xattr_start(&self) -> u64 {
        self.xattr_start
    }

    /// Whether the name filters of inline xattrs mean what they meant when they were introduced.
    pub(crate) fn has_xattr_filter(&self) -> bool {
        self.has_xattr_filter
    }

    /// How many long xattr prefixes the image has.
    #[inline]
    pub fn xattr_prefix_count(&self) -> u8 {
        self.xattr_prefix_count
    }

    /// Where the long xattr prefixes start.
    pub(crate) fn xattr_prefix_start(&self) -> u64 {
        self.xattr_prefix_start
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
    pub fn offset_in_block(&self, pos: u64) -> u64 {
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

/// Whether the inode is in the metabox.
#[inline]
pub(crate) fn is_in_metabox(nid: u64) -> bool {
    nid & NID_METABOX != 0
}

/// The bits that ids of up to `extra_devices` devices need.
fn id_mask(extra_devices: u16) -> u16 {
    u16::MAX
        .checked_shr(extra_devices.leading_zeros())
        .unwrap_or(0)
}

#[cfg(not(in_kernel))]
mod changes;
#[cfg(test)]
mod tests;
