// SPDX-License-Identifier: GPL-2.0

//! The tree that every peer gets, and its images.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{ensure, Context, Result};
use erodax_bench::{order::shuffled, plan::LARGE_FILE};
use erodax_qemu::{
    cache::{cached, Key},
    payload, Environment,
};

/// The large file's size.
const LARGE: u64 = 48 << 20;

/// How the tree is made an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Image {
    /// Not at all.
    None,
    /// EROFS as mkfs.erofs makes it without options: the ends of files lie beside their inodes.
    Default,
    /// EROFS whose files all lie at pages.
    NoInline,
    /// EROFS compressed by LZ4 in clusters of 4 KiB.
    Lz4hc,
    /// EROFS compressed by LZ4 in clusters of 64 KiB.
    Lz4hc64k,
    /// EROFS compressed by Zstandard.
    Zstd,
    /// EROFS compressed by MicroLZMA.
    Lzma,
    /// Squashfs compressed by LZ4.
    SquashLz4,
    /// Squashfs compressed by Zstandard.
    SquashZstd,
}

/// What makes an image.
enum Maker {
    /// mkfs.erofs with these arguments.
    Erofs(&'static [&'static str]),
    /// mksquashfs with this compressor.
    Squashfs(&'static str),
}

impl Image {
    fn maker(self) -> (&'static str, Maker) {
        match self {
            Self::None | Self::Default => ("default.erofs", Maker::Erofs(&[])),
            Self::NoInline => ("noinline.erofs", Maker::Erofs(&["-Enoinline_data"])),
            Self::Lz4hc => ("lz4hc.erofs", Maker::Erofs(&["-zlz4hc"])),
            Self::Lz4hc64k => ("lz4hc-64k.erofs", Maker::Erofs(&["-zlz4hc", "-C65536"])),
            Self::Zstd => ("zstd.erofs", Maker::Erofs(&["-zzstd"])),
            Self::Lzma => ("lzma.erofs", Maker::Erofs(&["-zlzma"])),
            Self::SquashLz4 => ("lz4.squashfs", Maker::Squashfs("lz4")),
            Self::SquashZstd => ("zstd.squashfs", Maker::Squashfs("zstd")),
        }
    }

    /// The image's file, made once.
    pub(crate) fn file(self, environment: &Environment, payload: &Payload) -> Result<PathBuf> {
        let (name, maker) = self.maker();
        let name = format!("bench-{name}");
        let key = Key::new("bench image 2")
            .text(&maker.describe())
            .file(&payload.tree)?;
        cached(&environment.cache(), &name, &key, |image| match maker {
            Maker::Erofs(arguments) => payload::make_image(&payload.tree, image, arguments),
            Maker::Squashfs(compressor) => make_squashfs(&payload.tree, image, compressor),
        })
    }

    /// A directory with nothing but the image's file, called `image`.
    pub(crate) fn directory(self, environment: &Environment, payload: &Payload) -> Result<PathBuf> {
        let file = self.file(environment, payload)?;
        let key = Key::new("bench directory 1").file(&file)?;
        let name = format!("bench-{}.directory", self.maker().0);
        cached(&environment.cache(), &name, &key, |directory| {
            fs::create_dir(directory)?;
            Ok(fs::hard_link(&file, directory.join("image"))?)
        })
    }
}

impl Maker {
    fn describe(&self) -> String {
        match self {
            Self::Erofs(arguments) => format!("mkfs.erofs {}", arguments.join(" ")),
            Self::Squashfs(compressor) => format!("mksquashfs {compressor}"),
        }
    }
}

fn make_squashfs(tree: &Path, image: &Path, compressor: &str) -> Result<()> {
    let output = Command::new("mksquashfs")
        .args([tree, image])
        .args(["-comp", compressor, "-noappend", "-no-progress", "-quiet"])
        .args(["-mkfs-time", "0", "-all-time", "0"])
        .output()
        .context("cannot run mksquashfs (package squashfs-tools)")?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "mksquashfs: {complaints}");
    Ok(())
}

/// The tree: the payload, but with a large file that can be compressed like its programs.
pub(crate) struct Payload {
    /// Its directory.
    pub(crate) tree: PathBuf,
    /// The sizes of its regular files together.
    pub(crate) bytes: u64,
    /// Paths of the regular files below the tree, NUL after each.
    pub(crate) files: Vec<u8>,
    /// All paths below the tree, in random order, NUL after each.
    pub(crate) names: Vec<u8>,
}

pub(crate) fn payload(environment: &Environment) -> Result<Payload> {
    let key = Key::new("bench tree 1").file(&payload::manifest(environment))?;
    let tree = cached(&environment.cache(), "bench-tree", &key, |tree| {
        copy_tree(&payload::tree(environment), tree)?;
        replace_large_file(tree)
    })?;
    let mut found = Found::default();
    found.walk(&tree, Path::new(""))?;
    let order = shuffled(found.names.len());
    let shuffled: Vec<_> = order.iter().map(|&at| found.names[at].clone()).collect();
    Ok(Payload {
        tree,
        bytes: found.bytes,
        files: list(&found.files),
        names: list(&shuffled),
    })
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp")
        .args(["--archive", "--reflink=auto"])
        .args([from, to])
        .status()
        .context("cannot run cp")?;
    ensure!(status.success(), "cp: {status}");
    Ok(())
}

/// The payload's own large file cannot be compressed at all; this one is made of the libraries and
/// programs of the tree.
fn replace_large_file(tree: &Path) -> Result<()> {
    let path = tree.join(std::ffi::OsStr::from_bytes(LARGE_FILE.to_bytes()));
    let directory = path.parent().context("no directory")?;
    fs::remove_dir_all(directory)?;
    let mut found = Found::default();
    found.walk(tree, Path::new("usr"))?;
    fs::create_dir(directory)?;
    let mut output = File::create(&path)?;
    let mut left = LARGE;
    for file in &found.files {
        left -= io::copy(&mut File::open(tree.join(file))?.take(left), &mut output)?;
    }
    ensure!(left == 0, "the payload is too small for the large file");
    Ok(())
}

/// What a walk finds, by paths below the tree and in their order.
#[derive(Default)]
struct Found {
    names: Vec<PathBuf>,
    files: Vec<PathBuf>,
    bytes: u64,
}

impl Found {
    fn walk(&mut self, tree: &Path, below: &Path) -> Result<()> {
        let mut entries: Vec<_> = fs::read_dir(tree.join(below))?.collect::<io::Result<_>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = below.join(entry.file_name());
            let kind = entry.file_type()?;
            self.names.push(path.clone());
            if kind.is_dir() {
                self.walk(tree, &path)?;
            } else if kind.is_file() {
                self.bytes += entry.metadata()?.len();
                self.files.push(path);
            }
        }
        Ok(())
    }
}

fn list(paths: &[PathBuf]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for path in paths {
        bytes.extend_from_slice(path.as_os_str().as_bytes());
        bytes.push(0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_finds_everything_once_in_order() {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir_all(tree.path().join("b/c")).unwrap();
        fs::write(tree.path().join("b/file"), "12345").unwrap();
        fs::write(tree.path().join("a"), "123").unwrap();
        std::os::unix::fs::symlink("a", tree.path().join("link")).unwrap();
        let mut found = Found::default();
        found.walk(tree.path(), Path::new("")).unwrap();
        assert_eq!(list(&found.names), b"a\0b\0b/c\0b/file\0link\0");
        assert_eq!(list(&found.files), b"a\0b/file\0");
        assert_eq!(found.bytes, 8);
    }
}
