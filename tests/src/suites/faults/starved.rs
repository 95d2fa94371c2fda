// SPDX-License-Identifier: GPL-2.0

//! Readers who are killed because there is no memory for all of them.

use std::{
    fs::{self, File},
    io,
    os::unix::process::ExitStatusExt,
    path::Path,
};

use anyhow::{ensure, Result};
use erodax_agent::guest::{kmemleak::Kmemleak, mapping::Mapping, memory::Memory, system::Child};
use rustix::{io::Errno, process::Signal};

use crate::{
    cgroup::Cgroup,
    erodax::{expectation, mount, serve_initrd, unload},
    expectation::{sha256, Entry},
    suites::compressed::{self, check_all},
};

const LIMIT: &str = "24M";
const READERS: usize = 6;
/// What each of them wants beside the page cache: all together more than [`LIMIT`], three of them
/// less.
const WANTED_MIB: usize = 7;
const ROUNDS: usize = 3;
/// What the killed may leave: the system's own.
const ALLOWED_KIB: u64 = 1024;

/// Some are killed, while they decode or have decoded pages mapped. The others read right bytes, and
/// so does who comes afterwards.
pub(super) fn out_of_memory() -> Result<()> {
    let module = serve_initrd()?;
    let image = compressed::ZSTD_SHARED.name;
    let (mounted, entries) = (mount(image, "")?, expectation(image)?);
    let leaks = Kmemleak::begin()?;
    let mut before = None;
    for _ in 0..ROUNDS {
        let group = Cgroup::new(&[("memory.max", LIMIT)])?;
        starve(&group, mounted.path(), &entries)?;
        ensure!(group.count("oom_kill")? > 0, "{LIMIT} were enough");
        group.remove()?;
        // The first round has filled lists and caches that stay.
        let free = Memory::settled()?.free;
        let lost = before.get_or_insert(free).saturating_sub(free);
        // With KASAN what is freed stays taken for a while.
        ensure!(leaks.is_some() || lost < ALLOWED_KIB, "{lost} KiB lost");
    }
    check_all(mounted.path(), &entries)?;
    mounted.unmount()?;
    unload(module)?;
    leaks.map_or(Ok(()), Kmemleak::end)
}

/// At least one of the readers is killed, and at least one comes to the end.
fn starve(group: &Cgroup, root: &Path, entries: &[Entry]) -> Result<()> {
    let readers = (0..READERS).map(|_| {
        Child::start(|| {
            group.enter()?;
            read_and_grow(root, entries)
        })
    });
    let readers = readers.collect::<Result<Vec<_>>>()?;
    let mut killed = 0;
    for reader in readers {
        let status = reader.wait()?;
        let is_killed = status.signal() == Some(Signal::KILL.as_raw());
        ensure!(is_killed || status.success(), "a reader: {status}");
        killed += usize::from(is_killed);
    }
    println!("{killed} of {READERS} killed");
    ensure!(
        (1..READERS).contains(&killed),
        "{killed} of {READERS} killed"
    );
    Ok(())
}

fn read_and_grow(root: &Path, entries: &[Entry]) -> Result<()> {
    let mut grown = Vec::new();
    for _ in 0..WANTED_MIB {
        grown.push(vec![1_u8; 1 << 20]);
        for entry in entries.iter().step_by(3) {
            if let Some(expected) = &entry.sha256 {
                check(&root.join(entry.path()), expected)?;
            }
        }
    }
    Ok(())
}

/// Reads and maps a file. Where there is no memory for that it is as well.
fn check(path: &Path, expected: &str) -> Result<()> {
    let file = File::open(path)?;
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if is_no_memory(&error) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    ensure!(sha256(&bytes) == expected, "{} when read", path.display());
    if !bytes.is_empty() {
        let map = Mapping::read_only(&file, bytes.len())?;
        ensure!(
            map.bytes()[..bytes.len()] == bytes,
            "{} when mapped",
            path.display()
        );
    }
    Ok(())
}

fn is_no_memory(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::NOMEM)
}
