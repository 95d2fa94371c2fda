// SPDX-License-Identifier: GPL-2.0

//! Beside the kernel's own EROFS driver: one name, two drivers; and the same image, the same
//! answers.

use std::{fs, path::Path};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::{
    kmsg::KernelLog,
    module::{self, Module},
    mount::Mount,
    TestFn,
};
use rustix::{fs::stat, io::Errno};

use crate::{
    beside::{compare_images, compare_with_devices, Beside, MODULES, OTHER_NAME},
    erodax::{check_usable, load, load_refused, serve_initrd, unload, Device, Footprint, GOOD},
    image::{Content, Image},
    suites::{zoo, BIGGER},
    Machine, Suite, Test,
};

pub(super) static SUITE: Suite = Suite {
    name: "stock_erofs",
    machine: Machine {
        modules: MODULES,
        images: &[
            Image::good(GOOD, Content::Small),
            zoo::INLINE,
            zoo::PLAIN,
            zoo::EXTENDED,
            zoo::COMPACT,
            zoo::SMALL_BLOCKS,
            zoo::FILTERED,
            zoo::CHUNKED,
            zoo::CHUNK_INDEXES,
            zoo::SMALL_CHUNKS,
            zoo::DEVICES,
        ],
        ..BIGGER
    },
    tests: &[
        Test::new("stock_is_first", stock_is_first),
        Test::new("stock_is_second", stock_is_second),
        Test::new("beside_each_other", beside_each_other),
        Test::new("same_answers_to_sources", same_answers_to_sources),
        Test::new("mounted_twice", mounted_twice),
        Test::new("same_options_shown", same_options_shown),
        long("same_answers", same_answers),
        long("same_answers_with_features", same_answers_with_features),
        long("same_answers_in_small_blocks", same_answers_in_small_blocks),
        long("same_answers_without_xattrs", same_answers_without_xattrs),
        long("same_answers_of_two_devices", same_answers_of_two_devices),
        long("same_answers_of_two_in_one", same_answers_of_two_in_one),
    ],
};

/// Everything is asked twice, of every file.
pub(super) const fn long(name: &'static str, run: TestFn) -> Test {
    Test {
        limit: 300,
        ..Test::new(name, run)
    }
}

fn stock_is_first() -> Result<()> {
    let stock = module::load("erofs")?;
    let before = Footprint::now()?;
    load_refused("region=initrd", Errno::BUSY, &["erofs", "fstype="])?;
    before.check()?;
    drop(stock);
    check_usable()
}

fn stock_is_second() -> Result<()> {
    let module = serve_initrd()?;
    let _needs = module::load_needs_of("erofs")?;
    let stock = Module::insert("erofs", "").map(drop);
    ensure!(stock == Err(Errno::BUSY), "{stock:?}");
    crate::erodax::check_mountable()?;
    unload(module)
}

fn beside_each_other() -> Result<()> {
    let _stock = module::load("erofs")?;
    let mut log = KernelLog::from_now()?;
    let module = load(&format!("region=initrd fstype={OTHER_NAME}")).context("insmod")?;
    let mount = Mount::new(OTHER_NAME, Device::of(GOOD)?.node, "dax", "/mnt/other")?;
    ensure!(mount.path().join("hello").exists());
    let mounts = fs::read_to_string("/proc/mounts")?;
    ensure!(mounts.contains(" /mnt/other erodax ro,"), "{mounts}");
    mount.unmount()?;
    unload(module)?;
    let lines = log.lines()?;
    ensure!(
        !lines.iter().any(|line| line.starts_with("erofs")),
        "the wrong driver spoke: {lines:?}"
    );
    Ok(())
}

/// What comes of a source that is given as an option, twice, or not at all.
fn same_answers_to_sources() -> Result<()> {
    let beside = Beside::of_initrd()?;
    let (node, disk) = beside.devices_of(GOOD)?;
    let answers = |fstype: &str, source: &Path| {
        let (option, target) = (format!("source={}", source.display()), Path::new("/mnt/it"));
        let unmounted = |mount: Mount| mount.unmount();
        [
            Mount::with_data(fstype, None, &option, target).and_then(unmounted),
            Mount::with_data(fstype, Some(source), "", target).and_then(unmounted),
            Mount::with_data(fstype, Some(source), &option, target).and_then(unmounted),
            Mount::with_data(fstype, None, "", target).and_then(unmounted),
            Mount::with_data(fstype, None, "source=", target).and_then(unmounted),
            Mount::with_data(fstype, None, "source=/no/such", target).and_then(unmounted),
        ]
    };
    let (ours, theirs) = (
        answers(OTHER_NAME, &node),
        answers("erofs", Path::new(disk)),
    );
    ensure!(ours == theirs, "ours {ours:?}, theirs {theirs:?}");
    ensure!(ours[..2] == [Ok(()); 2], "{ours:?}");
    beside.unload()
}

/// Stock ignores the options of a second mount; for the other one, see the suite `superblocks`.
fn mounted_twice() -> Result<()> {
    let beside = Beside::of_initrd()?;
    let (node, disk) = beside.devices_of(GOOD)?;
    let number = |mount: &Mount| stat(mount.path()).map(|stat| stat.st_dev);
    let mount = |source: &Path, fstype: &str, options: &str, target: &str| {
        Mount::new(fstype, source, options, Path::new("/mnt").join(target))
    };
    let theirs = |options: &str, target: &str| mount(Path::new(disk), "erofs", options, target);
    let ours = |options: &str, target: &str| mount(&node, OTHER_NAME, options, target);

    let first = theirs("ro,acl", "first")?;
    let second = theirs("ro,noacl", "second")?;
    ensure!(number(&first)? == number(&second)?);
    ensure!(second.shown_options() == first.shown_options());
    let third = theirs("", "third").err().context("mounted")?;
    ensure!(third.errno == Errno::BUSY, "{third}");
    drop((first, second));

    let first = ours("ro,acl", "first")?;
    let second = ours("ro,noacl", "second")?;
    ensure!(number(&first)? != number(&second)?);
    let third = ours("", "third")?;
    ensure!(number(&first)? == number(&third)?);
    drop((first, second, third));
    beside.unload()
}

fn same_options_shown() -> Result<()> {
    let beside = Beside::of_initrd()?;
    let (node, disk) = beside.devices_of(GOOD)?;
    let shown = |fstype: &str, source: &Path, options: &str| -> Result<_> {
        let mount = Mount::new(fstype, source, options, "/mnt/shown")?;
        let shown = mount.shown_options().context("not in /proc/mounts")?;
        mount.unmount()?;
        Ok(shown)
    };
    for options in [
        "",
        "nouser_xattr",
        "noacl",
        "cache_strategy=disabled",
        "dax=never",
        "acl,noacl,dax=never,cache_strategy=readahead",
    ] {
        let ours = shown(OTHER_NAME, &node, options)?;
        let theirs = shown("erofs", Path::new(disk), options)?;
        ensure!(ours == theirs, "{options:?}: ours {ours}, theirs {theirs}");
    }
    beside.unload()
}

/// Every file of every image, through both drivers.
fn same_answers() -> Result<()> {
    compare_images(&zoo::ALL, "")
}

fn same_answers_with_features() -> Result<()> {
    compare_images(&zoo::FEATURES, "")
}

fn same_answers_in_small_blocks() -> Result<()> {
    compare_images(&[zoo::SMALL_BLOCKS, zoo::SMALL_CHUNKS], "")
}

/// With the options that hide some of the attributes.
fn same_answers_without_xattrs() -> Result<()> {
    compare_images(&[zoo::FILTERED], "nouser_xattr,noacl")
}

/// Each driver has the image on one device, and the data on another.
fn same_answers_of_two_devices() -> Result<()> {
    compare_with_devices(zoo::DEVICES.name)
}

/// Both find the data behind the image.
fn same_answers_of_two_in_one() -> Result<()> {
    compare_images(&[zoo::DEVICES], "")
}
