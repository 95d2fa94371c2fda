// SPDX-License-Identifier: GPL-2.0

//! Damages images in a finished initrd: the packer itself refuses to pack them.

use std::{fs::OpenOptions, os::unix::fs::FileExt, path::Path};

use anyhow::{ensure, Context, Result};
use erodax_initrd::inspect;
use erodax_mutation::{places::SUPER_BLOCK, seal::seal};
use erodax_tests::image::{Damage, Image};

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
    let Damage { field, value, .. } = *damage;
    ensure!(
        SUPER_BLOCK.get(block, field) != Some(value),
        "{damage:?} changes nothing"
    );
    SUPER_BLOCK.set(block, field, value);
    ensure!(
        SUPER_BLOCK.get(block, field) == Some(value),
        "{damage:?} does not fit"
    );
    if damage.checksum_fixed {
        seal(block);
    }
    Ok(())
}
