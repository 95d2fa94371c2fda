// SPDX-License-Identifier: GPL-2.0

//! Two mounts of one image, by two drivers.

use std::{ffi::CString, fs, path::Path};

use anyhow::{ensure, Context, Result};
use rustix::fs::{lstat, open, readlink, Dir, FileType, Mode, OFlags, Stat};

/// Compares everything that the two trees show: attributes, listings in their order, targets of
/// links and contents.
pub(crate) fn trees(ours: &Path, theirs: &Path) -> Result<()> {
    let (our_stat, their_stat) = (lstat(ours)?, lstat(theirs)?);
    attributes(&our_stat, &their_stat).with_context(|| ours.display().to_string())?;
    match FileType::from_raw_mode(our_stat.st_mode) {
        FileType::Directory => {
            let listing = list(ours)?;
            ensure!(
                listing == list(theirs)?,
                "{} is listed differently",
                ours.display()
            );
            for (name, ..) in listing {
                let name = std::str::from_utf8(name.to_bytes()).map(Path::new);
                // Names that are not UTF-8 have their own test.
                let Ok(name) = name else { continue };
                if name != Path::new(".") && name != Path::new("..") {
                    trees(&ours.join(name), &theirs.join(name))?;
                }
            }
        }
        FileType::RegularFile => {
            ensure!(
                fs::read(ours)? == fs::read(theirs)?,
                "{} has another content",
                ours.display()
            );
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

/// Name, inode number and type of each entry, in the filesystem's order.
fn list(directory: &Path) -> Result<Vec<(CString, u64, FileType)>> {
    let directory = open(directory, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    let entries = Dir::new(directory)?.map(|entry| {
        let entry = entry?;
        Ok((entry.file_name().to_owned(), entry.ino(), entry.file_type()))
    });
    entries.collect()
}
