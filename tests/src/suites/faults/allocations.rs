// SPDX-License-Identifier: GPL-2.0

//! Every allocation fails once: the first one of an operation, then the second one, until it has no
//! more.

use std::{
    cell::RefCell,
    fs::{self, File},
    io::{self, Read},
    mem::MaybeUninit,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{bail, ensure, Context, Result};
use erodax_agent::guest::{
    calls::{self, FileExtent},
    injection::{Injection, Whose},
    kmemleak::Kmemleak,
    mapping::{Mapping, PAGE},
    memory::drop_caches,
    mount::Mount,
    system::read_own_memory,
};
use rustix::{
    fs::{getxattr, listxattr, readlink, stat, statfs, RawDir},
    io::Errno,
    mount::{unmount, UnmountFlags},
};

use crate::{
    erodax::{load, mount, mount_source, serve_initrd, unload, Device, Footprint, GOOD, MOUNTS},
    image::{Image, HELLO},
    suites::{compressed, zoo},
    Test,
};

/// More allocations than any operation has.
const MANY: u32 = 5000;

pub(super) const LOADING: &[Test] = &[patient("loading", loading)];

pub(super) const TESTS: &[Test] = &[
    patient("mounting", mounting),
    patient("names", names),
    patient("attributes", attributes),
    patient("reading", reading),
    patient("decoding", decoding),
    patient("compressed_metadata", compressed_metadata),
    patient("mapping", mapping),
    patient("device", device),
];

const fn patient(name: &'static str, run: fn() -> Result<()>) -> Test {
    Test {
        limit: 1200,
        ..Test::new(name, run)
    }
}

/// Runs `body`, after which no memory may be lost, and the module must be unloaded.
fn without_leaks(body: impl FnOnce() -> Result<()>) -> Result<()> {
    let leaks = Kmemleak::begin()?.context("the kernel has no kmemleak")?;
    body()?;
    leaks.end()
}

/// Runs `body` with an image mounted.
fn with_mount(
    image: &Image,
    options: &str,
    body: impl FnOnce(&Failing, &Path) -> Result<()>,
) -> Result<()> {
    without_leaks(|| {
        let module = serve_initrd()?;
        let mounted = mount(image.name, options)?;
        let failing = Failing::new(Whose::Any)?;
        body(&failing, mounted.path()).with_context(|| image.name)?;
        failing.injection.end()?;
        mounted.unmount()?;
        unload(module)
    })
}

/// Has the allocations of operations fail.
struct Failing {
    injection: Injection,
}

impl Failing {
    fn new(whose: Whose) -> Result<Self> {
        Ok(Self {
            injection: Injection::prepare(whose)?,
        })
    }

    /// Runs an operation again and again, each time with another allocation failing, after
    /// `prepare`. It must give the right answer (`true`) or fail with one of these errors; and
    /// give the right answer when it is tried once more.
    fn each<S>(
        &self,
        what: &str,
        errors: &[Errno],
        prepare: impl Fn() -> Result<S>,
        operation: impl Fn(&S) -> io::Result<bool>,
    ) -> Result<()> {
        let begin = Instant::now();
        for nth in 1..MANY {
            let state = prepare().with_context(|| format!("{what}: before allocation {nth}"))?;
            let (answer, has_failed) = self.injection.with_nth(nth, || operation(&state))?;
            let errno = match answer {
                Ok(is_right) => {
                    ensure!(is_right, "{what}: a wrong answer without allocation {nth}");
                    None
                }
                Err(error) => Errno::from_io_error(&error),
            };
            let is_known = errno.is_none_or(|errno| has_failed && errors.contains(&errno));
            ensure!(is_known, "{what}: {errno:?} without allocation {nth}");
            let again = operation(&state);
            ensure!(
                matches!(again, Ok(true)),
                "{what}: {again:?} once allocation {nth} had failed"
            );
            if !has_failed {
                println!("{what}: {} allocations, {:?}", nth - 1, begin.elapsed());
                ensure!(nth > 1, "{what} allocates nothing");
                return Ok(());
            }
        }
        bail!("{what}: no end after {MANY} allocations")
    }

    /// As [`Self::each`], beginning without anything in caches, and with `ENOMEM` as the error.
    fn each_cold(&self, what: &str, operation: impl Fn() -> io::Result<bool>) -> Result<()> {
        self.each(what, &[Errno::NOMEM], drop_caches, |()| operation())
    }
}

/// The allocations of the module itself, and of what it calls: those of the module loader are a
/// thousand more.
fn loading() -> Result<()> {
    without_leaks(|| {
        let failing = Failing::new(Whose::Modules)?;
        let before = Footprint::now()?;
        for parameters in ["region=initrd", ""] {
            let prepare = || before.check();
            failing.each(parameters, &[Errno::NOMEM], prepare, |()| {
                let loaded = load(parameters)?;
                let removed = loaded.remove();
                Ok(removed.map_err(|(_, errno)| errno).map(|()| true)?)
            })?;
        }
        failing.injection.end()
    })
}

/// Mounted and unmounted, both with failures. What fails outside of the module is the same whatever
/// is mounted: that is tried with one image only. The others have what it lacks: no compression,
/// the other decoders, a packed inode.
fn mounting() -> Result<()> {
    without_leaks(|| {
        let module = serve_initrd()?;
        let failing = Failing::new(Whose::Any)?;
        mount_failing(&failing, compressed::METABOX.name)?;
        failing.injection.end()?;
        let failing = Failing::new(Whose::Modules)?;
        for image in [
            GOOD,
            compressed::LZMA.name,
            compressed::DEFLATE.name,
            compressed::ZSTD_SHARED.name,
        ] {
            mount_failing(&failing, image)?;
        }
        failing.injection.end()?;
        unload(module)
    })
}

fn mount_failing(failing: &Failing, image: &str) -> Result<()> {
    const TARGET: &str = "/mnt/failing";
    let node = Device::of(image)?.node;
    // What could not be unmounted. Nothing of a superblock that is gone is in any cache.
    let prepare = || {
        while unmount(TARGET, UnmountFlags::empty()).is_ok() {}
        Ok(())
    };
    // That there is a directory already which cannot be looked at is `create_dir_all`'s.
    let errors = [Errno::NOMEM, Errno::EXIST];
    failing.each(image, &errors, prepare, |()| {
        let mounted = mount_source(&node, "", "failing");
        let mounted = mounted.map_err(|error| error.errno)?;
        Ok(mounted.unmount().map(|()| true)?)
    })?;
    prepare()
}

fn names() -> Result<()> {
    with_mount(&zoo::INLINE, "", |failing, root| {
        let file = root.join("sizes/4097");
        failing.each_cold("stat", || Ok(stat(&file)?.st_size == 4097))?;
        let missing = root.join("sizes/none");
        failing.each_cold("stat of nothing", || {
            Ok(match stat(&missing) {
                Err(Errno::NOENT) => true,
                other => other.map(|_| false)?,
            })
        })?;
        list(failing, &root.join("sizes"))?;
        let handle = calls::name_to_handle(&file)?;
        let directory = File::open(root)?;
        failing.each_cold("open by handle", || {
            let opened = File::from(calls::open_by_handle(&directory, &handle)?);
            Ok(opened.metadata()?.len() == 4097)
        })
    })
}

fn list(failing: &Failing, directory: &Path) -> Result<()> {
    let count = fs::read_dir(directory)?.count();
    let room = RefCell::new(vec![MaybeUninit::new(0_u8); 1 << 16]);
    failing.each_cold("readdir", || {
        let mut room = room.borrow_mut();
        let mut names = RawDir::new(File::open(directory)?, &mut room);
        let mut found = 0;
        while let Some(name) = names.next() {
            found += usize::from(!name?.file_name().to_bytes().starts_with(b"."));
        }
        Ok(found == count)
    })
}

fn attributes() -> Result<()> {
    with_mount(&zoo::INLINE, "", |failing, root| {
        let file = root.join("sizes/4097");
        failing.each_cold("statfs", || Ok(statfs(root)?.f_bsize == 4096))?;
        for entry in crate::erodax::expectation(zoo::INLINE.name)? {
            let path = root.join(entry.path());
            if let Some(target) = entry.target.filter(|target| target.len() > 100) {
                failing.each_cold("readlink", || {
                    Ok(readlink(&path, Vec::new())?.to_bytes() == target)
                })?;
            } else if let Some((name, value)) =
                entry.xattrs.first().filter(|_| entry.size.is_some())
            {
                let mut room = vec![1_u8; 1 << 16];
                let len = listxattr(&path, &mut room)?;
                failing.each_cold("listxattr", || {
                    Ok(listxattr(&path, &mut [0_u8; 1 << 12])? == len)
                })?;
                failing.each_cold("getxattr", || {
                    let mut found = [0_u8; 1 << 12];
                    let len = getxattr(&path, name.as_str(), &mut found)?;
                    Ok(found[..len] == value[..])
                })?;
                break;
            }
        }
        let extents = calls::extents(File::open(&file)?, 0, u64::MAX)?;
        failing.each_cold("FIEMAP", || {
            let found = calls::extents(File::open(&file)?, 0, u64::MAX)?;
            Ok(found == extents
                && found
                    .last()
                    .is_some_and(|last| last.flags & FileExtent::LAST != 0))
        })?;
        for attribute in attributes_of_mounts()? {
            let text = fs::read(&attribute)?;
            let what = attribute.display().to_string();
            failing.each_cold(&what, || {
                let mut found = [0; PAGE];
                let len = File::open(&attribute)?.read(&mut found)?;
                Ok(found[..len] == text)
            })?;
        }
        Ok(())
    })
}

/// Some of the files in sysfs.
fn attributes_of_mounts() -> Result<Vec<PathBuf>> {
    let mut found = vec![PathBuf::from("/sys/class/erodax/erodax0/size")];
    for directory in fs::read_dir(MOUNTS)? {
        let mut attributes = fs::read_dir(directory?.path())?;
        let first = attributes.next().context("a mount without attributes")?;
        found.push(first?.path());
    }
    ensure!(found.len() > 1, "no directory in {MOUNTS}");
    Ok(found)
}

/// Opens and reads a file, and compares; the buffer is there already, or it would be the reader's
/// memory that is missing.
fn read_and_compare(path: &Path, whole: &[u8], room: &RefCell<Vec<u8>>) -> io::Result<bool> {
    let mut room = room.borrow_mut();
    File::open(path)?.read_exact_at(&mut room[..whole.len()], 0)?;
    Ok(room[..whole.len()] == *whole)
}

fn reading() -> Result<()> {
    for image in [zoo::INLINE, zoo::CHUNKED] {
        with_mount(&image, "", |failing, root| {
            let path = root.join("sizes/100001");
            let whole = fs::read(&path)?;
            let room = RefCell::new(vec![1; whole.len()]);
            failing.each_cold("read", || read_and_compare(&path, &whole, &room))
        })?;
    }
    Ok(())
}

/// Files of which a part was read before are there, too: a fresh mount has no idle workspace with
/// a buffer, and no page cache.
fn decoding() -> Result<()> {
    const TARGET: &str = "decoding";
    without_leaks(|| {
        let module = serve_initrd()?;
        let failing = Failing::new(Whose::Any)?;
        let images = [
            compressed::LZ4_LARGE,
            compressed::LZMA,
            compressed::DEFLATE,
            compressed::ZSTD,
            compressed::ZSTD_SHARED,
        ];
        for image in images {
            let node = Device::of(image.name)?.node;
            let fresh = || -> Result<Mount> {
                drop_caches()?;
                Ok(mount_source(&node, "", TARGET)?)
            };
            let mounted = fresh()?;
            let files = ["mixed/65537", "text/100000", "small/7"];
            let contents = files.map(|name| fs::read(mounted.path().join(name)));
            mounted.unmount()?;
            for (name, whole) in files.into_iter().zip(contents) {
                let whole = whole?;
                let room = RefCell::new(vec![1; whole.len()]);
                let what = format!("{} {name}", image.name);
                failing.each(&what, &[Errno::NOMEM], fresh, |mounted| {
                    read_and_compare(&mounted.path().join(name), &whole, &room)
                })?;
                failing.each(
                    &format!("{what}, mapped"),
                    &[Errno::NOMEM, Errno::FAULT],
                    fresh,
                    |mounted| map_and_compare(&mounted.path().join(name), &whole, &room),
                )?;
            }
        }
        failing.injection.end()?;
        unload(module)
    })
}

fn compressed_metadata() -> Result<()> {
    for image in [compressed::METABOX, compressed::DIRECTORIES] {
        with_mount(&image, "", |failing, root| {
            let file = root.join("text/4097");
            failing.each_cold("stat", || Ok(stat(&file)?.st_size == 4097))?;
            list(failing, &root.join("small"))?;
            let whole = fs::read(&file)?;
            let room = RefCell::new(vec![1; whole.len()]);
            failing.each_cold("read", || read_and_compare(&file, &whole, &room))?;
            let extents = calls::extents(File::open(&file)?, 0, u64::MAX)?;
            failing.each_cold("FIEMAP", || {
                Ok(calls::extents(File::open(&file)?, 0, u64::MAX)? == extents)
            })
        })?;
    }
    Ok(())
}

/// Maps a file and has the kernel look at its pages, which gives errors in place of signals.
fn map_and_compare(path: &Path, whole: &[u8], room: &RefCell<Vec<u8>>) -> io::Result<bool> {
    let map = Mapping::read_only(File::open(path)?, whole.len())?;
    let mut room = room.borrow_mut();
    let read = read_own_memory(&map.bytes()[..whole.len()], &mut room[..whole.len()])?;
    if read < whole.len() {
        // What came before the page that could not be had.
        return Err(Errno::FAULT.into());
    }
    Ok(room[..whole.len()] == *whole)
}

/// The image's own pages, a tail's copy, and pages that are copied, whoever looks at them.
fn mapping() -> Result<()> {
    let errors = [Errno::NOMEM, Errno::FAULT];
    for (image, options) in [
        (zoo::INLINE, "dax"),
        (zoo::CHUNKED, "dax"),
        (zoo::INLINE, "dax=never"),
    ] {
        with_mount(&image, options, |failing, root| {
            let path = root.join("sizes/100001");
            let whole = fs::read(&path)?;
            let room = RefCell::new(vec![1; whole.len()]);
            failing.each("mapping", &errors, drop_caches, |()| {
                map_and_compare(&path, &whole, &room)
            })?;
            if options == "dax=never" {
                // The MM sends a signal where a page cannot be read.
                return Ok(());
            }
            failing.each("touching", &errors, drop_caches, |()| {
                let map = Mapping::read_only(File::open(&path)?, whole.len())?;
                Ok(map.bytes()[..whole.len()] == whole)
            })
        })?;
    }
    Ok(())
}

fn device() -> Result<()> {
    without_leaks(|| {
        let module = serve_initrd()?;
        let failing = Failing::new(Whose::Any)?;
        let node = Device::of(GOOD)?.node;
        let whole = fs::read(&node)?;
        let at = whole
            .windows(HELLO.len())
            .position(|part| part == HELLO.as_bytes());
        ensure!(at.is_some(), "another image");
        let room = RefCell::new(vec![1; whole.len()]);
        failing.each_cold("read", || read_and_compare(&node, &whole, &room))?;
        let errors = [Errno::NOMEM, Errno::FAULT];
        failing.each("mapping", &errors, drop_caches, |()| {
            map_and_compare(&node, &whole, &room)
        })?;
        failing.injection.end()?;
        unload(module)
    })
}
