// SPDX-License-Identifier: GPL-2.0

//! Images that end too early, and walks over all of what is left.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{ensure, Context, Result};
use erodax_mutation::{places::SUPER_BLOCK, seal::seal};
use rustix::{
    fs::{lstat, FileType},
    io::Errno,
};

use super::{
    ask::{ask, Ask},
    ground::{bytes_of, end, serve, NODE},
    images,
};
use crate::erodax::{mount_source, Footprint, GOOD};

/// Where the superblock ends.
const SUPERBLOCK_END: usize = 1024 + 128;
const BLOCK: usize = 4096;

/// Answers that there were.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// All of them.
    pub(super) answers: usize,
    /// Those that were errors.
    pub(super) errors: Vec<Errno>,
}

impl Tally {
    /// No errors but those of damaged images.
    fn check(&self) -> Result<()> {
        const GOOD: [Errno; 4] = [Errno::UCLEAN, Errno::FAULT, Errno::OPNOTSUPP, Errno::LOOP];
        let bad = self.errors.iter().find(|errno| !GOOD.contains(errno));
        bad.map_or(Ok(()), |errno| anyhow::bail!("{errno:?}"))
    }
}

/// Asks about every file that can be reached.
pub(super) fn walk(root: &Path) -> Result<Tally> {
    /// More than any of the images has.
    const MOST: usize = 20_000;
    let mut tally = Tally::default();
    let mut unread: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(path) = unread.pop() {
        tally.answers += 1;
        ensure!(tally.answers < MOST, "the tree does not end");
        for question in questions(&path) {
            let answer = ask(&path, *question).with_context(|| path.display().to_string())?;
            tally.errors.extend(answer.err());
        }
        // What is listed before an error is there, too. Not of links to directories.
        if lstat(&path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir()) {
            let listed = fs::read_dir(&path).into_iter().flatten();
            unread.extend(listed.flatten().map(|entry| entry.path()));
        }
    }
    Ok(tally)
}

/// What a file can be asked.
fn questions(path: &Path) -> &'static [Ask] {
    let Ok(stat) = lstat(path) else {
        return &[Ask::Stat];
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => &[Ask::List, Ask::Names],
        // Nothing can be mapped of it.
        FileType::RegularFile if stat.st_size == 0 => &[Ask::Read, Ask::Names],
        FileType::RegularFile => &[Ask::Read, Ask::Touch(0), Ask::Extents, Ask::Names],
        FileType::Symlink => &[Ask::Target],
        _ => &[Ask::Names],
    }
}

/// Where images are cut: in the superblock, and around blocks of metadata and of data.
fn cuts(len: usize) -> impl Iterator<Item = usize> {
    let early = [
        1,
        1023,
        1024,
        1028,
        SUPERBLOCK_END - 1,
        SUPERBLOCK_END,
        BLOCK - 1,
        BLOCK,
    ];
    let middle = (1..8).map(move |part| len * part / 8);
    let around = move |at: usize| [at, at / BLOCK * BLOCK];
    let last = [len - BLOCK, len - 1];
    let all = early.into_iter().chain(middle.flat_map(around)).chain(last);
    all.filter(move |at| (1..len).contains(at))
}

/// The superblock says how many bytes there must be.
pub(super) fn anywhere() -> Result<()> {
    bytes_of(GOOD)?;
    let before = Footprint::now()?;
    for image in [images::FLAT, images::TAILS] {
        let bytes = bytes_of(image.name)?;
        for cut in cuts(bytes.len()) {
            let module = serve(&bytes[..cut])?;
            let mounted = mount_source(Path::new(NODE), "", "attack");
            let errno = mounted.map(drop).map_err(|error| error.errno);
            // Before the whole checksummed block, it cannot be right.
            ensure!(
                errno == Err(Errno::INVAL) || (cut < BLOCK && errno == Err(Errno::UCLEAN)),
                "{} cut at byte {cut}: {errno:?}",
                image.name
            );
            end(module).with_context(|| format!("{} cut at byte {cut}", image.name))?;
        }
    }
    before.check()
}

/// A superblock that admits it: what is there can be read, the rest is an error.
pub(super) fn admitted() -> Result<()> {
    bytes_of(GOOD)?;
    let before = Footprint::now()?;
    for image in [images::FLAT, images::CHUNKS, images::TAILS, images::RECORDS] {
        let bytes = bytes_of(image.name)?;
        let mut errors = 0;
        for cut in cuts(bytes.len()).filter(|cut| *cut >= BLOCK).step_by(3) {
            let mut cut_bytes = bytes[..cut].to_vec();
            SUPER_BLOCK.set(&mut cut_bytes, "blocks_lo", u64::try_from(cut / BLOCK)?);
            seal(&mut cut_bytes);
            let module = serve(&cut_bytes)?;
            for options in ["", "dax=never"] {
                if let Ok(mount) = mount_source(Path::new(NODE), options, "attack") {
                    let shown = || format!("{} cut at byte {cut}", image.name);
                    let tally = walk(mount.path()).with_context(shown)?;
                    tally.check().with_context(shown)?;
                    println!("{}: {} of {}", shown(), tally.errors.len(), tally.answers);
                    errors += tally.errors.len();
                    mount.unmount()?;
                }
            }
            end(module)?;
        }
        ensure!(errors > 0, "nothing is missing in {}", image.name);
    }
    before.check()
}
