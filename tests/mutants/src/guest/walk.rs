// SPDX-License-Identifier: GPL-2.0

//! Asks a mount everything, within bounds: a directory can contain itself, and a file can have
//! 2^63 bytes.

use std::{collections::VecDeque, env, ffi::OsStr, os::unix::ffi::OsStrExt};

use anyhow::{Context, Result};
use erodax_agent::guest::{calls::label, mount::Detached};
use rustix::{
    fs::{
        fstatvfs, lgetxattr, llistxattr, lstat, open, readlink, statx, AtFlags, FileType, Mode,
        OFlags, RawDir, StatxFlags, CWD,
    },
    io::Errno,
    process::fchdir,
};

use super::file;
use crate::transcript::{Answer, Question, Transcript, Value};

/// Above what the images have.
const MAX_FILES: usize = 48;
const MAX_ENTRIES: usize = 96;
const MAX_XATTRS: usize = 24;
/// Room for the longest list of names, and for the longest value.
const XATTR_ROOM: usize = 64 << 10;

/// Asks about all files of a mount.
pub(super) fn walk(mount: &Detached, transcript: &mut Transcript) -> Result<()> {
    // Paths are shorter and need no place in the tree from the root itself.
    if let Err(error) = fchdir(mount) {
        transcript.note("", Question::Enter, Err(errno(error)));
        return Ok(());
    }
    let mut walk = Walk {
        transcript,
        unread: VecDeque::from([".".to_owned()]),
        room: vec![0; XATTR_ROOM],
        copy: file::Copy::new()?,
    };
    walk.filesystem();
    for _ in 0..MAX_FILES {
        let Some(path) = walk.unread.pop_front() else {
            break;
        };
        walk.file(&path);
    }
    // Else the mount would stay busy.
    env::set_current_dir("/").context("cannot leave the mount")
}

pub(super) fn errno(errno: Errno) -> i32 {
    errno.raw_os_error()
}

struct Walk<'a> {
    transcript: &'a mut Transcript,
    unread: VecDeque<String>,
    room: Vec<u8>,
    copy: file::Copy,
}

impl Walk<'_> {
    fn note(&mut self, path: &str, question: Question, answer: Answer) {
        self.transcript.note(path, question, answer);
    }

    fn filesystem(&mut self) {
        let directory = OFlags::RDONLY | OFlags::DIRECTORY;
        let Ok(root) = open(".", directory, Mode::empty()) else {
            return;
        };
        let numbers = fstatvfs(&root).map(|stat| {
            let blocks = [stat.f_bsize, stat.f_blocks, stat.f_bfree];
            let files = [stat.f_files, stat.f_ffree, stat.f_namemax];
            Value::Numbers(blocks.into_iter().chain(files).map(i128::from).collect())
        });
        self.note("", Question::Statistics, numbers.map_err(errno));
        let label = label(&root).map(Value::Bytes);
        let label = label.map_err(|error| error.raw_os_error().unwrap_or(0));
        self.note("", Question::Label, label);
    }

    fn file(&mut self, path: &str) {
        let Some(kind) = self.attributes(path) else {
            return;
        };
        self.xattrs(path);
        match kind {
            FileType::Directory => self.directory(path),
            FileType::RegularFile => self.copy.ask(path, self.transcript),
            FileType::Symlink => {
                let target = readlink(path, Vec::new());
                let target = target.map(|target| Value::Bytes(target.into_bytes()));
                self.note(path, Question::Target, target.map_err(errno));
            }
            _ => {}
        }
    }

    fn attributes(&mut self, path: &str) -> Option<FileType> {
        let stat = match lstat(path) {
            Ok(stat) => stat,
            Err(error) => {
                self.note(path, Question::Attributes, Err(errno(error)));
                return None;
            }
        };
        let more = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BTIME);
        let numbers = vec![
            stat.st_ino.into(),
            stat.st_mode.into(),
            stat.st_nlink.into(),
            stat.st_uid.into(),
            stat.st_gid.into(),
            stat.st_rdev.into(),
            stat.st_size.into(),
            stat.st_blksize.into(),
            stat.st_blocks.into(),
            stat.st_mtime.into(),
            stat.st_mtime_nsec.into(),
            more.map_or(0, |more| more.stx_mask.into()),
        ];
        self.note(path, Question::Attributes, Ok(Value::Numbers(numbers)));
        Some(FileType::from_raw_mode(stat.st_mode))
    }

    fn xattrs(&mut self, path: &str) {
        let names = match llistxattr(path, &mut self.room) {
            Ok(len) => self.room[..len].to_vec(),
            Err(error) => return self.note(path, Question::Xattrs, Err(errno(error))),
        };
        let known = [&b"user.absent"[..], b"security.selinux"];
        let names = names.split_inclusive(|byte| *byte == 0);
        let names: Vec<_> = names.filter_map(|name| name.strip_suffix(b"\0")).collect();
        for name in names.iter().take(MAX_XATTRS).chain(&known) {
            let value = lgetxattr(path, *name, &mut self.room);
            let value = value.map(|len| Value::Bytes(self.room[..len].to_vec()));
            let name = String::from_utf8_lossy(name).into_owned();
            self.note(path, Question::Xattr(name), value.map_err(errno));
        }
        let names = names.join(&0);
        self.note(path, Question::Xattrs, Ok(Value::Bytes(names)));
    }

    fn directory(&mut self, path: &str) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let directory = match open(path, flags, Mode::empty()) {
            Ok(directory) => directory,
            Err(error) => return self.note(path, Question::Open, Err(errno(error))),
        };
        let mut buffer = Vec::with_capacity(4096);
        let mut raw = RawDir::new(directory, buffer.spare_capacity_mut());
        let mut entries = Vec::new();
        let mut result = Ok(());
        while entries.len() < MAX_ENTRIES {
            match raw.next() {
                None => break,
                Some(Err(error)) => {
                    result = Err(errno(error));
                    break;
                }
                Some(Ok(entry)) => {
                    let name = entry.file_name().to_bytes();
                    if !matches!(name, b"." | b"..") {
                        self.found(path, name);
                    }
                    let kind = u64::from(entry.file_type().as_raw_mode());
                    let told = [entry.ino(), kind, entry.next_entry_cookie()];
                    entries.push((String::from_utf8_lossy(name).into_owned(), told));
                }
            }
        }
        for name in ["\u{1}", "m", "zz"] {
            let found = lstat(format!("{path}/{name}")).map(|_| Value::Done);
            self.note(
                path,
                Question::Absent(name.to_owned()),
                found.map_err(errno),
            );
        }
        let answer = result.map(|()| Value::Names(entries));
        self.note(path, Question::Entries, answer);
    }

    /// Names that are not UTF-8 are not walked to: one mutant in many has some.
    fn found(&mut self, directory: &str, name: &[u8]) {
        if let Some(name) = OsStr::from_bytes(name).to_str() {
            self.unread.push_back(format!("{directory}/{name}"));
        }
    }
}
