// SPDX-License-Identifier: GPL-2.0

//! The `region=` parameter: what is served, and what is refused.

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::iomem;
use rustix::io::Errno;

use crate::{
    erodax::{
        check_load_refused, check_mountable, check_no_leak, check_usable, image_range, load,
        load_refused, serve_initrd, unload, Device, Footprint, GOOD,
    },
    image::{Content, Image},
    tests, Machine, Suite,
};

pub(super) static SUITE: Suite = Suite {
    name: "regions",
    machine: Machine {
        images: &[
            Image::good(GOOD, Content::Small),
            Image::good("second", Content::Small),
        ],
        ..Machine::RETAINING
    },
    tests: tests![
        initrd_by_name,
        initrd_by_address,
        every_notation,
        part_of_a_page,
        missing,
        odd_count,
        zero_size,
        bad_number,
        overflow,
        beyond_memory,
        system_ram,
        across_the_initrds_end,
        overlapping_pairs,
        loaded_twice,
        bad_filesystem_name,
        nothing_stays,
        loading_leaks_nothing,
        refusals_leak_nothing,
    ],
};

fn initrd_by_name() -> Result<()> {
    let module = serve_initrd()?;
    let names: Vec<String> = Device::all()?
        .into_iter()
        .map(|device| device.name)
        .collect();
    ensure!(names == [GOOD, "second"], "{names:?}");
    check_mountable()?;
    unload(module)
}

fn initrd_by_address() -> Result<()> {
    let (first, second) = (image_range(GOOD)?, image_range("second")?);
    let module = load(&format!(
        "region={:#x},{},{:#x},{}",
        second.0, second.1, first.0, first.1
    ))?;
    let devices = Device::all()?;
    let ranges: Vec<_> = devices
        .iter()
        .map(|device| (device.address, device.size))
        .collect();
    ensure!(
        ranges == [second, first],
        "not in the order given: {ranges:x?}"
    );
    for device in &devices {
        ensure!(
            device.name.is_empty() && device.aligned && device.offset == 0,
            "{device:?}"
        );
        let mount = crate::erodax::mount_source(&device.node, "dax", "by-address")?;
        ensure!(mount.path().join("hello").exists());
    }
    unload(module)
}

/// C integers, and sizes in units.
fn every_notation() -> Result<()> {
    let (address, size) = image_range(GOOD)?;
    for (address_text, size_text) in [
        (format!("{address}"), format!("{size}")),
        (format!("{address:#x}"), format!("{size:#x}")),
        (format!("0{address:o}"), format!("0{size:o}")),
        (
            format!("{address:#X}").replace("0X", "0x"),
            format!("{}K", size / 1024),
        ),
        (format!("{address:#x}"), format!("{}k", size / 1024)),
    ] {
        let parameters = format!("region={address_text},{size_text}");
        let module = load(&parameters).with_context(|| parameters.clone())?;
        let [device] = &Device::all()?[..] else {
            anyhow::bail!("{parameters}: not one device")
        };
        ensure!(
            (device.address, device.size) == (address, size),
            "{parameters}: {device:?}"
        );
        unload(module)?;
    }
    Ok(())
}

/// A region keeps its own bounds although memory comes in pages.
fn part_of_a_page() -> Result<()> {
    let (address, size) = image_range(GOOD)?;
    let module = load(&format!("region={:#x},{}", address + 100, size - 300))?;
    let [device] = &Device::all()?[..] else {
        anyhow::bail!("not one device")
    };
    ensure!(
        (device.address, device.size) == (address + 100, size - 300),
        "{device:?}"
    );
    ensure!(!device.aligned && device.offset == 100, "{device:?}");
    let bytes = std::fs::read(&device.node)?;
    ensure!(
        bytes.len() as u64 == size - 300,
        "{} bytes can be read",
        bytes.len()
    );
    unload(module)
}

fn missing() -> Result<()> {
    check_load_refused("region=", Errno::INVAL, &["region="])?;
    // Without the parameter there are no devices of ours, but there may be others' to mount.
    let module = load("").context("insmod without region=")?;
    ensure!(Device::all()?.is_empty(), "{:?}", Device::all()?);
    unload(module)
}

fn odd_count() -> Result<()> {
    let (address, size) = image_range(GOOD)?;
    check_load_refused(&format!("region={address:#x}"), Errno::INVAL, &["pairs"])?;
    check_load_refused(
        &format!("region={address:#x},{size},{address:#x}"),
        Errno::INVAL,
        &["pairs"],
    )
}

fn zero_size() -> Result<()> {
    let (address, _) = image_range(GOOD)?;
    check_load_refused(&format!("region={address:#x},0"), Errno::INVAL, &["size"])
}

fn bad_number() -> Result<()> {
    let (address, size) = image_range(GOOD)?;
    for bad in [
        format!("{address:#x},abc"),
        format!("abc,{size}"),
        format!("{address:#x},{size}Q"),
        format!("{address:#x},-{size}"),
        format!("{address:#x},"),
        format!("0x{},{size}", "1".repeat(17)),
    ] {
        load_refused(&format!("region={bad}"), Errno::INVAL, &["number"])?;
    }
    check_usable()
}

fn overflow() -> Result<()> {
    check_load_refused(
        "region=0xfffffffffffff000,0x2000",
        Errno::RANGE,
        &["64 bits"],
    )?;
    // The sum fits, but not once it is padded to whole pages.
    check_load_refused(
        "region=0xfffffffffffff001,0x800",
        Errno::RANGE,
        &["64 bits"],
    )
}

fn beyond_memory() -> Result<()> {
    check_load_refused(
        "region=0x100000000000,0x1000",
        Errno::RANGE,
        &["0x100000000000", "beyond memory"],
    )
}

fn system_ram() -> Result<()> {
    let (initrd, _) = image_range(GOOD)?;
    let resources = iomem::resources()?;
    let inside = |resource: &&iomem::Resource| (resource.start..=resource.last).contains(&initrd);
    let ram = resources
        .iter()
        .find(|resource| resource.name == "System RAM" && inside(resource))
        .context("no System RAM around the initrd")?;
    // The kernel itself, and memory that programs use.
    let kernel = resources
        .iter()
        .find(|resource| resource.name == "Kernel code")
        .context("no kernel")?;
    for address in [kernel.start, (ram.start + 0x200_0000) & !0xfff] {
        let parameters = format!("region={address:#x},0x1000");
        check_load_refused(
            &parameters,
            Errno::BUSY,
            &[&format!("{address:#x}"), "System RAM", "initrd"],
        )?;
    }
    Ok(())
}

fn across_the_initrds_end() -> Result<()> {
    let (address, _) = image_range("second")?;
    check_load_refused(
        &format!("region={address:#x},64M"),
        Errno::BUSY,
        &["System RAM", "initrd"],
    )
}

fn overlapping_pairs() -> Result<()> {
    let (address, size) = image_range(GOOD)?;
    let twice = format!("region={address:#x},{size},{address:#x},{size}");
    check_load_refused(&twice, Errno::INVAL, &["overlap"])?;
    let by_a_byte = format!("region={address:#x},4097,{:#x},4096", address + 4096);
    check_load_refused(&by_a_byte, Errno::INVAL, &["overlap"])
}

fn loaded_twice() -> Result<()> {
    let module = serve_initrd()?;
    let before = Footprint::now()?;
    let second = load("region=initrd").map(drop);
    ensure!(second == Err(Errno::EXIST), "{second:?}");
    before.check()?;
    check_mountable()?;
    unload(module)
}

fn bad_filesystem_name() -> Result<()> {
    check_load_refused("region=initrd fstype=", Errno::INVAL, &["fstype="])?;
    check_load_refused("region=initrd fstype=a/b", Errno::INVAL, &["fstype="])
}

fn nothing_stays() -> Result<()> {
    let before = Footprint::now()?;
    check_usable()?;
    before.check()?;
    // No devices: only others' can be mounted.
    unload(load("")?)?;
    before.check()
}

fn loading_leaks_nothing() -> Result<()> {
    check_no_leak(check_usable)
}

fn refusals_leak_nothing() -> Result<()> {
    let (address, size) = image_range(GOOD)?;
    let outside_last = format!("region={address:#x},{size},0x1000000,0x1000");
    check_no_leak(|| load_refused(&outside_last, Errno::BUSY, &["System RAM"]))
}
