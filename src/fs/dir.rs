// SPDX-License-Identifier: GPL-2.0

//! Directories.

use super::{inode::Inode, Erofs};
use crate::vfs::Emitter;
use core::sync::atomic::Ordering;
use erodax_format::{
    dir::{self, Cursor, NAME_MAX},
    inode::FileType,
};
use kernel::prelude::*;

impl Erofs {
    /// The nid of a name in a directory.
    pub(super) fn look_up(&self, dir: &Inode, name: &[u8]) -> Result<Option<u64>> {
        let near = dir.found.load(Ordering::Relaxed);
        let found = dir::lookup_near(&self.devices, &self.sb, &dir.disk, name, near)
            .map_err(|error| self.report(dir.disk.nid, error))?;
        Ok(found.map(|found| {
            dir.found.store(found.next, Ordering::Relaxed);
            found.nid
        }))
    }

    /// Emits entries from the reader's position on.
    ///
    /// The position of an entry is the byte offset of its dirent in the directory, so that it
    /// stays the same for ever.
    pub(super) fn list(&self, dir: &Inode, out: &mut Emitter<'_>) -> Result {
        let mut cursor = Cursor::new(out.position());
        let mut name = [0; NAME_MAX];
        loop {
            let entry = cursor
                .next(&self.devices, &self.sb, &dir.disk, &mut name)
                .map_err(|error| self.report(dir.disk.nid, error))?;
            let Some(entry) = entry else {
                out.set_position(out.position().max(dir.disk.size));
                return Ok(());
            };
            out.set_position(entry.pos);
            let number = self.sb.inode_number(entry.nid);
            if !out.emit(entry.name, number, d_type(entry.file_type)) {
                return Ok(());
            }
            out.set_position(entry.next);
        }
    }
}

/// `d_type` of dirent(3) for a dirent's file type.
fn d_type(file_type: u8) -> u32 {
    match FileType::from_dirent(file_type) {
        None => 0,
        Some(FileType::Fifo) => 1,
        Some(FileType::CharDevice) => 2,
        Some(FileType::Directory) => 4,
        Some(FileType::BlockDevice) => 6,
        Some(FileType::Regular) => 8,
        Some(FileType::Symlink) => 10,
        Some(FileType::Socket) => 12,
    }
}
