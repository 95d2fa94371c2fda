// SPDX-License-Identifier: GPL-2.0

//! The work that is measured. Loops make one system call or touch one page each time round, and
//! do nothing else: what they execute themselves is the same for every peer, and little.

mod find;
mod map;

use std::process::Command;

use anyhow::{ensure, Context, Result};
use rustix::{
    fd::OwnedFd,
    fs::{fstat, openat, statat, AtFlags, Mode, OFlags},
    io::{pread, read},
};

use super::{lists::Lists, meter::Job, tree::Tree};
use crate::{order::shuffled, plan::LARGE_FILE, Column};

const PAGE: usize = 4096;
/// What cat(1) and cp(1) read at a time.
const BUFFER: usize = 128 * 1024;
/// Enough for an average, and few enough for peers that unpack much for each page.
const PREADS: usize = 2048;

/// Everything that is not to be measured is done here.
pub(super) fn prepare<'a>(column: Column, tree: &'a Tree, lists: &'a Lists) -> Result<Job<'a>> {
    Ok(match column {
        Column::Read | Column::Memory => read_files(tree, lists),
        Column::MmapSeq => map::touch(tree, |pages| (0..pages).collect())?,
        Column::MmapRandom => map::touch(tree, shuffled)?,
        Column::Pread => pread_pages(tree)?,
        Column::Find => find::job(tree),
        Column::Lookup => look_up(tree, lists),
        Column::FirstExec | Column::ExecTrue => run(tree, "/usr/bin/true", &[])?,
        Column::ExecPerl => run(tree, "/usr/bin/perl", &["-e", "0"])?,
    })
}

/// In bytes.
fn read_files<'a>(tree: &'a Tree, lists: &'a Lists) -> Job<'a> {
    // Not zeros, which would be mapped only when they are written to.
    let mut buffer = vec![1_u8; BUFFER];
    Box::new(move || {
        let mut total = 0;
        for path in &lists.files {
            let file = open(tree, path)?;
            loop {
                match read(&file, &mut buffer)? {
                    0 => break,
                    length => total += length,
                }
            }
        }
        Ok(u64::try_from(total)?)
    })
}

/// In pages.
fn pread_pages(tree: &Tree) -> Result<Job<'_>> {
    let (file, pages) = large_file(tree)?;
    let mut buffer = [1_u8; PAGE];
    let mut offsets = Vec::new();
    for page in shuffled(pages).into_iter().take(PREADS) {
        offsets.push(u64::try_from(page * PAGE)?);
    }
    Ok(Box::new(move || {
        for &offset in &offsets {
            pread(&file, &mut buffer, offset)?;
        }
        Ok(u64::try_from(offsets.len())?)
    }))
}

/// In names.
fn look_up<'a>(tree: &'a Tree, lists: &'a Lists) -> Job<'a> {
    Box::new(move || {
        for path in &lists.names {
            statat(tree.root(), path, AtFlags::SYMLINK_NOFOLLOW)
                .with_context(|| path.to_string_lossy().into_owned())?;
        }
        Ok(u64::try_from(lists.names.len())?)
    })
}

/// In programs.
fn run<'a>(tree: &'a Tree, program: &str, arguments: &[&str]) -> Result<Job<'a>> {
    let inside = tree.enter()?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear();
    Ok(Box::new(move || {
        let _inside = &inside;
        let status = command.status().context("cannot run the program")?;
        ensure!(status.success(), "the program fails: {status}");
        Ok(1)
    }))
}

fn open(tree: &Tree, path: &std::ffi::CStr) -> Result<OwnedFd> {
    openat(
        tree.root(),
        path,
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .with_context(|| path.to_string_lossy().into_owned())
}

/// The file and how many pages it has.
fn large_file(tree: &Tree) -> Result<(OwnedFd, usize)> {
    let file = open(tree, LARGE_FILE)?;
    let size = usize::try_from(fstat(&file)?.st_size)?;
    Ok((file, size / PAGE))
}
