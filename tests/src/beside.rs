// SPDX-License-Identifier: GPL-2.0

//! erodax beside the kernel's own EROFS driver, which has copies of the images on RAM disks.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use erodax_agent::guest::{
    module::{self, Module},
    mount::{Mount, MountError},
};

use crate::{
    compare,
    erodax::{load, unload, Device},
    image::Image,
};

/// What erodax registers itself as when `erofs` is taken.
pub(crate) const OTHER_NAME: &str = "erodax";
/// What the initrd needs for this.
pub(crate) const MODULES: &[&str] = &["erofs", "brd"];
/// RAM disks, of 16 MiB each.
const DISKS: [&str; 3] = ["/dev/ram0", "/dev/ram1", "/dev/ram2"];
const DISK_SIZE: &str = "rd_size=16384";

/// Both drivers, and the disks.
#[must_use]
pub(crate) struct Beside {
    module: Module,
    _disks: Module,
    _stock: Vec<Module>,
}

impl Beside {
    /// With erodax for every image of the initrd.
    pub(crate) fn of_initrd() -> Result<Self> {
        Self::of("initrd")
    }

    /// With erodax for these regions.
    pub(crate) fn of(regions: &str) -> Result<Self> {
        let stock = module::load("erofs")?;
        let disks = Module::insert("brd", DISK_SIZE).context("insmod brd.ko")?;
        let module = load(&format!("region={regions} fstype={OTHER_NAME}")).context("insmod")?;
        Ok(Self {
            module,
            _disks: disks,
            _stock: stock,
        })
    }

    /// The device of an image of the initrd, and the disk that has a copy of it now.
    pub(crate) fn devices_of(&self, image: &str) -> Result<(PathBuf, &'static str)> {
        let node = Device::of(image)?.node;
        copy(&node, DISKS[0])?;
        Ok((node, DISKS[0]))
    }

    /// Mounts an image of the initrd by erodax, and a copy of it by stock EROFS.
    pub(crate) fn mount(
        &self,
        image: &str,
        options: &str,
    ) -> Result<[Result<Mount, MountError>; 2]> {
        let (node, disk) = self.devices_of(image)?;
        Ok([
            Mount::new(OTHER_NAME, node, options, "/mnt/ours"),
            Mount::new("erofs", disk, options, "/mnt/theirs"),
        ])
    }

    /// Runs `body` on the roots of an image's two mounts.
    pub(crate) fn with_both(
        &self,
        image: &str,
        options: &str,
        body: impl FnOnce(&Path, &Path) -> Result<()>,
    ) -> Result<()> {
        let [ours, theirs] = self.mount(image, options)?;
        let (ours, theirs) = (ours.context("erodax")?, theirs.context("stock")?);
        body(ours.path(), theirs.path()).with_context(|| image.to_owned())?;
        ours.unmount()?;
        theirs.unmount()?;
        Ok(())
    }

    /// Both drivers must answer alike, whatever they are asked about the image.
    pub(crate) fn compare(&self, image: &str, options: &str) -> Result<()> {
        self.with_both(image, options, compare::trees)
    }

    /// Unloads everything.
    pub(crate) fn unload(self) -> Result<()> {
        unload(self.module)
    }
}

/// Compares images of the initrd.
pub(crate) fn compare_images<'a>(
    images: impl IntoIterator<Item = &'a Image>,
    options: &str,
) -> Result<()> {
    let beside = Beside::of_initrd()?;
    for image in images {
        beside.compare(image.name, options)?;
    }
    beside.unload()
}

/// Compares an image whose further devices are given to both drivers as such.
pub(crate) fn compare_with_devices(image: &str) -> Result<()> {
    let beside = Beside::of_initrd()?;
    let regions = Device::of(image)?.regions()?;
    beside.unload()?;
    let beside = Beside::of(&regions)?;
    let nodes: Vec<_> = Device::all()?
        .into_iter()
        .map(|device| device.node)
        .collect();
    for (node, disk) in nodes.iter().zip(DISKS) {
        copy(node, disk)?;
    }
    let options = |devices: &mut dyn Iterator<Item = String>| {
        let options = devices.skip(1).map(|device| format!("device={device}"));
        options.collect::<Vec<_>>().join(",")
    };
    let ours = options(&mut nodes.iter().map(|node| node.display().to_string()));
    let theirs = options(&mut DISKS[..nodes.len()].iter().map(ToString::to_string));
    let ours = Mount::new(OTHER_NAME, &nodes[0], &ours, "/mnt/ours")?;
    let theirs = Mount::new("erofs", DISKS[0], &theirs, "/mnt/theirs").context("stock")?;
    compare::trees(ours.path(), theirs.path()).with_context(|| image.to_owned())?;
    ours.unmount()?;
    theirs.unmount()?;
    beside.unload()
}

fn copy(from: &Path, to: &str) -> Result<()> {
    io::copy(&mut File::open(from)?, &mut File::create(to)?)?;
    Ok(())
}
