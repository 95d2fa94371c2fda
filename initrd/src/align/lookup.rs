// SPDX-License-Identifier: GPL-2.0

//! Paths in an image, with its own symbolic links followed.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use erodax_format::dir;
use erodax_format::inode::{FileType, Inode};
use erodax_format::superblock::SuperBlock;
use erodax_format::{Image, Result};

/// How many links Linux follows on one path (`MAXSYMLINKS`).
const MAX_LINKS: usize = 40;

/// Linux's `PATH_MAX`.
const MAX_PATH: usize = 4096;

/// A part of a path.
enum Step {
    Root,
    Parent,
    Name(OsString),
}

/// What is at `path`, which begins at the image's root whether it says so or not; `None` if nothing is.
pub(crate) fn lookup<I: Image>(image: &I, sb: &SuperBlock, path: &Path) -> Result<Option<Inode>> {
    let mut parents = vec![Inode::read(image, sb, sb.root_nid())?];
    let mut left: VecDeque<_> = steps(path).collect();
    let mut links = 0;
    while let Some(step) = left.pop_front() {
        let name = match step {
            Step::Root => {
                parents.truncate(1);
                continue;
            }
            Step::Parent => {
                parents.truncate((parents.len() - 1).max(1));
                continue;
            }
            Step::Name(name) => name,
        };
        let Some(inode) = child(image, sb, &parents[parents.len() - 1], &name)? else {
            return Ok(None);
        };
        if inode.file_type() != FileType::Symlink {
            parents.push(inode);
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Ok(None);
        }
        let mut target = [0; MAX_PATH];
        let target = OsStr::from_bytes(inode.read_link(image, sb, &mut target)?);
        for step in steps(Path::new(target))
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
        {
            left.push_front(step);
        }
    }
    Ok(parents.pop())
}

fn steps(path: &Path) -> impl Iterator<Item = Step> + '_ {
    path.components().filter_map(|component| match component {
        Component::RootDir => Some(Step::Root),
        Component::ParentDir => Some(Step::Parent),
        Component::Normal(name) => Some(Step::Name(name.to_owned())),
        Component::CurDir | Component::Prefix(_) => None,
    })
}

fn child<I: Image>(
    image: &I,
    sb: &SuperBlock,
    parent: &Inode,
    name: &OsStr,
) -> Result<Option<Inode>> {
    if parent.file_type() != FileType::Directory {
        return Ok(None);
    }
    let found = dir::lookup(image, sb, parent, name.as_bytes())?;
    found
        .map(|found| Inode::read(image, sb, found.nid))
        .transpose()
}
