// SPDX-License-Identifier: GPL-2.0

//! A kernel that has freed its initrd.

use std::fs;

use anyhow::{ensure, Context, Result};
use rustix::io::Errno;

use crate::{
    erodax::{load_refused, Footprint, GOOD},
    image::{Content, Image},
    tests, Machine, Suite,
};

pub(super) static SUITE: Suite = Suite {
    name: "freed_initrd",
    machine: Machine {
        cmdline: &[],
        images: &[Image::good(GOOD, Content::Small)],
        ..Machine::RETAINING
    },
    tests: tests![by_name, by_address],
};

fn by_name() -> Result<()> {
    let before = Footprint::now()?;
    load_refused("region=initrd", Errno::NXIO, &["retain_initrd"])?;
    before.check()
}

fn by_address() -> Result<()> {
    let before = Footprint::now()?;
    let (address, size) = loaded_initrd()?;
    load_refused(
        &format!("region={address:#x},{size}"),
        Errno::BUSY,
        &["retain_initrd"],
    )?;
    before.check()
}

/// Where the boot loader put the initrd: `ramdisk_image` and `ramdisk_size` of the x86 boot
/// protocol's setup header, with their upper halves in the boot parameters.
fn loaded_initrd() -> Result<(u64, u64)> {
    let data = fs::read("/sys/kernel/boot_params/data").context("no boot parameters")?;
    let field = |at: usize| -> Result<u64> {
        let bytes = data
            .get(at..at + 4)
            .context("boot parameters are cut short")?;
        Ok(u64::from(u32::from_le_bytes(bytes.try_into()?)))
    };
    let address = field(0x218)? | (field(0xc0)? << 32);
    let size = field(0x21c)? | (field(0xc4)? << 32);
    ensure!(
        address != 0 && size != 0,
        "the boot loader passed no initrd"
    );
    Ok((address, size))
}
