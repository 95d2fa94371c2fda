// SPDX-License-Identifier: GPL-2.0

//! Mount options: what is shown of them, what they do, and which are refused.

use std::{
    fs::{self, File},
    path::Path,
};

use anyhow::{bail, ensure, Context, Result};
use erodax_agent::guest::{
    calls::extents, kmsg::KernelLog, mapping::Mapping, module::Module, mount::Mount,
};
use rustix::io::Errno;

use crate::{
    erodax::{
        check_mountable, expectation, load, messages, mount, mount_refused, mount_source,
        serve_initrd, unload, Device, GOOD,
    },
    expectation::sha256,
    image::{Content, Damage, Image, HELLO},
    suites::zoo::{self, serve_devices},
    tests, Machine, Suite,
};

/// The good image, but its superblock says that compressed files may be in it.
const LZ4: Image = Image::damaged(
    "lz4",
    &[Damage {
        field: "feature_incompat",
        value: 1,
        checksum_fixed: true,
    }],
);

pub(super) static SUITE: Suite = Suite {
    name: "options",
    machine: Machine {
        images: &[
            Image::good(GOOD, Content::Small),
            Image::good("second", Content::Small),
            LZ4,
            zoo::DEVICES,
        ],
        ..Machine::RETAINING
    },
    tests: tests![
        shown,
        cache_strategy_is_shown,
        last_one_counts,
        wrong_values,
        remount_that_changes_nothing,
        remount_that_changes_something,
        offset_of_the_image,
        wrong_offsets,
        wrong_number_of_devices,
        bad_devices,
        further_device,
        further_device_is_missing,
    ],
};

/// The options of a mount in /proc/mounts, one by one.
fn fields(mount: &Mount) -> Result<Vec<String>> {
    let line = mount.shown_options().context("not in /proc/mounts")?;
    Ok(line.split(',').map(str::to_owned).collect())
}

fn check_shown(image: &str, given: &str, shown: &[&str]) -> Result<()> {
    let mount = mount(image, given)?;
    let fields = fields(&mount)?;
    let is_shown = |option: &&str| fields.iter().any(|field| field == option);
    ensure!(
        fields.first().map(String::as_str) == Some("ro") && shown.iter().all(is_shown),
        "{given:?} is shown as {fields:?}, without one of {shown:?}"
    );
    mount.unmount()?;
    Ok(())
}

fn shown() -> Result<()> {
    let module = serve_initrd()?;
    check_shown(GOOD, "", &["user_xattr", "acl"])?;
    for (given, shown) in [
        ("user_xattr", "user_xattr"),
        ("nouser_xattr", "nouser_xattr"),
        ("acl", "acl"),
        ("noacl", "noacl"),
        ("dax", "dax=always"),
        ("dax=always", "dax=always"),
        ("dax=never", "dax=never"),
    ] {
        check_shown(GOOD, given, &[shown])?;
    }
    // What is shown can be given again.
    let all = "nouser_xattr,noacl,cache_strategy=disabled,dax=never";
    check_shown(LZ4.name, all, &all.split(',').collect::<Vec<_>>())?;
    unload(module)
}

/// It is taken for any image, but shown only where there can be compressed data, as stock does.
fn cache_strategy_is_shown() -> Result<()> {
    let module = serve_initrd()?;
    check_shown(LZ4.name, "", &["cache_strategy=readaround"])?;
    for strategy in ["disabled", "readahead", "readaround"] {
        let given = format!("cache_strategy={strategy}");
        check_shown(LZ4.name, &given, &[&given])?;
        let mount = mount(GOOD, &given)?;
        let shown = mount.shown_options().context("not in /proc/mounts")?;
        ensure!(!shown.contains("cache_strategy"), "{shown}");
        mount.unmount()?;
    }
    unload(module)
}

fn last_one_counts() -> Result<()> {
    let module = serve_initrd()?;
    check_shown(
        GOOD,
        "noacl,acl,user_xattr,nouser_xattr",
        &["acl", "nouser_xattr"],
    )?;
    check_shown(
        LZ4.name,
        "dax=never,dax,cache_strategy=disabled,cache_strategy=readahead",
        &["dax=always", "cache_strategy=readahead"],
    )?;
    unload(module)
}

fn wrong_values() -> Result<()> {
    let module = serve_initrd()?;
    let node = Device::of(GOOD)?.node;
    for (given, word) in [
        ("dax=maybe", "dax=never"),
        ("cache_strategy", "readaround"),
        ("cache_strategy=", "readaround"),
        ("cache_strategy=none", "readaround"),
        ("user_xattr=1", "user_xattr takes no value"),
        ("nouser_xattr=no", "nouser_xattr takes no value"),
        ("acl=yes", "acl takes no value"),
        ("noacl=", "noacl takes no value"),
        ("device", "device"),
        ("device=", "device"),
        ("fsoffset", "fsoffset"),
        ("fsoffset=", "fsoffset"),
        ("fsoffset=-4096", "fsoffset"),
        ("fsoffset=4k", "fsoffset"),
        ("fsoffset=18446744073709551616", "fsoffset"),
        ("ACL", "unknown option ACL"),
        ("domain_id=x", "unknown option domain_id"),
    ] {
        mount_refused(&node, given, Errno::INVAL, &[word]).with_context(|| given)?;
    }
    check_mountable()?;
    unload(module)
}

fn remount_that_changes_nothing() -> Result<()> {
    let module = serve_initrd()?;
    let given = "nouser_xattr,noacl,cache_strategy=readahead,dax=never";
    let mount = mount(GOOD, given)?;
    let before = fields(&mount)?;
    for options in ["", "ro", "rw", given, "noacl"] {
        mount
            .reconfigure(options)
            .with_context(|| format!("remount with {options:?}"))?;
        ensure!(
            fields(&mount)? == before,
            "after a remount with {options:?}: {:?}",
            fields(&mount)?
        );
    }
    mount.unmount()?;
    unload(module)
}

fn remount_that_changes_something() -> Result<()> {
    let module = serve_initrd()?;
    for (given, changes) in [
        (
            "",
            &[
                ("dax", "dax"),
                ("dax=never", "dax"),
                ("nouser_xattr", "user_xattr"),
                ("noacl", "acl"),
                ("cache_strategy=disabled", "cache_strategy"),
                ("device=/dev/erodax1", "device"),
                ("fsoffset=4096", "fsoffset"),
            ][..],
        ),
        ("dax", &[("dax=never", "dax")]),
        (
            "dax=never,noacl",
            &[("dax=always", "dax"), ("acl", "acl"), ("noacl,dax", "dax")],
        ),
    ] {
        let mount = mount(GOOD, given)?;
        let before = fields(&mount)?;
        for (options, named) in changes {
            let change = format!("{named} cannot be changed");
            remount_refused(&mount, options, &change)
                .with_context(|| format!("remount of {given:?} with {options:?}"))?;
            ensure!(fields(&mount)? == before, "{:?}", fields(&mount)?);
        }
        check_hello(&mount)?;
        mount.unmount()?;
    }
    unload(module)
}

fn remount_refused(mount: &Mount, options: &str, words: &str) -> Result<()> {
    let mut log = KernelLog::from_now()?;
    let Err(error) = mount.reconfigure(options) else {
        bail!("succeeds")
    };
    ensure!(error.errno == Errno::INVAL, "{error}");
    let said = messages(&mut log)?;
    ensure!(said.len() == 1 && said[0].contains(words), "{said:?}");
    ensure!(
        error.log.len() == 1 && error.log[0].contains(words),
        "{error}"
    );
    Ok(())
}

fn check_hello(mount: &Mount) -> Result<()> {
    let text = fs::read_to_string(mount.path().join("hello"))?;
    ensure!(text == HELLO, "{text:?}");
    Ok(())
}

/// Serves the good image together with what lies before it in the initrd.
fn serve_with_bytes_before(before: u64) -> Result<Module> {
    let module = serve_initrd()?;
    let good = Device::of(GOOD)?;
    unload(module)?;
    let (address, size) = (good.address - before, good.size + before);
    load(&format!("region={address:#x},{size}")).context("insmod")
}

const FIRST: &str = "/dev/erodax0";

fn offset_of_the_image() -> Result<()> {
    const OFFSET: u64 = 4096;
    let module = serve_initrd()?;
    let plain = mount(GOOD, "dax")?;
    let page = |mount: &Mount| -> Result<_> {
        let file = File::open(mount.path().join("page"))?;
        let first = extents(&file, 0, u64::MAX)?.first().copied();
        Ok(first.context("no extent")?.physical)
    };
    let lies_at = page(&plain)?;
    plain.unmount()?;
    unload(module)?;

    let module = serve_with_bytes_before(OFFSET)?;
    for options in ["dax", "", "dax=never"] {
        let options = format!("fsoffset={OFFSET},{options}");
        let mount = mount_source(Path::new(FIRST), &options, "offset")?;
        check_hello(&mount)?;
        ensure!(fs::read(mount.path().join("page"))? == [7; 4096]);
        ensure!(
            page(&mount)? == lies_at + OFFSET,
            "page at {:#x}, which was at {lies_at:#x}",
            page(&mount)?
        );
        let fields = fields(&mount)?;
        ensure!(
            fields.iter().any(|field| field == "fsoffset=4096"),
            "{fields:?}"
        );
        mount.reconfigure("fsoffset=4096")?;
        remount_refused(&mount, "fsoffset=8192", "fsoffset cannot be changed")?;
        mount.unmount()?;
    }
    unload(module)
}

fn wrong_offsets() -> Result<()> {
    let module = serve_with_bytes_before(4096)?;
    let source = Path::new(FIRST);
    for (options, word) in [
        ("", FIRST),
        ("fsoffset=0", FIRST),
        ("fsoffset=1", FIRST),
        ("fsoffset=8192", FIRST),
        ("fsoffset=1099511627776", "beyond"),
        ("fsoffset=18446744073709551615", "beyond"),
    ] {
        mount_refused(source, options, Errno::INVAL, &[word]).with_context(|| options)?;
    }
    unload(module)?;
    // The image is there, but the format counts in blocks.
    let module = serve_with_bytes_before(512)?;
    let words = ["no multiple of the block size"];
    mount_refused(source, "fsoffset=512", Errno::INVAL, &words)?;
    unload(module)
}

fn wrong_number_of_devices() -> Result<()> {
    let module = serve_initrd()?;
    let (good, second) = (Device::of(GOOD)?.node, Device::of("second")?.node);
    let device = format!("device={}", second.display());
    let words = ["has 0 further devices", "was given 1 times"];
    mount_refused(&good, &device, Errno::INVAL, &words)?;
    let words = ["has 1 further devices", "was given 2 times"];
    let two = format!("{device},{device}");
    mount_refused(
        &Device::of(zoo::DEVICES.name)?.node,
        &two,
        Errno::INVAL,
        &words,
    )?;
    check_mountable()?;
    unload(module)
}

fn bad_devices() -> Result<()> {
    let module = serve_initrd()?;
    let node = Device::of(zoo::DEVICES.name)?.node;
    for (path, errno, word) in [
        ("/dev/erodax99", Errno::NOENT, "/dev/erodax99"),
        ("/dev/null", Errno::NXIO, "another driver"),
        ("/tmp", Errno::NOTBLK, "no device"),
    ] {
        mount_refused(&node, &format!("device={path}"), errno, &[word])?;
    }
    check_mountable()?;
    unload(module)
}

/// Every file of the tree whose data is on a further device.
fn check_contents(mount: &Mount) -> Result<()> {
    for entry in expectation(zoo::DEVICES.name)? {
        let Some(digest) = &entry.sha256 else {
            continue;
        };
        let path = mount.path().join(entry.path());
        let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
        ensure!(sha256(&bytes) == *digest, "{} when read", path.display());
        if !bytes.is_empty() {
            let map = Mapping::read_only(File::open(&path)?, bytes.len())?;
            let is_same = map.bytes()[..bytes.len()] == bytes;
            ensure!(is_same, "{} when mapped", path.display());
        }
    }
    Ok(())
}

fn further_device() -> Result<()> {
    let module = serve_devices()?;
    for options in ["dax", "", "dax=never"] {
        let options = format!("{options},device=/dev/erodax1");
        let mount = mount_source(Path::new(FIRST), &options, "devices")?;
        check_contents(&mount)?;
        let fields = fields(&mount)?;
        let is_shown = fields.iter().any(|field| field == "device=/dev/erodax1");
        ensure!(is_shown, "{fields:?}");
        mount.reconfigure("device=/dev/erodax1")?;
        remount_refused(&mount, "device=/dev/erodax0", "device cannot be changed")?;
        mount.unmount()?;
    }
    unload(module)?;
    // Where all of it is one device, nothing needs to be given.
    let module = serve_initrd()?;
    let mount = mount(zoo::DEVICES.name, "dax")?;
    check_contents(&mount)?;
    mount.unmount()?;
    unload(module)
}

/// Metadata can be had, and data is refused.
fn further_device_is_missing() -> Result<()> {
    let module = serve_devices()?;
    let mount = mount_source(Path::new(FIRST), "", "devices")?;
    let path = mount.path().join("big");
    ensure!(fs::metadata(&path)?.len() > 1 << 20);
    let mut log = KernelLog::from_now()?;
    let read = fs::read(&path).map_err(|error| Errno::from_io_error(&error));
    ensure!(
        read == Err(Some(Errno::UCLEAN)),
        "{:?}",
        read.map(|bytes| bytes.len())
    );
    let said = messages(&mut log)?;
    ensure!(said.len() == 1 && said[0].contains("nid"), "{said:?}");
    mount.unmount()?;
    unload(module)
}
