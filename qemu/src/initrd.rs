// SPDX-License-Identifier: GPL-2.0

//! The initrds of scenarios, kept between runs.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::module::DIRECTORY;
use erodax_initrd::{pack, write_tree_cpio, Compression, CpioOptions, ImageArg, PackOptions};

use crate::{
    cache::{cached, Key},
    modules, Environment,
};

const PLAIN: CpioOptions = CpioOptions {
    compression: Compression::None,
    force: false,
};

/// What an initrd is made of. Everything that is unpacked goes into its compressed part, the
/// images lie in place.
pub struct InitrdBuilder<'a> {
    environment: &'a Environment,
    name: String,
    key: Key,
    files: Vec<(String, Content)>,
    images: Vec<ImageArg>,
    unpacked: Option<PathBuf>,
    compression: Compression,
}

enum Content {
    File(PathBuf),
    Bytes(Vec<u8>),
}

impl<'a> InitrdBuilder<'a> {
    /// An initrd with this static program of `ERODAX_STATIC` as its `/init`.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn new(environment: &'a Environment, name: &str, init: &str) -> Result<Self> {
        let empty = Self {
            environment,
            name: name.to_owned(),
            key: Key::of_program("initrd")?,
            files: Vec::new(),
            images: Vec::new(),
            unpacked: None,
            compression: Compression::default(),
        };
        empty.file("/init", &environment.statics.join(init))
    }

    /// Adds a file under its path in the guest.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn file(mut self, guest_path: &str, file: &Path) -> Result<Self> {
        self.key = self.key.text(guest_path).file(file)?;
        self.files
            .push((guest_path.to_owned(), Content::File(file.to_owned())));
        Ok(self)
    }

    /// Adds a file with this content.
    #[must_use]
    pub fn bytes(mut self, guest_path: &str, bytes: Vec<u8>) -> Self {
        self.key = self
            .key
            .text(guest_path)
            .text(&String::from_utf8_lossy(&bytes));
        self.files
            .push((guest_path.to_owned(), Content::Bytes(bytes)));
        self
    }

    /// Adds erodax.ko, stripped as modules are that are installed: what debuggers want is several
    /// times as large as the rest, and all of it would be unpacked.
    ///
    /// # Errors
    /// When it does not exist, or cannot be stripped.
    pub fn erodax(self) -> Result<Self> {
        let environment = self.environment;
        let key = Key::new("stripped 2").file(&environment.ko)?;
        let ko = cached(&environment.cache(), "erodax.ko", &key, |ko| {
            let status = Command::new("strip")
                .args(["--strip-debug", "-R.BTF", "-R.BTF.base", "-o"])
                .args([ko, &environment.ko])
                .status()
                .context("cannot run strip (package binutils)")?;
            ensure!(status.success(), "strip: {status}");
            Ok(())
        })?;
        self.file(&format!("{DIRECTORY}/erodax.ko"), &ko)
    }

    /// Adds modules of the kernel, with what they depend on.
    ///
    /// # Errors
    /// When the kernel has no such module.
    pub fn modules(mut self, names: &[impl AsRef<str>]) -> Result<Self> {
        for (name, path) in modules::with_dependencies(self.environment, names)? {
            self = self.file(&format!("{DIRECTORY}/{name}.ko"), &path)?;
        }
        Ok(self)
    }

    /// Adds an image: an EROFS image file, or a directory to make one of. A directory's content
    /// does not enter the key; the caller adds what identifies it with [`InitrdBuilder::keyed`].
    ///
    /// # Errors
    /// When it does not exist.
    pub fn image(mut self, name: &str, path: &Path) -> Result<Self> {
        self.key = self.key.text(name).file(path)?;
        self.images.push(ImageArg {
            name: Some(name.to_owned()),
            path: path.to_owned(),
        });
        Ok(self)
    }

    /// Adds a directory tree that the kernel unpacks as well, in an archive of its own that is not
    /// compressed. Its content does not enter the key, as with [`InitrdBuilder::image`].
    ///
    /// # Errors
    /// When it does not exist.
    pub fn unpacked(mut self, tree: &Path) -> Result<Self> {
        self.key = self.key.text("unpacked").file(tree)?;
        self.unpacked = Some(tree.to_owned());
        Ok(self)
    }

    /// Compresses what is unpacked in another way.
    #[must_use]
    pub fn compressed(mut self, compression: Compression) -> Self {
        self.key = self.key.text(&compression.to_string());
        self.compression = compression;
        self
    }

    /// Adds something that the content depends on.
    #[must_use]
    pub fn keyed(mut self, by: &str) -> Self {
        self.key = self.key.text(by);
        self
    }

    /// Makes the initrd unless it is there.
    ///
    /// # Errors
    /// When it cannot be packed.
    pub fn build(&self) -> Result<PathBuf> {
        self.build_then(|_| Ok(()))
    }

    /// Makes the initrd unless it is there, and lets `change` at a new one before anybody uses it.
    /// What `change` does must be part of the key.
    ///
    /// # Errors
    /// When it cannot be packed, and those of `change`.
    pub fn build_then(&self, change: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        cached(
            &self.environment.cache(),
            &format!("{}.initrd", self.name),
            &self.key,
            |output| {
                let early = tempfile::tempdir_in(self.environment.cache())?;
                fs::set_permissions(early.path(), fs::Permissions::from_mode(0o755))?;
                for (guest_path, content) in &self.files {
                    write_early(early.path(), guest_path, content)
                        .with_context(|| format!("cannot put {guest_path} into the initrd"))?;
                }
                let mut options = PackOptions::new(early.path(), output);
                options.images.clone_from(&self.images);
                options.compression = self.compression;
                pack(&options)?;
                if let Some(tree) = &self.unpacked {
                    append_tree(output, tree)?;
                }
                change(output)
            },
        )
    }
}

fn write_early(root: &Path, guest_path: &str, content: &Content) -> Result<()> {
    let relative = guest_path
        .strip_prefix('/')
        .context("not an absolute path")?;
    let target = root.join(relative);
    fs::create_dir_all(target.parent().context("no directory")?)?;
    match content {
        Content::File(file) => drop(fs::copy(file, target)?),
        Content::Bytes(bytes) => fs::write(target, bytes)?,
    }
    Ok(())
}

/// Appends a directory tree as an uncompressed archive, which must start at a multiple of 4 bytes.
fn append_tree(initrd: &Path, tree: &Path) -> Result<()> {
    let directory = tempfile::tempdir_in(initrd.parent().context("no directory")?)?;
    let archive = directory.path().join("tree.cpio");
    write_tree_cpio(tree, &archive, PLAIN)?;
    let mut output = File::options().append(true).open(initrd)?;
    let length = output.metadata()?.len();
    output.set_len(length.next_multiple_of(4))?;
    io::copy(&mut File::open(archive)?, &mut output)?;
    Ok(())
}

/// A directory tree as a plain, uncompressed cpio initramfs; the file `identity` changes with it.
pub(crate) fn plain_cpio(
    environment: &Environment,
    name: &str,
    tree: &Path,
    identity: &Path,
) -> Result<PathBuf> {
    let key = Key::of_program("plain cpio")?.file(identity)?.file(tree)?;
    cached(
        &environment.cache(),
        &format!("{name}.cpio"),
        &key,
        |output| {
            write_tree_cpio(tree, output, PLAIN)?;
            Ok(())
        },
    )
}
