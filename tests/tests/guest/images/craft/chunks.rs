// SPDX-License-Identifier: GPL-2.0

//! Chunks with what the format allows and mkfs.erofs does not write.

use anyhow::{ensure, Context, Result};
use erodax_format::inode::Layout;
use erodax_tests::image::{LONG_HOLE, LONG_HOLE_FILE, LONG_MAP, LONG_MAP_FILE};

use super::{inode, Crafted, Field};

/// `EROFS_CHUNK_FORMAT_BLKBITS_MASK`
const BLKBITS: u64 = 0x1f;
/// `EROFS_CHUNK_FORMAT_INDEXES`
const INDEXES: u64 = 0x20;
/// `EROFS_CHUNK_FORMAT_48BIT`
const WIDE: u64 = 0x40;

/// `EROFS_NULL_ADDR`
const NULL_LO: u64 = 0xffff_ffff;
const NULL_HI: u64 = 0xffff;

/// `struct erofs_inode_chunk_index`
const INDEX_SIZE: usize = 8;
const STARTBLK_HI: Field = Field("startblk_hi", 0, 2);
const DEVICE_ID: Field = Field("device_id", 2, 2);
const STARTBLK_LO: Field = Field("startblk_lo", 4, 4);

pub(super) fn indexes(image: &mut Crafted) -> Result<()> {
    // Addresses of 48 bits, those of holes too.
    for path in ["sizes/100001", "zeros/striped"] {
        let (start, _) = indexed(image, path)?;
        image.set_bits(start, inode::U, WIDE)?;
        each_index(image, path, |image, index| {
            let hole = image.get(index, STARTBLK_LO) == NULL_LO;
            let high = if hole { NULL_HI } else { 0 };
            if image.get(index, STARTBLK_HI) == high {
                return Ok(());
            }
            image.set(index, STARTBLK_HI, high)
        })?;
    }
    // Otherwise the upper part is ignored, and the device in an image of one.
    for path in ["sizes/65536", "zeros/between"] {
        each_index(image, path, |image, index| {
            image.set(index, STARTBLK_HI, 0x7777)?;
            image.set(index, DEVICE_ID, 0x5555)
        })?;
    }
    let second = block_index(image, "zeros/last", 1)?;
    let first = image.get(second - INDEX_SIZE, STARTBLK_LO);
    image.set(second, STARTBLK_LO, first)?;
    let last = block_index(image, "zeros/first", 5)?;
    image.set(last, STARTBLK_LO, NULL_LO)?;
    // One chunk that is larger than any file.
    let (start, _) = indexed(image, "sizes/8193")?;
    let format = image.get(start, inode::U);
    image.set(start, inode::U, format | BLKBITS)
}

pub(super) fn map(image: &mut Crafted) -> Result<()> {
    for path in ["sizes/100001", "zeros/striped"] {
        let found = image.regular(path, Layout::ChunkBased)?;
        let format = image.get(found.start, inode::U);
        ensure!(format & INDEXES == 0, "{path} has indexes");
        image.set_bits(found.start, inode::U, WIDE)?;
    }
    Ok(())
}

pub(super) fn long(image: &mut Crafted) -> Result<()> {
    // A map behind all blocks, in which each chunk is the image's first block.
    let chunk_map = image.regular(LONG_MAP_FILE, Layout::ChunkBased)?;
    ensure!(image.get(chunk_map.start, inode::U) & INDEXES == 0);
    let mut moved = image.bytes[chunk_map.start..][..chunk_map.len()].to_vec();
    moved.resize(moved.len() + 4 * usize::try_from(LONG_MAP)?, 0);
    let start = image.append(&moved)? * u64::from(image.sb.block_size());
    let nid = (start - image.sb.inode_offset(0)?) / 32;
    image.point_to(LONG_MAP_FILE, nid)?;
    let start = usize::try_from(start)?;
    ensure!(image.get(start, inode::XATTR_ICOUNT) == 0, "xattrs");
    set_size(
        image,
        LONG_MAP_FILE,
        u64::from(LONG_MAP) * u64::from(image.sb.block_size()),
    )?;

    // One chunk that is larger than any file, and is nowhere.
    let hole = image.regular(LONG_HOLE_FILE, Layout::ChunkBased)?;
    let entry = hole.rest()?.next_multiple_of(4);
    image.set(entry, Field("startblk", 0, 4), NULL_LO)?;
    let format = image.get(hole.start, inode::U);
    image.set(hole.start, inode::U, format | BLKBITS)?;
    set_size(image, LONG_HOLE_FILE, LONG_HOLE)
}

/// Sets the size of a file with an extended inode: compact ones have no room for a large one.
fn set_size(image: &mut Crafted, path: &str, size: u64) -> Result<()> {
    let found = image.find(path)?;
    ensure!(found.extended, "{path} has a compact inode");
    image.set(found.start, Field("i_size", 8, 8), size)
}

pub(super) fn redirected(image: &mut Crafted) -> Result<()> {
    let slot = image.sb.device_slot(&image.bytes[..], 1)?;
    for path in ["sizes/100001", "sizes/4097", "zeros/striped"] {
        each_index(image, path, |image, index| {
            let address = image.get(index, STARTBLK_LO);
            if address == NULL_LO {
                return Ok(());
            }
            image.set(index, DEVICE_ID, 0)?;
            image.set(index, STARTBLK_LO, address + slot.uniaddr)
        })?;
    }
    // Bits above those that the number of devices needs.
    each_index(image, "sizes/65536", |image, index| {
        image.set(index, DEVICE_ID, 0x8001)
    })
}

/// Where an inode is, and the first of its chunk indexes.
fn indexed(image: &Crafted, path: &str) -> Result<(usize, usize)> {
    let found = image.regular(path, Layout::ChunkBased)?;
    let format = image.get(found.start, inode::U);
    ensure!(format & INDEXES != 0, "{path} has no indexes");
    Ok((found.start, found.rest()?.next_multiple_of(INDEX_SIZE)))
}

/// The index of one chunk of a file whose chunks are blocks.
fn block_index(image: &Crafted, path: &str, number: usize) -> Result<usize> {
    let (start, first) = indexed(image, path)?;
    let format = image.get(start, inode::U);
    ensure!(format & BLKBITS == 0, "{path} has chunks of many blocks");
    Ok(first + number * INDEX_SIZE)
}

fn each_index(
    image: &mut Crafted,
    path: &str,
    mut change: impl FnMut(&mut Crafted, usize) -> Result<()>,
) -> Result<()> {
    let (_, first) = indexed(image, path)?;
    let inode = image.find(path)?.inode;
    let chunk = inode.chunk_size(&image.sb).context("no chunks")?;
    let count = usize::try_from(inode.size.div_ceil(chunk))?;
    (0..count).try_for_each(|number| change(image, first + number * INDEX_SIZE))
}
