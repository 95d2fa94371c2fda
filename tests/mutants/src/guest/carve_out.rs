// SPDX-License-Identifier: GPL-2.0

//! Images in memory that erodax serves itself. Nobody can write to it meanwhile: they are put there
//! while erodax is not loaded, many at a time.

use std::{fs::File, os::unix::fs::FileExt};

use anyhow::{Context, Result};

use crate::{
    images::{Mutant, SIZE},
    plan::CARVE_OUT,
};

/// How many images there are at a time.
pub(super) const ROOM: usize = 64;

/// Two regions of as many bytes as all images have: one begins at a page, so that its files are
/// mapped as they lie, the other one does not.
const REGIONS: [(&str, u64); 2] = [
    ("/dev/erodax0", CARVE_OUT),
    ("/dev/erodax1", CARVE_OUT + (8 << 20) + 512),
];
const REGION_SIZE: usize = ROOM * SIZE;

/// What erodax is to serve.
pub(super) fn parameter() -> String {
    let ranges = REGIONS.map(|(_, address)| format!("{address:#x},{REGION_SIZE}"));
    format!("region={}", ranges.join(","))
}

/// The region of an image: its seed says it, so that it is the same one each time.
fn region(seed: u64) -> (&'static str, u64) {
    REGIONS[usize::from(seed % 4 == 3)]
}

/// Puts images there, each at the place that its number says.
pub(super) fn put(images: &[(u64, Mutant)]) -> Result<()> {
    let memory = File::options().write(true).open("/dev/mem")?;
    for (number, (seed, mutant)) in images.iter().enumerate() {
        let (_, address) = region(*seed);
        memory
            .write_all_at(&mutant.bytes, address + offset(number)?)
            .context("cannot write to /dev/mem")?;
    }
    Ok(())
}

/// The device that has an image, and the mount option that says where.
pub(super) fn place(number: usize, seed: u64) -> Result<(&'static str, String)> {
    let (device, _) = region(seed);
    Ok((device, format!("fsoffset={}", offset(number)?)))
}

fn offset(number: usize) -> Result<u64> {
    Ok(u64::try_from(number * SIZE)?)
}
