// SPDX-License-Identifier: GPL-2.0

//! Indexes of lclusters that contradict the superblock, the file or themselves.

use anyhow::{ensure, Context, Result};
use erodax_format::inode::Layout;
use erodax_mutation::{
    edit::{Edit, File},
    places::{Place, SUPER_BLOCK},
};
use rustix::io::Errno;

use super::{
    ask::{Ask::*, Expected::*},
    images::{self, COMPRESSED},
    Answers::*,
    Attack, Row, Stock,
};

/// `di_advise` of an lcluster of which the pcluster began before it.
const NONHEAD: u64 = 2;
/// Of one in which a pcluster begins that is compressed by the first algorithm.
pub(super) const HEAD1: u64 = 1;
/// `delta[0]`: it is the number of blocks of the pcluster.
const CBLKCNT: u64 = 1 << 11;

/// The file cannot be read or mapped, but all else works.
pub(super) const CORRUPT: super::Answers = Mounted(&[
    (COMPRESSED, Stat, Any),
    (COMPRESSED, Read, Error(Errno::UCLEAN)),
    (COMPRESSED, ReadAt(0), Error(Errno::UCLEAN)),
    (COMPRESSED, Touch(0), Error(Errno::FAULT)),
    ("mixed/100000", Read, Same),
]);

/// As [`CORRUPT`], but parts of it may be read: what is decoded depends on what is wanted with it.
pub(super) const CORRUPT_IN_PARTS: super::Answers = Mounted(&[
    (COMPRESSED, Stat, Any),
    (COMPRESSED, Read, Error(Errno::UCLEAN)),
    ("mixed/100000", Read, Same),
]);

/// As [`CORRUPT`], but its begin is right.
const CORRUPT_LATER: super::Answers = Mounted(&[
    (COMPRESSED, Stat, Any),
    (COMPRESSED, ReadAt(0), Any),
    (COMPRESSED, Read, Error(Errno::UCLEAN)),
    ("mixed/100000", Read, Same),
]);

pub(super) const CVE_2024_26590: Row = (
    "CVE-2024-26590",
    &[
        Attack {
            what: "an inode's algorithm that the superblock does not name",
            image: &images::FULL,
            change: |image| {
                const LZMA: u64 = 1;
                let header = image.file(COMPRESSED)?.map_header()?;
                image.set(header, "h_algorithmtype", LZMA)
            },
            answers: CORRUPT,
            stock: Stock::Alike,
        },
        Attack {
            what: "an algorithm that nobody knows",
            image: &images::FULL,
            change: |image| {
                let header = image.file(COMPRESSED)?.map_header()?;
                image.set(header, "h_algorithmtype", 9)
            },
            answers: Mounted(&[
                (COMPRESSED, Stat, Any),
                (COMPRESSED, Read, Error(Errno::OPNOTSUPP)),
                (COMPRESSED, Touch(0), Error(Errno::FAULT)),
            ]),
            stock: Stock::Alike,
        },
        Attack {
            what: "compressed inodes, and a superblock that names no algorithm",
            image: &images::FULL,
            change: |image| image.set(SUPER_BLOCK, "u1", 0),
            answers: Mounted(&[(COMPRESSED, Stat, Error(Errno::UCLEAN))]),
            stock: Stock::Alike,
        },
    ],
);

pub(super) const CVE_2024_47736: Row = (
    "CVE-2024-47736",
    &[
        Attack {
            what: "a big pcluster begins in another one",
            image: &images::FULL,
            change: |image| {
                let second = second_head(image)?;
                let first = image.get(image.file(COMPRESSED)?.lcluster(0)?, "delta0")?;
                image.set(second, "delta0", first + 1)
            },
            answers: CORRUPT_LATER,
            stock: Stock::Alike,
        },
        Attack {
            what: "two big pclusters of different sizes begin with the same block",
            image: &images::FULL,
            change: |image| {
                let second = second_head(image)?;
                let first = image.get(image.file(COMPRESSED)?.lcluster(0)?, "delta0")?;
                image.set(second, "delta0", first)
            },
            // Nothing is shared between the two: the second one decodes to other bytes.
            answers: Mounted(&[
                (COMPRESSED, ReadAt(0), Any),
                (COMPRESSED, Read, Any),
                ("mixed/100000", Read, Same),
            ]),
            stock: Stock::Otherwise(CORRUPT_LATER),
        },
    ],
);

pub(super) const CVE_2024_53234: Row = (
    "CVE-2024-53234",
    &[
        Attack {
            what: "delta[1] of 0, as mkfs.erofs wrote before 1.0: it means 1",
            image: &images::FULL,
            change: |image| {
                let file = image.file(COMPRESSED)?;
                image.set(nonhead(image, &file, 2)?, "delta1", 0)
            },
            answers: Mounted(&[
                (COMPRESSED, Read, Same),
                (COMPRESSED, Extents, Any),
                (COMPRESSED, Touch(0), Any),
            ]),
            stock: Stock::Alike,
        },
        Attack {
            what: "delta[1] of 0 in each lcluster",
            image: &images::FULL,
            change: |image| {
                let file = image.file(COMPRESSED)?;
                for number in 1..file.inode.size / 4096 {
                    let place = file.lcluster(usize::try_from(number)?)?;
                    if image.get(place, "di_advise")? == NONHEAD {
                        place.set(&mut image.bytes, "delta1", 0);
                    }
                }
                Ok(())
            },
            answers: Mounted(&[(COMPRESSED, Read, Same), (COMPRESSED, Extents, Any)]),
            stock: Stock::Alike,
        },
        Attack {
            what: "lclusters of 128 MiB in a compact index",
            image: &images::TAILS,
            change: |image| {
                let header = image.file(COMPRESSED)?.map_header()?;
                image.set(header, "h_clusterbits", 15)
            },
            answers: Mounted(&[
                (COMPRESSED, Stat, Any),
                (COMPRESSED, Read, Error(Errno::INVAL)),
                (COMPRESSED, Touch(0), Error(Errno::FAULT)),
            ]),
            stock: Stock::Alike,
        },
        Attack {
            what: "lclusters of 32 KiB in a compact index",
            image: &images::TAILS,
            change: |image| {
                let header = image.file(COMPRESSED)?.map_header()?;
                image.set(header, "h_clusterbits", 3)
            },
            answers: Mounted(&[(COMPRESSED, Read, Error(Errno::INVAL))]),
            stock: Stock::Alike,
        },
        Attack {
            what: "lclusters of 128 MiB in a full index",
            image: &images::FULL,
            change: |image| {
                let header = image.file(COMPRESSED)?.map_header()?;
                image.set(header, "h_clusterbits", 15)
            },
            answers: CORRUPT_IN_PARTS,
            stock: Stock::Otherwise(Mounted(&[
                (COMPRESSED, Read, Error(Errno::OPNOTSUPP)),
                (COMPRESSED, Touch(0), Error(Errno::FAULT)),
            ])),
        },
    ],
);

pub(super) const LCLUSTERS: Row = (
    "lclusters",
    &[
        Attack {
            what: "a pcluster that begins behind its lcluster",
            image: &images::FULL,
            change: |image| {
                let first = image.file(COMPRESSED)?.lcluster(0)?;
                image.set(first, "di_clusterofs", 5000)
            },
            answers: CORRUPT,
            stock: Stock::Alike,
        },
        Attack {
            what: "a later pcluster that begins behind its lcluster",
            image: &images::FULL,
            change: |image| {
                let second = second_head(image)?;
                image.set(second, "di_clusterofs", 0xffff)
            },
            answers: Mounted(&[(COMPRESSED, Read, Error(Errno::UCLEAN))]),
            stock: Stock::Alike,
        },
        Attack {
            what: "a first pcluster that begins behind the first byte",
            image: &images::FULL,
            change: |image| {
                let first = image.file(COMPRESSED)?.lcluster(0)?;
                image.set(first, "di_clusterofs", 100)
            },
            answers: CORRUPT,
            stock: Stock::Alike,
        },
        Attack {
            what: "a head before the first lcluster",
            image: &images::FULL,
            change: |image| {
                let file = image.file(COMPRESSED)?;
                image.set(nonhead(image, &file, 16)?, "delta0", 17)
            },
            answers: Mounted(&[(COMPRESSED, ReadAt(16 * 4096), Error(Errno::UCLEAN))]),
            stock: Stock::Alike,
        },
        Attack {
            what: "a head in the same lcluster, which has none",
            image: &images::FULL,
            change: |image| {
                let file = image.file(COMPRESSED)?;
                image.set(nonhead(image, &file, 16)?, "delta0", 0)
            },
            answers: Mounted(&[(COMPRESSED, ReadAt(16 * 4096), Error(Errno::UCLEAN))]),
            stock: Stock::Alike,
        },
        Attack {
            what: "a bogus distance in a compact index",
            image: &images::TAILS,
            change: |image| {
                const DISTANCE: u64 = (1 << 11) - 1;
                let file = image.file(COMPRESSED)?;
                ensure!(file.inode.layout == Layout::CompressedCompact);
                let pack = file.small_pack(0)?;
                ensure!(image.get(pack, "element0")? >> 12 == HEAD1);
                image.set(pack, "element0", (NONHEAD << 12) | DISTANCE)
            },
            answers: Mounted(&[(COMPRESSED, Read, Error(Errno::UCLEAN))]),
            stock: Stock::Alike,
        },
        Attack {
            what: "no head at all",
            image: &images::FULL,
            change: |image| {
                let first = image.file(COMPRESSED)?.lcluster(0)?;
                image.set(first, "di_advise", NONHEAD)
            },
            answers: CORRUPT,
            stock: Stock::Alike,
        },
        Attack {
            what: "a big pcluster without a number of blocks",
            image: &images::FULL,
            change: |image| {
                let file = image.file(COMPRESSED)?;
                image.set(nonhead(image, &file, 1)?, "delta0", 1)
            },
            answers: CORRUPT,
            stock: Stock::Alike,
        },
        Attack {
            what: "a pcluster of almost 8 MiB",
            image: &images::FULL,
            change: |image| {
                let file = image.file(COMPRESSED)?;
                image.set(nonhead(image, &file, 1)?, "delta0", CBLKCNT | 0x7ff)
            },
            answers: Mounted(&[(COMPRESSED, Read, Error(Errno::UCLEAN))]),
            stock: Stock::Otherwise(Mounted(&[(COMPRESSED, Read, Error(Errno::OPNOTSUPP))])),
        },
        Attack {
            what: "data behind the image",
            image: &images::FULL,
            change: |image| {
                let first = image.file(COMPRESSED)?.lcluster(0)?;
                image.set(first, "delta1", 0x7fff)
            },
            answers: CORRUPT,
            stock: Stock::Alike,
        },
        Attack {
            what: "big pclusters in an inode whose superblock has none",
            image: &images::TAILS,
            change: |image| {
                const BIG_PCLUSTERS: u64 = 6;
                let header = image.file(COMPRESSED)?.map_header()?;
                image.set_bits(header, "h_advise", BIG_PCLUSTERS)
            },
            answers: CORRUPT,
            stock: Stock::Alike,
        },
        Attack {
            what: "a tail of more bytes than its block has left",
            image: &images::TAILS,
            change: |image| {
                let header = image.file(COMPRESSED)?.map_header()?;
                image.set(header, "h_fragmentoff", 0xffff_0000)
            },
            answers: Mounted(&[(COMPRESSED, Read, Error(Errno::UCLEAN))]),
            stock: Stock::Alike,
        },
        Attack {
            what: "a fragment in an image without a packed inode",
            image: &images::FULL,
            change: |image| {
                const FRAGMENT: u64 = 1 << 7;
                let header = image.file(COMPRESSED)?.map_header()?;
                image.set_bits(header, "h_clusterbits", FRAGMENT)
            },
            answers: CORRUPT,
            stock: Stock::Alike,
        },
    ],
);

/// An lcluster that is no head.
fn nonhead(image: &Edit, file: &File, number: usize) -> Result<Place> {
    let place = file.lcluster(number)?;
    let advise = image.get(place, "di_advise")?;
    ensure!(advise == NONHEAD, "lcluster {number} is {advise}");
    Ok(place)
}

/// The lcluster in which the second pcluster begins.
fn second_head(image: &Edit) -> Result<Place> {
    let file = image.file(COMPRESSED)?;
    let count = usize::try_from(file.inode.size / 4096)?;
    let mut places = (1..count).map(|number| file.lcluster(number));
    let is_head = |place: &Place| place.get(&image.bytes, "di_advise") == Some(HEAD1);
    let found = places.find_map(|place| place.ok().filter(is_head));
    found.context("only one pcluster")
}

/// What an lcluster of a rewritten index says.
pub(super) enum Lcluster {
    /// A pcluster begins so many bytes into it; its data begins with this block.
    Head(u64, u64),
    /// Its pcluster began so many lclusters before, and the next one begins so many behind.
    NonHead(u64, u64),
}

/// Gives a file as many bytes and lclusters as these, of pclusters of one block.
pub(super) fn rewrite(
    image: &mut Edit,
    path: &str,
    size: u64,
    lclusters: &[Lcluster],
) -> Result<()> {
    let file = image.file(path)?;
    ensure!(file.inode.layout == Layout::CompressedFull, "{path}");
    let room = file.inode.size / 4096;
    ensure!(u64::try_from(lclusters.len())? <= room, "{path} has {room}");
    image.set(file.place, "i_size", size)?;
    let header = file.map_header()?;
    for field in [
        "h_fragmentoff",
        "h_advise",
        "h_algorithmtype",
        "h_clusterbits",
    ] {
        header.set(&mut image.bytes, field, 0);
    }
    for (number, lcluster) in lclusters.iter().enumerate() {
        let (advise, offset, low, high) = match *lcluster {
            Lcluster::Head(offset, block) => (HEAD1, offset, block & 0xffff, block >> 16),
            Lcluster::NonHead(back, ahead) => (NONHEAD, 0, back, ahead),
        };
        let place = file.lcluster(number)?;
        let fields = [
            ("di_advise", advise),
            ("di_clusterofs", offset),
            ("delta0", low),
            ("delta1", high),
        ];
        for (field, value) in fields {
            place.set(&mut image.bytes, field, value);
        }
    }
    Ok(())
}
