// SPDX-License-Identifier: GPL-2.0

//! The kinds of DAX devices, and how each is set up with an image on it.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, OpenOptions},
    io::{Seek, SeekFrom, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::{
    mapping::{MapFlags, Mapping, ProtFlags},
    module::{self, Module},
};

use crate::erodax::Device;

/// Memory that nd_e820 and ramdax find, and memory for `dax_hmem`, both kept from the kernel's
/// own use.
pub(in crate::suites) const CMDLINE: &[&str] = &[
    "retain_initrd",
    "memmap=96M!0x20000000",
    "memmap=64M%0x28000000-1+0xefffffff",
];
/// Memory of the machine: the initrd lies at its end, above those two.
pub(in crate::suites) const MEMORY_MIB: u32 = 1024;
/// Memory of the virtio-pmem device.
pub(in crate::suites) const VIRTIO_PMEM_MIB: u32 = 64;

pub(in crate::suites) const MODULES: &[&str] = &[
    "brd",
    "nd_e820",
    "ramdax",
    "nd_pmem",
    "virtio_pmem",
    "dax_hmem",
    "device_dax",
    "fsdev_dax",
    "erofs",
];

/// The block device of each pmem driver.
pub(in crate::suites) const PMEM: &str = "/dev/pmem0";

const E820_DRIVER: &str = "/sys/bus/platform/drivers/e820_pmem";
const PMEM_DRIVER: &str = "/sys/bus/nd/drivers/nd_pmem";
const VIRTIO_PMEM_DRIVER: &str = "/sys/bus/virtio/drivers/virtio_pmem";
/// Writing to it makes the kernel look for devices of the machine.
const PCI_RESCAN: &str = "/sys/bus/pci/rescan";
const NVDIMMS: &str = "/sys/bus/nd/devices";
const DAX_DEVICES: &str = "/sys/bus/dax/devices";
const DAX_DRIVERS: &str = "/sys/bus/dax/drivers";
/// Where 2 MiB pages begin.
pub(in crate::suites) const HUGE: u64 = 2 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::suites) enum Kind {
    /// `memmap=NN!ADDR`, all of it one block device.
    E820,
    /// The same memory as a ramdax device with a namespace in mode fsdax.
    Ramdax,
    /// QEMU's virtio-pmem.
    Virtio,
    /// A character device of the DAX bus, bound to `fsdev_dax`.
    Fsdev,
}

pub(in crate::suites) const ALL: [Kind; 4] = [Kind::E820, Kind::Ramdax, Kind::Virtio, Kind::Fsdev];
pub(in crate::suites) const DISKS: [Kind; 3] = [Kind::E820, Kind::Ramdax, Kind::Virtio];

/// A device that was set up; on drop it is taken apart, and its modules are unloaded.
pub(in crate::suites) struct Source {
    pub(in crate::suites) node: PathBuf,
    /// Of what offers the device to its driver.
    provider: Provider,
    modules: Vec<Module>,
}

/// A driver whose devices are taken from it on drop: they hold its module.
struct Provider(&'static str);

impl Drop for Provider {
    fn drop(&mut self) {
        // What then cannot be unloaded is reported as left behind.
        let _ = unbind_all(self.0);
    }
}

impl Source {
    /// Takes the device apart and unloads its modules, all of which must be possible.
    pub(in crate::suites) fn remove(self) -> Result<()> {
        drop(self.provider);
        for module in self.modules {
            unload(module)?;
        }
        Ok(())
    }

    /// Takes the device from its driver, whatever uses it.
    pub(in crate::suites) fn unplug(&self) -> Result<Unplugged> {
        unbind_all(match self.is_disk() {
            true => PMEM_DRIVER,
            false => "/sys/bus/dax/drivers/fsdev_dax",
        })
    }

    /// Takes what offers the device from its driver, and the device with it.
    pub(in crate::suites) fn unplug_provider(&self) -> Result<Unplugged> {
        unbind_all(self.provider.0)
    }

    /// Takes the machine's virtio-pmem device away, as the kernel does when it is told that a
    /// device was pulled out. (QEMU refuses `device_del` for devices of this kind.)
    pub(in crate::suites) fn pull_out(&self) -> Result<Unplugged> {
        ensure!(
            self.provider.0 == VIRTIO_PMEM_DRIVER,
            "no device of its own"
        );
        for virtio_device in devices_of(VIRTIO_PMEM_DRIVER)? {
            let virtio_device = Path::new(VIRTIO_PMEM_DRIVER).join(virtio_device);
            let pci_device = fs::canonicalize(virtio_device.join(".."))?;
            fs::write(pci_device.join("remove"), "1")
                .with_context(|| pci_device.display().to_string())?;
        }
        Ok(Unplugged(vec![(PCI_RESCAN.into(), "1".into())]))
    }

    fn is_disk(&self) -> bool {
        self.node == Path::new(PMEM)
    }
}

/// Devices that were taken away: what is to be written where to have them back.
#[must_use]
pub(in crate::suites) struct Unplugged(Vec<(PathBuf, OsString)>);

impl Unplugged {
    /// Gives them back.
    pub(in crate::suites) fn plug(self, source: &Source) -> Result<()> {
        for (file, text) in &self.0 {
            fs::write(file, text.as_bytes())
                .with_context(|| format!("{text:?} into {}", file.display()))?;
        }
        wait_for(&source.node)
    }
}

/// Takes all devices from a driver.
fn unbind_all(driver: &'static str) -> Result<Unplugged> {
    let driver = Path::new(driver);
    let mut to_bind = Vec::new();
    for device in devices_of(driver)? {
        fs::write(driver.join("unbind"), device.as_bytes())?;
        to_bind.push((driver.join("bind"), device));
    }
    Ok(Unplugged(to_bind))
}

/// The names of a driver's devices.
fn devices_of(driver: impl AsRef<Path>) -> Result<Vec<OsString>> {
    let mut devices = Vec::new();
    for entry in fs::read_dir(driver)? {
        let entry = entry?;
        if entry.path().join("subsystem").exists() && entry.file_name() != "module" {
            devices.push(entry.file_name());
        }
    }
    Ok(devices)
}

fn unload(module: Module) -> Result<()> {
    let name = format!("{module:?}");
    module
        .remove()
        .map_err(|(_, errno)| errno)
        .with_context(|| format!("rmmod of {name}"))
}

impl Kind {
    /// Sets the device up with an image on it, `offset` bytes from its start. The module must be
    /// loaded with the initrd's images.
    pub(in crate::suites) fn with_image(self, image: &str, offset: u64) -> Result<Source> {
        self.with_bytes(&bytes_of(image)?, offset)
    }

    /// Sets the device up with these bytes on it, zeros before them.
    pub(in crate::suites) fn with_bytes(self, bytes: &[u8], offset: u64) -> Result<Source> {
        let bytes = [&vec![0; offset as usize], bytes].concat();
        if self == Self::Fsdev {
            return with_fsdev(&bytes);
        }
        let source = self.set_up()?;
        write(&source.node, &bytes, 0)?;
        Ok(source)
    }

    /// Sets the block device up.
    pub(in crate::suites) fn set_up(self) -> Result<Source> {
        match self {
            Self::E820 => with_modules(&["nd_e820", "nd_pmem"], E820_DRIVER, || Ok(())),
            Self::Ramdax => ramdax(|| fsdax_namespace("2c1a6f57-0d7e-4f9b-8a55-0e7d53b1a001")),
            Self::Virtio => {
                // It may have been pulled out.
                fs::write(PCI_RESCAN, "1").context(PCI_RESCAN)?;
                with_modules(&["virtio_pmem", "nd_pmem"], VIRTIO_PMEM_DRIVER, || Ok(()))
            }
            Self::Fsdev => anyhow::bail!("no block device"),
        }
    }
}

/// The bytes of an image in the initrd.
pub(in crate::suites) fn bytes_of(image: &str) -> Result<Vec<u8>> {
    Ok(fs::read(Device::of(image)?.node)?)
}

/// Writes to a device, and all the way to its memory.
pub(in crate::suites) fn write(node: &Path, bytes: &[u8], offset: u64) -> Result<()> {
    let mut device = OpenOptions::new().write(true).open(node)?;
    device.seek(SeekFrom::Start(offset))?;
    device.write_all(bytes)?;
    Ok(device.sync_all()?)
}

/// Loads modules, which are unloaded from the last to the first, and configures what they make,
/// until there is [`PMEM`].
fn with_modules(
    names: &[&str],
    provider: &'static str,
    configure: impl FnOnce() -> Result<()>,
) -> Result<Source> {
    let mut modules = Vec::new();
    for name in names {
        modules.splice(0..0, module::load(name)?);
    }
    let source = Source {
        node: PMEM.into(),
        provider: Provider(provider),
        modules,
    };
    configure()?;
    wait_for(&source.node)?;
    Ok(source)
}

/// The memory as a ramdax device, with a namespace that `configure` makes.
pub(in crate::suites) fn ramdax(configure: impl FnOnce() -> Result<()>) -> Result<Source> {
    forget_namespaces()?;
    let claim = |driver: &str| {
        fs::write(
            "/sys/bus/platform/devices/e820_pmem/driver_override",
            driver,
        )
    };
    let driver = "/sys/bus/platform/drivers/ramdax";
    let made = with_modules(&["ramdax", "nd_pmem"], driver, || {
        claim("ramdax\n")?;
        fs::write("/sys/bus/platform/drivers_probe", "e820_pmem")?;
        configure()
    });
    claim("\n")?;
    made
}

/// Namespaces are recorded in the memory itself, at its end, and in themselves.
fn forget_namespaces() -> Result<()> {
    let source = Kind::E820.set_up()?;
    let end = File::open(&source.node)?.seek(SeekFrom::End(0))?;
    for start in [0, end - HUGE] {
        write(&source.node, &vec![0; HUGE as usize], start)?;
    }
    source.remove()
}

const NAMESPACE: &str = "namespace0.0";
const NAMESPACE_SIZE: u64 = 64 << 20;

fn set(object: &str, attribute: &str, value: impl ToString) -> Result<()> {
    let path = Path::new(NVDIMMS).join(object).join(attribute);
    fs::write(&path, value.to_string()).with_context(|| path.display().to_string())
}

fn bind(object: &str) -> Result<()> {
    Ok(fs::write(Path::new(PMEM_DRIVER).join("bind"), object)?)
}

fn raw_namespace_settings() -> Result<()> {
    wait_for(&Path::new(NVDIMMS).join(NAMESPACE).join("size"))?;
    set(NAMESPACE, "uuid", "7a0f3f0e-52f7-4f80-9e0b-6f3f5d4e7c10")?;
    set(NAMESPACE, "size", NAMESPACE_SIZE)
}

/// A namespace without pages.
pub(in crate::suites) fn raw_namespace() -> Result<()> {
    raw_namespace_settings()?;
    bind(NAMESPACE)
}

/// A namespace whose pages are described in RAM.
fn fsdax_namespace(uuid: &str) -> Result<()> {
    const SEED: &str = "pfn0.0";
    raw_namespace_settings()?;
    set(SEED, "mode", "ram")?;
    set(SEED, "align", HUGE)?;
    set(SEED, "uuid", uuid)?;
    patiently(|| set(SEED, "namespace", NAMESPACE))?;
    bind(SEED)
}

/// Makes DAX devices of the memory that is kept for `dax_hmem`, of no driver in particular.
pub(in crate::suites) fn soft_reserved() -> Result<Source> {
    let mut modules = module::load("fsdev_dax")?;
    modules.extend(module::load("device_dax")?);
    modules.splice(0..0, module::load("dax_hmem")?);
    Ok(Source {
        node: PathBuf::new(),
        provider: Provider("/sys/bus/platform/drivers/hmem"),
        modules,
    })
}

/// Puts an image into the memory and hands it over to `fsdev_dax`.
fn with_fsdev(bytes: &[u8]) -> Result<Source> {
    let mut source = soft_reserved()?;
    source.node = hand_over("fsdev_dax", "device_dax")?;
    copy_to(&source.node, bytes)?;
    hand_over("device_dax", "fsdev_dax")?;
    Ok(source)
}

/// Puts bytes at the beginning of the DAX device at an address, which `device_dax` has then.
pub(in crate::suites) fn fill(address: u64, bytes: &[u8]) -> Result<()> {
    copy_to(&hand_over_at(address, "fsdev_dax", "device_dax")?, bytes)
}

/// Writes to a device of `device_dax`, which takes no write(2).
fn copy_to(node: &Path, bytes: &[u8]) -> Result<()> {
    let device = OpenOptions::new().read(true).write(true).open(node)?;
    let len = bytes.len().next_multiple_of(HUGE as usize);
    let write = ProtFlags::READ | ProtFlags::WRITE;
    let mut map = Mapping::new(&device, 0, len, write, MapFlags::SHARED)?;
    map.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
    Ok(())
}

/// Takes the DAX device from one driver and gives it to another; returns its node.
pub(in crate::suites) fn hand_over(from: &str, to: &str) -> Result<PathBuf> {
    let device = fs::read_dir(DAX_DEVICES)?.next();
    hand_over_device(&device.context("no DAX device")??.file_name(), from, to)
}

/// As [`hand_over`], of several devices the one whose memory begins at this address.
pub(in crate::suites) fn hand_over_at(address: u64, from: &str, to: &str) -> Result<PathBuf> {
    let resource = format!("{address:#x}\n");
    for entry in fs::read_dir(DAX_DEVICES)? {
        let entry = entry?;
        if fs::read_to_string(entry.path().join("resource"))? == resource {
            return hand_over_device(&entry.file_name(), from, to);
        }
    }
    anyhow::bail!("no DAX device at {address:#x}")
}

fn hand_over_device(device: &OsStr, from: &str, to: &str) -> Result<PathBuf> {
    let driver = |name: &str, file: &str| Path::new(DAX_DRIVERS).join(name).join(file);
    // Bound or not, known or not.
    let _ = fs::write(driver(from, "unbind"), device.as_bytes());
    let _ = fs::write(driver(from, "remove_id"), device.as_bytes());
    fs::write(driver(to, "new_id"), device.as_bytes())
        .with_context(|| format!("{device:?} for {to}"))?;
    let node = Path::new("/dev").join(device);
    wait_for(&node)?;
    Ok(node)
}

pub(in crate::suites) fn wait_for(path: &Path) -> Result<()> {
    patiently(|| {
        File::open(path).with_context(|| path.display().to_string())?;
        Ok(())
    })
}

/// Tries until it succeeds: a disk's node is there a moment before the disk can be opened, and a
/// namespace's attributes are before others find the namespace.
fn patiently(mut step: impl FnMut() -> Result<()>) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let result = step();
        if result.is_ok() || Instant::now() >= deadline {
            return result;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Two partitions: one at a multiple of 2 MiB, one at an odd sector. As they are looked for when
/// the device appears, it is made anew.
pub(in crate::suites) fn with_partitions() -> Result<Source> {
    let source = Kind::E820.set_up()?;
    let mut sector = [0; 512];
    for (entry, first, count) in [(0, 4096_u32, 65_536_u32), (1, 69_633, 65_536)] {
        let at = 446 + 16 * entry;
        sector[at + 4] = 0x83;
        sector[at + 8..at + 12].copy_from_slice(&first.to_le_bytes());
        sector[at + 12..at + 16].copy_from_slice(&count.to_le_bytes());
    }
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    write(&source.node, &sector, 0)?;
    source.remove()?;
    let source = Kind::E820.set_up()?;
    wait_for(Path::new("/dev/pmem0p2"))?;
    Ok(source)
}
