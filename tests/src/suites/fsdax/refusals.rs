// SPDX-License-Identifier: GPL-2.0

//! Devices that cannot be mounted, and what is said of them.

use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt, path::Path};

use anyhow::{Context, Result};
use erodax_agent::guest::module;
use rustix::{fs::OFlags, io::Errno};

use super::{
    check_reading,
    kinds::{self, hand_over, raw_namespace, write, Kind, ALL, PMEM},
    with_source,
};
use crate::{
    erodax::{check_mountable, mount_refused, mount_source, serve_initrd, unload, Footprint, GOOD},
    suites::zoo,
};

/// A RAM disk, and pmem without pages.
pub(super) fn no_dax() -> Result<()> {
    let module = serve_initrd()?;
    let brd = module::load("brd")?;
    let before = Footprint::now()?;
    for options in ["dax", "", "dax=never"] {
        let words = ["/dev/ram0", "no DAX device"];
        mount_refused(Path::new("/dev/ram0"), options, Errno::NXIO, &words)?;
    }
    before.check()?;
    drop(brd);
    let raw = kinds::ramdax(raw_namespace)?;
    write(&raw.node, &kinds::bytes_of(GOOD)?, 0)?;
    for options in ["dax", "", "dax=never"] {
        let words = [PMEM, "queue/dax is 0", "fsdax"];
        mount_refused(&raw.node, options, Errno::NXIO, &words)?;
    }
    raw.remove()?;
    check_mountable()?;
    unload(module)
}

/// Somebody has the device open for himself alone.
pub(super) fn in_use() -> Result<()> {
    with_source(Kind::E820, GOOD, 0, |source| {
        let mut exclusive = OpenOptions::new();
        let held = exclusive
            .read(true)
            .custom_flags(i32::try_from(OFlags::EXCL.bits())?)
            .open(&source.node)?;
        let error = mount_source(&source.node, "dax", "refused")
            .err()
            .context("mounted what is in use")?;
        anyhow::ensure!(error.errno == Errno::BUSY, "{error}");
        drop(held);
        Ok(mount_source(&source.node, "dax", "pmem")?.unmount()?)
    })
}

/// Nothing that can be mounted is on the device; the claim is given up.
pub(super) fn wrong_image() -> Result<()> {
    for kind in ALL {
        // Beside the image there is nothing.
        with_source(kind, GOOD, 4096, |source| {
            let shown = source.node.to_str().context("a name")?;
            for options in ["dax", "", "dax=never"] {
                mount_refused(&source.node, options, Errno::INVAL, &[shown])?;
            }
            let words = [shown, "beyond"];
            mount_refused(&source.node, "fsoffset=1099511627776", Errno::INVAL, &words)?;
            Ok(mount_source(&source.node, "fsoffset=4096", "pmem")?.unmount()?)
        })
        .with_context(|| format!("{kind:?}"))?;
    }
    Ok(())
}

/// A DAX device that programs can map, not filesystems.
pub(super) fn wrong_driver() -> Result<()> {
    with_source(Kind::Fsdev, GOOD, 0, |source| {
        hand_over("fsdev_dax", "device_dax")?;
        let words = ["/dev/dax", "fsdev_dax", "unbind"];
        mount_refused(&source.node, "dax", Errno::NXIO, &words)?;
        hand_over("device_dax", "fsdev_dax")?;
        Ok(mount_source(&source.node, "dax", "pmem")?.unmount()?)
    })
}

/// Blocks that are no pages can be copied, not mapped.
pub(super) fn small_blocks() -> Result<()> {
    with_source(Kind::E820, zoo::SMALL_BLOCKS.name, 0, |source| {
        mount_refused(&source.node, "dax", Errno::INVAL, &["512", "-b4096"])?;
        let mount = mount_source(&source.node, "", "pmem")?;
        check_reading(&mount, zoo::SMALL_BLOCKS.name)?;
        Ok(mount.unmount()?)
    })
}
