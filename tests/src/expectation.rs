// SPDX-License-Identifier: GPL-2.0

//! What a mounted image must show: written down by the host from what it put into the image,
//! without asking mkfs.erofs or any EROFS driver.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// One file of any type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Path below the root, in bytes; empty for the root.
    pub path: Vec<u8>,
    /// Type and permissions, as `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Number of links.
    pub nlink: u64,
    /// Device number of a device node.
    pub rdev: (u32, u32),
    /// Size in bytes; a directory's is the format's own business.
    pub size: Option<u64>,
    /// Seconds of the time of modification.
    pub mtime: i64,
    /// Its nanoseconds.
    pub mtime_nsec: u32,
    /// Extended attributes: full names and values, in no order.
    pub xattrs: Vec<(String, Vec<u8>)>,
    /// A symbolic link's target.
    pub target: Option<Vec<u8>>,
    /// SHA-256 of a regular file's content, in hexadecimal.
    pub sha256: Option<String>,
    /// For all but one of a file's names: another one of them.
    pub same_as: Option<Vec<u8>>,
}

impl Entry {
    /// The path below the root.
    pub fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }
}

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}
