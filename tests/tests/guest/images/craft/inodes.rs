// SPDX-License-Identifier: GPL-2.0

//! Inodes with what the format allows and mkfs.erofs does not write.

use anyhow::{ensure, Result};
use erodax_format::inode::Layout;

use super::{inode, superblock, Crafted, Field};

/// `EROFS_NULL_ADDR` in `startblk_lo`.
const NULL_ADDRESS: u64 = 0xffff_ffff;

pub(super) fn compact(image: &mut Crafted) -> Result<()> {
    // The link count's place is the upper part of the address, or nothing.
    one_link(image, "sizes/4096", 0)?;
    one_link(image, "links/long", 0)?;
    one_link(image, "sizes/100", 0x1234)?;
    one_link(image, "special/largest", 0x55aa)?;
    one_link(image, "special/fifo", 0x55aa)?;

    // Holes: with 32 bits of address, and with 48.
    hole(image, "zeros/only")?;
    hole(image, "sizes/65536")?;
    one_link(image, "sizes/8192", 0xffff)?;
    hole(image, "sizes/8192")?;

    // The inode ends with a block; what belongs to it is in the next one.
    image.move_across_blocks("sizes/4097", 32)?;
    image.move_across_blocks("xattrs/every-kind", 32)?;
    // Of 1 + 90 xattrs, whose names and values cross the end of the block, and then another one.
    image.move_across_blocks("xattrs/many", 96)?;

    // Nobody looks here.
    for path in ["sizes/1", "names/a", "modes/644", "sizes"] {
        let start = image.find(path)?.start;
        image.set(start, inode::INO, 0xdead_beef)?;
        image.set(start, Field("i_reserved", 28, 4), 0xdead_beef)?;
        let dirent = image.dirent(path)?;
        image.set(dirent, Field("reserved", 11, 1), 0xee)?;
    }
    Ok(())
}

pub(super) fn extended(image: &mut Crafted) -> Result<()> {
    for path in ["sizes/4097", "sizes/31", "xattrs/every-kind", "links/long"] {
        image.move_across_blocks(path, 32)?;
    }
    // More of the inode's xattrs than fit into the first block.
    image.move_across_blocks("xattrs/many", 32)?;

    // The bit has a meaning in compact inodes and directories only.
    for path in ["sizes/4096", "sizes/5000", "links/to-a-file"] {
        let start = extended_at(image, path)?;
        image.set_bits(start, inode::FORMAT, inode::NLINK_1)?;
    }
    let start = extended_at(image, "sizes/8192")?;
    image.set(start, inode::NB, 0xffff)?;
    hole(image, "sizes/8192")?;
    // A device has a number in place of an address.
    let start = extended_at(image, "special/largest")?;
    image.set(start, inode::NB, 0x55aa)?;

    // Five seconds before 1970, and almost one after that.
    let start = extended_at(image, "times/epoch")?;
    image.set(start, Field("i_mtime", 32, 8), u64::MAX - 4)?;
    image.set(start, Field("i_mtime_nsec", 40, 4), 999_999_999)?;
    let start = extended_at(image, "sizes/1")?;
    image.set(start, inode::INO, 0xdead_beef)?;
    image.set(start, Field("i_reserved2", 48, 8), u64::MAX)?;

    let fields = superblock::VOLUME_NAME.into_iter().zip([
        u64::from_le_bytes(*b"a label "),
        u64::from_le_bytes(*b"of 16 B."),
    ]);
    for (field, part) in fields {
        image.set(superblock::START, field, part)?;
    }
    image.set(superblock::START, superblock::SB_EXTSLOTS, 5)?;
    image.set(superblock::START, superblock::RESERVED, 0xffff)?;
    image.set_bits(superblock::START, superblock::FEATURE_COMPAT, 0xffff_0000)
}

pub(super) fn unfiltered(image: &mut Crafted) -> Result<()> {
    for path in ["xattrs/every-kind", "xattrs/many", "xattrs/shared-07"] {
        let header = image.find(path)?.xattrs();
        // Every bit says: not there.
        image.set(header, Field("h_name_filter", 0, 4), 0xffff_ffff)?;
    }
    image.set(superblock::START, superblock::XATTR_FILTER_RESERVED, 1)
}

fn one_link(image: &mut Crafted, path: &str, in_place_of_count: u64) -> Result<()> {
    let found = image.find(path)?;
    ensure!(
        !found.extended && found.inode.nlink == 1,
        "{path} has {} links",
        found.inode.nlink
    );
    image.set_bits(found.start, inode::FORMAT, inode::NLINK_1)?;
    image.set(found.start, inode::NB, in_place_of_count)
}

fn hole(image: &mut Crafted, path: &str) -> Result<()> {
    let found = image.regular(path, Layout::FlatPlain)?;
    image.set(found.start, inode::U, NULL_ADDRESS)
}

fn extended_at(image: &Crafted, path: &str) -> Result<usize> {
    let found = image.find(path)?;
    ensure!(found.extended, "{path} is compact");
    Ok(found.start)
}
