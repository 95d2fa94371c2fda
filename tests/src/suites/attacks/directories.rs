// SPDX-License-Identifier: GPL-2.0

//! Directories whose entries cannot be right.

use anyhow::{ensure, Result};
use erodax_mutation::edit::Edit;
use rustix::io::Errno;

use super::{
    ask::{Ask::*, Expected::*},
    images,
    Answers::*,
    Attack, Row, Stock,
};

/// An inline directory of a dozen entries, of which "." is the first and "directory" the last one.
const DIRECTORY: &str = "modes";

pub(super) const DIRENTS: Row = (
    "dirents",
    &[
        Attack {
            what: "the last name starts behind the block",
            image: &images::FLAT,
            change: |image| nameoff(image, "modes/directory", 4096),
            answers: Mounted(&[
                (DIRECTORY, List, Error(Errno::UCLEAN)),
                ("modes/directory", Stat, Error(Errno::UCLEAN)),
            ]),
            stock: Stock::Otherwise(Mounted(&[
                (DIRECTORY, List, Error(Errno::UCLEAN)),
                ("modes/directory", Stat, Error(Errno::NOENT)),
            ])),
        },
        Attack {
            what: "the last name starts with the block's end",
            image: &images::FLAT,
            change: |image| {
                let size = image.file(DIRECTORY)?.inode.size;
                nameoff(image, "modes/directory", size)
            },
            answers: Mounted(&[(DIRECTORY, List, Error(Errno::UCLEAN))]),
            stock: Stock::Alike,
        },
        Attack {
            what: "the first nameoff is no multiple of a dirent's size",
            image: &images::FLAT,
            change: |image| nameoff(image, "modes/.", 100),
            answers: Mounted(&[
                (DIRECTORY, List, Error(Errno::UCLEAN)),
                ("modes/644", Stat, Error(Errno::UCLEAN)),
            ]),
            stock: Stock::Otherwise(Mounted(&[
                (DIRECTORY, List, Error(Errno::UCLEAN)),
                ("modes/644", Stat, Error(Errno::NOENT)),
            ])),
        },
        Attack {
            what: "no dirents",
            image: &images::FLAT,
            change: |image| nameoff(image, "modes/.", 0),
            answers: Mounted(&[
                (DIRECTORY, List, Error(Errno::UCLEAN)),
                ("modes/644", Stat, Error(Errno::UCLEAN)),
            ]),
            stock: Stock::Alike,
        },
        Attack {
            what: "more dirents than the block has room for",
            image: &images::FLAT,
            change: |image| nameoff(image, "modes/.", 4092),
            answers: Mounted(&[
                (DIRECTORY, List, Error(Errno::UCLEAN)),
                ("modes/644", Stat, Error(Errno::UCLEAN)),
            ]),
            stock: Stock::Otherwise(Mounted(&[
                (DIRECTORY, List, Error(Errno::UCLEAN)),
                ("modes/644", Stat, Error(Errno::NOENT)),
            ])),
        },
        Attack {
            what: "a nameoff is smaller than the one before",
            image: &images::FLAT,
            change: |image| {
                let before = image.dirent("modes/0")?;
                let before = image.get(before, "nameoff")?;
                nameoff(image, "modes/400", before)
            },
            answers: Mounted(&[(DIRECTORY, List, Error(Errno::UCLEAN))]),
            stock: Stock::Alike,
        },
        Attack {
            what: "a name without a byte",
            image: &images::FLAT,
            change: |image| {
                let next = image.dirent("modes/4755")?;
                let next = image.get(next, "nameoff")?;
                nameoff(image, "modes/400", next)
            },
            answers: Mounted(&[(DIRECTORY, List, Error(Errno::UCLEAN))]),
            stock: Stock::Alike,
        },
        Attack {
            what: "a name of 256 bytes",
            image: &images::FLAT,
            change: |image| {
                // Behind one of 255 bytes.
                let next = image.dirent("names/\x7f")?;
                let start = image.get(next, "nameoff")?;
                image.set(next, "nameoff", start + 1)
            },
            answers: Mounted(&[("names", List, Error(Errno::UCLEAN))]),
            stock: Stock::Alike,
        },
        Attack {
            what: "no entry for the directory itself",
            image: &images::FLAT,
            change: |image| rename(image, "modes/.", b","),
            answers: Mounted(&[
                (DIRECTORY, List, Without(".")),
                ("modes/.", Stat, Any),
                ("modes/644", Stat, Any),
            ]),
            stock: Stock::Alike,
        },
        Attack {
            what: "no entry for the parent",
            image: &images::FLAT,
            change: |image| rename(image, "modes/..", b".-"),
            answers: Mounted(&[
                (DIRECTORY, List, Without("..")),
                ("modes/..", Stat, Any),
                ("modes/644", Stat, Any),
            ]),
            stock: Stock::Alike,
        },
        Attack {
            what: "a directory in itself",
            image: &images::FLAT,
            change: |image| lead(image, "modes/directory", "modes"),
            answers: Mounted(&[
                (DIRECTORY, List, Any),
                ("modes/directory", Stat, Error(Errno::LOOP)),
                ("modes/directory/directory", List, Error(Errno::LOOP)),
            ]),
            stock: Stock::Alike,
        },
        Attack {
            what: "the root in a directory",
            image: &images::FLAT,
            change: |image| lead(image, "modes/directory", ""),
            answers: Mounted(&[
                (DIRECTORY, List, Any),
                ("modes/directory", Stat, Error(Errno::LOOP)),
            ]),
            stock: Stock::Alike,
        },
    ],
);

fn nameoff(image: &mut Edit, path: &str, value: u64) -> Result<()> {
    let dirent = image.dirent(path)?;
    image.set(dirent, "nameoff", value)
}

/// Gives the first or second entry of a directory another name, of the same length.
fn rename(image: &mut Edit, path: &str, name: &[u8]) -> Result<()> {
    let (directory, old) = path.rsplit_once('/').unwrap_or(("", path));
    ensure!(old.len() == name.len(), "a name of another length");
    let block = image.dirent(&format!("{directory}/."))?.offset;
    let dirent = image.dirent(path)?;
    let start = usize::try_from(image.get(dirent, "nameoff")?)?;
    image.put(block + start, name)
}

/// Makes a path lead to another inode.
fn lead(image: &mut Edit, path: &str, to: &str) -> Result<()> {
    let nid = image.file(to)?.inode.nid;
    let dirent = image.dirent(path)?;
    image.set(dirent, "nid", nid)
}
