// SPDX-License-Identifier: GPL-2.0

//! Damages images in a finished initrd: the packer itself refuses to pack them.

use std::{fs::OpenOptions, os::unix::fs::FileExt, path::Path};

use anyhow::{ensure, Context, Result};
use erodax_initrd::inspect;
use erodax_tests::image::{Damage, Field, Image};

/// Where the superblock is in an image.
const SUPERBLOCK: usize = 1024;
/// The block size of the small images, which are what gets damaged.
const BLOCK: usize = 4096;

/// Applies the declared damage to each of the initrd's images.
pub(super) fn apply(initrd: &Path, images: &[Image]) -> Result<()> {
    let found = inspect(initrd)?.images;
    let file = OpenOptions::new().read(true).write(true).open(initrd)?;
    for image in images.iter().filter(|image| !image.damage.is_empty()) {
        let place = found
            .iter()
            .find(|candidate| candidate.name == image.name)
            .with_context(|| format!("the packed initrd has no image {}", image.name))?;
        let mut block = [0; BLOCK];
        file.read_exact_at(&mut block, place.offset)?;
        for damage in image.damage {
            overwrite(&mut block, damage)?;
        }
        file.write_all_at(&block, place.offset)?;
    }
    Ok(())
}

fn overwrite(block: &mut [u8; BLOCK], damage: &Damage) -> Result<()> {
    let (offset, size) = damage.field.place();
    let start = SUPERBLOCK + offset;
    let value = damage.value.to_le_bytes();
    ensure!(
        value[size..].iter().all(|byte| *byte == 0),
        "{damage:?} does not fit"
    );
    ensure!(
        block[start..start + size] != value[..size],
        "{damage:?} changes nothing"
    );
    block[start..start + size].copy_from_slice(&value[..size]);
    if damage.checksum_fixed {
        write_checksum(block);
    }
    Ok(())
}

/// Makes the checksum of an image match again, if it has one.
pub(super) fn seal(image: &mut [u8]) {
    const SB_CHKSUM: u8 = 1;
    const FEATURE_COMPAT: usize = SUPERBLOCK + 8;
    const BLKSZBITS: usize = SUPERBLOCK + 12;
    if image[FEATURE_COMPAT] & SB_CHKSUM != 0 {
        let block = 1 << image[BLKSZBITS];
        // The superblock is in the second block, if the first one ends before it.
        let end = if block > SUPERBLOCK {
            block
        } else {
            SUPERBLOCK + block
        };
        write_checksum(&mut image[..end]);
    }
}

/// Up to the end of `block`, which begins with the image.
fn write_checksum(block: &mut [u8]) {
    let (offset, size) = Field::checksum.place();
    let checksum = crc32c(0x5045_B54A, &block[SUPERBLOCK + offset + size..]);
    block[SUPERBLOCK + offset..][..size].copy_from_slice(&checksum.to_le_bytes());
}

/// CRC-32C without the inversion at its end, from the superblock's seed on.
fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(seed, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0x82F6_3B78 } else { 0 }
        })
    })
}
