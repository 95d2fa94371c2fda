// SPDX-License-Identifier: GPL-2.0

//! Readers whose page cache is taken away.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::mount::Mount;

use super::{check, images};
use crate::{erodax::with_each, expectation::Entry, image::Image};

/// Images with large pclusters, with what many files share, and with the largest decoder.
pub(super) const IMAGES: [Image; 3] = [images::LZ4[3], images::ZSTD_SHARED, images::LZMA];

const NAMES: [&str; 3] = [IMAGES[0].name, IMAGES[1].name, IMAGES[2].name];
const READERS: usize = 4;

/// Each of them reads everything, beginning elsewhere.
fn all_at_once(root: &Path, entries: &[Entry]) -> Result<()> {
    thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|reader| {
                let (before, after) = entries.split_at(entries.len() * reader / READERS);
                let mut order = after.iter().chain(before);
                scope.spawn(move || order.try_for_each(|entry| check(root, entry)))
            })
            .collect();
        let results = readers.into_iter().map(thread::ScopedJoinHandle::join);
        let results: Vec<_> = results.collect();
        results
            .into_iter()
            .try_for_each(|result| result.expect("no reader panics"))
    })
}

/// While the page cache of all files is dropped again and again.
pub(super) fn concurrent_readers() -> Result<()> {
    const PAUSE: Duration = Duration::from_millis(30);
    with_each(&NAMES, "", |root, entries| {
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let dropper = scope.spawn(|| -> Result<u32> {
                let mut times = 0;
                while !is_over.load(Ordering::Relaxed) {
                    drop_caches()?;
                    times += 1;
                    thread::sleep(PAUSE);
                }
                Ok(times)
            });
            let read = all_at_once(root, entries);
            is_over.store(true, Ordering::Relaxed);
            let times = dropper.join().expect("does not panic")?;
            ensure!(times > 5, "dropped {times} times only");
            read
        })
    })
}

/// Drops what is clean in the page cache.
fn drop_caches() -> Result<()> {
    // Without a line in the kernel log, from now on.
    for value in ["4", "1"] {
        fs::write("/proc/sys/vm/drop_caches", value).context("drop_caches")?;
    }
    Ok(())
}

/// Readers who may have less memory than there are bytes in the files.
pub(super) fn in_a_small_cgroup() -> Result<()> {
    const LIMIT: &str = "8M";
    let cgroups = Mount::new("cgroup2", "none", "", "/mnt/cgroup")?;
    fs::write(cgroups.path().join("cgroup.subtree_control"), "+memory")?;
    let group = cgroups.path().join("small");
    fs::create_dir(&group)?;
    fs::write(group.join("memory.max"), LIMIT)?;
    // What is cached already is not this group's.
    drop_caches()?;
    let own = std::process::id().to_string();
    fs::write(group.join("cgroup.procs"), &own)?;
    let read = with_each(&NAMES, "", all_at_once);
    let events = fs::read_to_string(group.join("memory.events"))?;
    fs::write(cgroups.path().join("cgroup.procs"), &own)?;
    fs::remove_dir(&group)?;
    cgroups.unmount()?;
    let count = |name: &str| -> Result<u64> {
        let line = events.lines().find_map(|line| line.strip_prefix(name));
        let count = line.with_context(|| format!("no {name:?} in {events:?}"))?;
        Ok(count.trim().parse()?)
    };
    ensure!(count("max ")? > 0, "{LIMIT} were enough: {events:?}");
    ensure!(count("oom ")? == 0, "out of memory: {events:?}");
    read
}

pub(super) fn reads_everything() -> Result<()> {
    for _ in 0..2 {
        with_each(&NAMES, "", all_at_once)?;
    }
    Ok(())
}
