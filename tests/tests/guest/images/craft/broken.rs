// SPDX-License-Identifier: GPL-2.0

//! One mistake in each of many files: in what the inode says, in its xattrs, in its data's address,
//! in a directory.

use anyhow::Result;
use erodax_format::inode::Layout;

use super::{inode, Crafted, Field};

/// `struct erofs_xattr_ibody_header`
const H_SHARED_COUNT: Field = Field("h_shared_count", 4, 1);
const IBODY_HEADER: usize = 12;
/// `struct erofs_xattr_entry`
const E_NAME_LEN: Field = Field("e_name_len", 0, 1);
const E_NAME_INDEX: Field = Field("e_name_index", 1, 1);
const E_VALUE_SIZE: Field = Field("e_value_size", 2, 2);
/// `struct erofs_dirent`
const NID: Field = Field("nid", 0, 8);
const NAMEOFF: Field = Field("nameoff", 8, 2);
const FILE_TYPE: Field = Field("file_type", 10, 1);

pub(super) fn all(image: &mut Crafted) -> Result<()> {
    inodes(image)?;
    xattrs(image)?;
    data(image)?;
    directories(image)
}

fn inodes(image: &mut Crafted) -> Result<()> {
    with_layout(image, "sizes/1", 5)?;
    with_layout(image, "sizes/2", 7)?;
    // Compressed, in an image that has no algorithm.
    with_layout(image, "sizes/31", 1)?;
    with_layout(image, "sizes/32", 3)?;
    let start = image.find("sizes/100")?.start;
    image.set_bits(start, inode::FORMAT, 1 << 5)?;
    // No type at all, and one that there is not.
    let start = image.find("modes/644")?.start;
    image.set(start, inode::MODE, 0o000_644)?;
    let start = image.find("modes/755")?.start;
    image.set(start, inode::MODE, 0o170_755)?;
    // Extended, as its owner does not fit otherwise.
    let start = image.find("owners/4000000000-3000000000")?.start;
    image.set(start, Field("i_size (upper half)", 12, 4), 1 << 31)?;
    // Unknown bits of the format of chunks.
    with_layout(image, "sizes/8192", 4)?;
    let start = image.find("sizes/8192")?.start;
    image.set(start, inode::U, 1 << 7)?;
    let dirent = image.dirent("times/epoch")?;
    image.set(dirent, NID, 1 << 40)
}

fn with_layout(image: &mut Crafted, path: &str, layout: u64) -> Result<()> {
    let start = image.find(path)?.start;
    let format = image.get(start, inode::FORMAT);
    image.set(
        start,
        inode::FORMAT,
        format & !inode::LAYOUT | (layout << 1),
    )
}

fn xattrs(image: &mut Crafted) -> Result<()> {
    // A header without anything.
    let start = image.find("xattrs/user-4")?.start;
    image.set(start, inode::XATTR_ICOUNT, 1)?;
    let header = image.find("xattrs/user-100")?.xattrs();
    image.set(header, H_SHARED_COUNT, 255)?;
    for (path, field, value) in [
        ("xattrs/user-1000", E_VALUE_SIZE, 0xffff),
        ("xattrs/trusted-1", E_NAME_LEN, 0xff),
        ("xattrs/trusted-3", E_NAME_INDEX, 0x85),
        ("xattrs/trusted-4", E_NAME_INDEX, 7),
        ("xattrs/trusted-100", E_NAME_INDEX, 0),
    ] {
        let entry = image.find(path)?.xattrs() + IBODY_HEADER;
        image.set(entry, field, value)?;
    }
    Ok(())
}

fn data(image: &mut Crafted) -> Result<()> {
    // A tail that goes on in the next block.
    let tail = image.regular("sizes/1025", Layout::FlatInline)?;
    image.set(tail.start, inode::SIZE_LO, 4095)?;
    // All of it behind the image, and its last block behind the 16 MiB of the disk as well.
    let all = image.regular("sizes/4096", Layout::FlatPlain)?;
    image.set(all.start, inode::U, 0x00ff_ffff)?;
    let last = image.regular("sizes/65536", Layout::FlatPlain)?;
    image.set(last.start, inode::U, (16 << 20) / 4096 - 15)?;
    // Targets of no length, and with a NUL.
    let empty = image.find("links/to-nothing")?.start;
    image.set(empty, inode::SIZE_LO, 0)?;
    let target = image.find("links/absolute")?.rest()?;
    image.set(target, Field("a byte of the target", 3, 1), 0)
}

fn directories(image: &mut Crafted) -> Result<()> {
    let dirent = image.dirent("names/a")?;
    image.set(dirent, FILE_TYPE, 2)?;
    let dirent = image.dirent("names/b")?;
    image.set(dirent, FILE_TYPE, 99)?;
    // The first entry's name tells how many entries there are.
    let first = image.dirent("empty/.")?;
    image.set(first, NAMEOFF, 0)?;
    // (Of a number that is too large, stock takes the bits that are inside a block.)
    let first = image.dirent("hard/.")?;
    image.set(first, NAMEOFF, 4)?;
    // Where no name is looked up: whether a search meets the mistake is up to its order.
    let other = image.dirent("modes/directory/..")?;
    image.set(other, NAMEOFF, 0xffff)
}
