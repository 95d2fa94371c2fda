// SPDX-License-Identifier: GPL-2.0

//! Garbage where the format says nothing: mkfs.erofs fills blocks up with zeros, others need not.

use std::{fs, path::Path};

use anyhow::{ensure, Result};

const BLOCK: usize = 4096;
const GARBAGE: u8 = 0xaa;
/// Shorter ends of files could stand anywhere.
const RECOGNIZABLE: usize = 16;

/// Overwrites what follows the end of each file in its last block. The blocks are found by what
/// is in them.
pub(super) fn put_after_files<'a>(
    image: &Path,
    contents: impl Iterator<Item = &'a [u8]>,
) -> Result<()> {
    let mut bytes = fs::read(image)?;
    let mut changed = 0;
    for content in contents {
        let end = &content[content.len() / BLOCK * BLOCK..];
        if end.len() < RECOGNIZABLE || end.contains(&0) {
            continue;
        }
        for block in bytes.chunks_exact_mut(BLOCK) {
            let (start, rest) = block.split_at_mut(end.len());
            if start == end && rest.iter().all(|byte| *byte == 0) {
                rest.fill(GARBAGE);
                changed += 1;
            }
        }
    }
    ensure!(
        changed > 15,
        "only {changed} files found in {}",
        image.display()
    );
    Ok(fs::write(image, bytes)?)
}
