// SPDX-License-Identifier: GPL-2.0

//! Beside the kernel's own EROFS driver: one name, two drivers; and the same image, the same
//! answers.

use std::{
    fs::{self, File},
    io,
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::{
    kmsg::KernelLog,
    module::{self, Module},
    mount::Mount,
};
use rustix::io::Errno;

use crate::{
    compare,
    erodax::{check_usable, load, load_refused, serve_initrd, unload, Device, Footprint, GOOD},
    image::{Content, Image},
    suites::{zoo, BIGGER},
    tests, Machine, Suite,
};

/// What the module registers itself as when `erofs` is taken.
const OTHER_NAME: &str = "erodax";
/// A RAM disk, of 16 MiB without parameters.
const DISK: &str = "/dev/ram0";

pub(super) static SUITE: Suite = Suite {
    name: "stock_erofs",
    machine: Machine {
        modules: &["erofs", "brd"],
        images: &[
            Image::good(GOOD, Content::Small),
            zoo::INLINE,
            zoo::PLAIN,
            zoo::EXTENDED,
            zoo::COMPACT,
            zoo::SMALL_BLOCKS,
        ],
        ..BIGGER
    },
    tests: tests![
        stock_is_first,
        stock_is_second,
        beside_each_other,
        same_answers
    ],
};

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
    let stock = Module::insert("erofs", "").map(drop);
    ensure!(stock == Err(Errno::BUSY), "{stock:?}");
    crate::erodax::check_mountable()?;
    unload(module)
}

fn beside_each_other() -> Result<()> {
    let _stock = module::load("erofs")?;
    let mut log = KernelLog::from_now()?;
    let module = load(&format!("region=initrd fstype={OTHER_NAME}"))?;
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

/// Every file of every image, through both drivers: stock has the image on a RAM disk.
fn same_answers() -> Result<()> {
    let stock = module::load("erofs")?;
    let brd = module::load("brd")?;
    let module = load(&format!("region=initrd fstype={OTHER_NAME}"))?;
    for image in zoo::ALL.iter().chain(&[zoo::SMALL_BLOCKS]) {
        let device = Device::of(image.name)?;
        io::copy(&mut File::open(&device.node)?, &mut File::create(DISK)?)?;
        let theirs = Mount::new("erofs", DISK, "", "/mnt/theirs").context("stock")?;
        let ours = Mount::new(OTHER_NAME, &device.node, "", "/mnt/ours")?;
        compare::trees(ours.path(), theirs.path()).with_context(|| image.name)?;
        ours.unmount()?;
        theirs.unmount()?;
    }
    unload(module)?;
    drop((brd, stock));
    Ok(())
}
