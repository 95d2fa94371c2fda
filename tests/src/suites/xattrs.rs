// SPDX-License-Identifier: GPL-2.0

//! Extended attributes: their values, who sees them, and what ACLs do.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::{memory::Memory, system::in_child};
use rustix::{
    fs::{lgetxattr, llistxattr, Gid, Uid},
    io::Errno,
    thread::{set_thread_gid, set_thread_groups, set_thread_uid},
};

use crate::{
    erodax::with_each,
    suites::{zoo, BIGGER},
    tests, Machine, Suite,
};

pub(super) static SUITE: Suite = Suite {
    name: "xattrs",
    machine: Machine {
        images: &[
            zoo::INLINE,
            zoo::EXTENDED,
            zoo::SMALL_BLOCKS,
            zoo::FILTERED,
            zoo::CHUNKED,
        ],
        ..BIGGER
    },
    tests: tests![
        every_value,
        trusted_for_root_only,
        without_user_xattrs,
        without_acls,
        acl_lets_in,
        nothing_is_cached,
    ],
};

const IMAGES: [&str; 5] = [
    zoo::INLINE.name,
    zoo::EXTENDED.name,
    zoo::SMALL_BLOCKS.name,
    zoo::FILTERED.name,
    zoo::CHUNKED.name,
];

pub(super) type Values = BTreeMap<String, Vec<u8>>;

/// Every name that is listed, with its value.
pub(super) fn values(path: &Path) -> Result<Values> {
    let mut values = Values::new();
    for name in names(path)? {
        let value = value(path, &name).with_context(|| name.clone())?;
        ensure!(values.insert(name, value).is_none(), "listed twice");
    }
    Ok(values)
}

fn names(path: &Path) -> Result<Vec<String>> {
    let mut list = vec![0; 65_536];
    let len = llistxattr(path, &mut list[..])?;
    list.truncate(len);
    ensure!(list.last().is_none_or(|byte| *byte == 0), "ends in a name");
    let names = list
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    names
        .map(|name| Ok(String::from_utf8(name.to_vec())?))
        .collect()
}

fn value(path: &Path, name: &str) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0; 65_536];
    let len = lgetxattr(path, name, &mut value[..])?;
    value.truncate(len);
    Ok(value)
}

fn every_value() -> Result<()> {
    with_each(&IMAGES, "", |root, entries| {
        let mut count = 0;
        for entry in entries {
            let shown = values(&root.join(entry.path()));
            let shown = shown.with_context(|| entry.path().display().to_string())?;
            let expected: Values = entry.xattrs.iter().cloned().collect();
            ensure!(
                shown == expected,
                "{}: {shown:?}, not {expected:?}",
                entry.path().display()
            );
            count += shown.len();
        }
        ensure!(count > 200, "only {count} attributes");
        Ok(())
    })
}

/// Runs `body` as an ordinary user.
pub(super) fn as_user(id: u32, body: impl FnOnce() -> Result<()>) -> Result<()> {
    let status = in_child(|| {
        set_thread_groups(&[])?;
        set_thread_gid(Gid::from_raw(id))?;
        set_thread_uid(Uid::from_raw(id))?;
        body()
    })?;
    ensure!(status.success(), "as user {id}: {status}");
    Ok(())
}

fn trusted_for_root_only() -> Result<()> {
    const NAME: &str = "trusted.secret";
    with_each(&IMAGES, "", |root, _| {
        for file in ["xattrs/every-kind", "xattrs/shared-07"] {
            let path = root.join(file);
            ensure!(value(&path, NAME)? == b"for root only");
            as_user(1000, || {
                let names = names(&path)?;
                ensure!(!names.iter().any(|name| name == NAME), "{names:?}");
                ensure!(
                    names.iter().any(|name| name.starts_with("user.")),
                    "{names:?}"
                );
                let secret = value(&path, NAME);
                ensure!(secret == Err(Errno::NODATA), "{secret:?}");
                Ok(())
            })?;
        }
        Ok(())
    })
}

/// What is not there for the whole mount: neither listed nor readable, unlike the others.
fn check_hidden(options: &str, files: [&'static str; 2], hidden: &str, shown: &str) -> Result<()> {
    with_each(&IMAGES, options, |root, entries| {
        for file in files {
            let entry = entries.iter().find(|entry| entry.path() == Path::new(file));
            let entry = entry.context(file)?;
            let path = root.join(file);
            let listed = names(&path)?;
            for (name, bytes) in &entry.xattrs {
                let read = value(&path, name);
                let is_listed = listed.contains(name);
                if name.starts_with(hidden) {
                    ensure!(read == Err(Errno::OPNOTSUPP), "{name}: {read:?}");
                    ensure!(!is_listed, "{name} is listed");
                } else {
                    ensure!(read.as_ref() == Ok(bytes), "{name}: {read:?}");
                    ensure!(is_listed, "{name} is not listed");
                }
            }
            let has = |prefix: &str| {
                let mut names = entry.xattrs.iter().map(|(name, _)| name);
                names.any(|name| name.starts_with(prefix))
            };
            ensure!(has(hidden) || has(shown), "{file} has nothing to hide");
        }
        Ok(())
    })
}

fn without_user_xattrs() -> Result<()> {
    let files = ["xattrs/every-kind", "xattrs/shared-07"];
    check_hidden("nouser_xattr", files, "user.", "trusted.")
}

fn without_acls() -> Result<()> {
    let files = ["xattrs/acl", "xattrs/acl-directory"];
    check_hidden("noacl", files, "system.posix_acl_", "user.")
}

/// A user whom only the ACL lets in.
fn acl_lets_in() -> Result<()> {
    let readable = |id: u32, root: &Path, is_readable: bool| -> Result<()> {
        let (file, directory): (PathBuf, PathBuf) =
            (root.join("xattrs/acl"), root.join("xattrs/acl-directory"));
        as_user(id, || {
            let errno = |error: std::io::Error| Errno::from_io_error(&error);
            let expected = if is_readable {
                Ok(())
            } else {
                Err(Some(Errno::ACCESS))
            };
            let opened = File::open(&file).map(drop).map_err(errno);
            ensure!(opened == expected, "file: {opened:?}");
            let listed = fs::read_dir(&directory).map(drop).map_err(errno);
            ensure!(listed == expected, "directory: {listed:?}");
            Ok(())
        })
    };
    with_each(&IMAGES, "", |root, _| {
        readable(1000, root, true)?;
        readable(1001, root, false)
    })?;
    with_each(&IMAGES, "noacl", |root, _| readable(1000, root, false))
}

fn nothing_is_cached() -> Result<()> {
    const ALLOWED_KIB: u64 = 64;
    with_each(
        &[zoo::INLINE.name, zoo::FILTERED.name],
        "",
        |root, entries| {
            let before = Memory::now()?.cached;
            for entry in entries {
                values(&root.join(entry.path()))?;
            }
            let grown = Memory::now()?.cached.saturating_sub(before);
            ensure!(
                grown < ALLOWED_KIB,
                "the page cache has grown by {grown} KiB"
            );
            Ok(())
        },
    )
}
