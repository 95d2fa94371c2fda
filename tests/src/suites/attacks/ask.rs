// SPDX-License-Identifier: GPL-2.0

//! What is asked of a mounted image, and what is to come out.

use std::{
    ffi::CStr,
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::mapping::{MapFlags, Mapping, ProtFlags, PAGE};
use rustix::{
    fs::{lstat, memfd_create, readlink, MemfdFlags},
    io::Errno,
};

use super::ground::MARKER;
use crate::{
    compare::mistakes::{extent_list, listing, xattr, xattr_list, Answer},
    expectation::sha256,
};

/// How long an answer may take: no read needs more than milliseconds, even in an emulator that
/// shares its processor.
const LIMIT: Duration = Duration::from_secs(20);

/// What is read of a file at a time.
const PIECE: usize = 4096;

/// A file, what is asked about it, and what must come out.
pub(super) type Question = (&'static str, Ask, Expected);

/// What is asked about a file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ask {
    /// lstat(2).
    Stat,
    /// getdents(2), to the end.
    List,
    /// read(2), to the end.
    Read,
    /// pread(2) of up to a page from this byte on.
    ReadAt(u64),
    /// The byte there, in a mapping. A page that cannot be had is EFAULT: the kernel looks at it for
    /// a system call, which does not end in a signal.
    Touch(u64),
    /// readlink(2).
    Target,
    /// listxattr(2).
    Names,
    /// getxattr(2).
    Value(&'static CStr),
    /// FIEMAP.
    Extents,
}

/// What must come out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expected {
    /// This error.
    Error(Errno),
    /// No error.
    Any,
    /// What the file has in the image that the attack was made of.
    Same,
    /// Zeros.
    Zeros,
    /// These bytes.
    Bytes(fn() -> Vec<u8>),
    /// No entry of these names, and no error.
    Without(&'static str),
}

/// What a file answers. Whatever it is, it comes in time and has nothing of the memory behind the image.
pub(super) fn ask(path: &Path, question: Ask) -> Result<Answer<Vec<u8>>> {
    let start = Instant::now();
    let answer = match question {
        Ask::Stat => lstat(path).map(|stat| {
            format!("{:o} {} {}", stat.st_mode, stat.st_nlink, stat.st_size).into_bytes()
        }),
        Ask::List => listing(path).map(String::into_bytes),
        Ask::Read => read(path, 0, usize::MAX),
        Ask::ReadAt(at) => read(path, at, PIECE),
        Ask::Touch(at) => touch(path, at),
        Ask::Target => readlink(path, []).map(|target| target.into_bytes()),
        Ask::Names => xattr_list(path).map(String::into_bytes),
        Ask::Value(name) => xattr(path, name).map(String::into_bytes),
        Ask::Extents => extent_list(path).map(String::into_bytes),
    };
    let taken = start.elapsed();
    ensure!(taken < LIMIT, "{question:?} takes {taken:?}");
    if let Ok(bytes) = &answer {
        let behind = bytes.windows(MARKER.len()).any(|part| part == MARKER);
        ensure!(!behind, "{question:?} shows what lies behind the image");
    }
    Ok(answer)
}

/// Up to `len` bytes from `at` on, in pieces; an error in any of them is the answer.
fn read(path: &Path, at: u64, len: usize) -> Answer<Vec<u8>> {
    let file = File::open(path).map_err(errno)?;
    let mut bytes = Vec::new();
    while bytes.len() < len {
        let mut piece = vec![0; (32 * PIECE).min(len - bytes.len())];
        let done = u64::try_from(bytes.len()).map_err(|_| Errno::OVERFLOW)?;
        match file.read_at(&mut piece, at + done).map_err(errno)? {
            0 => break,
            count => bytes.extend_from_slice(&piece[..count]),
        }
    }
    Ok(bytes)
}

fn touch(path: &Path, at: u64) -> Answer<Vec<u8>> {
    let file = File::open(path).map_err(errno)?;
    let page = u64::try_from(PAGE).map_err(|_| Errno::OVERFLOW)?;
    let inside = usize::try_from(at % page).map_err(|_| Errno::OVERFLOW)?;
    let map = Mapping::new(
        &file,
        at - at % page,
        PAGE,
        ProtFlags::READ,
        MapFlags::SHARED,
    )?;
    // The kernel reads the byte.
    let sink = memfd_create("touched", MemfdFlags::CLOEXEC)?;
    rustix::io::write(&sink, &map.bytes()[inside..][..1])?;
    // It is there, so that the page can be looked at as well.
    Ok(map.bytes().to_vec())
}

fn errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::NOTRECOVERABLE)
}

impl Expected {
    /// Whether this is the answer; `digest` is the digest of the file in the good image.
    pub(super) fn check(self, answer: &Answer<Vec<u8>>, digest: Option<&str>) -> Result<()> {
        let shown = shown(answer);
        match (self, answer) {
            (Expected::Error(expected), Err(found)) => ensure!(*found == expected, "{shown}"),
            (Expected::Any, Ok(_)) => {}
            (Expected::Same, Ok(bytes)) => {
                let digest = digest.context("a file of which no content is known")?;
                ensure!(sha256(bytes) == digest, "other bytes: {shown}");
            }
            (Expected::Zeros, Ok(bytes)) => {
                let is_zero = !bytes.is_empty() && bytes.iter().all(|byte| *byte == 0);
                ensure!(is_zero, "not zeros: {shown}");
            }
            (Expected::Bytes(make), Ok(bytes)) => {
                ensure!(*bytes == make(), "other bytes: {shown}");
            }
            (Expected::Without(name), Ok(listing)) => {
                let listing = String::from_utf8_lossy(listing);
                ensure!(!listing.contains(&format!("{name:?}")), "{listing}");
            }
            _ => anyhow::bail!("{shown}"),
        }
        Ok(())
    }
}

/// An answer in short.
pub(super) fn shown(answer: &Answer<Vec<u8>>) -> String {
    match answer {
        Err(errno) => format!("{errno:?}"),
        Ok(bytes) if bytes.len() > 200 => format!("{} bytes", bytes.len()),
        Ok(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
    }
}
