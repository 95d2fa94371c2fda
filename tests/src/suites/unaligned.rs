// SPDX-License-Identifier: GPL-2.0

//! An image that does not begin at a page, as after `cat microcode.cpio initrd`.

use std::{
    fs::{self, File},
    path::Path,
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::mapping::Mapping;
use rustix::{
    fs::{fadvise, Advice},
    io::Errno,
};

use crate::{
    erodax::{
        expectation, load, mount_refused, mount_source, serve_initrd, unload, with_each, Device,
        Footprint,
    },
    expectation::{sha256, Entry},
    image::{Content, Image, Tree, Zoo, UNALIGNED_BY},
    suites::zoo,
    tests, Machine, Suite,
};

pub(super) static SUITE: Suite = Suite {
    name: "unaligned",
    machine: Machine {
        images: &[zoo::INLINE, SENTENCE],
        prefixed: true,
        ..Machine::RETAINING
    },
    tests: tests![
        attributes,
        direct_mapping_is_refused,
        read_by_copying,
        mapped_by_copying,
        compressed,
        by_address,
    ],
};

const NAME: &str = zoo::INLINE.name;

/// The image of the mail that asked for mounts from memory: of two blocks, one compressed.
const SENTENCE: Image = Image::good(
    "sentence",
    Content::Zoo(Zoo {
        tree: Tree::Sentence,
        mkfs: &["-zlz4"],
        ..Zoo::DEFAULT
    }),
);

fn attributes() -> Result<()> {
    let module = serve_initrd()?;
    let device = Device::of(NAME)?;
    ensure!(
        !device.aligned && device.offset == UNALIGNED_BY,
        "{device:?}"
    );
    ensure!(device.offset == device.address % 4096, "{device:?}");
    let bytes = fs::read(&device.node)?;
    ensure!(bytes.len() as u64 == device.size, "{} bytes", bytes.len());
    let expected = fs::read_to_string(crate::image::digest_path(NAME))?;
    ensure!(sha256(&bytes) == expected, "the content is not the image's");
    unload(module)
}

fn direct_mapping_is_refused() -> Result<()> {
    let module = serve_initrd()?;
    let node = Device::of(NAME)?.node;
    let before = Footprint::now()?;
    for options in ["dax", "dax=always"] {
        mount_refused(
            &node,
            options,
            Errno::INVAL,
            &["4096", "erodax pack", "without dax"],
        )?;
    }
    before.check()?;
    mount_source(&node, "", NAME)?.unmount()?;
    unload(module)
}

fn each_way(image: &str, mut body: impl FnMut(&Path, &Entry, u64) -> Result<()>) -> Result<()> {
    for options in ["", "dax=never"] {
        with_each(&[image], options, |root, entries| {
            for entry in entries.iter().filter(|entry| entry.sha256.is_some()) {
                let path = root.join(entry.path());
                body(&path, entry, entry.size.context("no size")?)
                    .with_context(|| path.display().to_string())?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn read_by_copying() -> Result<()> {
    each_way(NAME, |path, entry, _| check_read(path, entry))
}

fn check_read(path: &Path, entry: &Entry) -> Result<()> {
    ensure!(Some(sha256(&fs::read(path)?)) == entry.sha256);
    Ok(())
}

fn mapped_by_copying() -> Result<()> {
    each_way(NAME, check_mapped)
}

fn compressed() -> Result<()> {
    let module = serve_initrd()?;
    let device = Device::of(SENTENCE.name)?;
    unload(module)?;
    ensure!(
        (device.size, device.offset) == (8192, UNALIGNED_BY),
        "{device:?}"
    );
    each_way(SENTENCE.name, |path, entry, size| {
        check_read(path, entry)?;
        fadvise(File::open(path)?, 0, None, Advice::DontNeed)?;
        check_mapped(path, entry, size)
    })
}

fn check_mapped(path: &Path, entry: &Entry, size: u64) -> Result<()> {
    if size == 0 {
        return Ok(());
    }
    let size = usize::try_from(size)?;
    let map = Mapping::read_only(File::open(path)?, size)?;
    let (content, tail) = map.bytes().split_at(size);
    ensure!(Some(sha256(content)) == entry.sha256);
    ensure!(tail.iter().all(|byte| *byte == 0), "bytes beyond the end");
    Ok(())
}

/// Where somebody says that the image is, instead of what the initrd's archive says.
fn by_address() -> Result<()> {
    let module = serve_initrd()?;
    let device = Device::of(NAME)?;
    unload(module)?;
    let module = load(&format!("region={:#x},{}", device.address, device.size))?;
    let [only] = &Device::all()?[..] else {
        anyhow::bail!("not one device")
    };
    ensure!(
        (only.address, only.offset) == (device.address, UNALIGNED_BY),
        "{only:?}"
    );
    let entries = expectation(NAME)?;
    let mount = mount_source(&only.node, "", NAME)?;
    for entry in entries.iter().filter(|entry| entry.sha256.is_some()) {
        let path = mount.path().join(entry.path());
        check_read(&path, entry)
            .and_then(|()| check_mapped(&path, entry, entry.size.context("no size")?))
            .with_context(|| path.display().to_string())?;
    }
    mount.unmount()?;
    unload(module)
}
