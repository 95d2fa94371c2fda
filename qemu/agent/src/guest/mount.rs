// SPDX-License-Identifier: GPL-2.0

//! Mounting through the file-descriptor interface, which hands over the filesystem's own error
//! messages.

use std::{
    fmt,
    fs::{self, File},
    io::Read,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use super::calls;
pub use rustix::mount::MountAttrFlags;
use rustix::{
    fs::CWD,
    io::Errno,
    mount::{
        fsconfig_create, fsconfig_reconfigure, fsconfig_set_flag, fsconfig_set_string, fsmount,
        fsopen, fspick, move_mount, open_tree, unmount, FsMountFlags, FsOpenFlags, FsPickFlags,
        MoveMountFlags, OpenTreeFlags, UnmountFlags,
    },
};

/// A mounted filesystem, unmounted on drop.
#[must_use]
#[derive(Debug)]
pub struct Mount {
    target: PathBuf,
}

/// A mounted filesystem without a place in the tree, unmounted on drop: by then nobody may have a
/// file of it open, or be in one of its directories.
#[must_use]
#[derive(Debug)]
pub struct Detached(OwnedFd);

impl AsFd for Detached {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Detached {
    /// Mounts `source`. `options` are comma separated as in fstab.
    ///
    /// # Errors
    /// The failed step with its error code and the filesystem's messages.
    pub fn new(
        fstype: &str,
        source: &Path,
        options: &str,
        attributes: MountAttrFlags,
    ) -> Result<Self, MountError> {
        let context = fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed("fsopen"))?;
        let mounted = configure(&context, source, options).and_then(|()| {
            fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
                .map_err(|errno| ("fsmount", errno))
        });
        mounted.map(Self).map_err(|(step, errno)| MountError {
            step,
            errno,
            log: read_log(context),
        })
    }
}

/// Why a mount failed.
#[derive(Debug, thiserror::Error)]
pub struct MountError {
    /// The system call that failed.
    pub step: &'static str,
    /// Its error code.
    pub errno: Errno,
    /// What the filesystem says about it, each line with its level (`e `, `w ` or `i `) in front.
    pub log: Vec<String>,
}

impl fmt::Display for MountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} ({:?}), log {:?}",
            self.step, self.errno, self.errno, self.log
        )
    }
}

impl Mount {
    /// Mounts `source` on `target`, which is made when it does not exist. `options` are comma
    /// separated as in fstab.
    ///
    /// # Errors
    /// The failed step with its error code and the filesystem's messages.
    pub fn new(
        fstype: &str,
        source: impl AsRef<Path>,
        options: &str,
        target: impl AsRef<Path>,
    ) -> Result<Self, MountError> {
        let none = MountAttrFlags::empty();
        Self::with_attributes(fstype, source.as_ref(), options, target.as_ref(), none)
    }

    /// As [`Mount::new`], with attributes of the mount, such as `nodev`.
    ///
    /// # Errors
    /// As [`Mount::new`].
    pub fn with_attributes(
        fstype: &str,
        source: &Path,
        options: &str,
        target: &Path,
        attributes: MountAttrFlags,
    ) -> Result<Self, MountError> {
        make_target(target)?;
        let mount = Detached::new(fstype, source, options, attributes)?;
        attach(&mount, target)
    }

    /// Mounts through mount(2), whose options are one string; `source` may be missing.
    ///
    /// # Errors
    /// The system call's.
    pub fn with_data(
        fstype: &str,
        source: Option<&Path>,
        data: &str,
        target: &Path,
    ) -> Result<Self, Errno> {
        let errno = |error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
        fs::create_dir_all(target).map_err(errno)?;
        calls::mount(source, target, fstype, data).map_err(errno)?;
        Ok(Self {
            target: target.to_owned(),
        })
    }

    /// Mounts the same tree a second time, with its owners as a user namespace maps them.
    ///
    /// # Errors
    /// The failed step with its error code.
    pub fn with_owners(
        &self,
        user_namespace: impl AsFd,
        target: impl AsRef<Path>,
    ) -> Result<Self, MountError> {
        let target = target.as_ref();
        make_target(target)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(CWD, &self.target, flags).map_err(failed("open_tree"))?;
        calls::map_owners(&tree, user_namespace).map_err(|error| {
            failed("mount_setattr")(Errno::from_io_error(&error).unwrap_or(Errno::IO))
        })?;
        attach(&tree, target)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.target
    }

    /// The options that /proc/mounts shows.
    pub fn shown_options(&self) -> Option<String> {
        let mounts = fs::read_to_string("/proc/mounts").ok()?;
        let mut fields = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>());
        let line = fields.find(|line| {
            line.get(1)
                .is_some_and(|path| Path::new(path) == self.target)
        })?;
        line.get(3).map(|options| (*options).to_owned())
    }

    /// Changes options, as `mount -o remount` does.
    ///
    /// # Errors
    /// As [`Mount::new`].
    pub fn reconfigure(&self, options: &str) -> Result<(), MountError> {
        let failed = |step, errno, log| MountError { step, errno, log };
        let context = fspick(CWD, &self.target, FsPickFlags::FSPICK_CLOEXEC)
            .map_err(|errno| failed("fspick", errno, Vec::new()))?;
        set_options(&context, options)
            .and_then(|()| {
                fsconfig_reconfigure(&context).map_err(|errno| ("fsconfig reconfigure", errno))
            })
            .map_err(|(step, errno)| failed(step, errno, read_log(context)))
    }

    /// Unmounts it from the tree at once; what is in use stays until it no longer is (`umount
    /// --lazy`).
    ///
    /// # Errors
    /// The system call's; the mount stays and is not tried again on drop.
    pub fn detach(self) -> Result<(), Errno> {
        self.unmount_with(UnmountFlags::DETACH)
    }

    /// Unmounts it.
    ///
    /// # Errors
    /// `EBUSY` when it is in use; the mount stays and is not tried again on drop.
    pub fn unmount(self) -> Result<(), Errno> {
        self.unmount_with(UnmountFlags::empty())
    }

    fn unmount_with(self, flags: UnmountFlags) -> Result<(), Errno> {
        let target = self.target.clone();
        std::mem::forget(self);
        unmount(&target, flags)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // What stays mounted is reported as left behind.
        let _ = unmount(&self.target, UnmountFlags::empty());
    }
}

fn failed(step: &'static str) -> impl Fn(Errno) -> MountError {
    move |errno| MountError {
        step,
        errno,
        log: Vec::new(),
    }
}

fn make_target(target: &Path) -> Result<(), MountError> {
    fs::create_dir_all(target)
        .map_err(|error| failed("mkdir")(Errno::from_io_error(&error).unwrap_or(Errno::IO)))
}

fn attach(mount: impl AsFd, target: &Path) -> Result<Mount, MountError> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(mount, "", CWD, target, flags).map_err(failed("move_mount"))?;
    Ok(Mount {
        target: target.to_owned(),
    })
}

fn configure(context: &OwnedFd, source: &Path, options: &str) -> Result<(), (&'static str, Errno)> {
    fsconfig_set_string(context, "source", source).map_err(|errno| ("fsconfig source", errno))?;
    set_options(context, options)?;
    fsconfig_create(context).map_err(|errno| ("fsconfig create", errno))
}

fn set_options(context: &OwnedFd, options: &str) -> Result<(), (&'static str, Errno)> {
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some((key, value)) => fsconfig_set_string(context, key, value),
            None => fsconfig_set_flag(context, option),
        }
        .map_err(|errno| ("fsconfig option", errno))?;
    }
    Ok(())
}

/// Each read hands out one message, until `ENODATA`.
fn read_log(context: OwnedFd) -> Vec<String> {
    let mut file = File::from(context);
    let mut log = Vec::new();
    let mut message = [0; 4096];
    while let Ok(length @ 1..) = file.read(&mut message) {
        log.push(
            String::from_utf8_lossy(&message[..length])
                .trim_end()
                .to_owned(),
        );
    }
    log
}
