// SPDX-License-Identifier: GPL-2.0

//! The module as its users meet it: its parameters, devices, mounts and messages.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{bail, ensure, Context, Result};
use erodax_agent::guest::{
    iomem::{self, Resource},
    kmemleak::Kmemleak,
    kmsg::KernelLog,
    memory::Memory,
    module::Module,
    mount::{Mount, MountError},
};
use erodax_format::superblock::SuperBlock;
use rustix::io::Errno;

use crate::{
    expectation::Entry,
    image::{expectation_path, HELLO},
    kinds::{self, RetainedInitrd},
};

const CLASS: &str = "/sys/class/erodax";

/// Where there is a directory for each superblock.
pub(crate) const MOUNTS: &str = "/sys/fs/erodax";

/// The name of an undamaged small image, which suites with bad images have beside them.
pub(crate) const GOOD: &str = "good";

/// Loads the module.
pub(crate) fn load(parameters: &str) -> Result<Module, Errno> {
    Module::insert("erodax", parameters)
}

/// Loads the module with every image of the initrd.
pub(crate) fn serve_initrd() -> Result<Module> {
    load("region=initrd").context("insmod erodax.ko region=initrd")
}

/// Mounts an image's device on a directory of the image's name.
pub(crate) fn mount(image: &str, options: &str) -> Result<Mount> {
    let device = Device::of(image)?;
    mount_source(&device.node, options, image)
        .with_context(|| format!("mount of {image} with {options:?}"))
}

/// Mounts any source on `/mnt/NAME`.
pub(crate) fn mount_source(source: &Path, options: &str, name: &str) -> Result<Mount, MountError> {
    Mount::new("erofs", source, options, Path::new("/mnt").join(name))
}

/// Runs `body` on the root of each named image, mounted with these options, by itself.
pub(crate) fn with_each(
    images: &[&str],
    options: &str,
    body: impl FnMut(&Path, &[Entry]) -> Result<()>,
) -> Result<()> {
    kinds::with_each::<RetainedInitrd>(images, options, body)
}

/// What an image of a generated tree must show.
pub(crate) fn expectation(image: &str) -> Result<Vec<Entry>> {
    let path = expectation_path(image);
    let text = fs::read(&path).with_context(|| format!("the initrd has no {path}"))?;
    Ok(serde_json::from_slice(&text)?)
}

/// One device with its attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    /// `/dev/erodaxN`.
    pub(crate) node: PathBuf,
    /// Physical address of the image's first byte.
    pub(crate) address: u64,
    /// Offset of the image in its first page.
    pub(crate) offset: u64,
    /// The image's size.
    pub(crate) size: u64,
    /// What kind of memory it is.
    pub(crate) kind: String,
    /// The image's name in the initrd.
    pub(crate) name: String,
    /// Whether it begins at a page.
    pub(crate) aligned: bool,
}

impl Device {
    /// Every device, by number.
    pub(crate) fn all() -> Result<Vec<Self>> {
        let mut devices = Vec::new();
        for number in 0.. {
            let directory = Path::new(CLASS).join(format!("erodax{number}"));
            if !directory.exists() {
                break;
            }
            devices.push(Self::read(&directory)?);
        }
        Ok(devices)
    }

    /// The device of an image in the initrd.
    pub(crate) fn of(image: &str) -> Result<Self> {
        let all = Self::all()?;
        let found = all.iter().find(|device| device.name == image).cloned();
        found.with_context(|| format!("no device has the name {image}: {all:?}"))
    }

    /// The `region=` of an image and its further devices, which follow it where its device table
    /// says.
    pub(crate) fn regions(&self) -> Result<String> {
        let bytes = fs::read(&self.node)?;
        let sb = SuperBlock::read(&bytes[..])?;
        let block = u64::from(sb.block_size());
        let mut regions = vec![format!("{:#x},{}", self.address, sb.size())];
        for id in 1..=sb.extra_devices() {
            let slot = sb.device_slot(&bytes[..], id)?;
            let address = self.address + slot.uniaddr * block;
            regions.push(format!("{address:#x},{}", slot.blocks * block));
        }
        Ok(regions.join(","))
    }

    fn read(directory: &Path) -> Result<Self> {
        let attribute = |name: &str| -> Result<String> {
            let path = directory.join(name);
            let value =
                fs::read_to_string(&path).with_context(|| format!("no {}", path.display()))?;
            value
                .strip_suffix('\n')
                .map(str::to_owned)
                .context("an attribute without a newline")
        };
        let address = attribute("address")?;
        let digits = address
            .strip_prefix("0x")
            .with_context(|| format!("address {address:?}"))?;
        Ok(Self {
            node: Path::new("/dev").join(directory.file_name().context("no name")?),
            address: u64::from_str_radix(digits, 16)?,
            offset: attribute("offset")?.parse()?,
            size: attribute("size")?.parse()?,
            kind: attribute("kind")?,
            name: attribute("name")?,
            aligned: match attribute("aligned")?.as_str() {
                "0" => false,
                "1" => true,
                other => bail!("aligned is {other:?}"),
            },
        })
    }
}

/// Where the initrd's images lie, also those that are too damaged to be found: physical address
/// and size, from the packer's own list and the address of one image that is found.
pub(crate) fn image_range(image: &str) -> Result<(u64, u64)> {
    let list = fs::read_to_string("/erofs.map").context("the initrd has no list of its images")?;
    let find = |wanted: &str| -> Result<(u64, u64)> {
        let line = list
            .lines()
            .find(|line| line.split(' ').next() == Some(wanted));
        let mut fields = line
            .with_context(|| format!("no {wanted} in {list:?}"))?
            .split(' ')
            .skip(1);
        let mut number = || {
            fields
                .next()
                .context("too few fields")?
                .parse()
                .context("no number")
        };
        Ok((number()?, number()?))
    };
    let module = serve_initrd()?;
    let known = Device::of(GOOD)?.address;
    drop(module);
    let (offset, size) = find(image)?;
    Ok((known - find(GOOD)?.0 + offset, size))
}

/// The module's messages since `log`'s position, without their `erodax: `.
pub(crate) fn messages(log: &mut KernelLog) -> Result<Vec<String>> {
    let lines = log.lines()?;
    let own = lines
        .iter()
        .filter_map(|line| line.strip_prefix("erodax: "));
    // The module loader's, about a module that no distribution has signed.
    let taint = |line: &&str| line.contains("tainting kernel") || line.contains("taints kernel");
    Ok(own.filter(|line| !taint(line)).map(str::to_owned).collect())
}

/// Loading must fail with this error code and one message that has all these words, leave
/// nothing behind, and not keep the module from being used afterwards.
pub(crate) fn check_load_refused(parameters: &str, errno: Errno, words: &[&str]) -> Result<()> {
    let before = Footprint::now()?;
    load_refused(parameters, errno, words)?;
    before.check()?;
    check_usable()
}

/// The first part of [`check_load_refused`].
pub(crate) fn load_refused(parameters: &str, errno: Errno, words: &[&str]) -> Result<()> {
    let mut log = KernelLog::from_now()?;
    match load(parameters) {
        Ok(_) => bail!("insmod erodax.ko {parameters} succeeds"),
        Err(error) => ensure!(
            error == errno,
            "insmod erodax.ko {parameters}: {error:?}, not {errno:?}"
        ),
    }
    one_message(&messages(&mut log)?, words).map(drop)
}

/// Mounting must fail with this error code and one message that has all these words, in the
/// kernel log as well as in the mount's own.
pub(crate) fn mount_refused(
    source: &Path,
    options: &str,
    errno: Errno,
    words: &[&str],
) -> Result<()> {
    let mut log = KernelLog::from_now()?;
    let error = match mount_source(source, options, "refused") {
        Ok(_) => bail!("mount of {} with {options:?} succeeds", source.display()),
        Err(error) => error,
    };
    ensure!(
        error.errno == errno,
        "mount fails, not with {errno:?}, but: {error}"
    );
    let message = one_message(&messages(&mut log)?, words)?;
    let own: Vec<&str> = error
        .log
        .iter()
        .filter_map(|line| line.strip_prefix("e "))
        .map(|line| line.strip_prefix("erodax: ").unwrap_or(line))
        .collect();
    ensure!(
        own == [message.as_str()],
        "the mount's log has {own:?}, the kernel's {message:?}"
    );
    Ok(())
}

fn one_message(messages: &[String], words: &[&str]) -> Result<String> {
    let [message] = messages else {
        bail!("not one message but {messages:?}")
    };
    for word in words {
        ensure!(message.contains(word), "{message:?} lacks {word:?}");
    }
    Ok(message.clone())
}

/// The good image can be loaded, mounted, read, unmounted and unloaded.
pub(crate) fn check_usable() -> Result<()> {
    let module = serve_initrd()?;
    check_mountable()?;
    unload(module)
}

/// The good image can be mounted and read.
pub(crate) fn check_mountable() -> Result<()> {
    let mount = mount(GOOD, "dax")?;
    let text = fs::read_to_string(mount.path().join("hello"))?;
    ensure!(text == HELLO, "{text:?}");
    mount.unmount().context("umount")
}

/// Unloads the module, which must be possible.
pub(crate) fn unload(module: Module) -> Result<()> {
    module
        .remove()
        .map_err(|(_, errno)| errno)
        .context("rmmod erodax")
}

/// What loaded modules and mounts show of themselves in the system.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Footprint {
    iomem: Vec<Resource>,
    filesystems: String,
    devices: String,
    nodes: BTreeSet<PathBuf>,
    class: bool,
    mounts: bool,
    modules: Vec<String>,
}

impl Footprint {
    /// The moment's.
    pub(crate) fn now() -> Result<Self> {
        let nodes: std::io::Result<Vec<_>> = fs::read_dir("/dev")?.collect();
        let modules = fs::read_to_string("/proc/modules")?;
        Ok(Self {
            iomem: iomem::resources()?,
            filesystems: fs::read_to_string("/proc/filesystems")?,
            devices: fs::read_to_string("/proc/devices")?,
            nodes: nodes?.into_iter().map(|entry| entry.path()).collect(),
            class: Path::new(CLASS).exists(),
            mounts: Path::new(MOUNTS).exists(),
            modules: modules
                .lines()
                .filter_map(|line| line.split(' ').next())
                .map(str::to_owned)
                .collect(),
        })
    }

    /// Nothing has been left behind since.
    pub(crate) fn check(&self) -> Result<()> {
        let now = Self::now()?;
        ensure!(
            *self == now,
            "something is left behind: before {self:?}, after {now:?}"
        );
        Ok(())
    }
}

/// How often [`check_no_leak`] repeats something.
pub(crate) const CYCLES: u64 = 100;

/// How often something is repeated, and what that may take.
pub(crate) struct Cycles {
    /// That many fill the system's lists and caches, and are not looked at.
    pub(crate) warm_up: u64,
    pub(crate) counted: u64,
    /// Less free memory than that after all that are counted.
    pub(crate) allowed_kib: u64,
}

impl Cycles {
    /// A page lost in each is noticed.
    pub(crate) const fn of(counted: u64) -> Self {
        Self {
            warm_up: 10,
            counted,
            // Half a page in each cycle: what else the system does in the meantime takes less.
            allowed_kib: counted * 2,
        }
    }
}

/// Repeats `cycle` and checks that nothing is lost. A page lost in each cycle is noticed.
pub(crate) fn check_no_leak(cycle: impl FnMut() -> Result<()>) -> Result<()> {
    check_no_leak_in(&Cycles::of(CYCLES), cycle)
}

/// As [`check_no_leak`], with other numbers.
pub(crate) fn check_no_leak_in(
    cycles: &Cycles,
    mut cycle: impl FnMut() -> Result<()>,
) -> Result<()> {
    // With KASAN what is freed stays taken for a while, so that free memory says little.
    let Some(leaks) = Kmemleak::begin()? else {
        return check_free_memory(cycles, cycle);
    };
    (0..cycles.counted).try_for_each(|_| cycle())?;
    leaks.end()
}

/// Free memory is the same in the end.
pub(crate) fn check_free_memory(
    cycles: &Cycles,
    mut cycle: impl FnMut() -> Result<()>,
) -> Result<()> {
    /// What the system has taken for itself it does not take again, while a leak comes back.
    const ROUNDS: u64 = 2;
    let counted = cycles.counted;
    for _ in 0..cycles.warm_up {
        cycle()?;
    }
    let mut lost = 0;
    for _ in 0..ROUNDS {
        let before = Memory::settled()?.free;
        for _ in 0..counted {
            cycle()?;
        }
        let after = Memory::settled()?.free;
        lost = before.saturating_sub(after);
        println!("{lost} KiB less free memory after {counted} cycles");
        if lost < cycles.allowed_kib {
            return Ok(());
        }
    }
    bail!("{lost} KiB lost in {counted} cycles")
}
