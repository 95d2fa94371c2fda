// SPDX-License-Identifier: GPL-2.0

//! Memory can change while it is read: what is checked must be what is used, so each field is copied
//! once.

use super::{chunked, compressed, newer, sample, unsealed, walk};
use erodax_format::inode::{Inode, Layout};
use erodax_format::pcluster::Cursor;
use erodax_format::superblock::SuperBlock;
use erodax_format::{Image, Result};
use std::cell::RefCell;
use std::ops::Range;
use std::path::PathBuf;

/// An image that keeps which bytes are read.
struct Watched<'a> {
    bytes: &'a [u8],
    reads: RefCell<Vec<Range<u64>>>,
}

impl<'a> Watched<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Watched {
            bytes,
            reads: RefCell::default(),
        }
    }

    /// Runs `read`, and returns which bytes it reads, in the order of their places.
    fn reads<T>(&self, read: impl FnOnce(&Self) -> Result<T>) -> Vec<Range<u64>> {
        self.reads.take();
        assert!(read(self).is_ok());
        let mut reads = self.reads.take();
        reads.sort_by_key(|range| range.start);
        reads
    }

    /// Runs `read`, which must read no byte twice; returns how often it reads.
    fn count<T>(&self, read: impl FnOnce(&Self) -> Result<T>) -> usize {
        let reads = self.reads(read);
        for pair in reads.windows(2) {
            assert!(pair[0].end <= pair[1].start, "{reads:?}");
        }
        reads.len()
    }

    /// The same of something that reads.
    fn check<T>(&self, read: impl FnOnce(&Self) -> Result<T>) {
        assert!(self.count(read) > 0);
    }
}

impl Image for Watched<'_> {
    fn len(&self) -> u64 {
        Image::len(self.bytes)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.bytes.read_at(offset, buf)?;
        let len = u64::try_from(buf.len()).unwrap();
        self.reads.borrow_mut().push(offset..offset + len);
        Ok(())
    }
}

#[test]
fn superblocks() {
    for image in [unsealed(), chunked(), compressed()] {
        Watched::new(image).check(SuperBlock::read);
    }
    // What is behind it is read for the checksum as well.
    let reads = Watched::new(sample()).reads(SuperBlock::read);
    let of_it = |range: &&Range<u64>| range.start < 1152 && range.end > 1024;
    assert_eq!(
        reads.iter().filter(of_it).collect::<Vec<_>>(),
        [&(1024..1152)]
    );
}

#[test]
fn inodes_and_chunks() {
    for image in [unsealed(), chunked(), compressed()] {
        let sb = SuperBlock::read(image).unwrap();
        let watched = Watched::new(image);
        for inode in walk(&super::Decoding::new(image)).inodes.values() {
            watched.check(|watched| Inode::read(watched, &sb, inode.nid));
            if inode.layout == Layout::ChunkBased && inode.size != 0 {
                watched.check(|watched| inode.extent_at(watched, &sb, inode.size - 1));
            }
        }
    }
}

/// A search in an index, wherever it begins: compact ones with packs of both sizes, full ones, and
/// records of extents; with extents that have several packs.
#[test]
fn indexes() {
    let source = tempfile::tempdir().unwrap();
    super::write_tree(&super::compressed::tree(), source.path());
    let (older, newer) = (PathBuf::from("mkfs.erofs"), newer::program());
    for (program, options) in [
        (&older, &["-zlz4hc", "-C65536"][..]),
        (&older, &["-zlz4hc", "-Eztailpacking"]),
        (&older, &["-zlz4hc", "-Efragments", "-b1024"]),
        (&newer, &["-zlz4hc", "-C65536", "-Elegacy-compress"]),
        (&newer, &["-zlz4hc", "-C65536", "-E48bit"]),
    ] {
        let image = super::run_mkfs(program, options, source.path());
        let most = indexes_of(&image);
        assert!(most > 2, "{options:?}: at most {most} reads");
    }
}

/// Searches in all files of an image; returns how often one of the searches has read at most.
fn indexes_of(image: &[u8]) -> usize {
    /// No multiple of a power of two, so that searches begin everywhere in their lclusters.
    const STEP: usize = 1789;
    let sb = SuperBlock::read(image).unwrap();
    let watched = Watched::new(image);
    let mut most = 0;
    for inode in walk(&super::Decoding::new(image)).inodes.values() {
        if !inode.layout.is_compressed() || inode.size == 0 {
            continue;
        }
        watched.check(|watched| inode.map_header(watched, &sb));
        let header = inode.map_header(image, &sb).unwrap();
        for pos in (0..inode.size).step_by(STEP) {
            let mut cursor = Cursor::default();
            let find =
                |watched: &Watched<'_>| inode.pcluster_at(watched, &sb, &header, &mut cursor, pos);
            most = most.max(watched.count(find));
        }
    }
    most
}
