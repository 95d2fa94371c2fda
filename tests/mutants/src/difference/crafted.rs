// SPDX-License-Identifier: GPL-2.0

//! An image of one compressed file, for tests.

use erodax_format::{inode::Inode, superblock::SuperBlock};
use erodax_mutation::{
    field::Structure,
    places::{Place, SUPER_BLOCK},
};

const NID: u64 = 64;
const INODE: Place = Place {
    structure: Structure::CompactInode,
    offset: 2048,
};
pub(super) const HEADER: Place = Place {
    structure: Structure::MapHeader,
    offset: 2080,
};
/// Types of lclusters.
pub(super) const HEAD1: u64 = 1;
pub(super) const NONHEAD: u64 = 2;

/// An lcluster by its type and two numbers: of a head, its block; of others, how far the heads before
/// and behind them are.
type Numbers = (u64, u64, u64);

pub(super) const GOOD: [Numbers; 4] = [
    (HEAD1, 10, 0),
    (NONHEAD, 1, 1),
    (HEAD1, 11, 0),
    (NONHEAD, 1, 1),
];

/// The image's superblock, and a file of four blocks of 512 bytes without an index.
fn without_index() -> Vec<u8> {
    let mut image = vec![0; 8192];
    SUPER_BLOCK.set(&mut image, "magic", 0xE0F5_E1E2);
    SUPER_BLOCK.set(&mut image, "blkszbits", 9);
    SUPER_BLOCK.set(&mut image, "blocks_lo", 16);
    // There is LZ4.
    SUPER_BLOCK.set(&mut image, "feature_incompat", 1);
    INODE.set(&mut image, "i_mode", 0o100_644);
    INODE.set(&mut image, "i_nb", 1);
    INODE.set(&mut image, "i_size", 2048);
    image
}

/// The place of an lcluster in a full index.
pub(super) fn lcluster(number: usize) -> Place {
    Place {
        structure: Structure::LclusterIndex,
        offset: 2096 + 8 * number,
    }
}

/// With a full index.
pub(super) fn image(lclusters: [Numbers; 4]) -> Vec<u8> {
    let mut image = without_index();
    INODE.set(&mut image, "i_format", 1 << 1);
    for (number, (kind, low, high)) in lclusters.into_iter().enumerate() {
        let lcluster = lcluster(number);
        lcluster.set(&mut image, "di_advise", kind);
        lcluster.set(&mut image, "delta0", low);
        lcluster.set(&mut image, "delta1", high);
    }
    image
}

/// With a compact index: two packs of two lclusters, each with its type and number.
pub(super) fn compact(lclusters: [(u64, u64); 4]) -> Vec<u8> {
    let mut image = without_index();
    INODE.set(&mut image, "i_format", 3 << 1);
    for (number, (kind, low)) in lclusters.into_iter().enumerate() {
        let pack = Place {
            structure: Structure::SmallPack,
            offset: 2088 + 8 * (number / 2),
        };
        let element = ["element0", "element1"][number % 2];
        pack.set(&mut image, element, (kind << 12) | low);
    }
    image
}

/// The file and its superblock.
pub(super) fn file(image: &[u8]) -> (SuperBlock, Inode) {
    let sb = SuperBlock::read(image).unwrap();
    let inode = Inode::read(image, &sb, NID).unwrap();
    (sb, inode)
}
