// SPDX-License-Identifier: GPL-2.0

//! Every feature of the format that needs no compression, and what stock EROFS refuses: the same
//! image, the same answers from the kernel's own driver.

mod damage;
mod images;

use std::{fs::File, os::unix::fs::FileExt, path::Path};

use anyhow::{ensure, Context, Result};

use crate::{
    beside::{compare_images, compare_with_devices, Beside, MODULES},
    compare,
    erodax::{expectation, serve_initrd, unload, with_each, Device},
    suites::{stock::long, xattrs::values, BIGGER},
    Machine, Suite, Test,
};

pub(super) use images::CROWD;

pub(super) static SUITE: Suite = Suite {
    name: "stock_formats",
    machine: Machine {
        modules: MODULES,
        images: &images::ALL,
        ..BIGGER
    },
    tests: &[
        Test::new("features_are_there", features_are_there),
        long("of_stable", of_stable),
        long("of_next", of_next),
        long("of_next_metabox", of_next_metabox),
        long("of_no_mkfs", of_no_mkfs),
        long("on_further_devices", on_further_devices),
        long("through_the_page_cache", through_the_page_cache),
        long("crowd", crowd),
        Test::new("shared_xattrs_of_metabox", shared_xattrs_of_metabox),
        Test::new("same_mistakes", same_mistakes),
        Test::new("same_refusals", damage::same_refusals),
    ],
};

fn features_are_there() -> Result<()> {
    check_features(&images::FEATURES)
}

/// Images must have these features, compatible ones and others: mkfs.erofs ignores some options
/// where they do not go together with others.
pub(super) fn check_features(expected: &[(&str, u32, u32)]) -> Result<()> {
    const SUPERBLOCK: u64 = 1024;
    let module = serve_initrd()?;
    for &(name, compat, incompat) in expected {
        let device = File::open(Device::of(name)?.node)?;
        for (offset, expected) in [(8, compat), (80, incompat)] {
            let mut bits = [0; 4];
            device.read_exact_at(&mut bits, SUPERBLOCK + offset)?;
            let bits = u32::from_le_bytes(bits);
            ensure!(
                bits & expected == expected,
                "{name} has the features {bits:#x}, and not all of {expected:#x}"
            );
        }
    }
    unload(module)
}

fn of_stable() -> Result<()> {
    compare_images(&images::STABLE, "")
}

fn of_next() -> Result<()> {
    compare_images(&images::NEXT, "")
}

fn of_next_metabox() -> Result<()> {
    compare_images(&images::METABOX, "")
}

fn of_no_mkfs() -> Result<()> {
    compare_images(&images::CRAFTED, "")
}

/// In one piece with the image, and as devices of their own.
fn on_further_devices() -> Result<()> {
    compare_images(&images::DEVICES, "")?;
    images::GIVEN
        .iter()
        .copied()
        .try_for_each(compare_with_devices)
}

/// As without DAX: nothing is mapped as it lies.
fn through_the_page_cache() -> Result<()> {
    compare_images(&images::CRAFTED, "dax=never")
}

fn crowd() -> Result<()> {
    compare_images(&[images::CROWD], "")
}

/// Stock EROFS looks for some of them in the metabox (docs/differences.md).
fn shared_xattrs_of_metabox() -> Result<()> {
    with_each(&[images::METABOX_SHARED.name], "", |root, entries| {
        for entry in entries {
            let found = values(&root.join(entry.path()))?;
            let expected = entry.xattrs.iter().cloned().collect();
            ensure!(found == expected, "{}: {found:?}", entry.path().display());
        }
        Ok(())
    })
}

fn same_mistakes() -> Result<()> {
    const AT_LEAST: usize = 30;
    let beside = Beside::of_initrd()?;
    let image = images::BROKEN.name;
    let entries = expectation(image)?;
    beside.with_both(image, "", |ours: &Path, theirs: &Path| {
        let paths = entries.iter().map(crate::expectation::Entry::path);
        let errors = compare::mistakes::all(ours, theirs, paths)?;
        ensure!(errors >= AT_LEAST, "only {errors} errors");
        Ok(())
    })?;
    beside.unload().context("after mistakes")
}
