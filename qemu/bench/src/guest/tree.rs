// SPDX-License-Identifier: GPL-2.0

//! A mounted tree.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use erodax_agent::guest::mount::Mount;
use rustix::{
    fs::{openat, Mode, OFlags, CWD},
    process::{chroot, fchdir},
};

/// A tree, unmounted on drop.
pub(super) struct Tree {
    path: PathBuf,
    /// Before the mount: as long as it is open, the mount is in use.
    root: OwnedFd,
    _mount: Option<Mount>,
}

impl Tree {
    /// The tree of a mount, or one that is always there.
    pub(super) fn new(path: &Path, mount: Option<Mount>) -> Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            root: directory(path)?,
            _mount: mount,
        })
    }

    /// Its root.
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Makes its root this process's root until the result is dropped, with the device nodes that
    /// programs need.
    pub(super) fn enter(&self) -> Result<Inside> {
        let dev = Mount::new("devtmpfs", "devtmpfs", "", self.path.join("dev"))
            .context("cannot mount /dev in the tree")?;
        let outside = directory(Path::new("/"))?;
        change_root(self.root()).context("cannot enter the tree")?;
        Ok(Inside { outside, _dev: dev })
    }
}

/// This process is in the tree.
pub(super) struct Inside {
    outside: OwnedFd,
    /// Unmounted after this process has left.
    _dev: Mount,
}

impl Drop for Inside {
    fn drop(&mut self) {
        // If that failed, the tree could not be unmounted, which is noticed.
        let _ = change_root(self.outside.as_fd());
    }
}

fn directory(path: &Path) -> Result<OwnedFd> {
    openat(
        CWD,
        path,
        OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .with_context(|| format!("cannot open {}", path.display()))
}

fn change_root(to: BorrowedFd<'_>) -> Result<()> {
    fchdir(to)?;
    Ok(chroot(".")?)
}
