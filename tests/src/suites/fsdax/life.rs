// SPDX-License-Identifier: GPL-2.0

//! Mounts of DAX devices from the first to the last.

use std::{
    fs::{self, File},
    path::Path,
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::{
    mapping::{Mapping, PAGE},
    mount::Mount,
    sleep,
};
use rustix::{fs::stat, io::Errno};

use super::{
    check_contents,
    kinds::{self, bytes_of, write, Kind, ALL, DISKS},
    with_source,
};
use crate::{
    erodax::{check_no_leak, mount_refused, mount_source, serve_initrd, unload, GOOD},
    image::HELLO,
    suites::zoo,
};

fn check_hello(mount: &Mount) -> Result<()> {
    let text = fs::read_to_string(mount.path().join("hello"))?;
    ensure!(text == HELLO, "{text:?}");
    Ok(())
}

/// A partition is a device of its own; one that is not at pages cannot be used.
pub(super) fn on_a_partition() -> Result<()> {
    let module = serve_initrd()?;
    let source = kinds::with_partitions()?;
    let image = zoo::PLAIN.name;
    let [first, second] = ["/dev/pmem0p1", "/dev/pmem0p2"].map(Path::new);
    for partition in [first, second] {
        write(partition, &bytes_of(image)?, 0)?;
    }
    let mount = mount_source(first, "dax", "pmem")?;
    check_contents(&mount, image, true)?;
    mount_refused(
        second,
        "",
        Errno::INVAL,
        &["/dev/pmem0p2", "4096", "partition"],
    )?;
    mount.unmount()?;
    source.remove()?;
    unload(module)
}

/// The image in the initrd, its data on pmem; and both on pmem.
pub(super) fn further_device() -> Result<()> {
    let image = zoo::DEVICES.name;
    for kind in ALL {
        let module = zoo::serve_devices()?;
        let data = fs::read("/dev/erodax1")?;
        let source = kind.with_bytes(&data, 0)?;
        for options in ["dax", "", "dax=never"] {
            let options = format!("{options},device={}", source.node.display());
            let mount = mount_source(Path::new("/dev/erodax0"), &options, "devices")?;
            check_contents(&mount, image, !options.contains("never"))?;
            // Who maps memory of a device does not share it.
            let device = format!("noacl,device={}", source.node.display());
            let words = [source.node.to_str().context("a name")?, "in use"];
            mount_refused(Path::new("/dev/erodax0"), &device, Errno::BUSY, &words)?;
            mount.unmount()?;
        }
        source.remove()?;
        unload(module)?;
    }
    Ok(())
}

/// Block devices are mounted twice as one filesystem, with the same options.
pub(super) fn one_superblock() -> Result<()> {
    for kind in DISKS {
        with_source(kind, GOOD, 0, |source| {
            let first = mount_source(&source.node, "dax", "first")?;
            let second = mount_source(&source.node, "dax", "second")?;
            let [one, other] = [&first, &second].map(|mount| stat(mount.path()));
            ensure!(one?.st_dev == other?.st_dev, "two filesystems");
            let rdev = stat(&source.node)?.st_rdev;
            ensure!(stat(first.path())?.st_dev == rdev, "another device number");
            let words = ["mounted with other options"];
            mount_refused(&source.node, "dax=never", Errno::BUSY, &words)?;
            first.unmount()?;
            check_hello(&second)?;
            second.unmount()?;
            // Afterwards it can be had otherwise.
            let third = mount_source(&source.node, "dax=never", "third")?;
            check_hello(&third)?;
            Ok(third.unmount()?)
        })
        .with_context(|| format!("{kind:?}"))?;
    }
    with_source(Kind::Fsdev, GOOD, 0, |source| {
        let first = mount_source(&source.node, "dax", "first")?;
        let same = mount_source(&source.node, "dax", "same")?;
        mount_refused(
            &source.node,
            "dax=never",
            Errno::BUSY,
            &["/dev/dax", "in use"],
        )?;
        same.unmount()?;
        check_hello(&first)?;
        Ok(first.unmount()?)
    })
}

/// What is mounted cannot be unloaded, neither ours nor the block device's driver.
pub(super) fn modules_are_held() -> Result<()> {
    let module = serve_initrd()?;
    let source = Kind::E820.with_image(GOOD, 0)?;
    let mount = mount_source(&source.node, "dax", "pmem")?;
    let (module, errno) = module.remove().err().context("unloaded while mounted")?;
    ensure!(errno == Errno::AGAIN, "{errno:?}");
    check_hello(&mount)?;
    mount.unmount()?;
    source.remove()?;
    unload(module)
}

/// Memory of a device is what it was when the machine has slept, and the device can be used as before.
pub(super) fn woken() -> Result<()> {
    for kind in ALL {
        with_source(kind, zoo::PLAIN.name, 0, |source| {
            let mount = mount_source(&source.node, "dax", "pmem")?;
            let path = mount.path().join("big");
            let whole = fs::read(&path)?;
            let map = Mapping::read_only(File::open(&path)?, whole.len())?;
            ensure!(map.bytes()[..whole.len()] == whole, "before");
            sleep::to_memory()?;
            ensure!(map.bytes()[..whole.len()] == whole, "afterwards");
            drop(map);
            check_contents(&mount, zoo::PLAIN.name, true)?;
            mount.unmount()?;
            let again = mount_source(&source.node, "dax", "again")?;
            check_contents(&again, zoo::PLAIN.name, true)?;
            Ok(again.unmount()?)
        })
        .with_context(|| format!("{kind:?}"))?;
    }
    Ok(())
}

pub(super) fn leaks_nothing() -> Result<()> {
    for image in [zoo::PLAIN.name, zoo::CHUNKED.name] {
        with_source(Kind::E820, image, 0, |source| {
            check_no_leak(|| {
                let mount = mount_source(&source.node, "dax", "pmem")?;
                let file = File::open(mount.path().join("big"))?;
                let map = Mapping::read_only(&file, usize::try_from(file.metadata()?.len())?)?;
                for at in (0..map.bytes().len()).step_by(PAGE) {
                    std::hint::black_box(map.touch(at));
                }
                drop((map, file));
                Ok(mount.unmount()?)
            })
        })?;
    }
    Ok(())
}
