// SPDX-License-Identifier: GPL-2.0

//! Block numbers of 48 bits that lead far behind the memory.

use anyhow::ensure;
use erodax_format::inode::Layout;
use erodax_mutation::places::SUPER_BLOCK;
use rustix::io::Errno;

use super::{
    ask::{Ask::*, Expected::*},
    images,
    Answers::*,
    Attack, Row, Stock,
};

/// `EROFS_FEATURE_INCOMPAT_48BIT`
const WIDE: u64 = 1 << 7;
/// `EROFS_I_NLINK_1`
const NLINK_1: u64 = 1 << 4;
/// `EROFS_CHUNK_FORMAT_48BIT`
const WIDE_CHUNKS: u64 = 1 << 6;

/// One block and no tail.
const BLOCK: &str = "sizes/4096";
/// Some blocks.
const FILE: &str = "hard/first";

pub(super) const ADDRESSES: Row = (
    "48 bit",
    &[
        Attack {
            what: "more blocks than there can be",
            image: &images::FLAT,
            change: |image| {
                let root = image.sb.root_nid();
                image.set_bits(SUPER_BLOCK, "feature_incompat", WIDE)?;
                image.set(SUPER_BLOCK, "rootnid_8b", root)?;
                // Which is where `blocks_hi` is now.
                image.set(SUPER_BLOCK, "rb", 1)
            },
            answers: Refused(Errno::INVAL),
            stock: Stock::Otherwise(Mounted(&[(BLOCK, Read, Same)])),
        },
        Attack {
            what: "startblk_hi of a compact inode",
            image: &images::FLAT,
            change: |image| {
                let file = image.file(BLOCK)?;
                ensure!(file.inode.layout == Layout::FlatPlain, "{:?}", file.inode);
                image.set_bits(file.place, "i_format", NLINK_1)?;
                image.set(file.place, "i_nb", 0x7fff)
            },
            answers: BEHIND,
            stock: Stock::Alike,
        },
        Attack {
            what: "startblk_hi of an extended inode",
            image: &images::EXTENDED,
            change: |image| {
                let file = image.file(BLOCK)?.place;
                image.set(file, "i_nb", 0x7fff)
            },
            answers: BEHIND,
            stock: Stock::Alike,
        },
        Attack {
            what: "the last block there can be",
            image: &images::EXTENDED,
            change: |image| {
                let file = image.file(BLOCK)?.place;
                image.set(file, "i_nb", 0xffff)?;
                image.set(file, "i_u", 0xffff_fffe)
            },
            answers: BEHIND,
            stock: Stock::Alike,
        },
        Attack {
            what: "startblk_hi of a chunk",
            image: &images::CHUNKS,
            change: |image| {
                let file = image.file(FILE)?;
                image.set_bits(file.place, "i_u", WIDE_CHUNKS)?;
                image.set(file.chunk(0)?, "startblk_hi", 0x7fff)
            },
            answers: Mounted(&[
                (FILE, ReadAt(0), Error(Errno::UCLEAN)),
                (FILE, Touch(0), Error(Errno::FAULT)),
            ]),
            stock: Stock::Alike,
        },
        Attack {
            what: "a chunk of a device that there is not",
            image: &images::CHUNKS,
            change: |image| {
                // Without a device table, the number means nothing.
                let file = image.file(FILE)?;
                image.set(file.chunk(0)?, "device_id", 0xffff)
            },
            answers: Mounted(&[(FILE, Read, Same)]),
            stock: Stock::Alike,
        },
        Attack {
            what: "metadata behind the image",
            image: &images::FLAT,
            change: |image| image.set(SUPER_BLOCK, "meta_blkaddr", 0xffff_ff00),
            answers: Refused(Errno::UCLEAN),
            stock: Stock::Alike,
        },
    ],
);

const BEHIND: super::Answers = Mounted(&[
    (BLOCK, Stat, Any),
    (BLOCK, Read, Error(Errno::UCLEAN)),
    (BLOCK, Touch(0), Error(Errno::FAULT)),
    (BLOCK, Extents, Any),
]);
