// SPDX-License-Identifier: GPL-2.0

//! Encoded extents whose records say what cannot be.

use anyhow::{ensure, Result};
use erodax_mutation::{
    edit::{Edit, File},
    field::Structure,
    places::Place,
};
use rustix::io::Errno;

use super::{
    ask::{Ask::*, Expected::*},
    images::{self, COMPRESSED},
    indexes::{CORRUPT, CORRUPT_IN_PARTS},
    Answers::*,
    Attack, Row, Stock,
};

/// `plen`: LZ4, as one more than the algorithm.
const LZ4: u64 = 1 << 28;
/// `plen`: all bits of the length.
const LENGTH: u64 = 0x1f_ffff;
/// `h_advise`: plain data is interlaced.
const INTERLACED: u64 = 1 << 4;

pub(super) const CVE_2026_43166: Row = (
    "CVE-2026-43166",
    &[
        Attack {
            what: "plain data of an odd length, shorter than what it is for",
            image: &images::RECORDS,
            change: |image| set(image, 0, "plen", 32_769),
            answers: CORRUPT,
            stock: Stock::Alike,
        },
        Attack {
            what: "interlaced plain data of an odd length, which is read as if it were not",
            image: &images::RECORDS,
            change: |image| {
                let file = only_record(image, 100, 100)?;
                image.set_bits(file.map_header()?, "h_advise", INTERLACED)
            },
            answers: Mounted(&[(COMPRESSED, Read, Any), (COMPRESSED, Touch(0), Any)]),
            stock: Stock::Alike,
        },
        Attack {
            what: "plain data up to the image's last byte",
            image: &images::RECORDS,
            change: |image| plain_at_the_end(image, 101),
            answers: Mounted(&[(COMPRESSED, Read, Any), (COMPRESSED, Touch(0), Any)]),
            stock: Stock::Alike,
        },
        Attack {
            what: "plain data that ends a byte behind the image",
            image: &images::RECORDS,
            change: |image| plain_at_the_end(image, 100),
            answers: Mounted(&[
                (COMPRESSED, Read, Error(Errno::UCLEAN)),
                (COMPRESSED, Touch(0), Error(Errno::FAULT)),
            ]),
            stock: Stock::Otherwise(Mounted(&[(COMPRESSED, Read, Any)])),
        },
    ],
);

pub(super) const EXTENTS: Row = (
    "extents",
    &[
        Attack {
            what: "a plen of 0x2000000, whose length is 0: a hole",
            image: &images::RECORDS,
            change: |image| set(image, 0, "plen", 0x200_0000),
            answers: Mounted(&[
                (COMPRESSED, ReadAt(0), Zeros),
                (COMPRESSED, Touch(0), Zeros),
                (COMPRESSED, Read, Any),
            ]),
            stock: Stock::Alike,
        },
        Attack {
            what: "the largest plen",
            image: &images::RECORDS,
            change: |image| set(image, 1, "plen", LZ4 | LENGTH),
            answers: Mounted(&[(COMPRESSED, Read, Error(Errno::OPNOTSUPP))]),
            stock: Stock::Alike,
        },
        Attack {
            what: "an algorithm that nobody knows",
            image: &images::RECORDS,
            change: |image| set(image, 0, "plen", (15 << 28) | 4096),
            answers: Mounted(&[(COMPRESSED, Read, Error(Errno::OPNOTSUPP))]),
            stock: Stock::Alike,
        },
        Attack {
            what: "an address that wraps with its length",
            image: &images::RECORDS,
            change: |image| {
                set(image, 0, "pstart_hi", 0xffff_ffff)?;
                set(image, 0, "pstart_lo", 0xffff_f000)
            },
            answers: CORRUPT,
            stock: Stock::Alike,
        },
        Attack {
            what: "an address behind the image",
            image: &images::RECORDS,
            change: |image| set(image, 0, "pstart_hi", 1),
            answers: CORRUPT,
            stock: Stock::Alike,
        },
        Attack {
            what: "an extent that begins behind the file",
            image: &images::RECORDS,
            change: |image| set(image, 1, "lstart_lo", 0xffff_fff0),
            answers: CORRUPT,
            stock: Stock::Alike,
        },
        Attack {
            what: "a gap before the first extent: a hole",
            image: &images::RECORDS,
            change: |image| set(image, 0, "lstart_lo", 4096),
            answers: Mounted(&[(COMPRESSED, ReadAt(0), Zeros), (COMPRESSED, Read, Any)]),
            stock: Stock::Otherwise(Mounted(&[
                (COMPRESSED, ReadAt(0), Zeros),
                // It takes a stream that has more bytes than the extent for a broken one.
                (COMPRESSED, Read, Error(Errno::UCLEAN)),
            ])),
        },
        Attack {
            what: "extents in the wrong order",
            image: &images::RECORDS,
            change: |image| {
                let file = records(image)?;
                let second = file.extent(Structure::Extent16, 1)?;
                let start = image.get(second, "lstart_lo")?;
                set(image, 0, "lstart_lo", start)?;
                set(image, 1, "lstart_lo", 0)
            },
            answers: CORRUPT_IN_PARTS,
            stock: Stock::Otherwise(CORRUPT),
        },
        Attack {
            what: "more records than the image has bytes",
            image: &images::RECORDS,
            change: |image| {
                let header = records(image)?.map_header()?;
                image.set(header, "h_fragmentoff", 0xffff_ffff)
            },
            answers: CORRUPT,
            // It reads zeros behind the disk's end.
            stock: Stock::Otherwise(Mounted(&[(COMPRESSED, Read, Any)])),
        },
        Attack {
            what: "no record, in a file with bytes: a hole",
            image: &images::RECORDS,
            change: |image| {
                let header = records(image)?.map_header()?;
                image.set(header, "h_fragmentoff", 0)
            },
            answers: Mounted(&[(COMPRESSED, ReadAt(0), Zeros), (COMPRESSED, Read, Zeros)]),
            stock: Stock::Alike,
        },
    ],
);

/// The file, which has two records of 16 bytes at least.
fn records(image: &Edit) -> Result<File> {
    const WITH_16_BYTES: u64 = 5;
    let file = image.file(COMPRESSED)?;
    let header = file.map_header()?;
    let (advise, count) = (
        image.get(header, "h_advise")?,
        image.get(header, "h_fragmentoff")?,
    );
    ensure!(
        advise == WITH_16_BYTES && count > 1,
        "{count} records, {advise:#x}"
    );
    Ok(file)
}

fn record(image: &Edit, number: usize) -> Result<Place> {
    records(image)?.extent(Structure::Extent16, number)
}

fn set(image: &mut Edit, number: usize, field: &str, value: u64) -> Result<()> {
    let place = record(image, number)?;
    image.set(place, field, value)
}

/// Leaves the file one record of plain data.
fn only_record(image: &mut Edit, size: u64, plen: u64) -> Result<File> {
    let file = records(image)?;
    image.set(file.map_header()?, "h_fragmentoff", 1)?;
    image.set(file.place, "i_size", size)?;
    image.set(file.extent(Structure::Extent16, 0)?, "plen", plen)?;
    Ok(file)
}

/// 101 bytes of plain data that begin so many bytes before the image's end.
fn plain_at_the_end(image: &mut Edit, before: u64) -> Result<()> {
    let file = only_record(image, 101, 101)?;
    let start = u64::try_from(image.bytes.len())? - before;
    image.set(file.extent(Structure::Extent16, 0)?, "pstart_lo", start)
}
