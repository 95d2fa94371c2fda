// SPDX-License-Identifier: GPL-2.0

//! The root of a user namespace: it may mount what the kernel calls safe (`FS_USERNS_MOUNT`), which
//! a filesystem in memory that somebody else has chosen is not.

use std::{fs, path::Path};

use anyhow::{ensure, Result};
use erodax_agent::guest::{calls, system::in_child};
use nix::sched::{unshare, CloneFlags};
use rustix::{
    fs::CWD,
    io::Errno,
    mount::{fsopen, fspick, FsOpenFlags, FsPickFlags},
};

use crate::erodax::{mount, serve_initrd, unload, Device, GOOD};

/// Runs `body` as the root of a user namespace with mounts of its own, in which others than ours
/// can be made.
fn as_its_root(body: impl FnOnce() -> Result<()>) -> Result<()> {
    let status = in_child(|| {
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
        fs::write("/proc/self/uid_map", "0 0 1")?;
        calls::mount(None, Path::new("/tmp"), "tmpfs", "")?;
        body()
    })?;
    ensure!(status.success(), "in the namespace: {status}");
    Ok(())
}

fn check_refused<T>(what: &str, answer: Result<T, Errno>) -> Result<()> {
    let answer = answer.map(drop);
    ensure!(answer == Err(Errno::PERM), "{what}: {answer:?}");
    Ok(())
}

pub(super) fn mounts() -> Result<()> {
    let module = serve_initrd()?;
    let node = Device::of(GOOD)?.node;
    as_its_root(|| {
        let target = Path::new("/tmp");
        let answer = calls::mount(Some(&node), target, "erofs", "");
        let answer = answer.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO));
        check_refused("mount", answer)
    })?;
    unload(module)
}

/// Not even one that options could be given to.
pub(super) fn contexts() -> Result<()> {
    let module = serve_initrd()?;
    fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    as_its_root(|| {
        fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        check_refused("fsopen", fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC))
    })?;
    unload(module)
}

pub(super) fn remounts() -> Result<()> {
    let module = serve_initrd()?;
    let mounted = mount(GOOD, "")?;
    as_its_root(|| {
        let picked = fspick(CWD, mounted.path(), FsPickFlags::FSPICK_CLOEXEC);
        check_refused("fspick", picked)
    })?;
    mounted.unmount()?;
    unload(module)
}
