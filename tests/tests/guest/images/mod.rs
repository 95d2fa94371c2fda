// SPDX-License-Identifier: GPL-2.0

//! Makes what a suite's VM boots from: its images and its initrd.

mod craft;
mod damage;
mod garbage;
mod mkfs;
mod small;
mod zoo;

use std::{
    env,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use anyhow::{ensure, Context, Result};
use erodax_initrd::{write_tree_cpio, Compression, CpioOptions};
use erodax_qemu::{
    cache::{cached, Key},
    Environment, InitrdBuilder, Scenario,
};
use erodax_tests::{
    expectation::sha256,
    image::{digest_path, expectation_path, Content, Image, Tree, PAYLOAD_MANIFEST, UNALIGNED_BY},
    Suite,
};

use crate::plan::Effort;

const PAGE: u64 = 4096;

/// For machines with less memory the initrd is compressed by gzip: while the kernel unpacks zstd, that
/// takes 8 MiB beside what comes out.
const ENOUGH_MIB: u32 = 128;

/// The init of the test VMs.
const GUEST: &str = "erodax-guest";

/// The VM of a suite, everything that it needs made.
pub(crate) fn scenario(
    environment: &Environment,
    suite: &Suite,
    effort: Effort,
) -> Result<Scenario> {
    let machine = &suite.machine;
    let initrd = initrd(environment, suite)
        .with_context(|| format!("cannot make the initrd of suite {}", suite.name))?;
    let mut scenario = Scenario::new(suite.name, initrd);
    scenario.memory_mib = machine.memory_mib;
    scenario.cpus = machine.cpus;
    scenario.virtio_pmem_mib = machine.virtio_pmem_mib;
    scenario.cmdline = machine
        .cmdline
        .iter()
        .map(|&parameter| parameter.to_owned())
        .chain(effort.parameters())
        .collect();
    Ok(scenario)
}

fn initrd(environment: &Environment, suite: &Suite) -> Result<PathBuf> {
    let machine = &suite.machine;
    let mut builder = InitrdBuilder::new(environment, suite.name, GUEST)?
        .modules(machine.modules)?
        .keyed(&format!("{:?} {}", machine.images, machine.prefixed));
    if machine.memory_mib < ENOUGH_MIB {
        builder = builder.compressed(Compression::Gzip);
    }
    if machine.erodax {
        builder = builder.erodax()?;
    }
    for image in machine.images {
        builder = add(builder, environment, image)?;
    }
    builder.build_then(|initrd| {
        damage::apply(initrd, machine.images)?;
        if machine.prefixed {
            put_archive_before(initrd)?;
        }
        Ok(())
    })
}

fn add<'a>(
    builder: InitrdBuilder<'a>,
    environment: &Environment,
    image: &Image,
) -> Result<InitrdBuilder<'a>> {
    match image.content {
        Content::Small => builder.image(image.name, &small::directory(environment)?),
        Content::Program => builder.image(image.name, &program(environment)?),
        Content::Debugger => builder.image(image.name, &debugger()?),
        Content::Payload => builder
            .file(
                PAYLOAD_MANIFEST,
                &erodax_qemu::payload::manifest(environment),
            )?
            .image(image.name, &erodax_qemu::payload::image(environment)?),
        Content::Zoo(declared) => {
            let nodes = zoo::nodes(&declared);
            let file = mkfs::image(environment, image.name, &declared, &nodes)?;
            if declared.tree == Tree::Crowd {
                // What it must show would be larger than the image, and is much of the same.
                return builder.image(image.name, &file);
            }
            add_zoo(builder, image.name, &nodes, &file)
        }
    }
}

/// A directory with gdb, whose name changes with what is in it.
fn debugger() -> Result<PathBuf> {
    env::var_os("ERODAX_DEBUGGER")
        .map(Into::into)
        .context("ERODAX_DEBUGGER is not set: start it with `make test`, which sets it")
}

/// A directory with the guest's own binary.
fn program(environment: &Environment) -> Result<PathBuf> {
    let binary = environment.statics.join(GUEST);
    let key = Key::new("program 1").file(&binary)?;
    cached(&environment.cache(), "program", &key, |directory| {
        fs::create_dir(directory)?;
        fs::copy(&binary, directory.join("program"))?;
        Ok(())
    })
}

fn add_zoo<'a>(
    builder: InitrdBuilder<'a>,
    name: &str,
    nodes: &[zoo::Node],
    file: &Path,
) -> Result<InitrdBuilder<'a>> {
    let digest = sha256(&fs::read(file)?);
    builder
        .bytes(
            &expectation_path(name),
            serde_json::to_vec(&zoo::expectation(nodes))?,
        )
        .bytes(&digest_path(name), digest.into_bytes())
        .image(name, file)
}

/// Puts a small archive in front, as `cat microcode.cpio initrd` does: its end, and so the image's
/// begin, is [`UNALIGNED_BY`] bytes into a page.
pub(crate) fn put_archive_before(initrd: &Path) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let content = directory.path().join("content");
    fs::create_dir(&content)?;
    let early_data = content.join("early-data");
    fs::write(&early_data, [b'\n'; 4])?;
    let prefix = directory.path().join("prefix.cpio");
    let options = CpioOptions {
        compression: Compression::None,
        force: true,
    };
    let shortest = write_tree_cpio(&content, &prefix, options)?;
    let more = (PAGE + UNALIGNED_BY - shortest % PAGE) % PAGE;
    fs::write(&early_data, vec![b'\n'; usize::try_from(4 + more)?])?;
    let length = write_tree_cpio(&content, &prefix, options)?;
    ensure!(length % PAGE == UNALIGNED_BY, "a prefix of {length} bytes");

    let whole = initrd.with_extension("prefixed");
    let mut output = File::create(&whole)?;
    for part in [prefix.as_path(), initrd] {
        io::copy(&mut File::open(part)?, &mut output)?;
    }
    Ok(fs::rename(whole, initrd)?)
}
