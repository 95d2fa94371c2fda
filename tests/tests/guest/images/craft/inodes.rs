// SPDX-License-Identifier: GPL-2.0

//! Inodes with what the format allows and mkfs.erofs does not write.

use anyhow::{ensure, Result};
use erodax_format::inode::Layout;
use erodax_mutation::{
    field::Structure,
    places::{Place, SUPER_BLOCK},
};

use super::{format, move_across_blocks, regular, Edit};

/// `EROFS_NULL_ADDR` in `startblk_lo`.
const NULL_ADDRESS: u64 = 0xffff_ffff;

pub(super) fn compact(image: &mut Edit) -> Result<()> {
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
    move_across_blocks(image, "sizes/4097", 32)?;
    move_across_blocks(image, "xattrs/every-kind", 32)?;
    // Of 1 + 90 xattrs, whose names and values cross the end of the block, and then another one.
    move_across_blocks(image, "xattrs/many", 96)?;

    // Nobody looks here.
    for path in ["sizes/1", "names/a", "modes/644", "sizes"] {
        let place = image.file(path)?.place;
        image.set(place, "i_ino", 0xdead_beef)?;
        image.set(place, "i_reserved", 0xdead_beef)?;
        let dirent = image.dirent(path)?;
        image.set(dirent, "reserved", 0xee)?;
    }
    Ok(())
}

pub(super) fn extended(image: &mut Edit) -> Result<()> {
    for path in ["sizes/4097", "sizes/31", "xattrs/every-kind", "links/long"] {
        move_across_blocks(image, path, 32)?;
    }
    // More of the inode's xattrs than fit into the first block.
    move_across_blocks(image, "xattrs/many", 32)?;

    // The bit has a meaning in compact inodes and directories only.
    for path in ["sizes/4096", "sizes/5000", "links/to-a-file"] {
        let place = extended_at(image, path)?;
        image.set_bits(place, "i_format", format::NLINK_1)?;
    }
    let place = extended_at(image, "sizes/8192")?;
    image.set(place, "i_nb", 0xffff)?;
    hole(image, "sizes/8192")?;
    // A device has a number in place of an address.
    let place = extended_at(image, "special/largest")?;
    image.set(place, "i_nb", 0x55aa)?;

    // Five seconds before 1970, and almost one after that.
    let place = extended_at(image, "times/epoch")?;
    image.set(place, "i_mtime", u64::MAX - 4)?;
    image.set(place, "i_mtime_nsec", 999_999_999)?;
    let place = extended_at(image, "sizes/1")?;
    image.set(place, "i_ino", 0xdead_beef)?;
    image.set(place, "i_reserved2", u64::MAX)?;

    let label = SUPER_BLOCK.structure.field("volume_name").offset;
    image.put(SUPER_BLOCK.offset + label, b"a label of 16 B.")?;
    image.set(SUPER_BLOCK, "sb_extslots", 5)?;
    image.set(SUPER_BLOCK, "reserved", 0xffff)?;
    image.set_bits(SUPER_BLOCK, "feature_compat", 0xffff_0000)
}

pub(super) fn unfiltered(image: &mut Edit) -> Result<()> {
    for path in ["xattrs/every-kind", "xattrs/many", "xattrs/shared-07"] {
        let header = image.file(path)?.xattrs();
        // Every bit says: not there.
        image.set(header, "h_name_filter", 0xffff_ffff)?;
    }
    image.set(SUPER_BLOCK, "xattr_filter_reserved", 1)
}

fn one_link(image: &mut Edit, path: &str, in_place_of_count: u64) -> Result<()> {
    let file = image.file(path)?;
    ensure!(
        file.place.structure == Structure::CompactInode && file.inode.nlink == 1,
        "{path} has {} links",
        file.inode.nlink
    );
    image.set_bits(file.place, "i_format", format::NLINK_1)?;
    image.set(file.place, "i_nb", in_place_of_count)
}

fn hole(image: &mut Edit, path: &str) -> Result<()> {
    let file = regular(image, path, Layout::FlatPlain)?;
    image.set(file.place, "i_u", NULL_ADDRESS)
}

fn extended_at(image: &Edit, path: &str) -> Result<Place> {
    let place = image.file(path)?.place;
    ensure!(
        place.structure == Structure::ExtendedInode,
        "{path} is compact"
    );
    Ok(place)
}
