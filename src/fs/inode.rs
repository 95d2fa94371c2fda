// SPDX-License-Identifier: GPL-2.0

//! Inodes.

use super::Erofs;
use crate::{dax::Run, vfs::NewInode};
use erodax_format::{
    flat::Extent,
    inode::{FileType, Inode as FormatInode},
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
    /// Where the file's blocks begin in the image, if mappings are made of them directly.
    pub(super) direct: Option<Direct>,
    /// A copy of the last page, if a mapping needed it: its bytes after the end of the file
    /// are zero, which the image's own need not be.
    pub(super) last_page: SetOnce<Page>,
}

/// A file whose pages are mapped from the image.
#[derive(Clone, Copy)]
pub(super) struct Direct {
    /// Bytes from the image's start to the file's first block.
    pub(super) offset: u64,
    /// Bytes of the file that are there, in one piece; the rest is an inline tail.
    pub(super) len: u64,
}

impl Direct {
    /// The file's bytes that are there, as a run.
    pub(super) fn run(self) -> Run {
        Run {
            position: 0,
            offset: self.offset,
            len: self.len,
        }
    }
}

impl Erofs {
    /// Reads an inode, and says in the log what is wrong with it if it cannot be used.
    pub(super) fn read_inode(&self, nid: u64) -> Result<FormatInode> {
        FormatInode::read(&*self.view, &self.sb, nid).map_err(|error| self.report(nid, error))
    }

    /// An inode for the VFS.
    pub(super) fn new_inode(&self, nid: u64) -> Result<NewInode<Inode>> {
        let disk = self.read_inode(nid)?;
        let target = match disk.file_type() {
            FileType::Symlink => Some(self.read_target(&disk)?),
            _ => None,
        };
        let direct = self
            .direct(&disk)
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
            is_cached: direct.is_none(),
            data: Inode {
                disk,
                direct,
                last_page: SetOnce::new(),
            },
        })
    }

    /// Where the pages of a file can be mapped from, if they can.
    ///
    /// Fails for a file or directory whose layout is not supported.
    fn direct(&self, disk: &FormatInode) -> Result<Option<Direct>, FormatError> {
        let has_data = matches!(disk.file_type(), FileType::Regular | FileType::Directory);
        if !has_data {
            return Ok(None);
        }
        let (offset, len) = match disk.size {
            0 => (0, 0),
            _ => match disk.extent_at(&*self.view, &self.sb, 0)? {
                Extent::Hole { .. } => return Ok(None),
                Extent::Data { offset, len, .. } => (offset, len),
            },
        };
        if !self.maps_directly() {
            return Ok(None);
        }
        let is_tail = disk
            .inline_tail(&self.sb)?
            .is_some_and(|tail| tail.pos == 0);
        if is_tail {
            return Ok(Some(Direct { offset: 0, len: 0 }));
        }
        Ok((offset % PAGE_SIZE as u64 == 0).then_some(Direct { offset, len }))
    }

    /// Reads a symbolic link's target, with a NUL behind it.
    fn read_target(&self, disk: &FormatInode) -> Result<KVec<u8>> {
        // A longer one cannot be passed to user space; `read_link` says that it is corrupt.
        let size = usize::try_from(disk.size)
            .unwrap_or(PAGE_SIZE)
            .min(PAGE_SIZE - 1);
        let mut target = KVec::from_elem(0, size + 1, GFP_KERNEL)?;
        let bytes = target.get_mut(..size).ok_or(EINVAL)?;
        disk.read_link(&*self.view, &self.sb, bytes)
            .map_err(|error| self.report(disk.nid, error))?;
        Ok(target)
    }
}
