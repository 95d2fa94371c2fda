// SPDX-License-Identifier: GPL-2.0

//! Everything at once: processes that fault, fork, start programs and move mappings of the same
//! files while others mount and unmount them.

use std::{
    fs::{self, File},
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::{
    mapping::{MapFlags, Mapping, MprotectFlags, PAGE},
    pages::PageStructs,
    system::{in_child, Child},
};

use super::{accounts::Counts, check_overwritten, content, overwrite, BIG, PROGRAM, WRITABLE};
use crate::{
    erodax::{check_no_leak_in, Cycles},
    kinds::{Kind, Memory as Pages},
    programs, stress_seconds,
    suites::zoo,
};

/// What the processes and their leftovers may take in the end.
const ALLOWED_KIB: u64 = 1024;
const IMAGE: &str = zoo::PLAIN.name;

/// What a process does again and again.
type Work<'a> = dyn Fn(u64) -> Result<()> + 'a;

/// Each third of the time has a process of its own, which takes with it what it has allocated.
pub(super) fn everything_at_once<K: Kind>() -> Result<()> {
    let seconds = stress_seconds()?;
    // What is the same for all kinds of memory need not be tried so long with each.
    let time = match K::MEMORY {
        Pages::Ram => Duration::from_secs(seconds),
        Pages::Blocks | Pages::FsDax => Duration::from_secs(seconds) * 2 / 5,
    };
    let cycles = Cycles {
        warm_up: 1,
        counted: 2,
        allowed_kib: ALLOWED_KIB,
    };
    check_no_leak_in(&cycles, || in_process(|| all_for::<K>(time / 3)))
}

fn in_process(body: impl FnOnce() -> Result<()>) -> Result<()> {
    let status = in_child(body)?;
    ensure!(status.success(), "{status}");
    Ok(())
}

/// Every work at the same time, after which the pages of the image are as they were.
fn all_for<K: Kind>(time: Duration) -> Result<()> {
    let kind = K::serve()?;
    let structs = PageStructs::find()?;
    let before = Counts::of::<K>(&structs, kind.frames(IMAGE)?)?;
    let (files, program) = (kind.mount(IMAGE, "dax")?, kind.mount(PROGRAM.name, "dax")?);
    let path = files.path().join(BIG);
    let whole = content(&File::open(&path)?)?;

    let works: [(&str, Box<Work<'_>>); 6] = [
        ("fault", Box::new(|_| fault_in_threads(&path, &whole))),
        ("fork", Box::new(|_| fork(&path, &whole))),
        ("move", Box::new(|_| move_about(&path, &whole))),
        ("start", Box::new(|_| start(program.path()))),
        (
            "mount",
            Box::new(|round| mount_and_unmount(&kind, round, &whole)),
        ),
        ("read", Box::new(|_| read(&path, &whole))),
    ];
    let end = Instant::now() + time;
    let children = works
        .iter()
        .map(|(name, work)| Ok((*name, Child::start(|| repeat(name, work, end))?)))
        .collect::<Result<Vec<_>>>()?;
    for (name, child) in children {
        let status = child.wait()?;
        ensure!(status.success(), "{name}: {status}");
    }

    drop(works);
    files.unmount().context("umount")?;
    program.unmount().context("umount")?;
    Counts::of::<K>(&structs, kind.frames(IMAGE)?)?.check(&before)?;
    kind.end()
}

/// At least once: on a slow machine the time may be over before a process is there.
fn repeat(name: &str, work: &Work<'_>, end: Instant) -> Result<()> {
    let mut rounds = 0;
    loop {
        work(rounds).with_context(|| format!("{name}, round {rounds}"))?;
        rounds += 1;
        if Instant::now() >= end {
            println!("{name}: {rounds} rounds");
            return Ok(());
        }
    }
}

/// Threads read pages of one mapping while another one drops them.
fn fault_in_threads(path: &Path, whole: &[u8]) -> Result<()> {
    const READERS: usize = 3;
    const DROPPED: usize = 24;
    let map = Mapping::read_only(File::open(path)?, whole.len())?;
    let running = AtomicUsize::new(READERS);
    let wrong = thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|reader| {
                let (map, running) = (&map, &running);
                scope.spawn(move || {
                    let wrong = first_difference(map, whole, reader);
                    running.fetch_sub(1, Ordering::SeqCst);
                    wrong
                })
            })
            .collect();
        let mut first = 0;
        while running.load(Ordering::SeqCst) > 0 {
            let last = whole.len() / PAGE - DROPPED;
            map.refault(first * PAGE..(first + DROPPED) * PAGE)?;
            first = (first + 37) % last;
        }
        let mut found = readers.into_iter().map(|reader| reader.join());
        Ok(found.find_map(|found| found.unwrap_or(Some(usize::MAX))))
    });
    let wrong: Result<Option<usize>> = wrong;
    let wrong = wrong?;
    ensure!(wrong.is_none(), "byte {wrong:?}");
    Ok(())
}

/// Looks at one byte of each page, in an order of the reader's own.
fn first_difference(map: &Mapping, whole: &[u8], reader: usize) -> Option<usize> {
    let pages = whole.len() / PAGE;
    (0..4 * pages)
        .map(|step| (step * (2 * reader + 1) + 131 * reader) % pages * PAGE + step % PAGE)
        .find(|at| map.touch(*at) != whole[*at])
}

fn fork(path: &Path, whole: &[u8]) -> Result<()> {
    let file = File::open(path)?;
    let mut map = Mapping::new(&file, 0, whole.len(), WRITABLE, MapFlags::PRIVATE)?;
    overwrite(&mut map);
    in_process(|| {
        check_overwritten(&map, whole)?;
        map.bytes_mut()[..100 * PAGE].fill(0xff);
        Ok(())
    })?;
    check_overwritten(&map, whole)
}

fn move_about(path: &Path, whole: &[u8]) -> Result<()> {
    let file = File::open(path)?;
    let mut map = Mapping::new(&file, 0, whole.len(), WRITABLE, MapFlags::PRIVATE)?;
    overwrite(&mut map);
    for pages in [500, 10, 700] {
        map.relocate()?;
        map.resize(pages * PAGE)?;
        map.protect(PAGE..5 * PAGE, MprotectFlags::READ)?;
        // The parts become one again, or they could not be moved together.
        map.protect(PAGE..5 * PAGE, MprotectFlags::READ | MprotectFlags::WRITE)?;
        ensure!(map.touch(3 * PAGE) == !whole[3 * PAGE], "a written page");
        ensure!(map.touch((pages - 1) * PAGE + 1) == whole[(pages - 1) * PAGE + 1]);
    }
    Ok(())
}

fn start(root: &Path) -> Result<()> {
    let status = programs::command(root, "end").status()?;
    ensure!(status.success(), "{status}");
    Ok(())
}

/// A mount of its own, which goes in the middle of its use every other time.
fn mount_and_unmount<K: Kind>(kind: &K, round: u64, whole: &[u8]) -> Result<()> {
    // A DAX device is in use by one filesystem, with one set of options.
    let options = if round % 4 < 2 || K::MEMORY == Pages::FsDax {
        "dax"
    } else {
        "dax=never"
    };
    let mount = kind.mount_at(IMAGE, options, "stress")?;
    let file = File::open(mount.path().join(BIG))?;
    let map = Mapping::read_only(&file, whole.len())?;
    ensure!(map.bytes()[..whole.len() / 2] == whole[..whole.len() / 2]);
    if round % 2 == 0 {
        mount.detach()?;
        ensure!(map.bytes()[..whole.len()] == *whole, "after umount --lazy");
        drop((map, file));
    } else {
        drop((map, file));
        mount.unmount()?;
    }
    Ok(())
}

fn read(path: &Path, whole: &[u8]) -> Result<()> {
    ensure!(fs::read(path)? == whole, "read(2) gives something else");
    Ok(())
}
