// SPDX-License-Identifier: GPL-2.0

//! Which mounts have a superblock in common, and what sysfs shows of each superblock.

use std::{
    fs::{self, File},
    os::unix::fs::{symlink, FileExt},
    path::{Path, PathBuf},
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::{module, mount::Mount};
use rustix::{
    fs::{major, minor, stat},
    io::Errno,
    mount::{fsconfig_create_exclusive, fsconfig_set_string, fsopen, FsOpenFlags, UnmountFlags},
};

use super::zoo::{self, serve_devices};
use crate::{
    erodax::{
        check_mountable, check_no_leak, load, mount, mount_source, serve_initrd, unload, Device,
        GOOD, MOUNTS,
    },
    image::{Content, Image},
    tests, Machine, Suite,
};

pub(super) static SUITE: Suite = Suite {
    name: "superblocks",
    machine: Machine {
        modules: &["erofs"],
        images: &[
            Image::good(GOOD, Content::Small),
            zoo::DEVICES,
            zoo::FILTERED,
            zoo::SMALL_BLOCKS,
        ],
        ..super::BIGGER
    },
    tests: tests![
        shared_by_mounts_with_the_same_options,
        own_with_other_options,
        own_of_other_bytes,
        not_shared_if_not_wanted,
        second_mount_leaks_nothing,
        attributes,
        attributes_of_a_copied_image,
        attributes_of_further_devices,
        directory_goes_with_the_mount,
        directory_stays_after_a_lazy_unmount,
        directory_beside_stock_erofs,
    ],
};

/// The number of the superblock that is mounted there.
fn number(mount: &Mount) -> Result<u64> {
    Ok(stat(mount.path())?.st_dev)
}

/// Where sysfs shows the superblock that is mounted there.
fn directory(mount: &Mount) -> Result<PathBuf> {
    let number = number(mount)?;
    Ok(Path::new(MOUNTS).join(format!("{}:{}", major(number), minor(number))))
}

fn attribute(mount: &Mount, name: &str) -> Result<String> {
    let path = directory(mount)?.join(name);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// How many superblocks sysfs shows.
fn count() -> Result<usize> {
    Ok(fs::read_dir(MOUNTS).context(MOUNTS)?.count())
}

fn check_hello(mount: &Mount) -> Result<()> {
    fs::read(mount.path().join("hello"))
        .map(drop)
        .context("hello")
}

fn shared_by_mounts_with_the_same_options() -> Result<()> {
    let module = serve_initrd()?;
    let node = Device::of(GOOD)?.node;
    let link = Path::new("/tmp/link");
    symlink(&node, link)?;
    for (first, second) in [
        ("", ""),
        ("dax", "dax=always"),
        ("dax=never", "user_xattr,dax=never,acl"),
        // It has no effect.
        ("noacl", "cache_strategy=disabled,noacl"),
        // Whatever is asked for, the image is read-only.
        ("ro", ""),
        ("", "ro"),
    ] {
        let first = mount_source(&node, first, "first")?;
        let second = mount_source(link, second, "second")?;
        ensure!(number(&first)? == number(&second)?, "{second:?}");
        ensure!(count()? == 1, "{} superblocks", count()?);
        first.unmount()?;
        check_hello(&second)?;
        // Another one joins while only the second mount is left.
        let third = mount_source(&node, &options_of(&second)?, "third")?;
        ensure!(number(&second)? == number(&third)?, "{third:?}");
        second.unmount()?;
        check_hello(&third)?;
        third.unmount()?;
        ensure!(count()? == 0, "{} superblocks", count()?);
    }
    fs::remove_file(link)?;
    unload(module)
}

/// What /proc/mounts shows, without what is not the filesystem's.
fn options_of(mount: &Mount) -> Result<String> {
    let shown = mount.shown_options().context("not in /proc/mounts")?;
    let own = shown
        .split(',')
        .filter(|option| !["ro", "rw", "relatime"].contains(option));
    Ok(own.collect::<Vec<_>>().join(","))
}

/// No option is ignored because somebody else has mounted the image before.
fn own_with_other_options() -> Result<()> {
    let module = serve_initrd()?;
    for (first, second) in [
        ("", "dax"),
        ("dax", "dax=never"),
        ("", "noacl"),
        ("nouser_xattr", ""),
    ] {
        let first = mount_source(&Device::of(GOOD)?.node, first, "first")?;
        let second = mount_source(&Device::of(GOOD)?.node, second, "second")?;
        ensure!(number(&first)? != number(&second)?, "{first:?}, {second:?}");
        ensure!(count()? == 2, "{} superblocks", count()?);
        ensure!(options_of(&first)? != options_of(&second)?);
        first.unmount()?;
        check_hello(&second)?;
        second.unmount()?;
    }
    unload(module)
}

/// Two images in one region, and one image with two sets of devices.
fn own_of_other_bytes() -> Result<()> {
    let module = serve_initrd()?;
    let (one, other) = (Device::of(GOOD)?, Device::of(zoo::SMALL_BLOCKS.name)?);
    unload(module)?;
    let start = one.address.min(other.address);
    let end = (one.address + one.size).max(other.address + other.size);
    let module = load(&format!("region={start:#x},{}", end - start)).context("insmod")?;
    let mount = |options: &str, name: &str| mount_source("/dev/erodax0".as_ref(), options, name);
    let at = |device: &Device| format!("fsoffset={}", device.address - start);
    let first = mount(&at(&one), "first")?;
    let same = mount(&at(&one), "same")?;
    let second = mount(&at(&other), "second")?;
    ensure!(number(&first)? == number(&same)?);
    ensure!(number(&first)? != number(&second)?);
    for mount in [first, same, second] {
        mount.unmount()?;
    }
    unload(module)?;

    let module = serve_devices()?;
    let with = mount("device=/dev/erodax1", "with")?;
    let without = mount("", "without")?;
    let again = mount("device=/dev/erodax1", "again")?;
    ensure!(number(&with)? != number(&without)?);
    ensure!(number(&with)? == number(&again)?);
    for mount in [with, without, again] {
        mount.unmount()?;
    }
    unload(module)
}

/// `mount --exclusive`
fn not_shared_if_not_wanted() -> Result<()> {
    let module = serve_initrd()?;
    let create = || -> Result<Result<(), Errno>> {
        let context = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&context, "source", Device::of(GOOD)?.node)?;
        Ok(fsconfig_create_exclusive(&context))
    };
    let mount = mount(GOOD, "")?;
    ensure!(create()? == Err(Errno::BUSY));
    mount.unmount()?;
    ensure!(create()? == Ok(()));
    unload(module)
}

fn second_mount_leaks_nothing() -> Result<()> {
    let module = serve_initrd()?;
    let first = mount(GOOD, "dax")?;
    check_no_leak(|| {
        let second = mount_source(&Device::of(GOOD)?.node, "dax", "second")?;
        second.unmount().context("umount")
    })?;
    first.unmount()?;
    check_no_leak(check_mountable)?;
    unload(module)
}

fn attributes() -> Result<()> {
    let module = serve_initrd()?;
    let image = zoo::FILTERED.name;
    let node = Device::of(image)?.node;
    let mount = mount(image, "")?;
    for (name, value) in [
        ("block_size", "4096"),
        ("dax", "mapped"),
        ("features", "sb_chksum\nmtime\nxattr_filter"),
        ("inodes", &inodes(&node)?.to_string()),
        ("label", zoo::LABEL),
        ("root_nid", &stat(mount.path())?.st_ino.to_string()),
        ("source", &node.display().to_string()),
        ("uuid", &uuid(&node)?),
    ] {
        let shown = attribute(&mount, name)?;
        ensure!(
            shown == format!("{value}\n"),
            "{name} is {shown:?}, not {value:?}"
        );
    }
    ensure!(attribute(&mount, "devices")?.is_empty());
    let id = directory(&mount)?;
    let id = id.file_name().context("no name")?;
    let readahead = Path::new("/sys/class/bdi").join(id).join("read_ahead_kb");
    let readahead =
        fs::read_to_string(&readahead).with_context(|| readahead.display().to_string())?;
    ensure!(readahead == "128\n", "{readahead:?}");
    // The name is the one that mountinfo has for the superblock.
    let mountinfo = fs::read_to_string("/proc/self/mountinfo")?;
    let line = mountinfo.lines().find(|line| line.contains(" /mnt/"));
    let id = line.and_then(|line| line.split(' ').nth(2));
    let directory = directory(&mount)?;
    ensure!(
        id.is_some() && id == directory.file_name().and_then(|name| name.to_str()),
        "{} and {id:?}",
        directory.display()
    );
    mount.unmount()?;
    unload(module)
}

/// Bytes of the superblock, which begins at 1024.
fn superblock<const LEN: usize>(node: &Path, offset: u64) -> Result<[u8; LEN]> {
    let mut bytes = [0; LEN];
    File::open(node)?.read_exact_at(&mut bytes, 1024 + offset)?;
    Ok(bytes)
}

/// `inos`
fn inodes(node: &Path) -> Result<u64> {
    Ok(u64::from_le_bytes(superblock(node, 16)?))
}

/// `uuid`, with the groups of its usual form.
fn uuid(node: &Path) -> Result<String> {
    let bytes: [u8; 16] = superblock(node, 48)?;
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    let groups = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| &hex[range]);
    Ok(groups.join("-"))
}

fn attributes_of_a_copied_image() -> Result<()> {
    let module = serve_initrd()?;
    for (image, options, dax, block_size) in [
        (GOOD, "dax=never", "copied\n", "4096\n"),
        (GOOD, "dax=always", "mapped\n", "4096\n"),
        // It begins at a page, so that files are mapped that happen to do so too.
        (zoo::SMALL_BLOCKS.name, "", "mapped\n", "512\n"),
    ] {
        let mount = mount(image, options)?;
        ensure!(attribute(&mount, "dax")? == dax, "{image} with {options:?}");
        ensure!(attribute(&mount, "block_size")? == block_size, "{image}");
        mount.unmount()?;
    }
    unload(module)
}

fn attributes_of_further_devices() -> Result<()> {
    let module = serve_devices()?;
    let first = Path::new("/dev/erodax0");
    let mount = mount_source(first, "device=/dev/erodax1", "devices")?;
    let shown = attribute(&mount, "devices")?;
    ensure!(shown == "/dev/erodax1\n", "{shown:?}");
    let features = attribute(&mount, "features")?;
    ensure!(
        features
            .lines()
            .any(|name| name == "device_table/compr_head2"),
        "{features:?}"
    );
    mount.unmount()?;
    unload(module)
}

fn directory_goes_with_the_mount() -> Result<()> {
    let root = Path::new(MOUNTS);
    ensure!(!root.exists(), "{MOUNTS} without the module");
    let module = serve_initrd()?;
    ensure!(count()? == 0, "{} superblocks", count()?);
    let mount = mount(GOOD, "")?;
    let directory = directory(&mount)?;
    // Who has an attribute open keeps nothing alive, and reads nothing afterwards.
    let open = File::open(directory.join("uuid"))?;
    open.read_exact_at(&mut [0; 36], 0)?;
    mount.unmount()?;
    ensure!(!directory.exists(), "{}", directory.display());
    let read = open.read_at(&mut [0; 36], 0);
    let errno = read.err().and_then(|error| Errno::from_io_error(&error));
    ensure!(errno == Some(Errno::NODEV), "{errno:?}");
    unload(module)?;
    ensure!(!root.exists(), "{MOUNTS} without the module");
    Ok(())
}

fn directory_stays_after_a_lazy_unmount() -> Result<()> {
    let module = serve_initrd()?;
    let mount = mount(GOOD, "")?;
    let directory = directory(&mount)?;
    let open = File::open(mount.path().join("hello"))?;
    rustix::mount::unmount(mount.path(), UnmountFlags::DETACH)?;
    // Nothing is left there for its drop.
    std::mem::forget(mount);
    ensure!(fs::read_to_string(directory.join("dax"))? == "mapped\n");
    let (module, errno) = module.remove().err().context("unloaded while in use")?;
    ensure!(errno == Errno::AGAIN, "{errno:?}");
    // It can be mounted again, and is still the same superblock.
    let again = mount_source(&Device::of(GOOD)?.node, "", "again")?;
    ensure!(self::directory(&again)? == directory && count()? == 1);
    again.unmount()?;
    ensure!(directory.exists());
    drop(open);
    ensure!(!directory.exists(), "{}", directory.display());
    unload(module)
}

fn directory_beside_stock_erofs() -> Result<()> {
    let stock = module::load("erofs")?;
    let module = load("region=initrd fstype=erodax")?;
    let mount = Mount::new("erodax", Device::of(GOOD)?.node, "", "/mnt/beside")?;
    ensure!(directory(&mount)?.join("uuid").exists());
    ensure!(Path::new("/sys/fs/erofs/features").exists());
    drop(stock);
    ensure!(directory(&mount)?.join("uuid").exists());
    mount.unmount()?;
    unload(module)
}
