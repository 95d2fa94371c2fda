// SPDX-License-Identifier: GPL-2.0

//! Extended attributes through two drivers.

use std::{ffi::CStr, path::Path};

use anyhow::{ensure, Result};
use rustix::{
    fs::{lgetxattr, lgetxattr_query, llistxattr, llistxattr_query},
    io::Errno,
};

/// `XATTR_SIZE_MAX`, which is also the longest list.
const MAX: usize = 65_536;

/// Names that are asked for on every file, which hardly any has.
const OTHER_NAMES: [&CStr; 10] = [
    c"user.absent",
    c"trusted.absent",
    c"security.absent",
    c"security.capability",
    c"user.",
    c"system.posix_acl_access",
    c"system.posix_acl_default",
    c"system.absent",
    c"nothing",
    c"user.with.dots.and.more",
];

/// The list, its order, and every value, with buffers of every kind of size.
pub(super) fn same(ours: &Path, theirs: &Path) -> Result<()> {
    let list = read_list(ours, MAX);
    ensure!(
        list == read_list(theirs, MAX),
        "listxattr: {list:?}, stock {:?}",
        read_list(theirs, MAX)
    );
    let list = list?;
    ensure!(llistxattr_query(ours) == llistxattr_query(theirs));
    let sizes = [1, list.len().saturating_sub(1), list.len(), list.len() + 1];
    // Most files have none.
    for size in sizes.into_iter().filter(|_| !list.is_empty()) {
        let (our, their) = (read_list(ours, size.max(1)), read_list(theirs, size.max(1)));
        ensure!(
            our == their,
            "listxattr with {size}: {our:?}, stock {their:?}"
        );
    }
    let names = list
        .split_inclusive(|byte| *byte == 0)
        .filter_map(|name| CStr::from_bytes_with_nul(name).ok());
    for name in names.chain(OTHER_NAMES) {
        same_value(ours, theirs, name)?;
    }
    Ok(())
}

fn same_value(ours: &Path, theirs: &Path, name: &CStr) -> Result<()> {
    let (our, their) = (lgetxattr_query(ours, name), lgetxattr_query(theirs, name));
    ensure!(our == their, "size of {name:?}: {our:?}, stock {their:?}");
    let Ok(size) = our else {
        let (our, their) = (read_value(ours, name, 1), read_value(theirs, name, 1));
        ensure!(our == their, "{name:?}: {our:?}, stock {their:?}");
        return Ok(());
    };
    for room in [1, size.saturating_sub(1), size, size + 1, MAX] {
        let room = room.max(1);
        let (our, their) = (read_value(ours, name, room), read_value(theirs, name, room));
        ensure!(
            our == their,
            "{name:?} with room for {room}: {our:?}, stock {their:?}"
        );
    }
    Ok(())
}

fn read_list(path: &Path, room: usize) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; room];
    let len = llistxattr(path, &mut buffer[..])?;
    buffer.truncate(len);
    Ok(buffer)
}

fn read_value(path: &Path, name: &CStr, room: usize) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; room];
    let len = lgetxattr(path, name, &mut buffer[..])?;
    buffer.truncate(len);
    Ok(buffer)
}
