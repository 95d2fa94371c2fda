// SPDX-License-Identifier: GPL-2.0

//! How each peer gets at the tree.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::{
    calls::attach_loop,
    mapping::Mapping,
    module::{self, Module},
    mount::Mount,
};
use rustix::{
    fs::{open, Mode, OFlags},
    mount::mount_bind,
};

use super::tree::Tree;
use crate::{
    plan::{Driver, Source, IMAGE_FILE},
    Plan,
};

const TARGET: &str = "/mnt/tree";
const RAM_DISK: &str = "/dev/ram0";
const LOOP: &str = "/dev/loop0";
/// Devices are made in the background.
const DEVICE_LIMIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(1);

/// A peer, ready to mount the tree as often as wanted.
pub(super) struct Peer {
    fstype: &'static str,
    /// None where there is nothing to mount.
    device: Option<&'static str>,
    options: String,
    /// Loaded as long as it is measured.
    _modules: Vec<Module>,
}

impl Peer {
    /// Loads the modules and makes the device.
    pub(super) fn prepare(plan: &Plan) -> Result<Self> {
        let mut modules = Vec::new();
        let device = match plan.source {
            Source::Nothing => None,
            Source::Unpacked => {
                // Without what is mounted below it.
                fs::create_dir_all(TARGET)?;
                mount_bind("/", TARGET).context("cannot bind the root")?;
                None
            }
            Source::Initrd | Source::CarveOut { .. } => Some("/dev/erodax0"),
            Source::Pmem => {
                load(&["libnvdimm", "nd_btt", "nd_pmem", "nd_e820"], &mut modules)?;
                Some("/dev/pmem0")
            }
            Source::RamDisk => {
                modules.push(copy_to_ram_disk()?);
                Some(RAM_DISK)
            }
            Source::File => Some(IMAGE_FILE),
            Source::Loop => {
                load(&["loop"], &mut modules)?;
                wait_for(LOOP)?;
                let image = File::open(IMAGE_FILE).context("no image in the initrd")?;
                let device = File::open(LOOP)?;
                attach_loop(device, image).context("cannot set the loop device up")?;
                Some(LOOP)
            }
        };
        load_driver(plan, &mut modules)?;
        if let Some(device) = device {
            wait_for(device)?;
        }
        Ok(Self {
            fstype: match plan.driver {
                Driver::Squashfs => "squashfs",
                _ => "erofs",
            },
            device,
            options: plan.options.clone(),
            _modules: modules,
        })
    }

    /// The tree, mounted afresh where it is mounted at all.
    pub(super) fn mount(&self) -> Result<Tree> {
        let mount = self
            .device
            .map(|device| Mount::new(self.fstype, device, &self.options, TARGET))
            .transpose()
            .context("cannot mount the tree")?;
        Tree::new(Path::new(TARGET), mount)
    }
}

fn load_driver(plan: &Plan, modules: &mut Vec<Module>) -> Result<()> {
    match plan.driver {
        Driver::Erodax => {
            let parameters = match plan.source {
                Source::Initrd => "region=initrd".to_owned(),
                Source::CarveOut { address, size } => format!("region={address:#x},{size:#x}"),
                _ => String::new(),
            };
            modules.push(Module::insert("erodax", &parameters).context("cannot load erodax")?);
        }
        Driver::Erofs => load(&["erofs"], modules)?,
        Driver::Squashfs => load(&["squashfs"], modules)?,
        Driver::None => {}
    }
    Ok(())
}

fn load(names: &[&str], modules: &mut Vec<Module>) -> Result<()> {
    for name in names {
        modules.extend(module::load(name)?);
    }
    Ok(())
}

fn wait_for(device: &str) -> Result<()> {
    let deadline = Instant::now() + DEVICE_LIMIT;
    while !Path::new(device).exists() {
        ensure!(Instant::now() < deadline, "there is no {device}");
        thread::sleep(POLL);
    }
    Ok(())
}

/// The disk is as large as the image, which is copied at once and not kept.
fn copy_to_ram_disk() -> Result<Module> {
    let image = File::open(IMAGE_FILE).context("no image in the initrd")?;
    let size = image.metadata()?.len();
    let kib = size.div_ceil(1024);
    let brd =
        Module::insert("brd", &format!("rd_nr=1 rd_size={kib}")).context("cannot load brd")?;
    wait_for(RAM_DISK)?;
    let flags = OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC;
    let mut disk = File::from(open(RAM_DISK, flags, Mode::empty())?);
    let image = Mapping::read_only(&image, usize::try_from(size)?)?;
    disk.write_all(image.bytes())
        .context("cannot fill the RAM disk")?;
    fs::remove_file(IMAGE_FILE)?;
    Ok(brd)
}
