// SPDX-License-Identifier: GPL-2.0

//! Images on DAX devices of other drivers: pmem of every kind, and `/dev/daxX.Y`.

pub(super) mod kinds;
mod life;
pub(super) mod mapping;
mod refusals;
mod unplugged;

use std::{fs::File, path::Path};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::{calls::extents, mapping::Mapping, mount::Mount};
use rustix::fs::{statx, AtFlags, StatxAttributes, StatxFlags, CWD};

use crate::{
    compare,
    erodax::{expectation, mount_source, serve_initrd, unload, GOOD},
    expectation::sha256,
    image::{Content, Image},
    suites::{compressed, zoo},
    Machine, Suite, Test,
};
use kinds::{Kind, Source};

/// A program and nothing else.
const PROGRAM: Image = Image::good("program", Content::Program);

pub(super) static SUITE: Suite = Suite {
    name: "fsdax",
    machine: Machine {
        memory_mib: kinds::MEMORY_MIB,
        virtio_pmem_mib: kinds::VIRTIO_PMEM_MIB,
        cpus: 2,
        cmdline: kinds::CMDLINE,
        modules: kinds::MODULES,
        images: &[
            Image::good(GOOD, Content::Small),
            zoo::INLINE,
            zoo::PLAIN,
            zoo::GARBAGE,
            zoo::CHUNKED,
            zoo::CHUNK_INDEXES,
            zoo::SMALL_BLOCKS,
            zoo::DEVICES,
            compressed::LZ4_LARGE,
            PROGRAM,
        ],
        ..Machine::RETAINING
    },
    tests: &[
        long("same_tree_on_e820", || same_tree(Kind::E820)),
        long("same_tree_on_ramdax", || same_tree(Kind::Ramdax)),
        long("same_tree_on_virtio", || same_tree(Kind::Virtio)),
        long("same_tree_on_fsdev", || same_tree(Kind::Fsdev)),
        long("huge_pages", mapping::huge_pages),
        long("private_writes", mapping::private_writes),
        long("runs_a_program", mapping::runs_a_program),
        long("shared_blocks", mapping::shared_blocks),
        long(
            "flat_files_with_shared_blocks",
            mapping::flat_files_with_shared_blocks,
        ),
        long("beyond_the_end", mapping::beyond_the_end),
        long("pinned_pages", mapping::pinned_pages),
        long("on_a_partition", life::on_a_partition),
        long("further_device", life::further_device),
        long("one_superblock", life::one_superblock),
        long("modules_are_held", life::modules_are_held),
        long("unplugged", unplugged::errors_afterwards),
        long("plugged_again", unplugged::plugged_again),
        long("unplugged_while_used", unplugged::while_used),
        long("unplugged_with_a_page_held", unplugged::held_by_a_page),
        long("unplugged_beside_stock", unplugged::beside_stock),
        long("leaks_nothing", life::leaks_nothing),
        long("woken", life::woken),
        long("no_dax", refusals::no_dax),
        long("in_use", refusals::in_use),
        long("wrong_image", refusals::wrong_image),
        long("wrong_driver", refusals::wrong_driver),
        long("small_blocks", refusals::small_blocks),
    ],
};

const fn long(name: &'static str, run: fn() -> Result<()>) -> Test {
    Test {
        limit: 300,
        ..Test::new(name, run)
    }
}

/// Runs `body` on an image on a device of a kind, with nothing mounted yet.
pub(super) fn with_source(
    kind: Kind,
    image: &str,
    offset: u64,
    body: impl FnOnce(&mut Source) -> Result<()>,
) -> Result<()> {
    let module = serve_initrd()?;
    let mut source = kind.with_image(image, offset).context("set-up")?;
    body(&mut source)?;
    source.remove()?;
    unload(module)
}

/// Runs `body` on the root of an image that is mounted from a device of a kind.
fn with_mount(
    kind: Kind,
    image: &str,
    options: &str,
    body: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    with_source(kind, image, 0, |source| {
        let mount = mount_source(&source.node, options, "pmem")?;
        body(mount.path())?;
        Ok(mount.unmount()?)
    })
    .with_context(|| format!("{image} on {kind:?} with {options:?}"))
}

/// Everything is as on the retained initrd, and as the host made it.
fn same_tree(kind: Kind) -> Result<()> {
    for image in [zoo::INLINE.name, zoo::PLAIN.name, zoo::CHUNKED.name] {
        with_source(kind, image, 0, |source| {
            for options in ["dax", "", "dax=never"] {
                let ours = mount_source(&source.node, options, "pmem")?;
                if options.is_empty() {
                    let theirs = crate::erodax::mount(image, "")?;
                    compare::trees(ours.path(), theirs.path())?;
                    theirs.unmount()?;
                }
                check_contents(&ours, image, options != "dax=never")?;
                ours.unmount()?;
            }
            Ok(())
        })
        .with_context(|| format!("{image} on {kind:?}"))?;
    }
    Ok(())
}

/// Each file's bytes, as they are read; gives them to `also`.
fn each_file(
    mount: &Mount,
    image: &str,
    mut also: impl FnMut(&Path, Vec<u8>) -> Result<()>,
) -> Result<()> {
    for entry in expectation(image)? {
        let Some(digest) = &entry.sha256 else {
            continue;
        };
        let path = mount.path().join(entry.path());
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        ensure!(sha256(&bytes) == *digest, "{} when read", path.display());
        also(&path, bytes)?;
    }
    Ok(())
}

fn check_reading(mount: &Mount, image: &str) -> Result<()> {
    each_file(mount, image, |_, _| Ok(()))
}

/// Each file's bytes, when read and when mapped, and that it says how it is mapped.
pub(super) fn check_contents(mount: &Mount, image: &str, is_direct: bool) -> Result<()> {
    each_file(mount, image, |path, bytes| {
        if bytes.is_empty() {
            return Ok(());
        }
        let map = Mapping::read_only(File::open(path)?, bytes.len())?;
        let (file, rest) = map.bytes().split_at(bytes.len());
        ensure!(file == bytes, "{} when mapped", path.display());
        let is_zero = rest.iter().all(|byte| *byte == 0);
        ensure!(is_zero, "{} beyond its end", path.display());
        let says_dax = says_dax(path)?;
        ensure!(
            says_dax == is_direct,
            "{}: DAX is {says_dax}",
            path.display()
        );
        Ok(())
    })
}

fn says_dax(path: &Path) -> Result<bool> {
    let stat = statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS)?;
    Ok(stat.stx_attributes.contains(StatxAttributes::DAX))
}

/// Where the first byte of a file lies, from the image's start on.
pub(super) fn lies_at(path: &Path) -> Result<u64> {
    let extents = extents(&File::open(path)?, 0, u64::MAX)?;
    Ok(extents.first().context("no extent")?.physical)
}
