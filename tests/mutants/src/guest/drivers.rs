// SPDX-License-Identifier: GPL-2.0

//! The drivers, and the devices that have the image.

use std::{
    fs::OpenOptions,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{bail, ensure, Context, Result};
use erodax_agent::guest::{
    mapping::{MapFlags, Mapping, ProtFlags},
    module::{self, Module},
    mount::{Detached, MountAttrFlags, MountError},
};
use rustix::fs::{ftruncate, memfd_create, MemfdFlags, OFlags};

use crate::{
    images::{Mutant, SIZE},
    transcript::{Question, Transcript, Value},
    Mode,
};

use super::{
    carve_out,
    walk::{walk, Tools},
};

/// What erodax registers itself as.
const ERODAX: &str = "erodax";
/// The memory that `memmap=` keeps aside.
const PMEM: &str = "/dev/pmem0";
/// The disk of the kernel's own EROFS, which is as large as an image.
const DISK: &str = "/dev/ram0";
const PMEM_LIMIT: Duration = Duration::from_secs(20);

pub(super) struct Drivers {
    mode: Mode,
    devices: Vec<&'static str>,
    /// The image, where direct writes can take it from.
    buffer: Mapping,
    tools: Tools,
    erodax: Option<Module>,
    _others: Vec<Module>,
}

impl Drivers {
    /// Loads the modules.
    pub(super) fn load(mode: Mode) -> Result<Self> {
        let mut modules = Vec::new();
        let mut devices = Vec::new();
        let mut erodax = None;
        if mode != Mode::CarveOut {
            erodax = Some(load_erodax("")?);
            for name in ["nd_e820", "nd_pmem"] {
                modules.extend(module::load(name)?);
            }
            wait_for(Path::new(PMEM))?;
            devices.push(PMEM);
        }
        if mode == Mode::Compare {
            let size = format!("rd_nr=1 rd_size={}", SIZE >> 10);
            modules.push(Module::insert("brd", &size).context("insmod brd.ko")?);
            modules.extend(module::load("erofs")?);
            devices.push(DISK);
        }
        let memory = memfd_create("image", MemfdFlags::CLOEXEC)?;
        ftruncate(&memory, u64::try_from(SIZE)?)?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        Ok(Self {
            mode,
            devices,
            buffer: Mapping::new(memory, 0, SIZE, protection, MapFlags::PRIVATE)?,
            tools: Tools::new()?,
            erodax,
            _others: modules,
        })
    }

    /// Unloads erodax: what a mount has left behind, the kernel complains about then.
    pub(super) fn unload(&mut self) -> Result<()> {
        let removed = self.erodax.take().map_or(Ok(()), Module::remove);
        removed.map_err(|(_, errno)| errno).context("rmmod erodax")
    }

    /// How many images there can be at a time.
    pub(super) fn room(&self) -> u64 {
        match self.mode {
            Mode::Erodax | Mode::Compare => 1,
            Mode::CarveOut => carve_out::ROOM as u64,
        }
    }

    /// Puts images where they are served.
    pub(super) fn put(&mut self, images: &[(u64, Mutant)]) -> Result<()> {
        match images {
            _ if self.mode == Mode::CarveOut => {
                self.unload()?;
                carve_out::put(images)?;
                self.erodax = Some(load_erodax(&carve_out::parameter())?);
                Ok(())
            }
            [(_, image)] => self.put_onto_devices(&image.bytes),
            _ => bail!("{} images for one device", images.len()),
        }
    }

    /// Puts an image onto the devices, past the page cache. They are only opened for that: while a
    /// filesystem is mounted, a kernel may let nobody write.
    fn put_onto_devices(&mut self, image: &[u8]) -> Result<()> {
        ensure!(image.len() == SIZE, "an image of {} bytes", image.len());
        self.buffer.bytes_mut().copy_from_slice(image);
        for device in &self.devices {
            let file = OpenOptions::new()
                .write(true)
                .custom_flags(OFlags::DIRECT.bits().try_into()?)
                .open(device)
                .with_context(|| format!("cannot open {device}"))?;
            file.write_all_at(self.buffer.bytes(), 0)
                .with_context(|| format!("cannot write to {device}"))?;
        }
        Ok(())
    }

    pub(super) fn walk_erodax(
        &mut self,
        number: usize,
        seed: u64,
        options: &str,
    ) -> Result<Transcript> {
        self.tools.renew(seed);
        if self.mode != Mode::CarveOut {
            return mounted(ERODAX, PMEM, options, &mut self.tools);
        }
        let (device, place) = carve_out::place(number, seed)?;
        let options = format!("{place},{options}");
        mounted(ERODAX, device, &options, &mut self.tools)
    }

    pub(super) fn walk_stock(&mut self, seed: u64) -> Result<Transcript> {
        self.tools.renew(seed);
        mounted("erofs", DISK, "", &mut self.tools)
    }
}

fn load_erodax(region: &str) -> Result<Module> {
    let parameters = format!("fstype={ERODAX} {region}");
    Module::insert("erodax", &parameters).context("insmod erodax.ko")
}

/// Mounts, walks and unmounts.
fn mounted(fstype: &str, device: &str, options: &str, tools: &mut Tools) -> Result<Transcript> {
    let mut transcript = Transcript::default();
    // An image may have device nodes with any numbers.
    let nodev = MountAttrFlags::MOUNT_ATTR_NODEV;
    match Detached::new(fstype, Path::new(device), options, nodev) {
        Ok(mount) => {
            transcript.note("", Question::Mount, Ok(Value::Done));
            walk(&mount, tools, &mut transcript)?;
        }
        Err(MountError { errno, .. }) => {
            transcript.note("", Question::Mount, Err(errno.raw_os_error()));
        }
    }
    Ok(transcript)
}

fn wait_for(path: &Path) -> Result<()> {
    let deadline = Instant::now() + PMEM_LIMIT;
    while !path.exists() {
        ensure!(Instant::now() < deadline, "no {}", path.display());
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
