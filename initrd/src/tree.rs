// SPDX-License-Identifier: GPL-2.0

//! Directory trees as cpio members.

use std::collections::HashMap;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::copy::Copier;
use crate::error::{Error, Result};
use crate::newc_writer::{Link, Member, NewcWriter};

/// What of a tree's metadata is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Everything belongs to root, was modified at `mtime`, and each hard link is a file
    /// of its own: the archive does not depend on who checked the tree out, and when.
    Normalized { mtime: u32 },
    /// Owners, times and hard links as they are, and the root directory's own metadata.
    Faithful,
}

struct Entry {
    /// Path below the root directory, as the archive has it.
    name: Vec<u8>,
    path: PathBuf,
    meta: Metadata,
}

/// A directory tree, listed: parents before children, siblings by the bytes of their names.
pub(crate) struct Tree {
    root: Entry,
    entries: Vec<Entry>,
}

impl Tree {
    /// Lists the tree below the directory `root`.
    pub(crate) fn scan(root: &Path) -> Result<Self> {
        let meta = fs::metadata(root).map_err(Error::read(root))?;
        if !meta.is_dir() {
            return Err(Error::NotADirectory(root.to_owned()));
        }
        let mut entries = Vec::new();
        scan_into(root, b"", &mut entries)?;
        Ok(Self {
            root: Entry {
                name: b".".to_vec(),
                path: root.to_owned(),
                meta,
            },
            entries,
        })
    }

    /// The metadata of what is at `name`, links not followed.
    pub(crate) fn get(&self, name: &str) -> Option<&Metadata> {
        let name = name.as_bytes();
        let found = self.entries.iter().find(|entry| entry.name == name)?;
        Some(&found.meta)
    }

    /// Number of files, directories and so on.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of file contents, hard links counted each time.
    pub(crate) fn bytes(&self) -> u64 {
        let files = self.entries.iter().filter(|entry| entry.meta.is_file());
        files.map(|entry| entry.meta.len()).sum()
    }

    /// Writes all members.
    pub(crate) fn write<W: Write>(
        &self,
        style: Style,
        writer: &mut NewcWriter<W>,
        copier: &mut Copier<'_>,
    ) -> Result<()> {
        let mut links = Links::default();
        if style == Style::Faithful {
            links = Links::count(&self.entries);
            self.root.write(style, Link::Single, true, writer, copier)?;
        }
        for entry in &self.entries {
            let (link, has_body) = links.next(entry, writer);
            entry.write(style, link, has_body, writer, copier)?;
        }
        Ok(())
    }
}

fn scan_into(directory: &Path, prefix: &[u8], entries: &mut Vec<Entry>) -> Result<()> {
    let listing = fs::read_dir(directory).and_then(|listing| {
        listing
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<std::io::Result<Vec<_>>>()
    });
    let mut names = listing.map_err(Error::read(directory))?;
    names.sort();
    for name in names {
        let path = directory.join(&name);
        let meta = fs::symlink_metadata(&path).map_err(Error::read(&path))?;
        let name = [prefix, name.as_bytes()].concat();
        let below = meta.is_dir().then(|| [&name[..], b"/"].concat());
        entries.push(Entry {
            name,
            path: path.clone(),
            meta,
        });
        if let Some(prefix) = below {
            scan_into(&path, &prefix, entries)?;
        }
    }
    Ok(())
}

impl Entry {
    fn write<W: Write>(
        &self,
        style: Style,
        link: Link,
        has_body: bool,
        writer: &mut NewcWriter<W>,
        copier: &mut Copier<'_>,
    ) -> Result<()> {
        copier.check_cancelled()?;
        let member = self.member(style, link);
        if self.meta.is_symlink() {
            let target = fs::read_link(&self.path).map_err(Error::read(&self.path))?;
            let body = target.as_os_str().as_bytes();
            return copier.member(writer, &self.name, &member, body);
        }
        if !self.meta.is_file() || !has_body {
            return copier.member(writer, &self.name, &member, b"");
        }
        let size = u32::try_from(self.meta.len()).map_err(|_| Error::FileTooLarge {
            path: self.path.clone(),
            size: self.meta.len(),
        })?;
        let member = Member { size, ..member };
        copier.member_from(writer, &self.name, &member, &self.path, self.open()?)
    }

    /// The kernel's unpacker cannot link symbolic links to one another.
    fn may_be_shared(&self) -> bool {
        let meta = &self.meta;
        !meta.is_dir() && !meta.is_symlink() && meta.nlink() > 1
    }

    fn open(&self) -> Result<File> {
        let flags = OFlags::NOFOLLOW.bits();
        OpenOptions::new()
            .read(true)
            .custom_flags(i32::try_from(flags).expect("a flag below 2^31"))
            .open(&self.path)
            .map_err(Error::read(&self.path))
    }

    fn member(&self, style: Style, link: Link) -> Member {
        let meta = &self.meta;
        let member = Member {
            mode: meta.mode(),
            rdev: (
                rustix::fs::major(meta.rdev()),
                rustix::fs::minor(meta.rdev()),
            ),
            link,
            ..Member::default()
        };
        match style {
            Style::Normalized { mtime } => Member { mtime, ..member },
            Style::Faithful => Member {
                uid: meta.uid(),
                gid: meta.gid(),
                mtime: u32::try_from(meta.mtime().max(0)).unwrap_or(u32::MAX),
                ..member
            },
        }
    }
}

/// The hard links of a tree. By newc's convention all names of a file carry one inode
/// number, and the last one the contents. Names outside the tree do not count.
#[derive(Default)]
struct Links {
    files: HashMap<(u64, u64), SharedFile>,
}

struct SharedFile {
    nlink: u32,
    left: u32,
    ino: Option<u32>,
}

impl Links {
    fn count(entries: &[Entry]) -> Self {
        let mut links = Self::default();
        for entry in entries.iter().filter(|entry| entry.may_be_shared()) {
            let file = links.files.entry(key(entry)).or_insert(SharedFile {
                nlink: 0,
                left: 0,
                ino: None,
            });
            file.nlink += 1;
            file.left += 1;
        }
        links.files.retain(|_, file| file.nlink > 1);
        links
    }

    /// How the next entry shares its inode, and whether it carries the contents.
    fn next<W: Write>(&mut self, entry: &Entry, writer: &mut NewcWriter<W>) -> (Link, bool) {
        let Some(file) = self.files.get_mut(&key(entry)) else {
            return (Link::Single, true);
        };
        file.left -= 1;
        let ino = *file.ino.get_or_insert_with(|| writer.take_ino());
        let nlink = file.nlink;
        (Link::Shared { ino, nlink }, file.left == 0)
    }
}

fn key(entry: &Entry) -> (u64, u64) {
    (entry.meta.dev(), entry.meta.ino())
}
