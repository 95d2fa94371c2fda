// SPDX-License-Identifier: GPL-2.0

//! Readers whose page cache is taken away.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{ensure, Result};
use erodax_agent::guest::memory::drop_page_cache;

use super::{check, images};
use crate::{cgroup::Cgroup, erodax::with_each, expectation::Entry, image::Image};

/// Images with large pclusters, with what many files share, and with the largest decoder.
const IMAGES: [Image; 3] = [images::LZ4_LARGE, images::ZSTD_SHARED, images::LZMA];

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
                    drop_page_cache()?;
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

/// Readers who may have less memory than there are bytes in the files.
pub(super) fn in_a_small_cgroup() -> Result<()> {
    const LIMIT: &str = "8M";
    let group = Cgroup::new(&[("memory.max", LIMIT)])?;
    group.enter()?;
    let read = with_each(&NAMES, "", all_at_once);
    group.leave()?;
    let (met, oom) = (group.count("max")?, group.count("oom")?);
    group.remove()?;
    ensure!(met > 0, "{LIMIT} were enough");
    ensure!(oom == 0, "out of memory {oom} times");
    read
}

/// Readers who are made to wait for having used too much memory (`memory.high`), while the page
/// cache is dropped as well.
pub(super) fn slowed_down() -> Result<()> {
    const HIGH: &str = "6M";
    let group = Cgroup::new(&[("memory.high", HIGH)])?;
    group.enter()?;
    let read = concurrent_readers();
    group.leave()?;
    let met = group.count("high")?;
    group.remove()?;
    ensure!(met > 0, "{HIGH} were enough");
    read
}
