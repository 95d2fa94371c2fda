// SPDX-License-Identifier: GPL-2.0

//! Extended attributes that reach beyond their place.

use anyhow::{Context, Result};
use erodax_format::flat::Extent;
use erodax_mutation::{
    edit::Edit,
    field::Structure,
    places::{Place, SUPER_BLOCK},
};
use rustix::io::Errno;

use super::{
    ask::{Ask::*, Expected::*},
    images,
    Answers::*,
    Attack, Row, Stock,
};

/// It has one, `user.value`, of as many bytes.
const FILE: &str = "xattrs/user-100";
/// It has shared ones.
const SHARED: &str = "file-07";

const BOTH_FAIL: super::Answers = Mounted(&[
    (FILE, Names, Error(Errno::UCLEAN)),
    (FILE, Value(c"user.value"), Error(Errno::UCLEAN)),
    // What is not there is searched for to the end.
    (FILE, Value(c"user.absent"), Error(Errno::UCLEAN)),
    (FILE, Stat, Any),
    (FILE, Read, Same),
]);

pub(super) const XATTRS: Row = (
    "xattrs",
    &[
        Attack {
            what: "more shared ids than the area has room for",
            image: &images::FLAT,
            change: |image| {
                let header = image.file(FILE)?.xattrs();
                image.set(header, "h_shared_count", 255)
            },
            answers: BOTH_FAIL,
            stock: Stock::Alike,
        },
        Attack {
            what: "a value that ends behind the area",
            image: &images::FLAT,
            change: |image| {
                let entry = image.file(FILE)?.first_xattr();
                image.set(entry, "e_value_size", 0xffff)
            },
            answers: BOTH_FAIL,
            stock: Stock::Alike,
        },
        Attack {
            what: "a name that ends behind the area",
            image: &images::FLAT,
            change: |image| {
                let entry = image.file(FILE)?.first_xattr();
                image.set(entry, "e_name_len", 0xff)
            },
            answers: BOTH_FAIL,
            stock: Stock::Alike,
        },
        Attack {
            what: "an area that ends behind the image",
            image: &images::FLAT,
            change: |image| {
                // The inode is moved to the image's end.
                let file = image.file(FILE)?.place;
                let (len, block) = (file.structure.size(), image.block());
                let mut last = vec![0; block - len];
                last.extend_from_slice(&image.bytes[file.offset..][..len]);
                image.append(&last)?;
                let offset = image.bytes.len() - len;
                image.lead_to(FILE, offset)?;
                let place = Place { offset, ..file };
                image.set(place, "i_xattr_icount", 0xffff)
            },
            answers: Mounted(&[
                (FILE, Names, Error(Errno::UCLEAN)),
                (FILE, Value(c"user.value"), Error(Errno::UCLEAN)),
            ]),
            stock: Stock::Alike,
        },
        Attack {
            what: "a shared id behind the image",
            image: &images::SHARED,
            change: |image| {
                let header = image.file(SHARED)?.xattrs();
                image.set(header, "h_shared_xattrs", 0xffff_ffff)
            },
            answers: Mounted(&[
                (SHARED, Names, Error(Errno::UCLEAN)),
                (SHARED, Value(c"user.absent"), Error(Errno::UCLEAN)),
            ]),
            stock: Stock::Otherwise(Mounted(&[
                // It reads zeros behind the disk's end.
                (SHARED, Names, Any),
                (SHARED, Value(c"user.absent"), Error(Errno::NODATA)),
            ])),
        },
        Attack {
            what: "shared xattrs behind the image",
            image: &images::SHARED,
            change: |image| image.set(SUPER_BLOCK, "xattr_blkaddr", 0xffff_fff0),
            answers: Mounted(&[
                (SHARED, Names, Error(Errno::UCLEAN)),
                (SHARED, Value(c"user.absent"), Error(Errno::UCLEAN)),
            ]),
            stock: Stock::Otherwise(Mounted(&[
                // It reads zeros behind the disk's end.
                (SHARED, Names, Any),
                (SHARED, Value(c"user.absent"), Error(Errno::NODATA)),
            ])),
        },
        Attack {
            what: "a prefix of length 0, which means 65536",
            image: &images::SHARED,
            change: |image| prefix(image, 0),
            answers: Refused(Errno::UCLEAN),
            stock: Stock::Alike,
        },
        Attack {
            what: "a prefix of 257 bytes",
            image: &images::SHARED,
            change: |image| prefix(image, 257),
            answers: Refused(Errno::UCLEAN),
            stock: Stock::Alike,
        },
        Attack {
            what: "prefixes behind the image",
            image: &images::SHARED,
            change: |image| image.set(SUPER_BLOCK, "xattr_prefix_start", 0xffff_fff0),
            answers: Refused(Errno::UCLEAN),
            stock: Stock::Alike,
        },
    ],
);

/// Changes the length of the first long prefix, which is in the packed inode.
fn prefix(image: &mut Edit, len: u64) -> Result<()> {
    let start = 4 * image.get(SUPER_BLOCK, "xattr_prefix_start")?;
    let offset = match image.sb.packed() {
        None => start,
        Some(packed) => {
            let extent = packed.extent_at(&image.bytes[..], &image.sb, start)?;
            let Extent::Data { offset, .. } = extent else {
                anyhow::bail!("a hole has the prefixes")
            };
            offset
        }
    };
    let prefix = Place {
        structure: Structure::XattrPrefix,
        offset: usize::try_from(offset).context("no place")?,
    };
    image.set(prefix, "length", len)
}
