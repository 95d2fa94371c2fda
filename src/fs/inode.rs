// SPDX-License-Identifier: GPL-2.0

//! Inodes.

use super::{compressed::Map, Erofs};
use crate::vfs::{trace, Delivery, NewInode};
use core::sync::atomic::AtomicU64;
use erodax_format::{
    flat::Extent,
    inode::{FileType, Inode as FormatInode, Layout},
    superblock::SuperBlock,
    Error as FormatError,
};
use kernel::{
    page::{Page, PAGE_SIZE},
    prelude::*,
    sync::SetOnce,
};

/// What is kept with an inode in memory.
pub(crate) struct Inode {
    /// As it was on disk.
    pub(super) disk: FormatInode,
    /// Whether mappings are made of the image's own pages.
    pub(super) is_direct: bool,
    /// A copy of the last page, if a mapping needed it: its bytes after the end of the file
    /// are zero, which the image's own need not be.
    pub(super) last_page: SetOnce<Page>,
    /// The cookie behind the last name that was found in a directory, where the next one may be
    /// looked for: as a rule they are wanted in order.
    pub(super) found: AtomicU64,
}

impl Inode {
    /// Bytes of a flat file that are in its blocks; the rest is an inline tail.
    pub(super) fn blocks_len(&self, sb: &SuperBlock) -> u64 {
        match self.disk.inline_tail(sb) {
            Ok(Some(tail)) => tail.pos,
            _ => self.disk.size,
        }
    }
}

impl Erofs {
    /// Where a compressed file's data is.
    pub(super) fn map_of<'a>(&'a self, inode: &'a Inode) -> Result<Map<'a>, FormatError> {
        Ok(Map {
            devices: &self.devices,
            sb: &self.sb,
            inode: &inode.disk,
            header: inode.disk.map_header(&self.devices, &self.sb)?,
        })
    }

    /// Reads an inode, and says in the log what is wrong with it if it cannot be used.
    #[inline(always)]
    pub(super) fn read_inode(&self, nid: u64) -> Result<FormatInode> {
        FormatInode::read(&self.devices, &self.sb, nid).map_err(|error| self.report(nid, error))
    }

    /// An inode for the VFS.
    // Always inline, as what else an inode goes through: its fields would be moved several times.
    #[inline(always)]
    pub(super) fn new_inode(&self, nid: u64) -> Result<NewInode<Inode>> {
        trace::fill_inode(self.device_number, nid, || {
            let offset = self.sb.inode_offset(nid).unwrap_or(u64::MAX);
            (offset, self.sb.block_bits())
        });
        let disk = self.read_inode(nid)?;
        let target = match disk.file_type() {
            FileType::Symlink => Some(self.read_target(&disk)?),
            _ => None,
        };
        let is_direct = self
            .is_direct(&disk)
            .map_err(|error| self.report(nid, error))?;
        Ok(NewInode {
            mode: disk.mode,
            uid: disk.uid,
            gid: disk.gid,
            nlink: disk.nlink,
            size: disk.size,
            blocks: disk.sectors(&self.sb),
            time: (disk.mtime, disk.mtime_nsec),
            rdev: disk.rdev(),
            target,
            delivery: match is_direct {
                true if self.devices.are_fsdax() => Delivery::Dax,
                true => Delivery::Mapped,
                false if disk.layout.is_compressed() => Delivery::Decoded,
                false => Delivery::Copied,
            },
            may_have_acl: self.may_have_acl(&disk),
            data: Inode {
                disk,
                is_direct,
                last_page: SetOnce::new(),
                found: AtomicU64::new(0),
            },
        })
    }

    /// Whether the pages of a file can be mapped from where they lie.
    ///
    /// Fails for a file or directory whose layout is not supported. What else is wrong with its data
    /// is said to who reads that.
    #[inline(always)]
    fn is_direct(&self, disk: &FormatInode) -> Result<bool, FormatError> {
        let has_data = matches!(disk.file_type(), FileType::Regular | FileType::Directory);
        if !has_data || disk.size == 0 {
            return Ok(false);
        }
        if disk.is_decoded(&self.sb) {
            return Ok(false);
        }
        if !self.maps_directly() {
            return Ok(false);
        }
        if self.maps_through_dax() {
            return self.is_alone(disk);
        }
        if self.sb.block_size() as usize == PAGE_SIZE {
            return Ok(true);
        }
        if disk.layout == Layout::ChunkBased {
            // Chunks are made of blocks, which are smaller than pages.
            return Ok(false);
        }
        let is_at_page = match disk.extent_for(&self.devices, &self.sb, 0, 1) {
            Ok(Extent::Hole { .. }) => true,
            Ok(Extent::Data { offset, .. }) => offset % PAGE_SIZE as u64 == 0,
            Err(_) => return Ok(false),
        };
        let is_tail = || matches!(disk.inline_tail(&self.sb), Ok(Some(tail)) if tail.pos == 0);
        Ok(is_at_page || is_tail())
    }

    /// Whether a file lies at pages that no other file has, as `fs/dax.c` wants it.
    fn is_alone(&self, disk: &FormatInode) -> Result<bool, FormatError> {
        if disk.file_type() != FileType::Regular {
            return Ok(true);
        }
        if disk.layout == Layout::ChunkBased {
            // The superblock does not say that there are such files.
            return Ok(false);
        }
        // What is wrong with a file is told to who reads it.
        let (Ok(tail), Ok(first)) = (
            disk.inline_tail(&self.sb),
            disk.extent_for(&self.devices, &self.sb, 0, 1),
        ) else {
            return Ok(false);
        };
        let (page, in_blocks) = (PAGE_SIZE as u64, tail.map_or(disk.size, |tail| tail.pos));
        Ok(match first {
            _ if in_blocks == 0 => true,
            Extent::Hole { .. } => true,
            Extent::Data { offset, .. } => {
                let pages = offset / page..offset.saturating_add(in_blocks).div_ceil(page);
                // Without memory for it there is no claim.
                offset % page == 0 && self.claims.claim(disk.nid, pages).unwrap_or(false)
            }
        })
    }

    /// Reads a symbolic link's target, with a NUL behind it.
    fn read_target(&self, disk: &FormatInode) -> Result<KVec<u8>> {
        // A longer one cannot be passed to user space; `read_link` says that it is corrupt.
        let size = usize::try_from(disk.size)
            .unwrap_or(PAGE_SIZE)
            .min(PAGE_SIZE - 1);
        let mut target = KVec::from_elem(0, size + 1, GFP_KERNEL)?;
        let bytes = target.get_mut(..size).ok_or(EINVAL)?;
        disk.read_link(&self.devices, &self.sb, bytes)
            .map_err(|error| self.report(disk.nid, error))?;
        Ok(target)
    }
}
