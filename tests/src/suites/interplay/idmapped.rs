// SPDX-License-Identifier: GPL-2.0

//! Mounts that show other owners (`MOUNT_ATTR_IDMAP`).

use std::{
    fs::{self, File},
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::Path,
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::{mount::Mount, system::Child};
use nix::sched::{unshare, CloneFlags};
use rustix::{
    fs::lstat,
    io::{read, write, Errno},
    pipe::pipe,
};

use super::OPTIONS;
use crate::{
    erodax::{expectation, mount, serve_initrd, unload},
    suites::{
        xattrs::{as_user, values},
        zoo,
    },
};

/// Who owns what the image says user 0 owns.
const FIRST: u32 = 10_000;
/// How many owners there are: those beyond are nobody.
const COUNT: u32 = 66_000;
/// Who nobody is (`/proc/sys/kernel/overflowuid`).
const NOBODY: u32 = 65_534;

/// A user namespace in which the ids from 0 on are those from [`FIRST`] on outside.
fn user_namespace() -> Result<OwnedFd> {
    let (ready_reader, ready_writer) = pipe()?;
    let (end, _never_written) = pipe()?;
    let child = Child::start(|| {
        unshare(CloneFlags::CLONE_NEWUSER)?;
        write(&ready_writer, b".")?;
        // Nothing ever comes: it stays until it is killed.
        read(&end, &mut [0; 1])?;
        Ok(())
    })?;
    read(&ready_reader, &mut [0; 1])?;
    let directory = format!("/proc/{}", child.pid().as_raw_nonzero());
    for map in ["uid_map", "gid_map"] {
        fs::write(format!("{directory}/{map}"), format!("0 {FIRST} {COUNT}"))
            .with_context(|| map.to_owned())?;
    }
    Ok(File::open(format!("{directory}/ns/user"))?.into())
}

/// Runs `body` on the image's own mount and on one with other owners.
fn with_owners(body: impl Fn(&Path, &Path) -> Result<()>) -> Result<()> {
    let namespace = user_namespace()?;
    let module = serve_initrd()?;
    for options in OPTIONS {
        let plain = mount(zoo::INLINE.name, options)?;
        let mapped: Mount = plain.with_owners(&namespace, "/mnt/mapped")?;
        body(plain.path(), mapped.path()).with_context(|| options.to_owned())?;
        mapped.unmount().context("umount of the idmapped mount")?;
        plain.unmount().context("umount")?;
    }
    unload(module)
}

fn shown(id: u32) -> u32 {
    if id < COUNT {
        FIRST + id
    } else {
        NOBODY
    }
}

/// Each file's, in both mounts.
pub(super) fn owners() -> Result<()> {
    with_owners(|plain, mapped| {
        let entries = expectation(zoo::INLINE.name)?;
        ensure!(entries.iter().any(|entry| shown(entry.uid) == NOBODY));
        for entry in entries {
            let path = entry.path();
            let stat = lstat(plain.join(path))?;
            let own = (stat.st_uid, stat.st_gid);
            ensure!(own == (entry.uid, entry.gid), "{}: {own:?}", path.display());
            let stat = lstat(mapped.join(path))?;
            let other = (stat.st_uid, stat.st_gid);
            let expected = (shown(entry.uid), shown(entry.gid));
            ensure!(other == expected, "{}: {other:?}", path.display());
        }
        Ok(())
    })
}

/// Opens a file as a user without privileges.
fn check_open(path: &Path, user: u32, expected: Result<(), Errno>) -> Result<()> {
    as_user(user, || {
        let opened = File::open(path).map(drop);
        let opened = opened.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO));
        let name = path.display();
        ensure!(opened == expected, "{name} for user {user}: {opened:?}");
        Ok(())
    })
}

/// Whom a file belongs to is decided by what is shown.
pub(super) fn permissions() -> Result<()> {
    const FILE: &str = "modes/400";
    with_owners(|plain, mapped| {
        let denied = Err(Errno::ACCESS);
        check_open(&mapped.join(FILE), FIRST, Ok(()))?;
        check_open(&mapped.join(FILE), 1000, denied)?;
        check_open(&mapped.join("modes/0"), FIRST, denied)?;
        check_open(&plain.join(FILE), FIRST, denied)?;
        check_open(&plain.join("owners/1-2"), 1, Ok(()))?;
        // Root is privileged where the owner has a name; the owner's set-user-id bit is shown.
        fs::read(mapped.join(FILE))?;
        let mode = mapped.join("modes/4755").metadata()?.mode();
        ensure!(mode & 0o7777 == 0o4755, "{mode:o}");
        Ok(())
    })
}

/// User 1000 of the ACL is another one, for the check and in the list.
pub(super) fn lists_of_permissions() -> Result<()> {
    const FILE: &str = "xattrs/acl";
    /// Where the id of the second entry is: after the version, an entry and a tag and permissions.
    const ID: usize = 4 + 8 + 4;
    with_owners(|plain, mapped| {
        let user = 1000;
        check_open(&plain.join(FILE), user, Ok(()))?;
        check_open(&mapped.join(FILE), user, Err(Errno::ACCESS))?;
        check_open(&mapped.join(FILE), FIRST + user, Ok(()))?;
        check_open(&plain.join(FILE), FIRST + user, Err(Errno::ACCESS))?;
        for (root, expected) in [(plain, user), (mapped, FIRST + user)] {
            let list = values(&root.join(FILE))?;
            let list = list.get("system.posix_acl_access").context("no ACL")?;
            let id = list.get(ID..ID + 4).context("a short ACL")?;
            let id = u32::from_le_bytes(id.try_into()?);
            ensure!(id == expected, "user {id}, not {expected}");
        }
        Ok(())
    })
}
