// SPDX-License-Identifier: GPL-2.0

//! Directories.

use super::{inode::Inode, Erofs};
use crate::vfs::Emitter;
use core::sync::atomic::Ordering;
use erodax_format::{
    dir::{self, Cursor, NAME_MAX},
    Error as FormatError,
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
        if dir.disk.is_decoded(&self.sb) {
            return self.list_decoded(dir, out);
        }
        let mut cursor = Cursor::new(out.position());
        let fail = |error| self.report(dir.disk.nid, error);
        while let Some(record) = cursor
            .advance(&self.devices, &self.sb, &dir.disk)
            .map_err(fail)?
        {
            out.set_position(record.pos);
            let number = self.sb.inode_number(record.nid);
            let kind = d_type(record.file_type);
            let (offset, len) = (record.name_offset, record.name_len as u64);
            let is_emitted = self
                .devices
                .view(record.device)
                .ok_or(FormatError::OutOfBounds)
                .and_then(|view| view.emit_name(offset, len, out, number, kind))
                .map_err(fail)?;
            if !is_emitted {
                return Ok(());
            }
            out.set_position(record.next);
        }
        if let Some(dot) = cursor.omitted_dot(&dir.disk) {
            let number = self.sb.inode_number(dot.nid);
            if !out.emit(dot.name, number, d_type(dot.file_type)) {
                return Ok(());
            }
            out.set_position(dot.next);
        }
        out.set_position(out.position().max(dir.disk.size));
        Ok(())
    }

    /// The same for a directory whose data is compressed: names have no place to be passed on from.
    #[inline(never)]
    fn list_decoded(&self, dir: &Inode, out: &mut Emitter<'_>) -> Result {
        let mut cursor = Cursor::new(out.position());
        let mut name = [0; NAME_MAX];
        while let Some(entry) = cursor
            .next(&self.devices, &self.sb, &dir.disk, &mut name)
            .map_err(|error| self.report(dir.disk.nid, error))?
        {
            out.set_position(entry.pos);
            let number = self.sb.inode_number(entry.nid);
            if !out.emit(entry.name, number, d_type(entry.file_type)) {
                return Ok(());
            }
            out.set_position(entry.next);
        }
        out.set_position(out.position().max(dir.disk.size));
        Ok(())
    }
}

/// `d_type` of dirent(3) for a dirent's file type: `fs_ftype_to_dtype` of the kernel.
fn d_type(file_type: u8) -> u32 {
    const TYPES: [u8; 8] = [0, 8, 4, 2, 6, 1, 12, 10];
    TYPES
        .get(usize::from(file_type))
        .map_or(0, |&d_type| u32::from(d_type))
}
