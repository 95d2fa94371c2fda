// SPDX-License-Identifier: GPL-2.0

//! The small tree that the seeds are images of.

use anyhow::Result;
use std::fs;
use std::path::Path;
use tar::{Builder, EntryType, Header};

/// How large a tree is.
pub(crate) struct Shape {
    /// Sizes of files.
    sizes: &'static [usize],
    /// Names in a directory.
    names: usize,
    /// Least size of a file of which each part compresses differently.
    mixed: usize,
}

/// Sizes around those of blocks, and enough names for a directory of some blocks of 512 bytes.
pub(crate) const FULL: Shape = Shape {
    sizes: &[0, 1, 5, 60, 479, 511, 512, 513, 1500],
    names: 50,
    mixed: 24 << 10,
};

/// One file or directory of each kind.
pub(crate) const SMALL: Shape = Shape {
    sizes: &[5, 60, 513, 4100],
    names: 4,
    mixed: 20_000,
};

/// Bytes without a NUL.
pub(crate) fn content(len: usize) -> Vec<u8> {
    (1..=251).cycle().take(len).collect()
}

/// A file of 20 blocks of 1024 bytes, of which two have data.
fn sparse() -> Vec<u8> {
    let mut bytes = vec![0; 20 * 1024];
    for block in [3, 4] {
        bytes[block * 1024..(block + 1) * 1024].copy_from_slice(&content(1024));
    }
    bytes
}

/// Bytes of which some compress well, some do not, and some are zeros: a file of many pclusters of
/// every kind.
pub(crate) fn mixed(len: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut bytes = Vec::new();
    while bytes.len() < len {
        let run = rng.usize(1..2500);
        match rng.u8(..4) {
            0 => bytes.extend(std::iter::repeat_with(|| rng.u8(..)).take(run)),
            1 => bytes.resize(bytes.len() + run, 0),
            _ => bytes.extend(std::iter::repeat_with(|| rng.u8(..12)).take(run)),
        }
    }
    bytes
}

/// Writes what of the tree an ordinary user can make.
pub(crate) fn write(shape: &Shape, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir.join("dir"))?;
    for &size in shape.sizes {
        fs::write(dir.join(format!("file{size}")), content(size))?;
    }
    for number in 0..shape.names {
        fs::write(dir.join(format!("dir/name{number}")), content(number % 3))?;
    }
    fs::write(dir.join("repeated"), b"0123456789abcdef".repeat(300))?;
    fs::write(dir.join("sparse"), sparse())?;
    fs::write(dir.join("mixed"), mixed(shape.mixed))?;
    std::os::unix::fs::symlink("dir/name0", dir.join("link"))?;
    Ok(())
}

/// A POSIX ACL: version 2, and an entry for the owner, the group and others.
fn acl() -> Vec<u8> {
    let mut acl = vec![2, 0, 0, 0];
    for tag in [1, 4, 0x20] {
        acl.extend([tag, 0, 5, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
    }
    acl
}

/// The whole tree as a tar archive.
pub(crate) fn tar(shape: &Shape) -> Result<Vec<u8>> {
    let mut tar = Archive(Builder::new(Vec::new()));
    for &size in shape.sizes {
        tar.file(&format!("file{size}"), &content(size))?;
    }
    tar.file("sparse", &sparse())?;
    tar.other("dir", EntryType::Directory, "")?;
    for number in 0..shape.names {
        tar.file(&format!("dir/name{number}"), &content(number % 3))?;
    }
    for letter in ["y", "z"] {
        tar.file(&letter.repeat(250), b"a long name")?;
    }
    tar.other("link", EntryType::Symlink, "dir/name0")?;
    tar.other("hardlink", EntryType::Link, "file60")?;
    tar.other("console", EntryType::Char, "")?;
    tar.other("disk", EntryType::Block, "")?;
    tar.other("fifo", EntryType::Fifo, "")?;
    tar.add_xattrs()?;
    Ok(tar.0.into_inner()?)
}

struct Archive(Builder<Vec<u8>>);

impl Archive {
    fn file(&mut self, path: &str, content: &[u8]) -> Result<()> {
        let mut header = header(EntryType::Regular);
        header.set_size(u64::try_from(content.len())?);
        Ok(self.0.append_data(&mut header, path, content)?)
    }

    fn other(&mut self, path: &str, kind: EntryType, target: &str) -> Result<()> {
        let mut header = header(kind);
        if matches!(kind, EntryType::Symlink | EntryType::Link) {
            return Ok(self.0.append_link(&mut header, path, target)?);
        }
        if matches!(kind, EntryType::Char | EntryType::Block) {
            header.set_device_major(5)?;
            header.set_device_minor(1)?;
        }
        Ok(self.0.append_data(&mut header, path, &[][..])?)
    }

    /// Files with xattrs of every kind, some of which two files share.
    fn add_xattrs(&mut self) -> Result<()> {
        let mut sets: Vec<Vec<(&str, Vec<u8>)>> = vec![
            vec![("user.a", b"1".to_vec()), ("user.empty", Vec::new())],
            vec![
                ("user.big", content(900)),
                ("trusted.overlay.opaque", b"y".to_vec()),
            ],
            vec![("system.posix_acl_access", acl())],
        ];
        for number in 0..2 {
            sets.push(vec![
                ("security.selinux", b"system_u:object_r:lib_t:s0".to_vec()),
                ("security.capability", vec![2; 20]),
                ("user.long.number", vec![b'0' + number]),
            ]);
        }
        for (number, set) in sets.iter().enumerate() {
            let records: Vec<_> = set
                .iter()
                .map(|(name, value)| (format!("SCHILY.xattr.{name}"), value))
                .collect();
            let records = records.iter().map(|(name, value)| (&name[..], &value[..]));
            self.0.append_pax_extensions(records)?;
            self.file(&format!("xattrs{number}"), b"x")?;
        }
        Ok(())
    }
}

fn header(kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_700_000_000);
    header.set_size(0);
    header
}
