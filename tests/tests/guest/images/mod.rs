// SPDX-License-Identifier: GPL-2.0

//! Makes what a suite's VM boots from: its images and its initrd.

mod damage;
mod garbage;
mod small;
mod zoo;

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{ensure, Context, Result};
use erodax_initrd::{write_tree_cpio, Compression, CpioOptions};
use erodax_qemu::{
    cache::{cached, Key},
    Environment, InitrdBuilder, Scenario,
};
use erodax_tests::{
    expectation::sha256,
    image::{
        digest_path, expectation_path, Content, Image, BUILD_TIME, PAYLOAD_MANIFEST, UNALIGNED_BY,
    },
    Suite,
};

/// Anything but zero, so that a filesystem id made of it can be told from none.
const UUID: &str = "6d2c1f0e-8a4b-4c3d-9e5f-a1b2c3d4e5f6";

const PAGE: u64 = 4096;

/// The VM of a suite, everything that it needs made.
pub(crate) fn scenario(environment: &Environment, suite: &Suite) -> Result<Scenario> {
    let machine = &suite.machine;
    let initrd = initrd(environment, suite)
        .with_context(|| format!("cannot make the initrd of suite {}", suite.name))?;
    let mut scenario = Scenario::new(suite.name, initrd);
    scenario.memory_mib = machine.memory_mib;
    scenario.cpus = machine.cpus;
    scenario.cmdline = machine
        .cmdline
        .iter()
        .map(|&parameter| parameter.to_owned())
        .collect();
    Ok(scenario)
}

fn initrd(environment: &Environment, suite: &Suite) -> Result<PathBuf> {
    let machine = &suite.machine;
    let mut builder = InitrdBuilder::new(environment, suite.name, "erodax-guest")?
        .modules(machine.modules)?
        .keyed(&format!("{:?} {}", machine.images, machine.prefixed));
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
        Content::Payload => builder
            .file(
                PAYLOAD_MANIFEST,
                &erodax_qemu::payload::manifest(environment),
            )?
            .image(image.name, &erodax_qemu::payload::image(environment)?),
        Content::Zoo {
            mkfs,
            one_time,
            garbage,
        } => {
            let nodes = zoo::nodes(one_time);
            let file = zoo_image(environment, image.name, &nodes, mkfs, garbage)?;
            add_zoo(builder, image.name, &nodes, &file)
        }
        Content::Devices => {
            let nodes = zoo::nodes(false);
            let file = devices_image(environment, image.name, &nodes)?;
            add_zoo(builder, image.name, &nodes, &file)
        }
    }
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

/// An image of a generated tree, made from a tar archive: so ownership, times and device nodes
/// come out as they should whoever runs the tests.
fn zoo_image(
    environment: &Environment,
    name: &str,
    nodes: &[zoo::Node],
    mkfs: &[&str],
    garbage: bool,
) -> Result<PathBuf> {
    let tar = zoo::archive(nodes)?;
    let key = Key::of_program("zoo")?
        .text(&sha256(&tar))
        .text(&format!("{mkfs:?} {garbage}"));
    cached(
        &environment.cache(),
        &format!("{name}.erofs"),
        &key,
        |image| {
            make(environment, image, &tar, mkfs)?;
            if garbage {
                garbage::put_after_files(image, zoo::contents(nodes))?;
            }
            Ok(())
        },
    )
}

/// An image whose files' data is on a further device, and that device's bytes behind it.
fn devices_image(environment: &Environment, name: &str, nodes: &[zoo::Node]) -> Result<PathBuf> {
    let tar = zoo::archive(nodes)?;
    let key = Key::of_program("devices")?.text(&sha256(&tar));
    let file_name = format!("{name}.erofs");
    cached(&environment.cache(), &file_name, &key, |image| {
        let data = tempfile::NamedTempFile::new_in(environment.cache())?;
        let path = data.path().to_str().context("the cache's name")?;
        let blobdev = format!("--blobdev={path}");
        make(environment, image, &tar, &["--chunksize=4096", &blobdev])?;
        let length = fs::metadata(image)?.len();
        ensure!(length % 4096 == 0, "an image of {length} bytes");
        let mut output = File::options().append(true).open(image)?;
        io::copy(&mut File::open(data.path())?, &mut output)?;
        Ok(())
    })
}

/// Runs mkfs.erofs on an archive.
fn make(environment: &Environment, image: &Path, tar: &[u8], options: &[&str]) -> Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(environment.cache())?;
    file.write_all(tar)?;
    let output = Command::new("mkfs.erofs")
        .args(["--quiet", "-U", UUID, "--tar=f", "--mkfs-time"])
        .arg(format!("-T{BUILD_TIME}"))
        .args(options)
        .args([image, file.path()])
        .output()
        .context("cannot run mkfs.erofs (package erofs-utils)")?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "mkfs.erofs {options:?}: {complaints}"
    );
    Ok(())
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
