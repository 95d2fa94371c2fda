// SPDX-License-Identifier: GPL-2.0

//! Asks a mount everything, within bounds: a directory can contain itself, and a file can have
//! 2^63 bytes.

use std::{collections::VecDeque, env, ffi::OsStr, os::unix::ffi::OsStrExt};

use anyhow::{Context, Result};
use erodax_agent::guest::{calls::label, mount::Detached};
use rustix::{
    fs::{
        fstatvfs, lgetxattr, llistxattr, lstat, makedev, open, readlink, statx, AtFlags, FileType,
        Mode, OFlags, RawDir, StatxFlags, CWD,
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
/// As much as most need: the kernel clears what it is offered.
const XATTR_USUAL: usize = 512;

/// What one walk after the other uses.
pub(super) struct Tools {
    room: Vec<u8>,
    copy: file::Copy,
}

impl Tools {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            room: vec![0; XATTR_ROOM],
            copy: file::Copy::new()?,
        })
    }

    /// For another mutant.
    pub(super) fn renew(&mut self, seed: u64) {
        self.copy.seed = seed;
    }

    /// A list of names, or a value: `ask` says how long it is, or that it needs more room.
    fn xattr(
        &mut self,
        ask: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
    ) -> Result<Vec<u8>, i32> {
        let len = match ask(&mut self.room[..XATTR_USUAL]) {
            Err(Errno::RANGE) => ask(&mut self.room),
            other => other,
        };
        len.map(|len| self.room[..len].to_vec()).map_err(errno)
    }
}

/// Asks about all files of a mount.
pub(super) fn walk(mount: &Detached, tools: &mut Tools, transcript: &mut Transcript) -> Result<()> {
    // Paths are shorter and need no place in the tree from the root itself.
    if let Err(error) = fchdir(mount) {
        transcript.note("", Question::Enter, Err(errno(error)));
        return Ok(());
    }
    let mut walk = Walk {
        transcript,
        unread: VecDeque::from([".".to_owned()]),
        tools,
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
    tools: &'a mut Tools,
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
        let Some((kind, size)) = self.attributes(path) else {
            return;
        };
        self.xattrs(path);
        match kind {
            FileType::Directory => self.directory(path),
            FileType::RegularFile => self.tools.copy.ask(path, size, self.transcript),
            FileType::Symlink => {
                let target = readlink(path, Vec::new());
                let target = target.map(|target| Value::Bytes(target.into_bytes()));
                self.note(path, Question::Target, target.map_err(errno));
            }
            _ => {}
        }
    }

    /// The file's type and size.
    fn attributes(&mut self, path: &str) -> Option<(FileType, u64)> {
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        let stat = match statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, wanted) {
            Ok(stat) => stat,
            Err(error) => {
                self.note(path, Question::Attributes, Err(errno(error)));
                return None;
            }
        };
        let numbers = vec![
            stat.stx_ino.into(),
            stat.stx_mode.into(),
            stat.stx_nlink.into(),
            stat.stx_uid.into(),
            stat.stx_gid.into(),
            makedev(stat.stx_rdev_major, stat.stx_rdev_minor).into(),
            stat.stx_size.into(),
            stat.stx_blksize.into(),
            stat.stx_blocks.into(),
            stat.stx_mtime.tv_sec.into(),
            stat.stx_mtime.tv_nsec.into(),
            stat.stx_mask.into(),
        ];
        self.note(path, Question::Attributes, Ok(Value::Numbers(numbers)));
        let kind = FileType::from_raw_mode(stat.stx_mode.into());
        Some((kind, stat.stx_size))
    }

    fn xattrs(&mut self, path: &str) {
        let names = match self.tools.xattr(|room| llistxattr(path, room)) {
            Ok(names) => names,
            Err(error) => return self.note(path, Question::Xattrs, Err(error)),
        };
        let known = [&b"user.absent"[..], b"security.selinux"];
        let each = names.split_inclusive(|byte| *byte == 0);
        let each: Vec<_> = each.filter_map(|name| name.strip_suffix(b"\0")).collect();
        for name in each.iter().take(MAX_XATTRS).chain(&known) {
            let value = self.tools.xattr(|room| lgetxattr(path, *name, room));
            let name = String::from_utf8_lossy(name).into_owned();
            self.note(path, Question::Xattr(name), value.map(Value::Bytes));
        }
        let names = each.join(&0);
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
