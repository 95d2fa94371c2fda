// SPDX-License-Identifier: GPL-2.0

//! Extents without data, which mkfs.erofs does not make: they read as zeros, and what is around them
//! stays as it was.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
};

use anyhow::{ensure, Result};
use erodax_agent::guest::calls::{extents, FileExtent};

use super::images;
use crate::{
    beside::compare_images,
    erodax::with_each,
    image::{SPARSE_BY_COUNT, SPARSE_BY_FLAG, SPARSE_EACH, SPARSE_FIRST, SPARSE_INSIDE},
};

/// Where extents start with lclusters, stock EROFS does the same.
pub(super) fn same_answers() -> Result<()> {
    compare_images(&images::HOLES, "")?;
    let by_flag = expected(images::SHORT_EXTENTS.name, SPARSE_BY_FLAG)?;
    let by_count = expected(images::SHORT_EXTENTS.name, SPARSE_BY_COUNT)?;
    let [full, compact] = images::HOLES.map(|image| image.name);
    check(full, SPARSE_BY_FLAG, &by_flag)?;
    check(full, SPARSE_BY_COUNT, &by_count)?;
    check(compact, SPARSE_BY_COUNT, &by_count)
}

/// Where they start inside of lclusters, stock EROFS takes bytes before them for theirs
/// (docs/differences.md).
pub(super) fn inside() -> Result<()> {
    let expected = expected(images::LZ4[4].name, SPARSE_INSIDE)?;
    check(images::HOLES_INSIDE.name, SPARSE_INSIDE, &expected)
}

/// What a file must have: what it has in an image without holes, with zeros in some of its extents.
fn expected(image: &str, path: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    with_each(&[image], "", |root, _| {
        let path = root.join(path);
        bytes = fs::read(&path)?;
        let all = all_extents(&path)?;
        let sparse = all.iter().skip(SPARSE_FIRST).step_by(SPARSE_EACH);
        ensure!(sparse.len() > 1, "{} extents", all.len());
        for extent in sparse {
            let start = usize::try_from(extent.logical)?;
            let end = start + usize::try_from(extent.length)?;
            ensure!(
                bytes[start..end].iter().any(|byte| *byte != 0),
                "bytes {start}..{end} are zeros anyway"
            );
            bytes[start..end].fill(0);
        }
        Ok(())
    })?;
    Ok(bytes)
}

pub(super) fn all_extents(path: &Path) -> Result<Vec<FileExtent>> {
    let file = File::open(path)?;
    let mut all: Vec<FileExtent> = Vec::new();
    while all
        .last()
        .is_none_or(|last| last.flags & FileExtent::LAST == 0)
    {
        let start = all.last().map_or(0, |last| last.logical + last.length);
        let next = extents(&file, start, u64::MAX - start)?;
        ensure!(!next.is_empty(), "nothing is mapped from {start} on");
        all.extend(next);
    }
    Ok(all)
}

/// Read page by page from the end on, and then as a whole from the cache.
fn check(image: &str, path: &str, expected: &[u8]) -> Result<()> {
    with_each(&[image], "", |root, _| {
        let path = root.join(path);
        let file = File::open(&path)?;
        for start in (0..expected.len()).step_by(4096).rev() {
            let end = expected.len().min(start + 4096);
            let mut found = vec![0xA5; end - start];
            file.read_exact_at(&mut found, u64::try_from(start)?)?;
            ensure!(found == expected[start..end], "page from {start} on");
        }
        ensure!(
            fs::read(&path)? == expected,
            "{} as a whole",
            path.display()
        );
        Ok(())
    })
}
