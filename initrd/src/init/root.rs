// SPDX-License-Identifier: GPL-2.0

//! The new root: an image, a writable overlay over it, and the way there.

use std::fs;
use std::os::unix::fs::{chown, MetadataExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::fd::OwnedFd;
use rustix::fs::{fstat, mkdirat, openat2, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use rustix::process::{chdir, chroot};

use crate::cleanup;
use crate::cmdline::Options;
use crate::fail::Failure;
use crate::log::Log;
use crate::mounts::{attach, move_to, Filesystem};

/// Where the new root is put together.
const SYSROOT: &str = "/sysroot";

/// In the early root and, since /run moves along, in the new one: what /proc/mounts says about
/// the overlay stays true.
const RUN: &str = "/run";
const LOWER: &str = "/run/erodax/lower";
const RW: &str = "/run/erodax/rw";
const UPPER: &str = "/run/erodax/rw/upper";
const WORK: &str = "/run/erodax/rw/work";

/// What is started without `init=`, by the kernel's own order.
const INITS: [&str; 4] = ["/sbin/init", "/etc/init", "/bin/init", "/bin/sh"];

/// A root that is put together but not entered.
pub(crate) struct NewRoot {
    directory: OwnedFd,
    /// Mounts of the early root that move along.
    moving: Vec<&'static str>,
}

impl NewRoot {
    /// Attaches the image, and the overlay unless it is not wanted.
    pub(crate) fn assemble(image: OwnedFd, options: &Options, log: &Log) -> Result<Self, Failure> {
        let mut moving = vec!["/dev", "/proc", "/sys"];
        if options.overlay {
            log.step(format_args!("putting an overlay over the image"));
            mount_overlay(&image)?;
            moving.push(RUN);
        } else {
            attach(&image, SYSROOT)?;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(SYSROOT, flags, Mode::empty())
            .map_err(|errno| Failure::new(format!("cannot open {SYSROOT}: {errno}")))?;
        Ok(Self { directory, moving })
    }

    /// The program to start: `wanted`, or the first there is. It is looked for before anything
    /// of the early root is given up.
    pub(crate) fn find_init(&self, wanted: Option<&str>) -> Result<String, Failure> {
        let candidates = wanted.map_or_else(|| INITS.to_vec(), |wanted| vec![wanted]);
        let mut reasons = Vec::new();
        for path in candidates {
            match self.check_executable(path) {
                Ok(()) => return Ok(path.to_owned()),
                Err(reason) => reasons.push(format!("{path}: {reason}")),
            }
        }
        Err(Failure::new(format!(
            "the image has nothing to start ({})",
            reasons.join("; ")
        ))
        .fix("put an init into the image, or name one with init=PATH on the kernel command line"))
    }

    /// Moves the early mounts along, makes this the root and frees what the early root holds.
    pub(crate) fn enter(self, log: &Log) -> Result<(), Failure> {
        for path in &self.moving {
            log.step(format_args!("moving {path}"));
            if let Err(errno) = self.take_along(path) {
                log.warn(format_args!(
                    "cannot move {path} into the image's root: {errno}"
                ));
            }
        }
        let early = cleanup::open_early_root().map_err(|errno| switch_failure(&errno))?;
        switch_root().map_err(|errno| switch_failure(&errno))?;
        if let Some(early) = early {
            let freed = cleanup::empty(&early);
            log.step(format_args!("removed {freed} files of the early root"));
        }
        Ok(())
    }

    fn take_along(&self, path: &str) -> Result<(), Errno> {
        let name = path.trim_start_matches('/');
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let directory = match self.open(name, flags) {
            Err(Errno::NOENT) => {
                mkdirat(&self.directory, name, Mode::from_raw_mode(0o755))?;
                self.open(name, flags)?
            }
            other => other?,
        };
        move_to(path, directory)
    }

    fn check_executable(&self, path: &str) -> Result<(), &'static str> {
        let file = self.open(path, OFlags::PATH).map_err(|errno| match errno {
            Errno::NOENT => "not there",
            _ => "not accessible",
        })?;
        let stat = fstat(file).map_err(|_| "not accessible")?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err("not a file");
        }
        if stat.st_mode & 0o111 == 0 {
            return Err("not executable");
        }
        Ok(())
    }

    /// Opens a path of the new root. Links in it lead where they will lead in the booted system.
    fn open(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC;
        openat2(
            &self.directory,
            path,
            flags,
            Mode::empty(),
            ResolveFlags::IN_ROOT,
        )
    }
}

fn mount_overlay(image: &OwnedFd) -> Result<(), Failure> {
    let tmpfs = Filesystem {
        fstype: "tmpfs",
        options: &[("source", Some("tmpfs")), ("mode", Some("0755"))],
        attributes: MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV,
    };
    tmpfs.mount_at(RUN)?;
    attach(image, LOWER)?;
    // What the upper layer holds is part of the root: set-user-id programs and devices work.
    let upper = Filesystem {
        attributes: MountAttrFlags::empty(),
        ..tmpfs
    };
    upper.mount_at(RW)?;
    make_layers().map_err(|error| Failure::new(format!("cannot make the overlay: {error}")))?;
    let overlay = Filesystem {
        fstype: "overlay",
        options: &[
            ("source", Some("overlay")),
            ("lowerdir", Some(LOWER)),
            ("upperdir", Some(UPPER)),
            ("workdir", Some(WORK)),
        ],
        attributes: MountAttrFlags::empty(),
    };
    overlay.mount_at(SYSROOT).map_err(|failure| {
        failure.fix(
            "put overlay.ko of this kernel into lib/erodax of the early directory, or boot with \
             erodax.overlay=off",
        )
    })
}

/// The overlay's root has the upper layer's owner and permissions: they are the image's.
fn make_layers() -> std::io::Result<()> {
    fs::create_dir(UPPER)?;
    fs::create_dir(WORK)?;
    let image = fs::metadata(LOWER)?;
    fs::set_permissions(UPPER, image.permissions())?;
    chown(UPPER, Some(image.uid()), Some(image.gid()))
}

/// The root of the namespace cannot be replaced, only covered.
fn switch_root() -> Result<(), Errno> {
    chdir(SYSROOT)?;
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    move_to(".", root)?;
    chroot(".")?;
    chdir("/")
}

fn switch_failure(errno: &Errno) -> Failure {
    Failure::new(format!("cannot switch to the image's root: {errno}"))
}

/// Becomes `init`, with the arguments that the kernel has for it: the words after `--` on its
/// command line, and those that it does not know.
pub(crate) fn exec(init: &str, log: &Log) -> Failure {
    log.close();
    let error = Command::new(init).args(std::env::args_os().skip(1)).exec();
    Failure::new(format!("cannot start {init}: {error}")).fix(format!(
        "check that the image has the dynamic loader or interpreter of {init}, for this machine"
    ))
}
