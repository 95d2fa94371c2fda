// SPDX-License-Identifier: GPL-2.0

//! Memory beside the retained initrd, with copies of its images in it.

use std::{
    fs::{self, File},
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use erodax_agent::guest::{mapping::PAGE, module::Module};
use serde::{Deserialize, Serialize};

use super::{IMAGES, PROGRAM};
use crate::{
    erodax::{load, serve_initrd, unload, Device},
    kinds::{Kind, Memory, Source},
    suites::fsdax::kinds as devices,
};

/// Ranges of the memory. A device is one mount's: what is mounted beside other images needs one
/// of its own.
const RANGES: [u64; 2] = [0x2000_0000, 0x2800_0000];

/// The kernel parameters that keep [`RANGES`] aside, as what each kind wants.
pub(super) const CARVED_OUT: &[&str] = &[
    "retain_initrd",
    "memmap=64M$0x20000000",
    "memmap=16M$0x28000000",
];
pub(super) const PERSISTENT: &[&str] = &[
    "retain_initrd",
    "memmap=64M!0x20000000",
    "memmap=16M!0x28000000",
];
pub(super) const SOFT_RESERVED: &[&str] = &[
    "retain_initrd",
    "memmap=64M%0x20000000-1+0xefffffff",
    "memmap=16M%0x28000000-1+0xefffffff",
];
/// The initrd lies at the end, above the ranges.
pub(super) const MEMORY_MIB: u32 = 1024;

/// Where the copy of an image is.
#[derive(Serialize, Deserialize)]
struct Copy {
    image: String,
    /// Which of [`RANGES`], and where in it.
    range: usize,
    offset: u64,
    size: u64,
}

impl Copy {
    fn address(&self) -> u64 {
        RANGES[self.range] + self.offset
    }

    fn frames(&self) -> Result<Range<u64>> {
        let page = u64::try_from(PAGE)?;
        let first = self.address() / page;
        Ok(first..first + self.size.div_ceil(page))
    }
}

/// The copies of a VM's images.
struct Copies(Vec<Copy>);

impl Copies {
    /// Finds them; `put` is given the content of each range if there are none yet.
    fn find(put: impl FnOnce(&[Vec<u8>; 2]) -> Result<()>) -> Result<Self> {
        const LIST: &str = "/tmp/copies";
        if let Ok(list) = fs::read(LIST) {
            return Ok(Self(serde_json::from_slice(&list)?));
        }
        let mut contents = [Vec::new(), Vec::new()];
        let mut copies = Vec::new();
        let module = serve_initrd()?;
        for image in IMAGES {
            let range = usize::from(image.name == PROGRAM.name);
            let content = &mut contents[range];
            content.resize(content.len().next_multiple_of(PAGE), 0);
            let bytes = fs::read(Device::of(image.name)?.node)?;
            copies.push(Copy {
                image: image.name.to_owned(),
                range,
                offset: u64::try_from(content.len())?,
                size: u64::try_from(bytes.len())?,
            });
            content.extend(bytes);
        }
        unload(module)?;
        put(&contents)?;
        fs::write(LIST, serde_json::to_vec(&copies)?)?;
        Ok(Self(copies))
    }

    fn of(&self, image: &str) -> Result<&Copy> {
        let found = self.0.iter().find(|copy| copy.image == image);
        found.with_context(|| format!("there is no copy of {image}"))
    }
}

/// Memory that the kernel does not use.
pub(super) struct CarveOut {
    module: Module,
    copies: Copies,
}

impl Kind for CarveOut {
    const MEMORY: Memory = Memory::Blocks;

    fn serve() -> Result<Self> {
        let copies = Copies::find(|contents| {
            let memory = File::options().write(true).open("/dev/mem")?;
            for (address, content) in RANGES.into_iter().zip(contents) {
                memory.write_all_at(content, address).context("/dev/mem")?;
            }
            Ok(())
        })?;
        let regions: Vec<_> = copies
            .0
            .iter()
            .map(|copy| format!("{:#x},{}", copy.address(), copy.size))
            .collect();
        let module = load(&format!("region={}", regions.join(","))).context("insmod")?;
        Ok(Self { module, copies })
    }

    fn source(&self, image: &str) -> Result<Source> {
        let address = self.copies.of(image)?.address();
        let mut devices = Device::all()?.into_iter();
        let found = devices.find(|device| device.address == address);
        let device = found.with_context(|| format!("no device at {address:#x}"))?;
        Ok(Source {
            node: device.node,
            offset: 0,
        })
    }

    fn frames(&self, image: &str) -> Result<Range<u64>> {
        self.copies.of(image)?.frames()
    }

    fn end(self) -> Result<()> {
        unload(self.module)
    }
}

/// Devices of other drivers with the copies.
struct Devices {
    module: Module,
    devices: devices::Source,
    copies: Copies,
}

impl Devices {
    fn source(&self, image: &str, nodes: &[impl AsRef<Path>; 2]) -> Result<Source> {
        let copy = self.copies.of(image)?;
        Ok(Source {
            node: nodes[copy.range].as_ref().to_owned(),
            offset: copy.offset,
        })
    }

    fn end(self) -> Result<()> {
        self.devices.remove()?;
        unload(self.module)
    }
}

/// Block devices of `nd_pmem`, found by `nd_e820`.
pub(super) struct Pmem(Devices);

impl Pmem {
    const NODES: [&str; 2] = [devices::PMEM, "/dev/pmem1"];

    fn set_up() -> Result<devices::Source> {
        let source = devices::Kind::E820.set_up()?;
        devices::wait_for(Path::new(Self::NODES[1]))?;
        Ok(source)
    }
}

impl Kind for Pmem {
    const MEMORY: Memory = Memory::FsDax;
    const HAS_BLOCK_DEVICE: bool = true;

    fn serve() -> Result<Self> {
        let copies = Copies::find(|contents| {
            let source = Self::set_up()?;
            for (node, content) in Self::NODES.iter().zip(contents) {
                devices::write(Path::new(node), content, 0)?;
            }
            source.remove()
        })?;
        let devices = Self::set_up()?;
        let module = load("").context("insmod")?;
        Ok(Self(Devices {
            module,
            devices,
            copies,
        }))
    }

    fn source(&self, image: &str) -> Result<Source> {
        self.0.source(image, &Self::NODES)
    }

    fn frames(&self, image: &str) -> Result<Range<u64>> {
        self.0.copies.of(image)?.frames()
    }

    fn end(self) -> Result<()> {
        self.0.end()
    }
}

/// Character devices of `fsdev_dax`.
pub(super) struct Fsdev {
    devices: Devices,
    nodes: [PathBuf; 2],
}

impl Kind for Fsdev {
    const MEMORY: Memory = Memory::FsDax;

    fn serve() -> Result<Self> {
        let copies = Copies::find(|contents| {
            let source = devices::soft_reserved()?;
            for (address, content) in RANGES.into_iter().zip(contents) {
                devices::fill(address, content)?;
            }
            source.remove()
        })?;
        let devices = devices::soft_reserved()?;
        let [images, program] =
            RANGES.map(|address| devices::hand_over_at(address, "device_dax", "fsdev_dax"));
        let module = load("").context("insmod")?;
        Ok(Self {
            nodes: [images?, program?],
            devices: Devices {
                module,
                devices,
                copies,
            },
        })
    }

    fn source(&self, image: &str) -> Result<Source> {
        self.devices.source(image, &self.nodes)
    }

    fn frames(&self, image: &str) -> Result<Range<u64>> {
        self.devices.copies.of(image)?.frames()
    }

    fn end(self) -> Result<()> {
        self.devices.end()
    }
}
