// SPDX-License-Identifier: GPL-2.0

//! Hand-made images for the unit tests.

use crate::superblock::SuperBlock;
use crate::volume::DeviceSlot;
use crate::{Image, Result, Volume};

/// An image of which a test writes what it needs.
#[derive(Clone)]
pub(crate) struct TestImage {
    pub(crate) bytes: Vec<u8>,
    block_size: usize,
}

/// Offsets in the image of what tests change in the superblock.
pub(crate) mod field {
    pub(crate) const MAGIC: usize = 1024;
    pub(crate) const CHECKSUM: usize = 1028;
    pub(crate) const FEATURE_COMPAT: usize = 1032;
    pub(crate) const BLOCK_BITS: usize = 1036;
    pub(crate) const EXTENSION_SLOTS: usize = 1037;
    pub(crate) const ROOT_NID: usize = 1038;
    pub(crate) const INODES: usize = 1040;
    pub(crate) const EPOCH: usize = 1048;
    pub(crate) const FIXED_NSEC: usize = 1056;
    pub(crate) const BLOCKS: usize = 1060;
    pub(crate) const META_BLOCK: usize = 1064;
    pub(crate) const XATTR_BLOCK: usize = 1068;
    pub(crate) const UUID: usize = 1072;
    pub(crate) const VOLUME_NAME: usize = 1088;
    pub(crate) const FEATURE_INCOMPAT: usize = 1104;
    pub(crate) const U1: usize = 1108;
    pub(crate) const EXTRA_DEVICES: usize = 1110;
    pub(crate) const DEVICE_TABLE: usize = 1112;
    pub(crate) const DIR_BLOCK_BITS: usize = 1114;
    pub(crate) const XATTR_PREFIX_COUNT: usize = 1115;
    pub(crate) const XATTR_PREFIX_START: usize = 1116;
    pub(crate) const PACKED_NID: usize = 1120;
    pub(crate) const XATTR_FILTER_RESERVED: usize = 1128;
    pub(crate) const DIGEST_PREFIX: usize = 1129;
    pub(crate) const BUILD_TIME: usize = 1132;
    pub(crate) const WIDE_ROOT_NID: usize = 1136;
    pub(crate) const METABOX_NID: usize = 1152;
}

impl TestImage {
    /// `blocks` blocks of `1 << bits` bytes: a superblock without checksum, and zeros.
    pub(crate) fn new(bits: u8, blocks: u32) -> Self {
        let block_size = 1 << bits;
        let mut image = TestImage {
            bytes: vec![0; block_size * usize::try_from(blocks).unwrap()],
            block_size,
        };
        image.put(field::MAGIC, &0xE0F5_E1E2_u32.to_le_bytes());
        image.put(field::BLOCK_BITS, &[bits]);
        image.put(field::BLOCKS, &blocks.to_le_bytes());
        image
    }

    pub(crate) fn put(&mut self, offset: usize, bytes: &[u8]) -> &mut Self {
        self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Writes from the start of a block on.
    pub(crate) fn put_block(&mut self, block: u32, bytes: &[u8]) -> &mut Self {
        self.put(usize::try_from(block).unwrap() * self.block_size, bytes)
    }

    pub(crate) fn put_inode(&mut self, nid: usize, inode: &TestInode) -> &mut Self {
        self.put(nid * 32, &inode.encode())
    }

    /// Sets bits of `feature_incompat`.
    pub(crate) fn enable(&mut self, incompat: u32) -> &mut Self {
        let old = self.image().read::<[u8; 4]>(FEATURE_INCOMPAT).unwrap();
        let bits = u32::from_le_bytes(old) | incompat;
        self.put(field::FEATURE_INCOMPAT, &bits.to_le_bytes())
    }

    /// Writes the slots of a device table in block `block`, and says that there are so many.
    pub(crate) fn put_devices(&mut self, block: u32, slots: &[DeviceSlot]) -> &mut Self {
        let start = usize::try_from(block).unwrap() * self.block_size;
        let count = u16::try_from(slots.len()).unwrap();
        self.enable(1 << 3)
            .put(field::EXTRA_DEVICES, &count.to_le_bytes())
            .put(
                field::DEVICE_TABLE,
                &u16::try_from(start / 128).unwrap().to_le_bytes(),
            );
        for (index, slot) in slots.iter().enumerate() {
            let (blocks, uniaddr) = (slot.blocks.to_le_bytes(), slot.uniaddr.to_le_bytes());
            let range = [&blocks[..4], &uniaddr[..4], &blocks[4..6], &uniaddr[4..6]].concat();
            self.put(start + 128 * index + 64, &range);
        }
        self
    }

    /// Says that data can be compressed by any algorithm, and in big pclusters.
    pub(crate) fn enable_compression(&mut self) -> &mut Self {
        let lz4 = [14, 0].into_iter().chain([0; 14]);
        let lzma = [14, 0, 0, 0, 1].into_iter().chain([0; 11]);
        let rest = [6, 0, 15, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0];
        let configurations: Vec<u8> = lz4.chain(lzma).chain(rest).collect();
        self.enable((1 << 0) | (1 << 1))
            .put(field::U1, &[0xF, 0])
            .put(BEHIND_SUPERBLOCK, &configurations)
    }

    /// Makes inode `nid`, which is in the image, its metabox.
    pub(crate) fn set_metabox(&mut self, nid: u64) -> &mut Self {
        self.enable(1 << 8)
            .put(field::EXTENSION_SLOTS, &[1])
            .put(field::METABOX_NID, &nid.to_le_bytes())
    }

    pub(crate) fn image(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn superblock(&self) -> SuperBlock {
        SuperBlock::read(self.image()).unwrap()
    }
}

const FEATURE_INCOMPAT: u64 = 1104;
const BEHIND_SUPERBLOCK: usize = 1152;

/// The nid of the inode at byte `offset` of the metabox.
pub(crate) fn metabox_nid(offset: u64) -> u64 {
    (offset / 32) | (1 << 63)
}

/// The fields of an inode that tests set.
#[derive(Clone, Copy)]
pub(crate) struct TestInode {
    pub(crate) extended: bool,
    pub(crate) layout: u16,
    /// More bits of `i_format`.
    pub(crate) format: u16,
    pub(crate) xattr_count: u16,
    pub(crate) mode: u16,
    /// `i_nb`: in a compact inode the number of links.
    pub(crate) nb: u16,
    pub(crate) size: u64,
    /// `i_u`: the first block, or a device number.
    pub(crate) u: u32,
    pub(crate) uid: u16,
    pub(crate) gid: u16,
    pub(crate) mtime: u32,
    /// Only in an extended inode.
    pub(crate) nlink: u32,
}

pub(crate) const PLAIN: u16 = 0;
pub(crate) const COMPRESSED_FULL: u16 = 1;
pub(crate) const INLINE: u16 = 2;
pub(crate) const COMPRESSED_COMPACT: u16 = 3;
pub(crate) const CHUNKED: u16 = 4;

impl TestInode {
    pub(crate) fn new(mode: u16, layout: u16, size: u64, u: u32) -> Self {
        TestInode {
            extended: false,
            layout,
            format: 0,
            xattr_count: 0,
            mode,
            nb: 1,
            size,
            u,
            uid: 0,
            gid: 0,
            mtime: 0,
            nlink: 1,
        }
    }

    pub(crate) fn file(layout: u16, size: u64, block: u32) -> Self {
        TestInode::new(0o100_644, layout, size, block)
    }

    pub(crate) fn dir(layout: u16, size: u64, block: u32) -> Self {
        TestInode::new(0o040_755, layout, size, block)
    }

    pub(crate) fn extended(self) -> Self {
        TestInode {
            extended: true,
            nb: 0,
            ..self
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let format = self.format | (self.layout << 1) | u16::from(self.extended);
        let mut bytes = Vec::new();
        for half in [format, self.xattr_count, self.mode, self.nb] {
            bytes.extend(half.to_le_bytes());
        }
        if self.extended {
            bytes.extend(self.size.to_le_bytes());
            let uid = u32::from(self.uid);
            for word in [self.u, 0, uid, u32::from(self.gid), self.mtime, 0, 0] {
                bytes.extend(word.to_le_bytes());
            }
            bytes.extend(self.nlink.to_le_bytes());
            bytes.resize(64, 0);
        } else {
            let size = u32::try_from(self.size).unwrap();
            for word in [size, self.mtime, self.u, 0] {
                bytes.extend(word.to_le_bytes());
            }
            bytes.extend(self.uid.to_le_bytes());
            bytes.extend(self.gid.to_le_bytes());
            bytes.resize(32, 0);
        }
        bytes
    }
}

/// An image and further devices.
pub(crate) struct TestVolume<'a> {
    pub(crate) primary: &'a [u8],
    pub(crate) extra: Vec<(DeviceSlot, Vec<u8>)>,
}

impl Volume for TestVolume<'_> {
    type Device = [u8];

    fn primary(&self) -> &[u8] {
        self.primary
    }

    fn extra(&self, id: u16) -> Option<(&[u8], DeviceSlot)> {
        let index = usize::from(id).checked_sub(1)?;
        let (slot, bytes) = self.extra.get(index)?;
        Some((bytes, *slot))
    }
}

/// An image that has only what the trait requires, so that all of its own methods are used.
pub(crate) struct Minimal<'a>(pub(crate) &'a [u8]);

impl Image for Minimal<'_> {
    fn len(&self) -> u64 {
        Image::len(self.0)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.0.read_at(offset, buf)
    }
}
