// SPDX-License-Identifier: GPL-2.0

//! A machine of 96 MiB, of which the kernel and the initrd with the images leave less than half: it has
//! no room for what is in them. The debug kernel's has more, as that kernel takes more to begin with.

use std::{
    fs::{self, File},
    hint::black_box,
    os::unix::fs::FileExt,
    path::PathBuf,
    thread,
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::{
    mapping::{Mapping, PAGE},
    memory::Memory,
    mount::Mount,
};
use sha2::{Digest, Sha256};

use super::images;
use crate::erodax::{expectation, mount, serve_initrd, unload};

/// What is left free for the page cache, in KiB.
const LEFT_KIB: u64 = 24 << 10;

/// A regular file of one of the mounts.
struct Wanted {
    path: PathBuf,
    size: usize,
    sha256: String,
}

/// How a reader gets the bytes of a file to hash them.
type Way = fn(&Wanted) -> Result<String>;

/// Readers with an order and a way of their own; what the page cache cannot hold is taken from it
/// and decoded again.
pub(super) fn reads_everything() -> Result<()> {
    const READERS: [Way; 2] = [by_reading, by_mapping];
    let module = serve_initrd()?;
    let mounts = images::MANY.iter().map(|image| mount(image.name, ""));
    let mounts = mounts.collect::<Result<Vec<_>>>()?;
    let files = all_files(&mounts)?;
    let bytes: usize = files.iter().map(|file| file.size).sum();
    let pages = u64::try_from(bytes / PAGE)?;
    // Without swap, what has been written to stays where it is.
    let taken = Memory::now()?.free.saturating_sub(LEFT_KIB);
    let ballast = vec![1_u8; usize::try_from(taken)? << 10];
    let free = Memory::now()?.free << 10;
    ensure!(u64::try_from(bytes)? > 2 * free, "{bytes} bytes in {free}");

    let before = Reclaim::now()?;
    thread::scope(|scope| {
        let readers: Vec<_> = (READERS.into_iter().enumerate())
            .map(|(number, way)| {
                let (first, last) = files.split_at(files.len() * number / READERS.len());
                let mut order = last.iter().chain(first);
                scope.spawn(move || order.try_for_each(|file| check(file, way)))
            })
            .collect();
        let results: Vec<_> = readers.into_iter().map(|reader| reader.join()).collect();
        results
            .into_iter()
            .try_for_each(|result| result.expect("no reader panics"))
    })?;
    let after = Reclaim::now()?;
    println!("{pages} pages in {free} bytes: {before:?}, {after:?}");
    drop(black_box(ballast));
    let reclaimed = after.reclaimed - before.reclaimed;
    ensure!(reclaimed > pages, "only {reclaimed} pages were reclaimed");
    ensure!(after.refaults > before.refaults, "none was read again");
    ensure!(after.kills == before.kills, "{after:?}, {before:?}");
    mounts.into_iter().try_for_each(Mount::unmount)?;
    unload(module)
}

fn all_files(mounts: &[Mount]) -> Result<Vec<Wanted>> {
    let mut files = Vec::new();
    for (mounted, image) in mounts.iter().zip(&images::MANY) {
        for entry in expectation(image.name)? {
            let path = mounted.path().join(entry.path());
            if let (Some(size), Some(sha256)) = (entry.size, entry.sha256) {
                let size = usize::try_from(size)?;
                files.push(Wanted { path, size, sha256 });
            }
        }
    }
    Ok(files)
}

fn check(file: &Wanted, way: Way) -> Result<()> {
    let found = way(file).with_context(|| file.path.display().to_string())?;
    let path = file.path.display();
    ensure!(found == file.sha256, "{path} has another content");
    Ok(())
}

fn by_reading(wanted: &Wanted) -> Result<String> {
    let file = File::open(&wanted.path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 50_001];
    for start in (0..wanted.size).step_by(buffer.len()) {
        let len = buffer.len().min(wanted.size - start);
        file.read_exact_at(&mut buffer[..len], u64::try_from(start)?)?;
        hash.update(&buffer[..len]);
    }
    Ok(format!("{:x}", hash.finalize()))
}

fn by_mapping(wanted: &Wanted) -> Result<String> {
    let map = Mapping::read_only(File::open(&wanted.path)?, wanted.size)?;
    Ok(format!("{:x}", Sha256::digest(&map.bytes()[..wanted.size])))
}

/// What reclaim has done since the machine was started, in pages and in processes.
#[derive(Debug)]
struct Reclaim {
    /// Pages of files that it took.
    reclaimed: u64,
    /// Those of them that were soon wanted again.
    refaults: u64,
    /// Processes that were killed.
    kills: u64,
}

impl Reclaim {
    fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/vmstat")?;
        let count = |name| number(&text, name);
        Ok(Self {
            reclaimed: count("pgsteal_file")?,
            refaults: count("workingset_refault_file")?,
            kills: count("oom_kill")?,
        })
    }
}

/// The number behind a name, of lines that consist of these.
fn number(text: &str, name: &str) -> Result<u64> {
    let mut lines = text.lines().map(str::split_whitespace);
    let value = lines.find_map(|mut words| (words.next() == Some(name)).then(|| words.next()));
    let value = value.flatten().with_context(|| format!("no {name}"))?;
    Ok(value.parse()?)
}
