// SPDX-License-Identifier: GPL-2.0

//! Chunks with what the format allows and mkfs.erofs does not write.

use anyhow::{ensure, Context, Result};
use erodax_format::inode::Layout;
use erodax_mutation::{field::Structure, places::Place};
use erodax_tests::image::{LONG_HOLE, LONG_HOLE_FILE, LONG_MAP, LONG_MAP_FILE};

use super::{regular, Edit, File};

/// `EROFS_CHUNK_FORMAT_BLKBITS_MASK`
const BLKBITS: u64 = 0x1f;
/// `EROFS_CHUNK_FORMAT_INDEXES`
const INDEXES: u64 = 0x20;
/// `EROFS_CHUNK_FORMAT_48BIT`
const WIDE: u64 = 0x40;

/// `EROFS_NULL_ADDR`
const NULL_LO: u64 = 0xffff_ffff;
const NULL_HI: u64 = 0xffff;

pub(super) fn indexes(image: &mut Edit) -> Result<()> {
    // Addresses of 48 bits, those of holes too.
    for path in ["sizes/100001", "zeros/striped"] {
        let file = indexed(image, path)?;
        image.set_bits(file.place, "i_u", WIDE)?;
        each_index(image, path, |image, index| {
            let hole = image.get(index, "startblk_lo")? == NULL_LO;
            let high = if hole { NULL_HI } else { 0 };
            if image.get(index, "startblk_hi")? == high {
                return Ok(());
            }
            image.set(index, "startblk_hi", high)
        })?;
    }
    // Otherwise the upper part is ignored, and the device in an image of one.
    for path in ["sizes/65536", "zeros/between"] {
        each_index(image, path, |image, index| {
            image.set(index, "startblk_hi", 0x7777)?;
            image.set(index, "device_id", 0x5555)
        })?;
    }
    let first = image.get(block_index(image, "zeros/last", 0)?, "startblk_lo")?;
    let second = block_index(image, "zeros/last", 1)?;
    image.set(second, "startblk_lo", first)?;
    let last = block_index(image, "zeros/first", 5)?;
    image.set(last, "startblk_lo", NULL_LO)?;
    // One chunk that is larger than any file.
    let file = indexed(image, "sizes/8193")?;
    let format = image.get(file.place, "i_u")?;
    image.set(file.place, "i_u", format | BLKBITS)
}

pub(super) fn map(image: &mut Edit) -> Result<()> {
    for path in ["sizes/100001", "zeros/striped"] {
        let file = regular(image, path, Layout::ChunkBased)?;
        let format = image.get(file.place, "i_u")?;
        ensure!(format & INDEXES == 0, "{path} has indexes");
        image.set_bits(file.place, "i_u", WIDE)?;
    }
    Ok(())
}

pub(super) fn long(image: &mut Edit) -> Result<()> {
    // A map behind all blocks, in which each chunk is the image's first block.
    let chunk_map = regular(image, LONG_MAP_FILE, Layout::ChunkBased)?.place;
    ensure!(image.get(chunk_map, "i_u")? & INDEXES == 0);
    let inode = chunk_map.offset..chunk_map.offset + chunk_map.structure.size();
    let mut moved = image.bytes[inode].to_vec();
    moved.resize(moved.len() + 4 * usize::try_from(LONG_MAP)?, 0);
    let start = usize::try_from(image.append(&moved)?)? * image.block();
    image.lead_to(LONG_MAP_FILE, start)?;
    let size = u64::from(LONG_MAP) * u64::from(image.sb.block_size());
    let place = set_size(image, LONG_MAP_FILE, size)?;
    ensure!(image.get(place, "i_xattr_icount")? == 0, "xattrs");

    // One chunk that is larger than any file, and is nowhere.
    let hole = regular(image, LONG_HOLE_FILE, Layout::ChunkBased)?;
    let entry = Place {
        structure: Structure::BlockMapEntry,
        offset: hole.behind_xattrs()?.next_multiple_of(4),
    };
    image.set(entry, "startblk", NULL_LO)?;
    let format = image.get(hole.place, "i_u")?;
    image.set(hole.place, "i_u", format | BLKBITS)?;
    set_size(image, LONG_HOLE_FILE, LONG_HOLE)?;
    Ok(())
}

/// Sets the size of a file with an extended inode: compact ones have no room for a large one.
fn set_size(image: &mut Edit, path: &str, size: u64) -> Result<Place> {
    let place = image.file(path)?.place;
    ensure!(
        place.structure == Structure::ExtendedInode,
        "{path} has a compact inode"
    );
    image.set(place, "i_size", size)?;
    Ok(place)
}

pub(super) fn redirected(image: &mut Edit) -> Result<()> {
    let slot = image.sb.device_slot(&image.bytes[..], 1)?;
    for path in ["sizes/100001", "sizes/4097", "zeros/striped"] {
        each_index(image, path, |image, index| {
            let address = image.get(index, "startblk_lo")?;
            if address == NULL_LO {
                return Ok(());
            }
            image.set(index, "device_id", 0)?;
            image.set(index, "startblk_lo", address + slot.uniaddr)
        })?;
    }
    // Bits above those that the number of devices needs.
    each_index(image, "sizes/65536", |image, index| {
        image.set(index, "device_id", 0x8001)
    })
}

/// A file with chunk indexes.
fn indexed(image: &Edit, path: &str) -> Result<File> {
    let file = regular(image, path, Layout::ChunkBased)?;
    let format = image.get(file.place, "i_u")?;
    ensure!(format & INDEXES != 0, "{path} has no indexes");
    Ok(file)
}

/// The index of one chunk of a file whose chunks are blocks.
fn block_index(image: &Edit, path: &str, number: usize) -> Result<Place> {
    let file = indexed(image, path)?;
    let format = image.get(file.place, "i_u")?;
    ensure!(format & BLKBITS == 0, "{path} has chunks of many blocks");
    file.chunk(number)
}

fn each_index(
    image: &mut Edit,
    path: &str,
    mut change: impl FnMut(&mut Edit, Place) -> Result<()>,
) -> Result<()> {
    let file = indexed(image, path)?;
    let chunk = file.inode.chunk_size(&image.sb).context("no chunks")?;
    let count = usize::try_from(file.inode.size.div_ceil(chunk))?;
    (0..count).try_for_each(|number| change(image, file.chunk(number)?))
}
