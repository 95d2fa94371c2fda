// SPDX-License-Identifier: GPL-2.0

//! Two mounts of one image, by two drivers.

mod data;
pub(crate) mod mistakes;
mod xattrs;

use std::{
    collections::HashSet,
    ffi::{CStr, CString, OsStr},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::calls::label;
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{
        lstat, open, readlink, seek, statfs, statx, AtFlags, FileType, Mode, OFlags, RawDir,
        SeekFrom, Stat, StatxAttributes, StatxFlags, CWD,
    },
};

/// Compares everything that the two mounts show: statistics, the label, and of every file
/// attributes, listings in their order and from every entry on, targets of links, contents, holes,
/// extents, extended attributes and handles.
pub(crate) fn trees(ours: &Path, theirs: &Path) -> Result<()> {
    let (our, their) = (statfs(ours)?, statfs(theirs)?);
    ensure!(
        format!("{our:?}") == format!("{their:?}"),
        "statfs: {our:?}, stock {their:?}"
    );
    let read_label = |root: &Path| label(open_directory(root)?).map_err(anyhow::Error::from);
    let (our, their) = (read_label(ours)?, read_label(theirs)?);
    ensure!(our == their, "label {our:?}, stock {their:?}");
    Walk::default().file(ours, theirs)
}

/// Files that have been compared.
#[derive(Default)]
struct Walk {
    /// The numbers of those with more than one name.
    linked: HashSet<u64>,
}

impl Walk {
    fn file(&mut self, ours: &Path, theirs: &Path) -> Result<()> {
        let (our_stat, their_stat) = (lstat(ours)?, lstat(theirs)?);
        let path = || ours.display().to_string();
        attributes(&our_stat, &their_stat).with_context(path)?;
        let kind = FileType::from_raw_mode(our_stat.st_mode);
        let has_names = our_stat.st_nlink > 1 && kind != FileType::Directory;
        if has_names && !self.linked.insert(our_stat.st_ino) {
            return Ok(());
        }
        more_attributes(ours, theirs).with_context(path)?;
        xattrs::same(ours, theirs).with_context(path)?;
        data::same_handle(ours, theirs).with_context(path)?;
        match kind {
            FileType::Directory => self.directory(ours, theirs)?,
            FileType::RegularFile => {
                data::same(ours, theirs).with_context(path)?;
                data::same_extents(ours, theirs).with_context(path)?;
            }
            FileType::Symlink => {
                let (our, their) = (readlink(ours, [])?, readlink(theirs, [])?);
                ensure!(our == their, "{}: {our:?}, stock {their:?}", ours.display());
            }
            _ => {}
        }
        Ok(())
    }

    fn directory(&mut self, ours: &Path, theirs: &Path) -> Result<()> {
        let path = || ours.display().to_string();
        let listing = list(ours)?;
        ensure!(
            listing == list(theirs)?,
            "{} is listed differently",
            ours.display()
        );
        rests(ours, theirs, &listing).with_context(path)?;
        absent_names(ours, theirs, &listing).with_context(path)?;
        data::same_extents(ours, theirs).with_context(path)?;
        for Entry { name, .. } in listing {
            if !matches!(name.to_bytes(), b"." | b"..") {
                let name = OsStr::from_bytes(name.to_bytes());
                self.file(&ours.join(name), &theirs.join(name))?;
            }
        }
        Ok(())
    }
}

fn attributes(ours: &Stat, theirs: &Stat) -> Result<()> {
    let fields = |stat: &Stat| {
        [
            ("ino", stat.st_ino.into()),
            ("mode", stat.st_mode.into()),
            ("nlink", i128::from(stat.st_nlink)),
            ("uid", stat.st_uid.into()),
            ("gid", stat.st_gid.into()),
            ("rdev", stat.st_rdev.into()),
            ("size", stat.st_size.into()),
            ("blksize", stat.st_blksize.into()),
            ("blocks", stat.st_blocks.into()),
            ("mtime", stat.st_mtime.into()),
            ("mtime_nsec", stat.st_mtime_nsec.into()),
            ("ctime", stat.st_ctime.into()),
            ("ctime_nsec", stat.st_ctime_nsec.into()),
            ("atime", stat.st_atime.into()),
            ("atime_nsec", stat.st_atime_nsec.into()),
        ]
    };
    for ((name, ours), (_, theirs)) in fields(ours).into_iter().zip(fields(theirs)) {
        ensure!(ours == theirs, "st_{name} is {ours}, stock says {theirs}");
    }
    Ok(())
}

/// What statx(2) tells beside that. DAX and the alignment of direct reads are deliberately told
/// otherwise (docs/differences.md).
fn more_attributes(ours: &Path, theirs: &Path) -> Result<()> {
    let told = |path: &Path| -> Result<_> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let wanted = StatxFlags::ALL | StatxFlags::DIOALIGN;
        let all = statx(CWD, path, flags, wanted)?;
        let shown = all.stx_attributes.difference(StatxAttributes::DAX);
        // Whether a mount's root is looked at depends on the mount only.
        let mask = all.stx_attributes_mask;
        Ok((shown, mask, all.stx_mask, all.stx_btime.tv_sec))
    };
    let (ours, theirs) = (told(ours)?, told(theirs)?);
    ensure!(ours == theirs, "statx: {ours:?}, stock {theirs:?}");
    Ok(())
}

/// An entry of a directory.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    name: CString,
    ino: u64,
    kind: FileType,
    /// Where the next one is, as telldir(3) says.
    next: u64,
}

/// The entries, in the filesystem's order.
fn list(directory: &Path) -> Result<Vec<Entry>> {
    list_from(open_directory(directory)?, 0, usize::MAX, 8192)
}

fn open_directory(directory: &Path) -> Result<OwnedFd> {
    Ok(open(
        directory,
        OFlags::RDONLY | OFlags::DIRECTORY,
        Mode::empty(),
    )?)
}

/// At most `count` of the entries from a position on, as far as they come in pieces of `room`
/// bytes.
fn list_from(directory: impl AsFd, position: u64, count: usize, room: usize) -> Result<Vec<Entry>> {
    seek(&directory, SeekFrom::Start(position))?;
    let mut buffer = Vec::with_capacity(room);
    let mut raw = RawDir::new(directory, buffer.spare_capacity_mut());
    let mut entries = Vec::new();
    while entries.len() < count {
        let Some(entry) = raw.next() else { break };
        let entry = entry?;
        entries.push(Entry {
            name: entry.file_name().to_owned(),
            ino: entry.ino(),
            kind: entry.file_type(),
            next: entry.next_entry_cookie(),
        });
    }
    Ok(entries)
}

/// Both directories go on alike after each entry, or after some thousands of very many.
fn rests(ours: &Path, theirs: &Path, listing: &[Entry]) -> Result<()> {
    const ENTRIES: usize = 2;
    /// Two of the longest names.
    const ROOM: usize = 560;
    const MOST: usize = 2000;
    let (ours, theirs) = (open_directory(ours)?, open_directory(theirs)?);
    for entry in listing.iter().step_by(1 + listing.len() / MOST) {
        let (our, their) = (
            list_from(&ours, entry.next, ENTRIES, ROOM)?,
            list_from(&theirs, entry.next, ENTRIES, ROOM)?,
        );
        ensure!(
            our == their,
            "from {}: {our:?}, stock {their:?}",
            entry.next
        );
    }
    Ok(())
}

/// Names close to those that there are, and at both ends.
fn absent_names(ours: &Path, theirs: &Path, listing: &[Entry]) -> Result<()> {
    const MOST: usize = 100;
    let near = listing.iter().step_by(1 + listing.len() / MOST);
    let near = near.flat_map(|entry| neighbours(&entry.name));
    for name in near.chain([vec![1], vec![0xff; 255], vec![b'n'; 256]]) {
        let name = OsStr::from_bytes(&name);
        let kind = |directory: &Path| {
            let stat = lstat(directory.join(name));
            stat.map(|stat| FileType::from_raw_mode(stat.st_mode))
        };
        let (our, their) = (kind(ours), kind(theirs));
        ensure!(our == their, "{name:?}: {our:?}, stock {their:?}");
    }
    Ok(())
}

/// A name with a byte less, with one more, and with another last one.
fn neighbours(name: &CStr) -> [Vec<u8>; 3] {
    let name = name.to_bytes();
    let (last, front) = name.split_last().unwrap_or((&b'x', &[]));
    // Not a NUL, which would end the name, nor a slash, which would make it a path.
    let other = if *last < b'0' { b'0' } else { last ^ 1 };
    [
        if front.is_empty() {
            vec![1]
        } else {
            front.to_vec()
        },
        [name, b"\x01"].concat(),
        [front, &[other]].concat(),
    ]
}
