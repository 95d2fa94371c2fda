// SPDX-License-Identifier: GPL-2.0

//! The early directory: what the kernel unpacks and starts.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::compress::Compression;
use crate::copy::Copier;
use crate::cpio::write_archive;
use crate::error::{Error, Result};
use crate::layout::{IMAGE_DIR, MAP_NAME};
use crate::newc_writer::{Member, S_IFCHR};
use crate::tree::{Style, Tree};

/// Device nodes that a program needs to start, with type and permissions, major and minor
/// number; ordinary users cannot make them in a directory. Without a console the kernel gives
/// /init no open files, and a Rust program then ends unless it can open /dev/null.
const NODES: [(&str, u32, (u32, u32)); 2] = [
    ("dev/console", S_IFCHR | 0o600, (5, 1)),
    ("dev/null", S_IFCHR | 0o666, (1, 3)),
];

/// The listed directory.
pub(crate) struct Early {
    path: PathBuf,
    tree: Tree,
    /// Members that the directory lacks.
    added: Vec<(&'static str, Member)>,
}

impl Early {
    /// Lists the directory `path`; refuses what would disturb the images.
    pub(crate) fn scan(path: &Path) -> Result<Self> {
        let tree = Tree::scan(path)?;
        for name in [IMAGE_DIR, MAP_NAME] {
            if tree.get(name).is_some() {
                return Err(Error::ReservedName {
                    path: path.to_owned(),
                    name,
                });
            }
        }
        let added = missing_nodes(&tree);
        Ok(Self {
            path: path.to_owned(),
            tree,
            added,
        })
    }

    /// Why the kernel could not start it, if so.
    pub(crate) fn warning(&self) -> Option<String> {
        let path = self.path.display();
        match self.tree.get("init") {
            None => Some(format!(
                "{path} has no init: the kernel starts /init of the initrd (or what rdinit= \
                 names) and panics without; copy erodax-init there as init"
            )),
            Some(meta) if meta.is_file() && meta.permissions().mode() & 0o111 == 0 => {
                Some(format!(
                    "{path}/init is not executable, so the kernel will not start it: \
                     chmod +x {path}/init"
                ))
            }
            Some(_) => None,
        }
    }

    /// Number of members.
    pub(crate) fn len(&self) -> usize {
        self.tree.len() + self.added.len()
    }

    /// Bytes of file contents.
    pub(crate) fn bytes(&self) -> u64 {
        self.tree.bytes()
    }

    /// Writes the archive.
    pub(crate) fn write(
        &self,
        out: &mut impl Write,
        compression: Compression,
        mtime: u32,
        copier: &mut Copier<'_>,
    ) -> Result<()> {
        write_archive(out, compression, copier, |writer, copier| {
            let style = Style::Normalized { mtime };
            self.tree.write(style, writer, copier)?;
            for (name, member) in &self.added {
                let member = Member { mtime, ..*member };
                copier.member(writer, name.as_bytes(), &member, b"")?;
            }
            Ok(())
        })
    }
}

fn missing_nodes(tree: &Tree) -> Vec<(&'static str, Member)> {
    let mut added = Vec::new();
    match tree.get("dev") {
        None => added.push(("dev", Member::directory(0o755))),
        Some(meta) if meta.is_dir() => {}
        // A link leads somewhere else: not our business.
        Some(_) => return added,
    }
    for (name, mode, rdev) in NODES {
        if tree.get(name).is_none() {
            let member = Member {
                mode,
                rdev,
                ..Member::default()
            };
            added.push((name, member));
        }
    }
    added
}
