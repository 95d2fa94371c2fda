// SPDX-License-Identifier: GPL-2.0

//! Devices that go below a mount: what is used of it gets errors, and no more.

use std::{
    fs::{self, File},
    io,
    os::unix::process::ExitStatusExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{bail, ensure, Context, Result};
use erodax_agent::guest::{
    mapping::{Mapping, PAGE},
    memory::drop_page_cache,
    module,
    mount::Mount,
    system::{splice_pages, Child},
};
use rustix::{io::Errno, pipe::pipe};

use super::{
    kinds::{Kind, Source, Unplugged, ALL},
    with_source,
};
use crate::{
    beside::OTHER_NAME,
    erodax::{load, mount_source, unload},
    suites::{
        compressed,
        memory::{check_dies, signal},
        zoo,
    },
};

/// An image that `fs/dax.c` maps, one whose pages are inserted, and one that is decoded; with a file
/// of each.
const IMAGES: [(&str, &str); 3] = [
    (zoo::PLAIN.name, "big"),
    (zoo::CHUNKED.name, "big"),
    (compressed::LZ4_LARGE.name, "mixed/large"),
];

/// How a device goes.
type Way = fn(&Source) -> Result<Unplugged>;

/// The ways of a kind from which it can come back.
fn ways_and_back(kind: Kind) -> Vec<Way> {
    match kind {
        Kind::Virtio => vec![Source::unplug, Source::pull_out],
        Kind::E820 | Kind::Ramdax | Kind::Fsdev => vec![Source::unplug],
    }
}

fn all_ways(kind: Kind) -> Vec<Way> {
    let mut ways = ways_and_back(kind);
    ways.push(Source::unplug_provider);
    ways
}

/// Runs `body` with every kind of device, each of the images on it, and each way to go. It is told
/// the name of the image's file.
fn each_case(
    images: &[(&str, &str)],
    ways: fn(Kind) -> Vec<Way>,
    body: fn(&Source, &str, Way) -> Result<()>,
) -> Result<()> {
    for kind in ALL {
        for (image, name) in images {
            for (number, way) in ways(kind).into_iter().enumerate() {
                with_source(kind, image, 0, |source| body(source, name, way))
                    .with_context(|| format!("{image} on {kind:?}, way {number}"))?;
            }
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, Option<Errno>> {
    fs::read(path).map_err(|error: io::Error| Errno::from_io_error(&error))
}

/// Whoever reads a file is told that there is no device.
fn check_gone(path: &Path) -> Result<()> {
    let read = read(path).map(|bytes| bytes.len());
    ensure!(read == Err(Some(Errno::NODEV)), "read: {read:?}");
    Ok(())
}

/// Whoever has a file open or mapped gets errors from then on.
pub(super) fn errors_afterwards() -> Result<()> {
    each_case(&IMAGES, all_ways, |source, name, unplug| {
        let mount = mount_source(&source.node, "", "pmem")?;
        let path = mount.path().join(name);
        let whole = fs::read(&path)?;
        let file = File::open(&path)?;
        let map = Mapping::read_only(&file, whole.len())?;
        ensure!(map.bytes()[..whole.len()] == whole, "before");
        let _ = unplug(source)?;
        // What is decoded already stays, as long as there is memory for it.
        map.refault(0..map.bytes().len())?;
        drop_page_cache()?;
        check_dies(signal::BUS, || map.touch(7 * PAGE))?;
        check_gone(&path)?;
        drop((map, file));
        Ok(mount.unmount()?)
    })
}

/// The same device comes back while the mount that it went from is still there.
pub(super) fn plugged_again() -> Result<()> {
    each_case(&IMAGES[..1], ways_and_back, |source, name, unplug| {
        let old = mount_source(&source.node, "dax", "old")?;
        let whole = fs::read(old.path().join(name))?;
        unplug(source)?.plug(source)?;
        let new = mount_source(&source.node, "dax", "new")?;
        let path = new.path().join(name);
        ensure!(fs::read(&path)? == whole, "read");
        let map = Mapping::read_only(File::open(&path)?, whole.len())?;
        ensure!(map.bytes()[..whole.len()] == whole, "mapped");
        drop(map);
        check_gone(&old.path().join(name)).context("the old mount")?;
        old.unmount()?;
        ensure!(fs::read(&path)? == whole, "read after the other's end");
        // The device is the new mount's, which is told when it goes once more.
        let _ = unplug(source)?;
        check_gone(&path).context("the new mount")?;
        Ok(new.unmount()?)
    })
}

/// Readers and mappers are in the middle of their work.
pub(super) fn while_used() -> Result<()> {
    const LIMIT: Duration = Duration::from_secs(20);
    each_case(&IMAGES, ways_and_back, |source, name, unplug| {
        let mount = mount_source(&source.node, "", "pmem")?;
        let path = mount.path().join(name);
        let whole = fs::read(&path)?;
        let reader = Child::start(|| read_until_gone(&path, &whole))?;
        let file = File::open(&path)?;
        let mapper = Child::start(|| map_for_ever(&file, &whole))?;
        thread::sleep(Duration::from_millis(200));
        let begin = Instant::now();
        let _ = unplug(source)?;
        let status = reader.wait()?;
        ensure!(status.success(), "the reader: {status}");
        let status = mapper.wait()?;
        ensure!(status.signal() == Some(signal::BUS), "the mapper: {status}");
        ensure!(begin.elapsed() < LIMIT, "after {:?}", begin.elapsed());
        drop(file);
        Ok(mount.unmount()?)
    })
}

fn read_until_gone(path: &Path, whole: &[u8]) -> Result<()> {
    loop {
        drop_page_cache()?;
        match read(path) {
            Ok(bytes) => ensure!(bytes == whole, "another content"),
            Err(Some(Errno::NODEV)) => return Ok(()),
            Err(error) => bail!("read: {error:?}"),
        }
    }
}

/// Ends by SIGBUS.
fn map_for_ever(file: &File, whole: &[u8]) -> Result<()> {
    loop {
        drop_page_cache()?;
        let map = Mapping::read_only(file, whole.len())?;
        ensure!(map.bytes()[..whole.len()] == *whole, "another content");
    }
}

/// A device of which somebody has a page for long stays until it is given back.
pub(super) fn held_by_a_page() -> Result<()> {
    for (image, name) in &IMAGES[..2] {
        with_source(Kind::E820, image, 0, |source| {
            let mount = mount_source(&source.node, "dax", "pmem")?;
            let path = mount.path().join(name);
            let whole = fs::read(&path)?;
            let map = Mapping::read_only(File::open(&path)?, whole.len())?;
            let (reading, writing) = pipe()?;
            let spliced = splice_pages(&writing, &map.bytes()[..PAGE])?;
            ensure!(spliced == PAGE, "{spliced} bytes");
            drop((map, writing));
            let unplugging = Child::start(|| source.unplug().map(drop))?;
            thread::sleep(Duration::from_millis(500));
            let stat = fs::read_to_string(format!("/proc/{}/stat", unplugging.pid()))?;
            ensure!(!stat.contains(") Z "), "gone with a page in a pipe");
            let mut page = vec![0; PAGE];
            rustix::io::read(&reading, &mut page)?;
            ensure!(page == whole[..PAGE], "another content in the pipe");
            let status = unplugging.wait()?;
            ensure!(status.success(), "{status}");
            Ok(mount.unmount()?)
        })
        .with_context(|| (*image).to_owned())?;
    }
    Ok(())
}

/// What the kernel's own driver says when its device is gone (docs/differences.md). No page is
/// mapped before: the driver would not forget it, and looks at page structs that have gone with the
/// device when the page is unmapped, or when the inode is evicted.
pub(super) fn beside_stock() -> Result<()> {
    let stock = module::load("erofs")?;
    let module = load(&format!("region=initrd fstype={OTHER_NAME}"))?;
    let (image, name) = IMAGES[0];
    let source = Kind::E820.with_image(image, 0)?;
    let theirs = Mount::new("erofs", &source.node, "dax", "/mnt/theirs")?;
    let path = theirs.path().join(name);
    let whole = fs::read(&path)?;
    let map = Mapping::read_only(File::open(&path)?, whole.len())?;
    let _ = source.unplug()?;
    let read = read(&path).map(|bytes| bytes.len());
    ensure!(read == Err(Some(Errno::NXIO)), "read: {read:?}");
    check_dies(signal::BUS, || map.touch(7 * PAGE))?;
    drop(map);
    theirs.unmount()?;
    source.remove()?;
    unload(module)?;
    drop(stock);
    Ok(())
}
