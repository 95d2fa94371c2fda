// SPDX-License-Identifier: GPL-2.0

//! What two drivers answer where an image is wrong.

use std::{ffi::CStr, fs::File, io::Read, path::Path};

use anyhow::{ensure, Result};
use erodax_agent::guest::calls::{extents, FileExtent};
use rustix::{
    fs::{lgetxattr, llistxattr, lstat, open, readlink, FileType, Mode, OFlags, RawDir},
    io::Errno,
};

/// An answer: the error, or what was shown in a form that can be compared.
pub(crate) type Answer<T = String> = Result<T, Errno>;

/// Every answer about one file; returns how many of them are errors.
///
/// stock EROFS says EIO of data that it could not find, whatever the reason; erodax says EUCLEAN
/// (docs/differences.md).
fn same(ours: &Path, theirs: &Path) -> Result<usize> {
    let mut errors = 0;
    for ((question, our), (_, their)) in ask(ours).into_iter().zip(ask(theirs)) {
        let is_told_better = our == Err(Errno::UCLEAN) && their == Err(Errno::IO);
        ensure!(
            our == their || is_told_better,
            "{question} of {}: {our:?}, stock {their:?}",
            ours.display()
        );
        errors += usize::from(our.is_err());
    }
    Ok(errors)
}

fn ask(path: &Path) -> Vec<(&'static str, Answer)> {
    let stat = lstat(path);
    let kind = stat.map(|stat| FileType::from_raw_mode(stat.st_mode));
    let mut answers = vec![
        (
            "stat",
            stat.map(|stat| format!("{:o} {} {}", stat.st_mode, stat.st_nlink, stat.st_size)),
        ),
        ("list of xattrs", xattr_list(path)),
        ("xattr", xattr(path, c"user.value")),
        ("xattr of root", xattr(path, c"trusted.value")),
    ];
    match kind {
        Ok(FileType::Directory) => answers.push(("listing", listing(path))),
        Ok(FileType::Symlink) => {
            let target = readlink(path, []).map(|target| format!("{target:?}"));
            answers.push(("target", target));
        }
        Ok(FileType::RegularFile) => {
            answers.push(("content", content(path)));
            answers.push(("extents", extent_list(path)));
        }
        _ => {}
    }
    answers
}

pub(crate) fn xattr_list(path: &Path) -> Answer {
    let mut buffer = vec![0; 65_536];
    let len = llistxattr(path, &mut buffer[..])?;
    Ok(String::from_utf8_lossy(&buffer[..len]).into_owned())
}

pub(crate) fn xattr(path: &Path, name: &CStr) -> Answer {
    let mut buffer = vec![0; 65_536];
    let len = lgetxattr(path, name, &mut buffer[..])?;
    Ok(format!("{:?}", &buffer[..len]))
}

pub(crate) fn listing(path: &Path) -> Answer {
    let directory = open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    let mut buffer = Vec::with_capacity(8192);
    let mut raw = RawDir::new(directory, buffer.spare_capacity_mut());
    let mut names = String::new();
    while let Some(entry) = raw.next() {
        let entry = entry?;
        names += &format!("{:?} {:?}, ", entry.file_name(), entry.file_type());
    }
    Ok(names)
}

fn content(path: &Path) -> Answer {
    let io = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::NOTRECOVERABLE);
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(io)?;
    file.read_to_end(&mut bytes).map_err(io)?;
    Ok(crate::expectation::sha256(&bytes))
}

pub(crate) fn extent_list(path: &Path) -> Answer {
    let io = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::NOTRECOVERABLE);
    let found = extents(File::open(path).map_err(io)?, 0, u64::MAX).map_err(io)?;
    let shown = |extent: &FileExtent| format!("{extent:x?}");
    Ok(found.iter().map(shown).collect())
}

/// Asks about the files of a broken tree, by the names that they had before; returns how many
/// answers are errors.
pub(crate) fn all<'a>(
    ours: &Path,
    theirs: &Path,
    paths: impl Iterator<Item = &'a Path>,
) -> Result<usize> {
    let mut errors = 0;
    for path in paths {
        errors += same(&ours.join(path), &theirs.join(path))?;
    }
    Ok(errors)
}
