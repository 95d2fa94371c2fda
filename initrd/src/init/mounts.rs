// SPDX-License-Identifier: GPL-2.0

//! Mounting, through the calls that let a filesystem say why it refuses.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags,
};

use crate::fail::Failure;

/// Why a filesystem was not mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountError {
    pub(crate) errno: Errno,
    /// What it said about that.
    pub(crate) messages: Vec<String>,
}

/// A filesystem to be mounted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filesystem<'a> {
    pub(crate) fstype: &'a str,
    /// Options; one without a value has none.
    pub(crate) options: &'a [(&'a str, Option<&'a str>)],
    pub(crate) attributes: MountAttrFlags,
}

impl Filesystem<'_> {
    /// Makes a mount that is not attached anywhere yet.
    pub(crate) fn mount(&self) -> Result<OwnedFd, MountError> {
        let context = fsopen(self.fstype, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|errno| {
            let messages = Vec::new();
            MountError { errno, messages }
        })?;
        self.configure(&context).map_err(|errno| MountError {
            errno,
            messages: messages(&context),
        })
    }

    fn configure(&self, context: &OwnedFd) -> Result<OwnedFd, Errno> {
        for (key, value) in self.options {
            match value {
                Some(value) => fsconfig_set_string(context, *key, *value)?,
                None => fsconfig_set_flag(context, *key)?,
            }
        }
        fsconfig_create(context)?;
        fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, self.attributes)
    }

    /// Mounts on the directory `at`, which is made if need be.
    pub(crate) fn mount_at(&self, at: &str) -> Result<(), Failure> {
        let mount = self.mount().map_err(|error| self.failure(at, &error))?;
        attach(&mount, at)
    }

    fn failure(&self, at: &str, error: &MountError) -> Failure {
        let what = format!("cannot mount {} on {at}: {}", self.fstype, error.errno);
        Failure::new(what).reasons(error.messages.clone())
    }
}

/// Attaches a mount to the directory `at`, which is made if need be.
pub(crate) fn attach(mount: &OwnedFd, at: &str) -> Result<(), Failure> {
    let attached = fs::create_dir_all(at).and_then(|()| {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        Ok(move_mount(mount, "", CWD, at, flags)?)
    });
    attached.map_err(|error| Failure::new(format!("cannot mount on {at}: {error}")))
}

/// Moves the mount at the path `from` to the directory `to`.
pub(crate) fn move_to(from: &str, to: impl AsFd) -> Result<(), Errno> {
    move_mount(CWD, from, to, "", MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH)
}

/// What the filesystem said, without the level that each message starts with.
fn messages(context: &OwnedFd) -> Vec<String> {
    let mut buffer = [0; 1024];
    let mut messages = Vec::new();
    // Each read gives one message; at the end there is ENODATA.
    while let Ok(len @ 1..) = rustix::io::read(context, &mut buffer) {
        messages.push(strip_level(&String::from_utf8_lossy(&buffer[..len])));
    }
    messages
}

/// Messages look like `e erofs: ...`, with `e`, `w` or `i`.
fn strip_level(message: &str) -> String {
    let text = ["e ", "w ", "i "]
        .iter()
        .find_map(|level| message.strip_prefix(level))
        .unwrap_or(message);
    text.trim_end().to_owned()
}

/// Mounts /proc, /sys and /dev where nothing is mounted yet.
pub(crate) fn mount_early() -> Result<(), Failure> {
    let hardened = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    mount_unless_mounted("/proc", "proc", hardened)?;
    mount_unless_mounted("/sys", "sysfs", hardened)?;
    // A kernel may lack devtmpfs: the one node that is needed can be made by hand.
    let _ = mount_unless_mounted("/dev", "devtmpfs", MountAttrFlags::MOUNT_ATTR_NOSUID);
    Ok(())
}

fn mount_unless_mounted(at: &str, fstype: &str, attributes: MountAttrFlags) -> Result<(), Failure> {
    if is_mounted(at) {
        return Ok(());
    }
    let filesystem = Filesystem {
        fstype,
        options: &[("source", Some(fstype))],
        attributes,
    };
    filesystem.mount_at(at)
}

/// Whether something is mounted on the directory `at`.
fn is_mounted(at: &str) -> bool {
    let device = |path: &Path| fs::symlink_metadata(path).map(|meta| meta.dev()).ok();
    matches!((device(Path::new(at)), device(Path::new("/"))), (Some(a), Some(b)) if a != b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_stripped() {
        assert_eq!(strip_level("e erofs: no\n"), "erofs: no");
        assert_eq!(strip_level("w x"), "x");
        assert_eq!(strip_level("plain"), "plain");
    }

    #[test]
    fn proc_is_mounted_and_etc_is_not() {
        assert!(is_mounted("/proc"));
        assert!(!is_mounted("/"));
        assert!(!is_mounted("/no/such/directory"));
    }

    #[test]
    fn an_unknown_filesystem_is_refused() {
        let filesystem = Filesystem {
            fstype: "no-such-fs",
            options: &[],
            attributes: MountAttrFlags::empty(),
        };
        let errno = filesystem.mount().unwrap_err().errno;
        // EPERM for an ordinary user.
        assert!([Errno::NODEV, Errno::PERM].contains(&errno), "{errno}");
    }
}
