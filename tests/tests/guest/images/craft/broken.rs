// SPDX-License-Identifier: GPL-2.0

//! One mistake in each of many files: in what the inode says, in its xattrs, in its data's address,
//! in a directory.

use anyhow::Result;
use erodax_format::inode::Layout;
use erodax_mutation::places::Place;

use super::{format, regular, Edit};

/// The inode of a path.
fn inode(image: &Edit, path: &str) -> Result<Place> {
    Ok(image.file(path)?.place)
}

pub(super) fn all(image: &mut Edit) -> Result<()> {
    inodes(image)?;
    xattrs(image)?;
    data(image)?;
    directories(image)
}

fn inodes(image: &mut Edit) -> Result<()> {
    with_layout(image, "sizes/1", 5)?;
    with_layout(image, "sizes/2", 7)?;
    // Compressed, in an image that has no algorithm.
    with_layout(image, "sizes/31", 1)?;
    with_layout(image, "sizes/32", 3)?;
    image.set_bits(inode(image, "sizes/100")?, "i_format", 1 << 5)?;
    // No type at all, and one that there is not.
    image.set(inode(image, "modes/644")?, "i_mode", 0o000_644)?;
    image.set(inode(image, "modes/755")?, "i_mode", 0o170_755)?;
    // Extended, as its owner does not fit otherwise.
    let extended = inode(image, "owners/4000000000-3000000000")?;
    image.set_bits(extended, "i_size", 1 << 63)?;
    // Unknown bits of the format of chunks.
    with_layout(image, "sizes/8192", 4)?;
    image.set(inode(image, "sizes/8192")?, "i_u", 1 << 7)?;
    let dirent = image.dirent("times/epoch")?;
    image.set(dirent, "nid", 1 << 40)
}

fn with_layout(image: &mut Edit, path: &str, layout: u64) -> Result<()> {
    let place = inode(image, path)?;
    let old = image.get(place, "i_format")?;
    image.set(place, "i_format", old & !format::LAYOUT | (layout << 1))
}

fn xattrs(image: &mut Edit) -> Result<()> {
    // A header without anything.
    image.set(inode(image, "xattrs/user-4")?, "i_xattr_icount", 1)?;
    let header = image.file("xattrs/user-100")?.xattrs();
    image.set(header, "h_shared_count", 255)?;
    for (path, field, value) in [
        ("xattrs/user-1000", "e_value_size", 0xffff),
        ("xattrs/trusted-1", "e_name_len", 0xff),
        ("xattrs/trusted-3", "e_name_index", 0x85),
        ("xattrs/trusted-4", "e_name_index", 7),
        ("xattrs/trusted-100", "e_name_index", 0),
    ] {
        let entry = image.file(path)?.first_xattr();
        image.set(entry, field, value)?;
    }
    Ok(())
}

fn data(image: &mut Edit) -> Result<()> {
    // A tail that goes on in the next block.
    let tail = regular(image, "sizes/1025", Layout::FlatInline)?;
    image.set(tail.place, "i_size", 4095)?;
    // All of it behind the image, and its last block behind the 16 MiB of the disk as well.
    let all = regular(image, "sizes/4096", Layout::FlatPlain)?;
    image.set(all.place, "i_u", 0x00ff_ffff)?;
    let last = regular(image, "sizes/65536", Layout::FlatPlain)?;
    image.set(last.place, "i_u", (16 << 20) / 4096 - 15)?;
    // Targets of no length, and with a NUL.
    image.set(inode(image, "links/to-nothing")?, "i_size", 0)?;
    let target = image.file("links/absolute")?.behind_xattrs()?;
    image.put(target + 3, &[0])
}

fn directories(image: &mut Edit) -> Result<()> {
    let dirent = image.dirent("names/a")?;
    image.set(dirent, "file_type", 2)?;
    let dirent = image.dirent("names/b")?;
    image.set(dirent, "file_type", 99)?;
    // The first entry's name tells how many entries there are.
    let first = image.dirent("empty/.")?;
    image.set(first, "nameoff", 0)?;
    // (Of a number that is too large, stock takes the bits that are inside a block.)
    let first = image.dirent("hard/.")?;
    image.set(first, "nameoff", 4)?;
    // Where no name is looked up: whether a search meets the mistake is up to its order.
    let other = image.dirent("modes/directory/..")?;
    image.set(other, "nameoff", 0xffff)
}
