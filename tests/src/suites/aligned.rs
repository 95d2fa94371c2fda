// SPDX-License-Identifier: GPL-2.0

//! Files that `erodax align` has put at multiples of 2 MiB: in an image that lies at such a
//! multiple, each of their whole blocks is mapped by one entry, wherever a program maps them.

use std::{
    fs::{self, File},
    path::Path,
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::{
    mapping::{MapFlags, Mapping, ProtFlags},
    mount::Mount,
};

use super::{
    carve_outs::{huge_pages, put},
    fsdax::{
        check_contents,
        kinds::{self, Kind, HUGE},
        lies_at,
        mapping::faults,
        with_source,
    },
    zoo,
};
use crate::{
    beside::{compare_images, MODULES},
    erodax::{load, mount, mount_source, serve_initrd, unload},
    image::Image,
    tests, Machine, Suite,
};

const IMAGES: [Image; 2] = [zoo::ALIGNED, zoo::ALIGNED_INLINE];

pub(super) static SUITE: Suite = Suite {
    name: "aligned",
    machine: Machine {
        memory_mib: kinds::MEMORY_MIB,
        cmdline: &[
            "retain_initrd",
            "memmap=32M!0x20000000",
            "memmap=64M%0x28000000-1+0xefffffff",
            "memmap=32M$0x30000000",
        ],
        modules: &[
            MODULES[0],
            MODULES[1],
            "nd_e820",
            "nd_pmem",
            "dax_hmem",
            "device_dax",
            "fsdev_dax",
        ],
        images: &[zoo::ALIGNED, zoo::ALIGNED_INLINE, zoo::LARGE],
        ..Machine::RETAINING
    },
    tests: tests![
        places,
        read_as_by_stock,
        in_the_initrd,
        in_a_carve_out,
        on_pmem,
        on_fsdev,
    ],
};

/// Where the last range of the command line begins.
const CARVE_OUT: u64 = 0x3000_0000;

/// The large files, and how many whole blocks of 2 MiB each has.
const FILES: [(&str, usize); 2] = [("large", 3), ("other", 1)];

/// Faults beside those for huge pages: behind the last whole block, each file has one page.
const FAULTS_AT_THE_END: u64 = 1;

fn places() -> Result<()> {
    let module = serve_initrd()?;
    for (image, is_aligned) in [
        (zoo::ALIGNED, true),
        (zoo::ALIGNED_INLINE, true),
        (zoo::LARGE, false),
    ] {
        let mount = mount(image.name, "dax")?;
        for (file, _) in FILES {
            let place = lies_at(&mount.path().join(file))?;
            ensure!(
                (place % HUGE == 0) == is_aligned,
                "{file} of {}: {place:#x}",
                image.name
            );
        }
        mount.unmount()?;
    }
    unload(module)
}

fn read_as_by_stock() -> Result<()> {
    compare_images(&IMAGES, "")
}

fn in_the_initrd() -> Result<()> {
    let module = serve_initrd()?;
    for image in IMAGES {
        let mount = mount(image.name, "dax")?;
        check_contents(&mount, image.name, true)?;
        mount.unmount()?;
    }
    unload(module)
}

fn in_a_carve_out() -> Result<()> {
    for image in IMAGES {
        let size = put(image.name, CARVE_OUT)?;
        let module = load(&format!("region={CARVE_OUT:#x},{size}"))?;
        let mount = mount_source(Path::new("/dev/erodax0"), "dax", image.name)?;
        check_contents(&mount, image.name, true)?;
        for (file, blocks) in FILES {
            let before = huge_pages()?;
            let map = check_faults(&mount, file, blocks)?;
            let mapped = huge_pages()? - before;
            ensure!(mapped == blocks, "{file}: {mapped} huge pages");
            drop(map);
        }
        mount.unmount()?;
        unload(module)?;
    }
    Ok(())
}

fn on_pmem() -> Result<()> {
    on_device(Kind::E820)
}

fn on_fsdev() -> Result<()> {
    on_device(Kind::Fsdev)
}

fn on_device(kind: Kind) -> Result<()> {
    for image in IMAGES {
        with_source(kind, image.name, 0, |source| {
            let mount = mount_source(&source.node, "dax", "device")?;
            check_contents(&mount, image.name, true)?;
            for (file, blocks) in FILES {
                check_faults(&mount, file, blocks)?;
            }
            Ok(mount.unmount()?)
        })
        .with_context(|| image.name)?;
    }
    // Else there would be nothing to gain.
    with_source(kind, zoo::LARGE.name, 0, |source| {
        let mount = mount_source(&source.node, "dax", "device")?;
        let (file, blocks) = FILES[0];
        let refused = check_faults(&mount, file, blocks);
        ensure!(refused.is_err(), "huge pages of a file that is not aligned");
        Ok(mount.unmount()?)
    })
}

/// Maps a file and reads all of it, with a fault for each whole block and few more.
fn check_faults(mount: &Mount, file: &str, blocks: usize) -> Result<Mapping> {
    let path = mount.path().join(file);
    let whole = fs::read(&path)?;
    let map = Mapping::new(
        File::open(&path)?,
        0,
        whole.len(),
        ProtFlags::READ,
        MapFlags::SHARED,
    )?;
    let before = faults()?;
    ensure!(map.bytes()[..whole.len()] == whole, "{file} when mapped");
    let cost = faults()? - before;
    println!("{file}: {cost} faults for {} bytes", whole.len());
    let allowed = u64::try_from(blocks)? + FAULTS_AT_THE_END;
    ensure!(cost <= allowed, "{file}: {cost} faults");
    Ok(map)
}
