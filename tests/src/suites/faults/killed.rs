// SPDX-License-Identifier: GPL-2.0

//! Readers that are killed in the middle of something long.

use std::{
    fs::{self, File},
    os::unix::process::ExitStatusExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::{
    calls::{count_extents, read_repeatedly},
    mapping::{MapFlags, Mapping, ProtFlags},
    memory::drop_page_cache,
    system::Child,
};
use rustix::{
    fs::{seek, RawDir, SeekFrom},
    process::{kill_process, Signal},
};

use crate::{
    erodax::{expectation, mount, serve_initrd, unload, Device},
    image::{Image, LONG_HOLE_FILE, LONG_MAP_FILE},
    suites::{
        compressed::{self, check_all},
        formats, zoo,
    },
};

/// How long a process may live on, on a busy machine, that reads what fits into its memory.
const SOON: Duration = Duration::from_secs(10);
const ROUNDS: u32 = 8;

/// Kills a process that does nothing else than this, which would take much longer if it went on to its
/// end.
fn check_is_broken_off(what: &str, work: impl Fn() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    work()?;
    let whole = start.elapsed();
    println!("{what}: {} ms if nobody is killed", whole.as_millis());
    check_dies_within(whole / 3, what, work)
}

/// Kills a process that does nothing else than this, each time a little later.
fn check_dies_within(limit: Duration, what: &str, work: impl Fn() -> Result<()>) -> Result<()> {
    for round in 1..=ROUNDS {
        let child = Child::start(|| loop {
            work()?;
        })?;
        thread::sleep(Duration::from_millis(30) * round);
        kill_process(child.pid(), Signal::KILL)?;
        let killed = Instant::now();
        let status = child.wait()?;
        let lived = killed.elapsed();
        ensure!(
            status.signal() == Some(Signal::KILL.as_raw()),
            "{what}: {status}"
        );
        ensure!(lived < limit, "{what}: alive for {lived:?} after SIGKILL");
        println!("{what}: {} ms", lived.as_millis());
    }
    Ok(())
}

/// Runs `body` on the root of an image that is mounted.
fn with_mount(image: &Image, body: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let module = serve_initrd()?;
    let mounted = mount(image.name, "")?;
    body(mounted.path()).with_context(|| image.name)?;
    mounted.unmount()?;
    unload(module)
}

/// What a killed reader has left in the page cache is right, too.
pub(super) fn in_a_file() -> Result<()> {
    for image in [compressed::LZ4_LARGE, compressed::LZMA] {
        with_mount(&image, |root| {
            let path = root.join("mixed/large");
            check_dies_within(SOON, "decoding", || {
                drop_page_cache()?;
                fs::read(&path)?;
                Ok(())
            })?;
            check_dies_within(SOON, "decoding for a mapping", || {
                drop_page_cache()?;
                let file = File::open(&path)?;
                let len = usize::try_from(file.metadata()?.len())?;
                let flags = MapFlags::PRIVATE | MapFlags::POPULATE;
                Mapping::new(&file, 0, len, ProtFlags::READ, flags)?;
                Ok(())
            })?;
            check_all(root, &expectation(image.name)?)
        })?;
    }
    with_mount(&zoo::LONG, |root| {
        let hole = File::open(root.join(LONG_HOLE_FILE))?;
        check_is_broken_off("reading 2 GiB of zeros", || {
            let read = read_repeatedly(&hole, &mut vec![1; 2 << 20])?;
            ensure!(read > 1 << 30, "{read} bytes");
            Ok(())
        })
    })
}

pub(super) fn in_a_list() -> Result<()> {
    with_mount(&formats::CROWD, |root| {
        check_dies_within(SOON, "listing", || {
            let mut room = Vec::with_capacity(8 << 20);
            let links = File::open(root.join("links"))?;
            let mut names = RawDir::new(links, room.spare_capacity_mut());
            // All of them are listed by one call, and not looked at: it is this call that is killed.
            names.next().context("nothing is listed")??;
            Ok(())
        })
    })
}

/// Where a file's bytes lie: that may be at millions of places.
pub(super) fn in_a_map() -> Result<()> {
    with_mount(&zoo::LONG, |root| {
        let file = File::open(root.join(LONG_MAP_FILE))?;
        check_is_broken_off("counting extents", || {
            count_extents(&file)?;
            Ok(())
        })?;
        check_is_broken_off("looking for a hole", || {
            seek(&file, SeekFrom::Hole(0))?;
            Ok(())
        })
    })
}

pub(super) fn in_a_device() -> Result<()> {
    let module = serve_initrd()?;
    let node = Device::of(zoo::LONG.name)?.node;
    check_dies_within(SOON, "reading a device", || {
        fs::read(&node)?;
        Ok(())
    })?;
    check_dies_within(SOON, "mapping a device", || {
        let file = File::open(&node)?;
        let len = usize::try_from(Device::of(zoo::LONG.name)?.size)?;
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        Mapping::new(&file, 0, len, ProtFlags::READ, flags)?;
        Ok(())
    })?;
    unload(module)
}
