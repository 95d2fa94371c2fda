// SPDX-License-Identifier: GPL-2.0

//! Readers who are killed because there is no memory for all of them.

use std::{
    fs::{self, File},
    io,
    os::unix::process::ExitStatusExt,
    path::Path,
};

use anyhow::{ensure, Result};
use erodax_agent::guest::{mapping::Mapping, system::Child};
use rustix::{io::Errno, process::Signal};

use crate::{
    cgroup::Cgroup,
    erodax::{check_no_leak_in, expectation, mount, serve_initrd, unload, Cycles},
    expectation::{sha256, Entry},
    suites::compressed::{self, check_all},
};

const LIMIT: &str = "24M";
const READERS: usize = 6;
/// This one is not killed. The others may all be, before what the first had is free.
const SPARED: usize = 0;
/// What each of them wants beside the page cache: all together more than [`LIMIT`], three of them
/// less.
const WANTED_MIB: usize = 7;
/// What the killed may leave in three rounds: the system's own.
const ROUNDS: Cycles = Cycles {
    warm_up: 2,
    counted: 3,
    allowed_kib: 1024,
};

/// Some are killed, while they decode or have decoded pages mapped. The others read right bytes, and
/// so does who comes afterwards.
pub(super) fn out_of_memory() -> Result<()> {
    let module = serve_initrd()?;
    let image = compressed::ZSTD_SHARED.name;
    let (mounted, entries) = (mount(image, "")?, expectation(image)?);
    let mut killed = 0;
    check_no_leak_in(&ROUNDS, || {
        let group = Cgroup::new(&[("memory.max", LIMIT)])?;
        killed += starve(&group, mounted.path(), &entries)?;
        group.remove()
    })?;
    // In one round they may happen to come one after the other.
    ensure!(killed > 0, "{LIMIT} were always enough");
    check_all(mounted.path(), &entries)?;
    mounted.unmount()?;
    unload(module)
}

/// The readers at once, of whom some are killed: how many. The one who may not be comes to the end.
fn starve(group: &Cgroup, root: &Path, entries: &[Entry]) -> Result<usize> {
    let readers = (0..READERS).map(|number| {
        Child::start(|| {
            group.enter()?;
            if number == SPARED {
                fs::write("/proc/self/oom_score_adj", "-1000")?;
            }
            read_and_grow(root, entries)
        })
    });
    let readers = readers.collect::<Result<Vec<_>>>()?;
    let mut killed = 0;
    for (number, reader) in readers.into_iter().enumerate() {
        let status = reader.wait()?;
        let is_killed = number != SPARED && status.signal() == Some(Signal::KILL.as_raw());
        ensure!(
            is_killed || status.success(),
            "reader {number} of {READERS}: {status}"
        );
        killed += usize::from(is_killed);
    }
    println!("{killed} of {READERS} killed");
    Ok(killed)
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
