// SPDX-License-Identifier: GPL-2.0

//! Images of generated trees, made by mkfs.erofs from tar archives: so ownership, times and device
//! nodes come out as they should whoever runs the tests.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{ensure, Context, Result};
use erodax_format::superblock::SuperBlock;
use erodax_initrd::{align, AlignFiles, HUGE_PAGE};
use erodax_qemu::{
    cache::{cached, Key},
    Environment,
};
use erodax_tests::{
    expectation::sha256,
    image::{Craft, Data, Maker, Tree, Zoo, BUILD_TIME},
};
use tempfile::NamedTempFile;

use super::{craft, garbage, zoo};

/// Anything but zero, so that a filesystem id made of it can be told from none.
const UUID: &str = "6d2c1f0e-8a4b-4c3d-9e5f-a1b2c3d4e5f6";

/// The image, from the cache if it is there.
pub(super) fn image(
    environment: &Environment,
    name: &str,
    declared: &Zoo,
    nodes: &[zoo::Node],
) -> Result<PathBuf> {
    let tar = zoo::archive(nodes)?;
    let program = program(declared.maker)?;
    let key = Key::of_program("zoo")?
        .text(&sha256(&tar))
        .text(&format!("{declared:?} {}", program.display()));
    let file_name = format!("{name}.erofs");
    cached(&environment.cache(), &file_name, &key, |image| {
        let maker = Mkfs {
            environment,
            program: &program,
            options: declared.mkfs,
        };
        match declared.data {
            Data::Inside
                if matches!(
                    declared.tree,
                    Tree::Shared | Tree::Compressible | Tree::Dense
                ) =>
            {
                maker.of_directory(image, nodes)?;
            }
            Data::Inside => maker.make(image, &["--tar=f"], &tar)?,
            Data::Blob => return maker.with_blob(image, &tar, declared.craft),
            Data::Archive => return maker.index_of_archive(image, &tar),
            Data::Layers => return maker.merged(image, nodes),
        }
        if !has_unpadded_streams(declared) {
            check(image)?;
        }
        match declared.craft {
            None => Ok(()),
            Some(Craft::Garbage) => garbage::put_after_files(image, zoo::contents(nodes)),
            Some(Craft::Aligned) => align_files(image),
            Some(change) => craft::apply(image, change),
        }
    })
}

/// Aligns what is larger than a huge page.
fn align_files(image: &Path) -> Result<()> {
    let wanted = AlignFiles {
        larger_than: Some(HUGE_PAGE),
        ..AlignFiles::default()
    };
    let report = align(image, &wanted, image, true)?;
    ensure!(report.files.len() > 1, "{report:?}");
    check(image)
}

fn program(maker: Maker) -> Result<PathBuf> {
    match maker {
        Maker::Stable => Ok("mkfs.erofs".into()),
        Maker::Next => env::var_os("ERODAX_MKFS_NEW")
            .map(Into::into)
            .context("ERODAX_MKFS_NEW is not set: start it with `make test`, which sets it"),
    }
}

/// Whether LZ4 streams are at the begin of their blocks: newer ones of fsck.erofs take what follows
/// for a part of them.
fn has_unpadded_streams(declared: &Zoo) -> bool {
    let is_legacy = |option: &&str| option.contains("legacy-compress");
    declared.maker == Maker::Stable && declared.mkfs.iter().any(is_legacy)
}

/// Has fsck.erofs decode all of an image: where mkfs.erofs makes a wrong one, no driver can read it.
fn check(image: &Path) -> Result<()> {
    let program = program(Maker::Next)?.with_file_name("fsck.erofs");
    let output = Command::new(program)
        .arg("--extract")
        .arg(image)
        .output()
        .context("cannot run fsck.erofs, which is to be where ERODAX_MKFS_NEW is")?;
    ensure!(
        output.status.success(),
        "mkfs.erofs made a wrong image: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

struct Mkfs<'a> {
    environment: &'a Environment,
    program: &'a Path,
    options: &'a [&'a str],
}

impl Mkfs<'_> {
    /// Makes an image of an archive.
    fn make(&self, image: &Path, options: &[&str], tar: &[u8]) -> Result<()> {
        let mut file = self.temporary()?;
        file.write_all(tar)?;
        self.run(options, &[image, file.path()])
    }

    fn of_directory(&self, image: &Path, nodes: &[zoo::Node]) -> Result<()> {
        let source = tempfile::tempdir_in(self.environment.cache())?;
        zoo::write(nodes, source.path())?;
        self.run(&["--all-root", "--all-time"], &[image, source.path()])
    }

    fn run(&self, options: &[&str], paths: &[&Path]) -> Result<()> {
        let time = format!("-T{BUILD_TIME}");
        let common = ["--quiet", "-U", UUID, "--mkfs-time", &time];
        let arguments: Vec<OsString> = (common.iter().chain(self.options).chain(options))
            .map(OsStr::new)
            .chain(paths.iter().map(|path| path.as_os_str()))
            .map(ToOwned::to_owned)
            .collect();
        let output = Command::new(self.program)
            .args(&arguments)
            .output()
            .context("cannot run mkfs.erofs (package erofs-utils)")?;
        let complaints = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "mkfs.erofs {arguments:?}: {complaints}"
        );
        Ok(())
    }

    fn with_blob(&self, image: &Path, tar: &[u8], craft: Option<Craft>) -> Result<()> {
        let data = self.temporary()?;
        let path = data.path().to_str().context("the cache's name")?;
        self.make(image, &["--tar=f", &format!("--blobdev={path}")], tar)?;
        if let Some(change) = craft {
            craft::apply(image, change)?;
        }
        append_devices(image, &[&fs::read(data.path())?])
    }

    fn index_of_archive(&self, image: &Path, tar: &[u8]) -> Result<()> {
        self.make(image, &["--tar=i"], tar)?;
        append_devices(image, &[tar])
    }

    /// Merges the tree with a second layer, in which some of its files are once more.
    fn merged(&self, image: &Path, nodes: &[zoo::Node]) -> Result<()> {
        let layers = [nodes.to_vec(), zoo::below(nodes, "sizes")];
        let mut sources = Vec::new();
        for layer in layers {
            let source = self.temporary()?;
            let options = ["--tar=f", "-E^inline_data"];
            self.make(source.path(), &options, &zoo::archive(&layer)?)?;
            sources.push(source);
        }
        let [first, second] = &sources[..] else {
            unreachable!("there are two layers")
        };
        self.run(&[], &[image, first.path(), second.path()])?;
        append_devices(
            image,
            &[&fs::read(first.path())?, &fs::read(second.path())?],
        )
    }

    fn temporary(&self) -> Result<NamedTempFile> {
        Ok(NamedTempFile::new_in(self.environment.cache())?)
    }
}

/// Writes the further devices' bytes to where the image's device table has them in one piece with
/// the image.
fn append_devices(image: &Path, devices: &[&[u8]]) -> Result<()> {
    let bytes = fs::read(image)?;
    let sb = SuperBlock::read(&bytes[..]).map_err(|error| anyhow::anyhow!("{error}"))?;
    ensure!(
        usize::from(sb.extra_devices()) == devices.len(),
        "{} devices",
        sb.extra_devices()
    );
    let mut output = File::options().write(true).open(image)?;
    for (id, device) in (1..).zip(devices) {
        let slot = sb
            .device_slot(&bytes[..], id)
            .map_err(|error| anyhow::anyhow!("device {id}: {error}"))?;
        let block = u64::from(sb.block_size());
        let start = slot.uniaddr * block;
        ensure!(start >= sb.size(), "device {id} at {start}, in the image");
        output.seek(SeekFrom::Start(start))?;
        output.write_all(device)?;
        output.set_len(start + slot.blocks * block)?;
    }
    Ok(())
}
