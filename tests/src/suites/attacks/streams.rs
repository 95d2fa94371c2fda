// SPDX-License-Identifier: GPL-2.0

//! Compressed data: streams that end too early or go on for too long, and some that only look wrong.

use std::ops::Range;

use anyhow::{bail, ensure, Context, Result};
use erodax_format::pcluster::{Cursor, Data, Place};
use erodax_mutation::edit::Edit;
use rustix::io::Errno;

use super::{
    ask::{Ask::*, Expected::*},
    images::{self, COMPRESSED},
    indexes::{
        rewrite,
        Lcluster::{Head, NonHead},
        CORRUPT, CORRUPT_IN_PARTS,
    },
    lz4::{noise, Stream},
    Answers::*,
    Attack, Row, Stock,
};

/// A file of so many bytes that is all in one pcluster of a block is two lclusters long.
pub(super) const TWO: u64 = 8192;

pub(super) const CVE_2023_52497: Row = (
    "CVE-2023-52497",
    &[Attack {
        what: "a right stream whose output overtakes its input, if both end at the same place",
        image: &images::FULL,
        change: |image| one_pcluster(image, OVERTAKING.1, overtaking().0),
        answers: Mounted(&[
            (COMPRESSED, Read, Bytes(|| overtaking().1)),
            (
                COMPRESSED,
                Touch(4096),
                Bytes(|| second_page(overtaking().1)),
            ),
        ]),
        stock: Stock::Alike,
    }],
);

/// How long the match of [`overtaking`] is, and all that it decodes to.
const OVERTAKING: (usize, u64) = (4120, 8101);

/// First a few bytes of input become a whole block of output, then all others stand for
/// themselves; and what it decodes to.
fn overtaking() -> (Stream, Vec<u8>) {
    let (len, size) = OVERTAKING;
    let rest = noise(usize::try_from(size).expect("two blocks") - 1 - len);
    let stream = Stream::default().sequence(b"o", 1, len).literals(&rest);
    (stream, [vec![b'o'; 1 + len], rest].concat())
}

/// What a file has of more bytes than it can hold.
fn cut(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(8192);
    bytes
}

/// The stream of two pages breaks off in the second one.
const TOO_SHORT: super::Answers = Mounted(&[
    (COMPRESSED, Stat, Any),
    (COMPRESSED, Read, Error(Errno::UCLEAN)),
    (COMPRESSED, ReadAt(4096), Error(Errno::UCLEAN)),
    (COMPRESSED, Touch(4096), Error(Errno::FAULT)),
    ("mixed/100000", Read, Same),
]);

/// As it is mapped: with zeros behind the end.
fn second_page(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(8192, 0);
    bytes.split_off(4096)
}

/// Code of x86 that does nothing, of which a good pcluster is made.
const NOP: u8 = 0x90;

/// The first [`TWO`] bytes of [`COMPRESSED`] are damaged, the second [`TWO`] are not.
pub(super) const BEHIND_DAMAGE: Attack = Attack {
    what: "a good pcluster behind a damaged one",
    image: &images::FULL,
    change: |image| {
        let bad = image.append(&Stream::default().block())?;
        let stream = Stream::default()
            .sequence(&[NOP], 1, 8000)
            .literals(&[NOP; 191]);
        let good = image.append(&stream.block())?;
        let lclusters = [bad, good].map(|block| [Head(0, block), NonHead(1, 1)]);
        rewrite(image, COMPRESSED, 2 * TWO, lclusters.as_flattened())
    },
    answers: Mounted(&[
        (COMPRESSED, ReadAt(0), Error(Errno::UCLEAN)),
        (COMPRESSED, ReadAt(TWO), Bytes(|| vec![NOP; 4096])),
        (COMPRESSED, Touch(TWO + 4096), Bytes(|| vec![NOP; 4096])),
    ]),
    stock: Stock::Alike,
};

pub(super) const LZ4: Row = (
    "lz4",
    &[
        Attack {
            what: "fewer bytes than they are stored in",
            image: &images::FULL,
            change: |image| {
                let stream = Stream::default()
                    .sequence(b"a", 1, 8100)
                    .literals(&[b'b'; 91]);
                let first = image.append(&stream.block())?;
                let lclusters = [
                    Head(0, first),
                    // It ends 3000 bytes later.
                    Head(1096, first),
                    Head(0, first),
                ];
                rewrite(image, COMPRESSED, 3 * 4096, &lclusters)
            },
            answers: Mounted(&[
                (COMPRESSED, Stat, Any),
                (COMPRESSED, ReadAt(4096), Error(Errno::UCLEAN)),
                (COMPRESSED, Touch(4096), Error(Errno::FAULT)),
            ]),
            stock: Stock::Alike,
        },
        Attack {
            what: "literals that run past the output",
            image: &images::FULL,
            change: |image| {
                let stream = Stream::default()
                    .sequence(b"a", 1, 4500)
                    .literals(&noise(3800));
                one_pcluster(image, TWO, stream)
            },
            answers: Mounted(&[
                (
                    COMPRESSED,
                    Read,
                    Bytes(|| cut([vec![b'a'; 4501], noise(3800)].concat())),
                ),
                (COMPRESSED, Touch(0), Bytes(|| vec![b'a'; 4096])),
            ]),
            stock: Stock::Alike,
        },
        Attack {
            what: "a match that runs past the output",
            image: &images::FULL,
            change: |image| {
                let stream = Stream::default()
                    .sequence(b"a", 1, 9000)
                    .literals(b"the end");
                one_pcluster(image, TWO, stream)
            },
            answers: Mounted(&[
                (COMPRESSED, Read, Bytes(|| cut(vec![b'a'; 9001]))),
                (COMPRESSED, Touch(4096), Bytes(|| vec![b'a'; 4096])),
            ]),
            stock: Stock::Alike,
        },
        Attack {
            what: "a match of almost a megabyte",
            image: &images::FULL,
            change: |image| {
                let stream = Stream::default()
                    .sequence(b"a", 1, 1_000_000)
                    .literals(b"the end");
                one_pcluster(image, TWO, stream)
            },
            answers: Mounted(&[
                (COMPRESSED, Read, Bytes(|| cut(vec![b'a'; 9001]))),
                (COMPRESSED, Touch(4096), Bytes(|| vec![b'a'; 4096])),
            ]),
            stock: Stock::Alike,
        },
        Attack {
            what: "a match at distance 0",
            image: &images::FULL,
            change: |image| {
                let stream = Stream::default()
                    .sequence(b"a", 0, 8000)
                    .literals(&noise(191));
                one_pcluster(image, TWO, stream)
            },
            answers: CORRUPT,
            stock: Stock::Otherwise(Mounted(&[(COMPRESSED, Read, Any)])),
        },
        Attack {
            what: "a match before the first byte",
            image: &images::FULL,
            change: |image| {
                let stream = Stream::default()
                    .sequence(b"a", 2, 8000)
                    .literals(&noise(191));
                one_pcluster(image, TWO, stream)
            },
            answers: CORRUPT,
            stock: Stock::Alike,
        },
        Attack {
            what: "more literals than the input has",
            image: &images::FULL,
            change: |image| {
                let stream = Stream::default()
                    .sequence(b"a", 1, 4000)
                    .missing_literals(&noise(1000), 3191);
                one_pcluster(image, TWO, stream)
            },
            answers: TOO_SHORT,
            stock: Stock::Alike,
        },
        Attack {
            what: "fewer bytes than the file has",
            image: &images::FULL,
            change: |image| {
                let stream = Stream::default()
                    .sequence(b"a", 1, 5000)
                    .literals(&noise(100));
                one_pcluster(image, TWO, stream)
            },
            answers: TOO_SHORT,
            stock: Stock::Alike,
        },
        BEHIND_DAMAGE,
        Attack {
            what: "nothing but padding",
            image: &images::FULL,
            change: |image| one_pcluster(image, TWO, Stream::default()),
            answers: CORRUPT,
            stock: Stock::Alike,
        },
    ],
);

pub(super) const ZSTD: Row = (
    "zstd",
    &[
        Attack {
            what: "the first half of a frame",
            image: &images::ZSTD,
            change: |image| truncate(image, |len| len / 2),
            answers: CORRUPT,
            stock: Stock::Alike,
        },
        Attack {
            what: "a frame without its last byte",
            image: &images::ZSTD,
            change: |image| truncate(image, |len| len - 1),
            answers: CORRUPT_IN_PARTS,
            stock: Stock::Otherwise(CORRUPT),
        },
        Attack {
            what: "no more than a frame's magic",
            image: &images::ZSTD,
            change: |image| truncate(image, |_| 4),
            answers: CORRUPT,
            stock: Stock::Alike,
        },
        Attack {
            what: "a frame with a window of 3.75 TiB",
            image: &images::ZSTD,
            change: |image| {
                // The descriptor says that the window's size follows, and no content size.
                let start = stream(image)?.start;
                image.put(start + 4, &[0x00, 0xff])
            },
            answers: CORRUPT,
            stock: Stock::Alike,
        },
    ],
);

pub(super) const LEGAL_ODDITIES: Row = (
    "legal oddity",
    &[
        Attack {
            what: "a packed tail of an odd number of bytes, as mkfs.erofs makes them",
            image: &images::TAILS,
            change: |image| {
                let header = image.file(ODD_TAIL)?.map_header()?;
                let len = image.get(header, "h_fragmentoff")? >> 16;
                ensure!(len % 2 == 1, "a tail of {len} bytes");
                Ok(())
            },
            answers: Mounted(&[(ODD_TAIL, Read, Same), (ODD_TAIL, Extents, Any)]),
            stock: Stock::Alike,
        },
        Attack {
            what: "two files of the same pcluster, of which one needs a part",
            image: &images::FULL,
            change: |image| {
                one_pcluster(image, OVERTAKING.1, overtaking().0)?;
                let block = u64::try_from(image.bytes.len() / 4096 - 1)?;
                let lclusters = [Head(0, block)];
                rewrite(image, "mixed/100000", 4000, &lclusters)
            },
            answers: Mounted(&[
                (COMPRESSED, Read, Bytes(|| overtaking().1)),
                ("mixed/100000", Read, Bytes(|| vec![b'o'; 4000])),
            ]),
            stock: Stock::Alike,
        },
    ],
);

/// A file with an inline pcluster of an odd size.
const ODD_TAIL: &str = "mixed/65537";

/// Makes the file one pcluster of a block with this stream, which is to be `size` bytes.
fn one_pcluster(image: &mut Edit, size: u64, stream: Stream) -> Result<()> {
    let block = image.append(&stream.block())?;
    let lclusters = [Head(0, block), NonHead(1, 1)];
    rewrite(image, COMPRESSED, size, &lclusters)
}

/// Where the stream of the file's first pcluster is, without the zeros before it.
fn stream(image: &Edit) -> Result<Range<usize>> {
    let inode = image.file(COMPRESSED)?.inode;
    let bytes = &image.bytes[..];
    let header = inode.map_header(bytes, &image.sb)?;
    let first = inode.pcluster_at(bytes, &image.sb, &header, &mut Cursor::default(), 0)?;
    let Data::Encoded(encoded) = first.data else {
        bail!("the file begins with {first:?}")
    };
    let Place::Device { device: 0, offset } = encoded.place else {
        bail!("the data is elsewhere: {encoded:?}")
    };
    let (start, len) = (usize::try_from(offset)?, usize::try_from(encoded.len)?);
    let pcluster = bytes.get(start..start + len).context("not in the image")?;
    let padding = pcluster.iter().take_while(|byte| **byte == 0).count();
    Ok(start + padding..start + len)
}

/// Leaves as much of the first stream as `left` makes of its length, with zeros before it.
fn truncate(image: &mut Edit, left: fn(usize) -> usize) -> Result<()> {
    let place = stream(image)?;
    let left = left(place.len());
    let kept = image.bytes[place.start..place.start + left].to_vec();
    let bytes = [vec![0; place.len() - left], kept].concat();
    image.put(place.start, &bytes)
}
