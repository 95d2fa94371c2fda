// SPDX-License-Identifier: GPL-2.0

//! The machine sleeps (ACPI S3) while files are in use: its memory stays as it is, processors and
//! devices are set up anew.

use std::{
    fs::File,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{anyhow, ensure, Result};
use erodax_agent::guest::{
    mapping::{MapFlags, Mapping, PAGE},
    sleep,
};

use super::{check_file, check_overwritten, content, overwrite, BIG, OPTIONS, WRITABLE};
use crate::{
    expectation::Entry,
    kinds::{mount_each, Kind},
    suites::{compressed::check_all, zoo},
};

/// What was mapped before is there afterwards, and whatever comes then works as before: faults,
/// reads, unmounting, unloading, and mounting once more.
pub(super) fn woken_while_used<K: Kind>() -> Result<()> {
    for options in OPTIONS {
        let kind = K::serve()?;
        let images = [zoo::PLAIN.name, zoo::CHUNKED.name];
        mount_each(&kind, &images, options, sleep_with_maps)?;
        mount_each(&kind, &images, options, check_all)?;
        kind.end()?;
    }
    Ok(())
}

fn sleep_with_maps(root: &Path, entries: &[Entry]) -> Result<()> {
    let file = File::open(root.join(BIG))?;
    let whole = content(&file)?;
    let (all, half) = (0..whole.len(), 0..whole.len() / 2);
    let seen = Mapping::read_only(&file, whole.len())?;
    ensure!(seen.bytes()[all.clone()] == whole, "before");
    let partly = Mapping::read_only(&file, whole.len())?;
    ensure!(partly.bytes()[half.clone()] == whole[half], "before");
    let mut own = Mapping::new(&file, 0, whole.len(), WRITABLE, MapFlags::PRIVATE)?;
    overwrite(&mut own);

    while_used(&file, &whole, sleep::to_memory)?;

    ensure!(seen.bytes()[all.clone()] == whole, "what was mapped");
    ensure!(
        partly.bytes()[all.clone()] == whole,
        "what was mapped partly"
    );
    check_overwritten(&own, &whole)?;
    seen.refault(0..seen.bytes().len())?;
    ensure!(seen.bytes()[all] == whole, "what is mapped again");
    check_file(&file, &whole)?;
    check_all(root, entries)
}

/// Something that is done with a file and its content.
type Use = fn(&File, &[u8]) -> Result<()>;

/// Does `work` while threads use the file, who go on for a while afterwards.
fn while_used(file: &File, whole: &[u8], work: impl FnOnce() -> Result<()>) -> Result<()> {
    const USES: [Use; 3] = [check_file, check_mapped, check_each_page];
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let is_over = &is_over;
        let users =
            USES.map(|use_once| scope.spawn(move || use_until(is_over, use_once, file, whole)));
        let done = work();
        is_over.store(true, Ordering::SeqCst);
        for user in users {
            user.join().map_err(|_| anyhow!("a user panicked"))??;
        }
        done
    })
}

/// The last time begins when it is over already.
fn use_until(is_over: &AtomicBool, use_once: Use, file: &File, whole: &[u8]) -> Result<()> {
    loop {
        let is_last = is_over.load(Ordering::SeqCst);
        use_once(file, whole)?;
        if is_last {
            return Ok(());
        }
    }
}

fn check_mapped(file: &File, whole: &[u8]) -> Result<()> {
    let map = Mapping::read_only(file, whole.len())?;
    ensure!(&map.bytes()[..whole.len()] == whole, "mapped");
    Ok(())
}

/// From the last page to the first, so that no fault continues another one's window.
fn check_each_page(file: &File, whole: &[u8]) -> Result<()> {
    let map = Mapping::read_only(file, whole.len())?;
    for at in (0..whole.len()).step_by(PAGE).rev() {
        ensure!(map.touch(at) == whole[at], "byte {at}");
    }
    Ok(())
}
