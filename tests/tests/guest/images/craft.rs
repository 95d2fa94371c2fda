// SPDX-License-Identifier: GPL-2.0

//! Images that no mkfs.erofs makes: those that it makes, with fields of single files changed.

mod broken;
mod chunks;
mod indexes;
mod inodes;
mod metabox;
mod streams;

use std::{fs, path::Path};

use anyhow::{ensure, Context, Result};
use erodax_format::{
    dir,
    flat::Extent,
    inode::{FileType, Inode},
    superblock::SuperBlock,
};
use erodax_tests::image::Craft;

use super::damage::seal;

/// Changes an image.
pub(super) fn apply(file: &Path, craft: Craft) -> Result<()> {
    let mut image = Crafted::open(fs::read(file)?)?;
    match craft {
        Craft::Garbage | Craft::Aligned => unreachable!("is no change of single fields"),
        Craft::Compact => inodes::compact(&mut image)?,
        Craft::Extended => inodes::extended(&mut image)?,
        Craft::Unfiltered => inodes::unfiltered(&mut image)?,
        Craft::Indexes => chunks::indexes(&mut image)?,
        Craft::Map => chunks::map(&mut image)?,
        Craft::Long => chunks::long(&mut image)?,
        Craft::SharedInMetabox => metabox::shared_xattrs(&mut image)?,
        Craft::LinkedMetabox => metabox::link(&mut image)?,
        Craft::Redirected => chunks::redirected(&mut image)?,
        Craft::Broken => broken::all(&mut image)?,
        Craft::Streams => streams::broken(&mut image)?,
        Craft::SecondHeads => indexes::second_heads(&mut image)?,
        Craft::Holes => indexes::holes(&mut image)?,
        Craft::HolesOfNoBlocks => indexes::holes_of_no_blocks(&mut image)?,
        Craft::HolesInside => indexes::holes_inside(&mut image)?,
    }
    seal(&mut image.bytes);
    Ok(fs::write(file, image.bytes)?)
}

/// An image that is being changed. Its superblock is the one that it had at first.
struct Crafted {
    bytes: Vec<u8>,
    sb: SuperBlock,
}

/// A field of an on-disk structure: its name there, its offset and its size in bytes.
#[derive(Clone, Copy)]
struct Field(&'static str, usize, usize);

/// `struct erofs_super_block`
mod superblock {
    use super::Field;

    pub(super) const START: usize = 1024;
    pub(super) const FEATURE_COMPAT: Field = Field("feature_compat", 8, 4);
    pub(super) const SB_EXTSLOTS: Field = Field("sb_extslots", 13, 1);
    pub(super) const BLOCKS_LO: Field = Field("blocks_lo", 36, 4);
    pub(super) const XATTR_BLKADDR: Field = Field("xattr_blkaddr", 44, 4);
    pub(super) const VOLUME_NAME: [Field; 2] =
        [Field("volume_name", 64, 8), Field("volume_name", 72, 8)];
    pub(super) const XATTR_FILTER_RESERVED: Field = Field("xattr_filter_reserved", 104, 1);
    pub(super) const RESERVED: Field = Field("reserved", 106, 2);
    pub(super) const METABOX_NID: Field = Field("metabox_nid", 128, 8);
}

/// What `struct erofs_inode_compact` and `struct erofs_inode_extended` have in common.
mod inode {
    use super::Field;

    pub(super) const FORMAT: Field = Field("i_format", 0, 2);
    pub(super) const XATTR_ICOUNT: Field = Field("i_xattr_icount", 2, 2);
    pub(super) const MODE: Field = Field("i_mode", 4, 2);
    /// `nlink`, `blocks_hi` or `startblk_hi`
    pub(super) const NB: Field = Field("i_nb", 6, 2);
    pub(super) const SIZE_LO: Field = Field("i_size", 8, 4);
    /// `startblk_lo`, `rdev` or `c.format`
    pub(super) const U: Field = Field("i_u", 16, 4);
    pub(super) const INO: Field = Field("i_ino", 20, 4);

    /// Bits of `i_format`.
    pub(super) const EXTENDED: u64 = 1;
    pub(super) const LAYOUT: u64 = 7 << 1;
    pub(super) const NLINK_1: u64 = 1 << 4;
}

/// Where an inode is, with what is known of it.
struct Found {
    start: usize,
    inode: Inode,
    extended: bool,
}

impl Found {
    fn len(&self) -> usize {
        if self.extended {
            64
        } else {
            32
        }
    }

    /// Where its inline xattrs start.
    fn xattrs(&self) -> usize {
        self.start + self.len()
    }

    /// What follows the xattrs: a tail, or chunks.
    fn rest(&self) -> Result<usize> {
        Ok(self.xattrs() + usize::try_from(self.inode.xattr_size())?)
    }
}

impl Crafted {
    fn open(bytes: Vec<u8>) -> Result<Self> {
        let sb = SuperBlock::read(&bytes[..])?;
        Ok(Self { bytes, sb })
    }

    fn block(&self) -> Result<usize> {
        Ok(usize::try_from(self.sb.block_size())?)
    }

    fn get(&self, start: usize, Field(_, offset, size): Field) -> u64 {
        let mut value = [0; 8];
        value[..size].copy_from_slice(&self.bytes[start + offset..][..size]);
        u64::from_le_bytes(value)
    }

    /// Sets a field, which must have had another value.
    fn set(&mut self, start: usize, field: Field, value: u64) -> Result<()> {
        let Field(name, offset, size) = field;
        ensure!(
            size == 8 || value >> (8 * size) == 0,
            "{value:#x} does not fit into {name}"
        );
        ensure!(
            self.get(start, field) != value,
            "{name} at {start:#x} is {value:#x} already"
        );
        let place = &mut self.bytes[start + offset..][..size];
        place.copy_from_slice(&value.to_le_bytes()[..size]);
        Ok(())
    }

    /// Sets bits of a field that must be clear.
    fn set_bits(&mut self, start: usize, field: Field, bits: u64) -> Result<()> {
        let value = self.get(start, field);
        ensure!(value & bits == 0, "{} has {bits:#x}", field.0);
        self.set(start, field, value | bits)
    }

    fn find(&self, path: &str) -> Result<Found> {
        let read = |nid| Inode::read(&self.bytes[..], &self.sb, nid);
        let mut inode = read(self.sb.root_nid())?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let found = dir::lookup(&self.bytes[..], &self.sb, &inode, name.as_bytes())?;
            let found = found.with_context(|| format!("the image has no {path}"))?;
            inode = read(found.nid)?;
        }
        let start = usize::try_from(self.sb.inode_offset(inode.nid)?)?;
        let extended = self.get(start, inode::FORMAT) & inode::EXTENDED != 0;
        Ok(Found {
            start,
            inode,
            extended,
        })
    }

    /// Moves an inode of a file with one name, with its xattrs and tail, to a place behind all
    /// blocks: as many bytes before the end of a new block as are to be in it.
    fn move_across_blocks(&mut self, path: &str, bytes_before: usize) -> Result<()> {
        let block = self.block()?;
        let found = self.find(path)?;
        ensure!(found.inode.nlink == 1, "{path} has more names");
        let tail = found.inode.inline_tail(&self.sb)?;
        let tail = tail.map_or(Ok(0), |tail| usize::try_from(tail.len))?;
        let old = found.start..found.rest()? + tail;

        let start = self.bytes.len() + block - bytes_before;
        let new_rest = start + found.rest()? - found.start;
        ensure!(
            tail == 0 || new_rest / block == (new_rest + tail - 1) / block,
            "the tail of {path} would cross a block, too"
        );
        let mut moved = vec![0; block - bytes_before];
        moved.extend_from_slice(&self.bytes[old]);
        self.append(&moved)?;
        let first = usize::try_from(self.sb.inode_offset(0)?)?;
        ensure!((start - first) % 32 == 0, "no place for an inode: {start}");
        self.point_to(path, u64::try_from((start - first) / 32)?)
    }

    /// Adds blocks with this content; returns the first one's address.
    fn append(&mut self, content: &[u8]) -> Result<u64> {
        let (block, end) = (self.block()?, self.bytes.len());
        ensure!(end % block == 0, "an image of {end} bytes");
        self.bytes.extend_from_slice(content);
        let size = self.bytes.len().next_multiple_of(block);
        self.bytes.resize(size, 0);
        let blocks = u64::try_from(size / block)?;
        self.set(superblock::START, superblock::BLOCKS_LO, blocks)?;
        Ok(u64::try_from(end / block)?)
    }

    /// Makes a name lead to another inode.
    fn point_to(&mut self, path: &str, nid: u64) -> Result<()> {
        let dirent = self.dirent(path)?;
        self.set(dirent, Field("nid", 0, 8), nid)?;
        Ok(())
    }

    /// Where the `struct erofs_dirent` of a name is.
    fn dirent(&self, path: &str) -> Result<usize> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = self.find(parent)?.inode;
        let block = u64::from(self.sb.block_size());
        for pos in (0..parent.size).step_by(self.block()?) {
            let extent = parent.extent_at(&self.bytes[..], &self.sb, pos)?;
            let Extent::Data { offset, .. } = extent else {
                continue;
            };
            let start = usize::try_from(offset)?;
            let len = usize::try_from(block.min(parent.size - pos))?;
            let name_at = |index: usize| {
                let field = Field("nameoff", 8, 2);
                usize::try_from(self.get(start + 12 * index, field))
            };
            let count = name_at(0)? / 12;
            for index in 0..count {
                let end = if index + 1 < count {
                    name_at(index + 1)?
                } else {
                    len
                };
                let found = &self.bytes[start + name_at(index)?..start + end];
                let found = found.split(|byte| *byte == 0).next();
                if found == Some(name.as_bytes()) {
                    return Ok(start + 12 * index);
                }
            }
        }
        anyhow::bail!("no entry of {path}")
    }

    /// Whether a file has its data as the craft needs it.
    fn regular(&self, path: &str, layout: erodax_format::inode::Layout) -> Result<Found> {
        let found = self.find(path)?;
        ensure!(
            found.inode.file_type() == FileType::Regular && found.inode.layout == layout,
            "{path}: {:?}",
            found.inode.layout
        );
        Ok(found)
    }
}
