// SPDX-License-Identifier: GPL-2.0

//! What find(1) does when it looks at every inode.

use std::mem::MaybeUninit;

use anyhow::Result;
use rustix::{
    fd::{AsFd, BorrowedFd},
    fs::{openat, statat, AtFlags, FileType, Mode, OFlags, RawDir},
};

use crate::guest::{meter::Job, tree::Tree};

/// As the C library's readdir has it.
const BUFFER: usize = 32 * 1024;

/// In entries.
pub(super) fn job(tree: &Tree) -> Job<'_> {
    Box::new(move || walk(tree.root(), c"."))
}

fn walk(parent: BorrowedFd<'_>, name: &std::ffi::CStr) -> Result<u64> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = openat(parent, name, flags, Mode::empty())?;
    let mut buffer = [MaybeUninit::uninit(); BUFFER];
    let mut entries = RawDir::new(&directory, &mut buffer);
    let mut count = 0;
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        count += 1;
        let stat = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode).is_dir() {
            count += walk(directory.as_fd(), name)?;
        }
    }
    Ok(count)
}
