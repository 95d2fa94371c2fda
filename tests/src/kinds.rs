// SPDX-License-Identifier: GPL-2.0

//! The kinds of memory that images lie in: how they come to be mounted from there.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use erodax_agent::guest::{mapping::PAGE, module::Module, mount::Mount};

use crate::{
    erodax::{expectation, mount_source, serve_initrd, unload, Device},
    expectation::Entry,
};

/// What the pages of a kind of memory are to the kernel, and hence what programs may do with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// System RAM: single pages, each with a reference that stays for ever.
    Ram,
    /// Compound pages of 2 MiB in ZONE_DEVICE, each of which rests at one reference, and is
    /// waited for when the module is unloaded.
    Blocks,
    /// Pages of ZONE_DEVICE that rest without a reference, and are waited for when the filesystem
    /// is unmounted. Files that are mapped directly are `S_DAX`.
    FsDax,
}

/// What is to be mounted for an image.
pub(crate) struct Source {
    pub(crate) node: PathBuf,
    /// Where in it the image begins.
    pub(crate) offset: u64,
}

/// Memory that the images of a VM lie in, served for as long as the value exists.
pub(crate) trait Kind: Sized {
    const MEMORY: Memory;

    /// Whether it takes a block device to mount images.
    const HAS_BLOCK_DEVICE: bool = false;

    /// Loads what is needed to mount images.
    fn serve() -> Result<Self>;

    /// What is to be mounted for an image.
    fn source(&self, image: &str) -> Result<Source>;

    /// The page frames that an image begins and lies in.
    fn frames(&self, image: &str) -> Result<Range<u64>>;

    /// Unloads it again, which must be possible.
    fn end(self) -> Result<()>;

    /// Mounts an image on a directory of its name.
    fn mount(&self, image: &str, options: &str) -> Result<Mount> {
        self.mount_at(image, options, image)
    }

    /// Mounts an image on `/mnt/NAME`.
    fn mount_at(&self, image: &str, options: &str, name: &str) -> Result<Mount> {
        let source = self.source(image)?;
        let mut all = options.to_owned();
        if source.offset != 0 {
            all = format!("fsoffset={},{options}", source.offset);
        }
        mount_source(&source.node, all.trim_end_matches(','), name)
            .with_context(|| format!("mount of {image} with {options:?}"))
    }

    /// Whether files of a mount with these options, `dax` or `dax=never`, are `S_DAX`: they are
    /// not locked, probed, pinned for long, or dumped with other mappings.
    fn makes_dax_files(options: &str) -> bool {
        Self::MEMORY == Memory::FsDax && options == "dax"
    }
}

/// The initrd, kept by `retain_initrd`: System RAM.
pub(crate) struct RetainedInitrd {
    module: Module,
}

impl Kind for RetainedInitrd {
    const MEMORY: Memory = Memory::Ram;

    fn serve() -> Result<Self> {
        let module = serve_initrd()?;
        Ok(Self { module })
    }

    fn source(&self, image: &str) -> Result<Source> {
        Ok(Source {
            node: Device::of(image)?.node,
            offset: 0,
        })
    }

    fn frames(&self, image: &str) -> Result<Range<u64>> {
        let page = u64::try_from(PAGE)?;
        let device = Device::of(image)?;
        let first = device.address / page;
        Ok(first..first + device.size.div_ceil(page))
    }

    fn end(self) -> Result<()> {
        unload(self.module)
    }
}

/// Runs `body` on the root of each named image, mounted with these options, by itself.
pub(crate) fn with_each<K: Kind>(
    images: &[&str],
    options: &str,
    body: impl FnMut(&Path, &[Entry]) -> Result<()>,
) -> Result<()> {
    let kind = K::serve()?;
    mount_each(&kind, images, options, body)?;
    kind.end()
}

/// As [`with_each`], of memory that is served already.
pub(crate) fn mount_each(
    kind: &impl Kind,
    images: &[&str],
    options: &str,
    mut body: impl FnMut(&Path, &[Entry]) -> Result<()>,
) -> Result<()> {
    for image in images {
        let mount = kind.mount(image, options)?;
        body(mount.path(), &expectation(image)?)
            .with_context(|| format!("in {image} mounted with {options:?}"))?;
        mount
            .unmount()
            .with_context(|| format!("umount of {image}"))?;
    }
    Ok(())
}
