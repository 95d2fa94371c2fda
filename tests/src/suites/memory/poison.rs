// SPDX-License-Identifier: GPL-2.0

//! Pages that the hardware has lost, as the kernel is told by `MADV_HWPOISON`.

use std::{
    fs::{self, File},
    ops::Range,
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::{
    mapping::{Advice, MapFlags, Mapping, ProtFlags, PAGE},
    system::in_child,
};

use super::{check_dies, content, signal, BIG};
use crate::{
    kinds::{Kind, Memory},
    process::Process,
    suites::zoo,
};

/// The page that is lost.
const LOST: usize = 7;

/// Programs that have the page mapped get SIGBUS, others do not. Pages of a carve-out have no file
/// that the kernel could find programs by: these get it when they use the page.
pub(super) fn kills_users_only<K: Kind>() -> Result<()> {
    const EARLY: &str = "/proc/sys/vm/memory_failure_early_kill";
    let is_found = K::MEMORY == Memory::FsDax;
    let kind = K::serve()?;
    let mount = kind.mount(zoo::PLAIN.name, "dax")?;
    let file = File::open(mount.path().join(BIG))?;
    let whole = content(&file)?;
    // Not only when they use it the next time.
    fs::write(EARLY, "1")?;
    let processes = [
        user(&file, &whole, LOST - 1..LOST + 2, is_found)?,
        user(&file, &whole, 0..LOST, false)?,
        user(&file, &whole, LOST + 1..2 * LOST, false)?,
    ];
    let injector = in_child(|| {
        let mut map = Mapping::read_only(&file, whole.len())?;
        map.touch(LOST * PAGE);
        map.advise(LOST * PAGE..(LOST + 1) * PAGE, Advice::LinuxHwPoison)?;
        check_signalled(is_found)
    })?;
    fs::write(EARLY, "0")?;
    ensure!(injector.success(), "who lost it: {injector}");
    for process in processes {
        let status = process.end()?;
        ensure!(status.success(), "{status}");
    }
    if !is_found {
        let map = Mapping::read_only(&file, whole.len())?;
        check_dies(signal::BUS, || map.touch(LOST * PAGE))?;
    }
    drop(file);
    mount.unmount()?;
    kind.end()
}

/// Whether this process has had SIGBUS. The first one is caught by the standard library, which
/// looks whether a stack has overflowed, and does not catch the next one.
fn check_signalled(expected: bool) -> Result<()> {
    let status = fs::read_to_string("/proc/self/status")?;
    let mut lines = status.lines();
    let caught = lines.find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = u64::from_str_radix(caught.context("no SigCgt")?.trim(), 16)?;
    let was_signalled = caught & (1 << (signal::BUS - 1)) == 0;
    ensure!(was_signalled == expected, "SIGBUS: {was_signalled}");
    Ok(())
}

/// A process that has pages of the file mapped. In the end it checks whether it has had SIGBUS.
fn user(file: &File, whole: &[u8], pages: Range<usize>, is_signalled: bool) -> Result<Process> {
    let bytes = pages.start * PAGE..pages.end * PAGE;
    let at = u64::try_from(bytes.start)?;
    Process::start(
        || {
            let (read, shared) = (ProtFlags::READ, MapFlags::SHARED);
            let map = Mapping::new(file, at, bytes.len(), read, shared)?;
            ensure!(*map.bytes() == whole[bytes.clone()], "before");
            Ok(map)
        },
        |_map| check_signalled(is_signalled),
    )
}
