// SPDX-License-Identifier: GPL-2.0

//! Files that say they are larger than anything.

use anyhow::{ensure, Result};
use erodax_format::inode::Layout;
use erodax_mutation::{edit::Edit, field::Structure};
use rustix::io::Errno;

use super::{
    ask::{Ask::*, Expected::*},
    images,
    Answers::*,
    Attack, Row, Stock,
};

const GIB_4: u64 = 4 << 30;
/// `i64::MAX`: more is negative.
const LARGEST: u64 = (1 << 63) - 1;
/// The last page of such a file that is read and mapped without an overflow.
const LARGEST_END: u64 = (LARGEST & !4095) - 4096;
const NEGATIVE: u64 = 1 << 63;

/// `EROFS_NULL_ADDR`, in its parts.
const NULL_LO: u64 = 0xffff_ffff;
const NULL_HI: u64 = 0xffff;

/// Of three blocks, all in one piece.
const FILE: &str = "hard/first";

pub(super) const SIZES: Row = (
    "sizes",
    &[
        Attack {
            what: "a negative size",
            image: &images::EXTENDED,
            change: |image| size(image, FILE, NEGATIVE),
            answers: Mounted(&[
                (FILE, Stat, Error(Errno::UCLEAN)),
                (FILE, Read, Error(Errno::UCLEAN)),
            ]),
            stock: Stock::Alike,
        },
        Attack {
            what: "a size of 64 set bits",
            image: &images::EXTENDED,
            change: |image| size(image, FILE, u64::MAX),
            answers: Mounted(&[(FILE, Stat, Error(Errno::UCLEAN))]),
            stock: Stock::Alike,
        },
        Attack {
            what: "the largest size there is",
            image: &images::EXTENDED,
            change: |image| size(image, FILE, LARGEST),
            answers: Mounted(&[
                (FILE, Stat, Any),
                (FILE, ReadAt(0), Any),
                (FILE, Touch(0), Any),
                (FILE, Read, Error(Errno::UCLEAN)),
                (FILE, ReadAt(LARGEST_END), Error(Errno::UCLEAN)),
                (FILE, Touch(1 << 40), Error(Errno::FAULT)),
                (FILE, Touch(LARGEST_END), Error(Errno::FAULT)),
                (FILE, Extents, Any),
            ]),
            stock: Stock::Alike,
        },
        Attack {
            what: "a directory of the largest size there is",
            image: &images::EXTENDED,
            change: |image| size(image, "modes", LARGEST),
            answers: Mounted(&[
                ("modes", Stat, Any),
                ("modes", List, Error(Errno::UCLEAN)),
                ("modes/644", Stat, Error(Errno::UCLEAN)),
            ]),
            stock: Stock::Otherwise(Mounted(&[
                ("modes", List, Error(Errno::UCLEAN)),
                ("modes/644", Stat, Error(Errno::NOENT)),
            ])),
        },
        Attack {
            what: "chunks of a file of the largest size there is",
            image: &images::CHUNKS,
            change: |image| size(image, FILE, LARGEST),
            answers: Mounted(&[
                (FILE, Stat, Any),
                (FILE, ReadAt(0), Any),
                (FILE, ReadAt(LARGEST_END), Error(Errno::UCLEAN)),
                (FILE, Touch(1 << 40), Error(Errno::FAULT)),
            ]),
            // It reads zeros behind the disk's end, and so the first block.
            stock: Stock::Otherwise(Mounted(&[(FILE, Touch(1 << 40), Any)])),
        },
        Attack {
            what: "records of a file of the largest size there is",
            image: &images::RECORDS,
            change: |image| size(image, images::COMPRESSED, LARGEST),
            answers: Mounted(&[
                (images::COMPRESSED, Stat, Any),
                (
                    images::COMPRESSED,
                    ReadAt(LARGEST_END),
                    Error(Errno::OPNOTSUPP),
                ),
                (images::COMPRESSED, Touch(1 << 40), Error(Errno::FAULT)),
            ]),
            stock: Stock::Alike,
        },
        Attack {
            what: "lclusters of a file of almost 4 GiB",
            image: &images::FULL,
            change: |image| size(image, images::COMPRESSED, 0xffff_ffff),
            answers: Mounted(&[
                (images::COMPRESSED, Stat, Any),
                (images::COMPRESSED, ReadAt(0), Any),
                (
                    images::COMPRESSED,
                    ReadAt(0xffff_f000),
                    Error(Errno::UCLEAN),
                ),
                (images::COMPRESSED, Touch(0xffff_f000), Error(Errno::FAULT)),
            ]),
            // As above.
            stock: Stock::Otherwise(Mounted(&[
                (images::COMPRESSED, ReadAt(0xffff_f000), Any),
                (images::COMPRESSED, Touch(0xffff_f000), Any),
            ])),
        },
        Attack {
            what: "a link's target of the largest size there is",
            image: &images::EXTENDED,
            change: |image| size(image, "links/absolute", LARGEST),
            answers: Mounted(&[("links/absolute", Target, Error(Errno::UCLEAN))]),
            stock: Stock::Alike,
        },
        Attack {
            what: "an inline target whose size wraps with its place",
            image: &images::FLAT,
            change: |image| size(image, "links/absolute", 0xffff_ffff),
            answers: Mounted(&[("links/absolute", Target, Error(Errno::UCLEAN))]),
            stock: Stock::Alike,
        },
        Attack {
            what: "a target without a byte",
            image: &images::FLAT,
            change: |image| size(image, "links/absolute", 0),
            answers: Mounted(&[("links/absolute", Target, Error(Errno::UCLEAN))]),
            stock: Stock::Alike,
        },
        Attack {
            what: "4 GiB and a byte of data that is not there",
            image: &images::EXTENDED,
            change: |image| size(image, FILE, GIB_4 + 1),
            answers: Mounted(&[
                (FILE, ReadAt(0), Any),
                (FILE, ReadAt(GIB_4), Error(Errno::UCLEAN)),
                (FILE, Touch(GIB_4), Error(Errno::FAULT)),
            ]),
            stock: Stock::Alike,
        },
        Attack {
            what: "a hole of 4 GiB and a byte, which is legal",
            image: &images::EXTENDED,
            change: |image| {
                let file = image.file(FILE)?.place;
                image.set(file, "i_u", NULL_LO)?;
                image.set(file, "i_nb", NULL_HI)?;
                image.set(file, "i_size", GIB_4 + 1)
            },
            answers: HOLE,
            stock: Stock::Alike,
        },
        Attack {
            what: "a chunk of 8 TiB that is a hole, which is legal",
            image: &images::CHUNKS,
            change: |image| {
                const INDEXES: u64 = 0x20;
                let file = image.file(FILE)?;
                ensure!(file.inode.layout == Layout::ChunkBased, "{:?}", file.inode);
                image.set(file.place, "i_u", INDEXES | 31)?;
                image.set(file.place, "i_size", GIB_4 + 1)?;
                image.set(file.chunk(0)?, "startblk_lo", NULL_LO)
            },
            answers: HOLE,
            stock: Stock::Alike,
        },
        Attack {
            what: "a record of 4 GiB and a byte without data, which is legal",
            image: &images::RECORDS,
            change: |image| {
                let file = image.file(images::COMPRESSED)?;
                image.set(file.map_header()?, "h_fragmentoff", 1)?;
                image.set(file.extent(Structure::Extent16, 0)?, "plen", 0)?;
                image.set(file.place, "i_size", GIB_4 + 1)
            },
            answers: Mounted(&[
                (images::COMPRESSED, ReadAt(0), Zeros),
                (images::COMPRESSED, ReadAt(GIB_4), Zeros),
                (images::COMPRESSED, Touch(GIB_4), Zeros),
                (images::COMPRESSED, Extents, Any),
            ]),
            stock: Stock::Alike,
        },
        Attack {
            what: "a record that decodes to 4 GiB and a byte",
            image: &images::RECORDS,
            change: |image| {
                let file = image.file(images::COMPRESSED)?;
                image.set(file.map_header()?, "h_fragmentoff", 1)?;
                image.set(file.place, "i_size", GIB_4 + 1)
            },
            answers: Mounted(&[
                (images::COMPRESSED, ReadAt(GIB_4), Error(Errno::OPNOTSUPP)),
                (images::COMPRESSED, Touch(GIB_4), Error(Errno::FAULT)),
            ]),
            stock: Stock::Alike,
        },
    ],
);

const HOLE: super::Answers = Mounted(&[
    (FILE, ReadAt(0), Zeros),
    (FILE, ReadAt(GIB_4), Zeros),
    (FILE, Touch(GIB_4), Zeros),
    (FILE, Extents, Any),
]);

fn size(image: &mut Edit, path: &str, size: u64) -> Result<()> {
    let file = image.file(path)?.place;
    image.set(file, "i_size", size)
}
