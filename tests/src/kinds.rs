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

/// Memory that the images of a VM lie in, served for as long as the value exists.
pub(crate) trait Kind: Sized {
    /// Loads what is needed to mount images.
    fn serve() -> Result<Self>;

    /// What is to be mounted for an image.
    fn source(&self, image: &str) -> Result<PathBuf>;

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
        mount_source(&self.source(image)?, options, name)
            .with_context(|| format!("mount of {image} with {options:?}"))
    }
}

/// The initrd, kept by `retain_initrd`: System RAM.
pub(crate) struct RetainedInitrd {
    module: Module,
}

impl Kind for RetainedInitrd {
    fn serve() -> Result<Self> {
        let module = serve_initrd()?;
        Ok(Self { module })
    }

    fn source(&self, image: &str) -> Result<PathBuf> {
        Ok(Device::of(image)?.node)
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
    mut body: impl FnMut(&Path, &[Entry]) -> Result<()>,
) -> Result<()> {
    let kind = K::serve()?;
    for image in images {
        let mount = kind.mount(image, options)?;
        body(mount.path(), &expectation(image)?)
            .with_context(|| format!("in {image} mounted with {options:?}"))?;
        mount
            .unmount()
            .with_context(|| format!("umount of {image}"))?;
    }
    kind.end()
}
