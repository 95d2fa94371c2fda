// SPDX-License-Identifier: GPL-2.0

//! Directories: listing them from anywhere, and looking names up.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use anyhow::{ensure, Context, Result};
use rustix::{
    fs::{lstat, open, seek, FileType, Mode, OFlags, RawDir, SeekFrom},
    io::Errno,
};

use crate::{erodax::with_each, expectation::Entry, suites::zoo, tests, Suite};

pub(super) static SUITE: Suite = Suite {
    name: "directories",
    machine: zoo::MACHINE,
    tests: tests![
        types_and_numbers,
        dot_and_dot_dot,
        resumed_at_every_entry,
        read_in_small_buffers,
        seek_to_nonsense,
        every_name_is_found,
        absent_names,
        names_that_are_too_long,
        paths_through_files,
        names_that_are_not_utf8,
    ],
};

fn each(mut body: impl FnMut(&Path, &[Entry]) -> Result<()>) -> Result<()> {
    with_each(&zoo::NAMES, "dax", &mut body)?;
    with_each(&[zoo::SMALL_BLOCKS.name], "", body)
}

fn each_directory(mut body: impl FnMut(&Path) -> Result<()>) -> Result<()> {
    each(|root, entries| {
        let is_directory =
            |entry: &&Entry| FileType::from_raw_mode(entry.mode) == FileType::Directory;
        for entry in entries.iter().filter(is_directory) {
            let path = root.join(entry.path());
            body(&path).with_context(|| path.display().to_string())?;
        }
        Ok(())
    })
}

/// An entry as getdents64 returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    name: Vec<u8>,
    number: u64,
    kind: FileType,
    /// Where the next entry is read from.
    next: u64,
}

/// Lists a directory from `from` on, through a buffer of this size.
fn list(directory: &Path, from: u64, buffer: usize) -> Result<Vec<Listed>> {
    let directory = open(directory, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    seek(&directory, SeekFrom::Start(from))?;
    let mut buffer = Vec::with_capacity(buffer);
    let mut raw = RawDir::new(&directory, buffer.spare_capacity_mut());
    let mut listed = Vec::new();
    while let Some(entry) = raw.next() {
        let entry = entry?;
        listed.push(Listed {
            name: entry.file_name().to_bytes().to_owned(),
            number: entry.ino(),
            kind: entry.file_type(),
            next: entry.next_entry_cookie(),
        });
    }
    Ok(listed)
}

fn types_and_numbers() -> Result<()> {
    each_directory(|directory| {
        for entry in list(directory, 0, 32 << 10)? {
            if entry.name == b".." {
                continue;
            }
            let stat = lstat(directory.join(OsStr::from_bytes(&entry.name)))?;
            ensure!(
                entry.number == stat.st_ino,
                "{entry:?} has the number {}",
                stat.st_ino
            );
            ensure!(
                entry.kind == FileType::from_raw_mode(stat.st_mode),
                "{entry:?}"
            );
        }
        Ok(())
    })
}

fn dot_and_dot_dot() -> Result<()> {
    each_directory(|directory| {
        let listed = list(directory, 0, 32 << 10)?;
        for name in [&b"."[..], b".."] {
            let times = listed.iter().filter(|entry| entry.name == name).count();
            ensure!(
                times == 1,
                "{:?} is listed {times} times",
                OsStr::from_bytes(name)
            );
        }
        let parent = directory.join("..");
        ensure!(lstat(&parent)?.st_mode & 0o170_000 == 0o040_000);
        Ok(())
    })
}

/// As seekdir(3) to what telldir(3) returned, in a directory opened anew.
fn resumed_at_every_entry() -> Result<()> {
    each_directory(|directory| {
        let whole = list(directory, 0, 32 << 10)?;
        for (index, entry) in whole.iter().enumerate() {
            let rest = list(directory, entry.next, 32 << 10)?;
            ensure!(
                rest == whole[index + 1..],
                "after {entry:?} comes something else: {:?}",
                rest.first()
            );
        }
        Ok(())
    })
}

fn read_in_small_buffers() -> Result<()> {
    each_directory(|directory| {
        let whole = list(directory, 0, 32 << 10)?;
        // One entry of the longest name takes 280 bytes.
        for buffer in [280, 300, 1000, 4096] {
            ensure!(
                list(directory, 0, buffer)? == whole,
                "through {buffer} bytes it lists differently"
            );
        }
        Ok(())
    })
}

/// No position may crash, hang or repeat entries without end.
fn seek_to_nonsense() -> Result<()> {
    each_directory(|directory| {
        let whole = list(directory, 0, 32 << 10)?;
        for from in [
            1,
            2,
            3,
            11,
            13,
            4095,
            4096,
            4097,
            1 << 20,
            u64::from(u32::MAX),
            i64::MAX as u64,
        ] {
            match list(directory, from, 32 << 10) {
                Ok(rest) => ensure!(
                    rest.len() <= whole.len(),
                    "{} entries from {from}",
                    rest.len()
                ),
                Err(error) => {
                    let errno = error.downcast_ref::<Errno>().copied();
                    ensure!(errno == Some(Errno::INVAL), "from {from}: {error:?}");
                }
            }
        }
        Ok(())
    })
}

fn every_name_is_found() -> Result<()> {
    each(|root, entries| {
        for entry in entries {
            lstat(root.join(entry.path())).with_context(|| entry.path().display().to_string())?;
        }
        Ok(())
    })
}

/// Names before, between and after those that exist, in a directory of many blocks.
fn absent_names() -> Result<()> {
    each(|root, entries| {
        let mut absent = 0;
        for (directory, names) in by_directory(entries) {
            let near = names.iter().flat_map(|name| neighbours(name));
            let anywhere = [b"!".to_vec(), b"~~~~".to_vec(), vec![0xff; 255], vec![1]];
            for name in near.chain(anywhere).filter(|name| !names.contains(name)) {
                let path = root.join(&directory).join(OsStr::from_bytes(&name));
                let result = lstat(&path).map(drop);
                ensure!(
                    result == Err(Errno::NOENT),
                    "{}: {result:?}",
                    path.display()
                );
                absent += 1;
            }
        }
        ensure!(absent > 1000, "only {absent} names tried");
        Ok(())
    })
}

fn by_directory(entries: &[Entry]) -> BTreeMap<PathBuf, Vec<Vec<u8>>> {
    let mut directories: BTreeMap<PathBuf, Vec<Vec<u8>>> = BTreeMap::new();
    for entry in entries {
        if let (Some(parent), Some(name)) = (entry.path().parent(), entry.path().file_name()) {
            directories
                .entry(parent.to_owned())
                .or_default()
                .push(name.as_bytes().to_owned());
        }
    }
    directories
}

/// The name cut short, made longer, and with its last byte one less and one more.
fn neighbours(name: &[u8]) -> Vec<Vec<u8>> {
    let Some((last, front)) = name.split_last() else {
        return Vec::new();
    };
    let mut near = vec![front.to_vec()];
    near.extend([last.wrapping_sub(1), last.wrapping_add(1)].map(|byte| [front, &[byte]].concat()));
    near.push([name, b"\x01"].concat());
    near.retain(|name| {
        !matches!(name.as_slice(), b"" | b"." | b"..")
            && name.len() <= 255
            && !name.contains(&0)
            && !name.contains(&b'/')
    });
    near
}

fn names_that_are_too_long() -> Result<()> {
    each(|root, _| {
        for (length, errno) in [
            (255, Errno::NOENT),
            (256, Errno::NAMETOOLONG),
            (4000, Errno::NAMETOOLONG),
        ] {
            let result = lstat(root.join("q".repeat(length))).map(drop);
            ensure!(result == Err(errno), "a name of {length} bytes: {result:?}");
        }
        Ok(())
    })
}

fn paths_through_files() -> Result<()> {
    each(|root, _| {
        for (path, errno) in [
            ("sizes/4097/x", Errno::NOTDIR),
            ("sizes/4097/.", Errno::NOTDIR),
            ("links/to-nothing/x", Errno::NOENT),
            ("links/loop", Errno::LOOP),
        ] {
            let result = rustix::fs::stat(root.join(path)).map(drop);
            ensure!(result == Err(errno), "{path}: {result:?}");
        }
        ensure!(fs::read_dir(root.join("links/to-a-directory"))?.count() > 0);
        Ok(())
    })
}

fn names_that_are_not_utf8() -> Result<()> {
    each(|root, entries| {
        let odd: Vec<&Entry> = entries
            .iter()
            .filter(|entry| entry.path().to_str().is_none())
            .collect();
        ensure!(odd.len() >= 2, "{} such names", odd.len());
        for entry in odd {
            fs::symlink_metadata(root.join(entry.path()))?;
        }
        Ok(())
    })
}
