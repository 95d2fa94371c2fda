// SPDX-License-Identifier: GPL-2.0

//! Bytes that change under a mount: whoever is root can write to a pmem device.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{ensure, Context, Result};
use erodax_mutation::mutate;

use super::{
    ground::bytes_of,
    images,
    truncated::{walk, Tally},
};
use crate::{
    erodax::{load, mount_source, unload, GOOD},
    stress_seconds,
    suites::fsdax::kinds::{write, Kind, PMEM},
};

/// Whatever they read, nobody hangs, and the kernel complains of nothing. When the bytes are as
/// they were, so are the files.
pub(super) fn on(kind: Kind) -> Result<()> {
    bytes_of(GOOD)?;
    let module = load("").context("insmod")?;
    let source = kind.set_up()?;
    for image in [images::FLAT, images::CHUNKS, images::TAILS, images::RECORDS] {
        let bytes = bytes_of(image.name)?;
        for options in ["", "dax=never"] {
            write(&source.node, &bytes, 0)?;
            let shown = || format!("{} with {options:?}", image.name);
            let mount = mount_source(&source.node, options, "changing").with_context(shown)?;
            let steady = walk(mount.path())?;
            ensure!(steady.errors.is_empty(), "before: {steady:?}");
            let seconds = Duration::from_secs(stress_seconds()?.div_ceil(8));
            let changes = change_under(mount.path(), &bytes, seconds).with_context(shown)?;
            println!("{}: {changes}", shown());
            write(&source.node, &bytes, 0)?;
            mount.unmount()?;
            let mount = mount_source(&source.node, options, "changed").with_context(shown)?;
            let again = walk(mount.path())?;
            ensure!(
                again.errors.is_empty() && again.answers == steady.answers,
                "after: {again:?}"
            );
            mount.unmount()?;
        }
    }
    source.remove()?;
    unload(module)
}

/// Walks over the tree while fields change and become right again; tells how often.
fn change_under(root: &Path, bytes: &[u8], time: Duration) -> Result<String> {
    let end = AtomicBool::new(false);
    thread::scope(|scope| {
        let walkers = [(); 2].map(|()| {
            scope.spawn(|| -> Result<Tally> {
                let mut sum = Tally::default();
                while !end.load(Ordering::Relaxed) {
                    let tally = walk(root)?;
                    sum.answers += tally.answers;
                    sum.errors.extend(tally.errors);
                }
                Ok(sum)
            })
        });
        let changes = change(bytes, time);
        end.store(true, Ordering::Relaxed);
        let mut shown = format!("{} changes", changes?);
        for walker in walkers {
            let tally = walker.join();
            let tally = tally.unwrap_or_else(|_| anyhow::bail!("a reader panics"))?;
            shown += &format!(
                ", {} errors in {} answers",
                tally.errors.len(),
                tally.answers
            );
        }
        Ok(shown)
    })
}

/// Changes fields, and changes them back, for some time.
fn change(bytes: &[u8], time: Duration) -> Result<usize> {
    const BLOCK: usize = 4096;
    let device = OpenOptions::new().write(true).open(PMEM)?;
    let deadline = Instant::now() + time;
    let mut changes = 0;
    while Instant::now() < deadline {
        let mut changed = bytes.to_vec();
        mutate::image(&mut changed, &[], u64::try_from(changes)?);
        changes += 1;
        let blocks = || changed.chunks(BLOCK).zip(bytes.chunks(BLOCK));
        let other = (0..).step_by(BLOCK).zip(blocks());
        let other: Vec<_> = other.filter(|(_, (new, old))| new != old).collect();
        for (at, (new, _)) in &other {
            device.write_all_at(new, *at)?;
        }
        device.sync_all()?;
        // Inodes and listings are read anew.
        fs::write("/proc/sys/vm/drop_caches", "3")?;
        for (at, (_, old)) in &other {
            device.write_all_at(old, *at)?;
        }
        device.sync_all()?;
    }
    Ok(changes)
}
