// SPDX-License-Identifier: GPL-2.0

//! Two mounts of one image, by two drivers.

mod data;
mod xattrs;

use std::{ffi::CString, path::Path};

use anyhow::{ensure, Context, Result};
use rustix::fs::{
    lstat, open, readlink, seek, statx, AtFlags, FileType, Mode, OFlags, RawDir, SeekFrom, Stat,
    StatxAttributes, StatxFlags, CWD,
};

/// Compares everything that the two trees show: attributes, listings in their order and from
/// every entry on, targets of links, contents, holes, extents, extended attributes and handles.
pub(crate) fn trees(ours: &Path, theirs: &Path) -> Result<()> {
    let (our_stat, their_stat) = (lstat(ours)?, lstat(theirs)?);
    let path = || ours.display().to_string();
    attributes(&our_stat, &their_stat).with_context(path)?;
    more_attributes(ours, theirs).with_context(path)?;
    xattrs::same(ours, theirs).with_context(path)?;
    data::same_handle(ours, theirs).with_context(path)?;
    match FileType::from_raw_mode(our_stat.st_mode) {
        FileType::Directory => {
            let listing = list(ours)?;
            ensure!(
                listing == list(theirs)?,
                "{} is listed differently",
                ours.display()
            );
            rests(ours, theirs, &listing).with_context(path)?;
            data::same_extents(ours, theirs).with_context(path)?;
            for Entry { name, .. } in listing {
                let name = std::str::from_utf8(name.to_bytes()).map(Path::new);
                // Names that are not UTF-8 have their own test.
                let Ok(name) = name else { continue };
                if name != Path::new(".") && name != Path::new("..") {
                    trees(&ours.join(name), &theirs.join(name))?;
                }
            }
        }
        FileType::RegularFile => {
            data::same(ours, theirs).with_context(path)?;
            data::same_extents(ours, theirs).with_context(path)?;
        }
        FileType::Symlink => {
            let (our_target, their_target) = (readlink(ours, [])?, readlink(theirs, [])?);
            ensure!(
                our_target == their_target,
                "{}: {our_target:?}",
                ours.display()
            );
        }
        _ => {}
    }
    Ok(())
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
    list_from(directory, 0, usize::MAX)
}

/// At most `count` of the entries from a position on.
fn list_from(directory: &Path, position: u64, count: usize) -> Result<Vec<Entry>> {
    let directory = open(directory, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    seek(&directory, SeekFrom::Start(position))?;
    let mut buffer = Vec::with_capacity(8192);
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

/// Both directories go on alike after each entry, or after some of very many.
fn rests(ours: &Path, theirs: &Path, listing: &[Entry]) -> Result<()> {
    const ENTRIES: usize = 3;
    for entry in listing.iter().step_by(1 + listing.len() / 200) {
        let (our, their) = (
            list_from(ours, entry.next, ENTRIES)?,
            list_from(theirs, entry.next, ENTRIES)?,
        );
        ensure!(
            our == their,
            "from {}: {our:?}, stock {their:?}",
            entry.next
        );
    }
    Ok(())
}
