// SPDX-License-Identifier: GPL-2.0

//! Many readers of files that share their pclusters.

use std::{fs, path::Path, thread};

use anyhow::{ensure, Result};
use erodax_mutation::edit::Edit;

use super::{
    ground::{bytes_of, end, serve, NODE},
    images::{self, COMPRESSED},
    indexes::{rewrite, Lcluster},
    lz4::{noise, Stream},
};
use crate::erodax::{expectation, mount_source, GOOD};

const OTHER: &str = "mixed/100000";
/// Extents of each file, two lclusters each.
const EXTENTS: usize = 12;
const EXTENT: usize = 8192;
const ROUNDS: usize = 40;

/// CVE-2023-53777: one file has pclusters A B A B …, another one B A B A …, and readers of both go
/// through them at the same time. Those of a deduplicated image by mkfs.erofs do, too.
pub(super) fn looping_pclusters() -> Result<()> {
    bytes_of(GOOD)?;
    let mut image = Edit::open(bytes_of(images::FULL.name)?)?;
    let [(a, a_bytes), (b, b_bytes)] = [b'a', b'b'].map(pcluster);
    let (a, b) = (image.append(&a)?, image.append(&b)?);
    interleave(&mut image, COMPRESSED, [a, b])?;
    interleave(&mut image, OTHER, [b, a])?;
    let expected = [
        (
            COMPRESSED,
            [&a_bytes[..], &b_bytes].concat().repeat(EXTENTS / 2),
        ),
        (OTHER, [&b_bytes[..], &a_bytes].concat().repeat(EXTENTS / 2)),
    ];
    let module = serve(&image.finish())?;
    read_together(&expected)?;
    end(module)?;

    let mut expected = Vec::new();
    let shared = ["mixed/large", "again/moved", "again/twice"];
    let digests = expectation(images::DEDUPE.name)?;
    let module = serve(&bytes_of(images::DEDUPE.name)?)?;
    let mount = mount_source(Path::new(NODE), "", "attack")?;
    for path in shared {
        let bytes = fs::read(mount.path().join(path))?;
        let entry = digests.iter().find(|entry| entry.path() == Path::new(path));
        let digest = entry.and_then(|entry| entry.sha256.as_deref());
        ensure!(
            digest == Some(&crate::expectation::sha256(&bytes)),
            "{path}"
        );
        expected.push((path, bytes));
    }
    mount.unmount()?;
    read_together(&expected)?;
    end(module)
}

/// A pcluster of one block, and what it decodes to.
fn pcluster(first: u8) -> (Vec<u8>, Vec<u8>) {
    let len = 6000;
    let mut rest = noise(EXTENT - 1 - len);
    rest.iter_mut().for_each(|byte| *byte ^= first);
    let stream = Stream::default().sequence(&[first], 1, len).literals(&rest);
    (stream.block(), [vec![first; 1 + len], rest].concat())
}

fn interleave(image: &mut Edit, path: &str, blocks: [u64; 2]) -> Result<()> {
    let blocks = blocks.into_iter().cycle().take(EXTENTS);
    let pair = |block| [Lcluster::Head(0, block), Lcluster::NonHead(1, 1)];
    let lclusters: Vec<_> = blocks.flat_map(pair).collect();
    rewrite(image, path, u64::try_from(EXTENTS * EXTENT)?, &lclusters)
}

/// Reads the files over and over, each from two threads, with an empty page cache every time.
fn read_together(expected: &[(&str, Vec<u8>)]) -> Result<()> {
    let mount = mount_source(Path::new(NODE), "", "attack")?;
    for round in 0..ROUNDS {
        fs::write("/proc/sys/vm/drop_caches", "1")?;
        thread::scope(|scope| {
            let readers: Vec<_> = (expected.iter().chain(expected))
                .map(|(path, bytes)| {
                    let path = mount.path().join(path);
                    scope.spawn(move || -> Result<()> {
                        ensure!(
                            fs::read(&path)? == *bytes,
                            "{} in round {round}",
                            path.display()
                        );
                        Ok(())
                    })
                })
                .collect();
            let mut results = readers.into_iter().map(|reader| reader.join());
            results
                .try_for_each(|result| result.unwrap_or_else(|_| anyhow::bail!("a reader panics")))
        })?;
    }
    Ok(mount.unmount()?)
}
