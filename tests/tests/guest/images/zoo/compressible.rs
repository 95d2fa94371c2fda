// SPDX-License-Identifier: GPL-2.0

//! Files for compressors: of every size at which something changes, and of every density.

use erodax_tests::image::BROKEN_STREAM;

use super::{noise, Kind, Tree};

/// Around the edges of blocks and of pclusters.
const SIZES: [usize; 14] = [
    0, 1, 511, 513, 3000, 4095, 4096, 4097, 8193, 16_383, 65_536, 65_537, 100_000, 300_001,
];

pub(super) fn add_to(tree: &mut Tree) {
    for directory in ["text", "mixed", "zeros", "noise", "again", "small"] {
        tree.add(directory, Kind::Directory);
    }
    for size in SIZES {
        tree.add(format!("text/{size}"), Kind::File(text(size)));
        tree.add(format!("mixed/{size}"), Kind::File(mixed(size, size)));
        tree.add(format!("zeros/{size}"), Kind::File(vec![0; size]));
    }
    // More than one pcluster can have, whatever the algorithm.
    tree.add("zeros/large", Kind::File(vec![0; (1 << 20) + 4321]));
    tree.add("noise/large", Kind::File(noise(150_001)));
    tree.add(BROKEN_STREAM, Kind::File(mixed(200_000, 3)));
    let large = mixed(1_200_000, 1);
    let between = [&large[..70_000], &[0; 200_000], &noise(30_000)].concat();
    tree.add("mixed/with-zeros", Kind::File(between));
    // Parts of it once more, at other places, for deduplication.
    let moved = [
        &mixed(5000, 2),
        &large[100_000..400_000],
        &large[40_000..45_000],
    ];
    tree.add("again/moved", Kind::File(moved.concat()));
    let twice = [&large[..150_000], &large[..150_000]].concat();
    tree.add("again/twice", Kind::File(twice));
    tree.add("mixed/large", Kind::File(large));
    for number in 0..40 {
        let content = mixed(number * 97 + 1, number);
        tree.add(format!("small/{number}"), Kind::File(content));
    }
    tree.long_names();
    tree.add("again/link", Kind::Symlink(b"../mixed/large".to_vec()));
    let target = "../".repeat(1300).into_bytes();
    tree.add("again/long-link", Kind::Symlink(target));
}

/// The image of the mail that asked for mounts from memory: 250 times a sentence.
pub(super) fn add_sentence_to(tree: &mut Tree) {
    let content = "The quick brown fox. ".repeat(250).into_bytes();
    tree.add("fox", Kind::File(content));
}

/// Files of which long extents can be made; no two pages of them are alike.
pub(super) fn add_dense_to(tree: &mut Tree) {
    tree.add("mixed", Kind::File(mixed((2 << 20) + 1234, 7)));
    // More than an extent can have.
    tree.add("records", Kind::File(records((13 << 20) + 4321)));
}

fn records(length: usize) -> Vec<u8> {
    let rest = "; what follows is the same in each of them".repeat(5);
    let records = (0..).flat_map(|number: u32| format!("record {number:9}{rest}\n").into_bytes());
    records.take(length).collect()
}

fn text(length: usize) -> Vec<u8> {
    let lines = (0..).flat_map(|number: u32| format!("line {number}\n").into_bytes());
    lines.take(length).collect()
}

/// Like a program: here denser, there less, with parts that were there before.
fn mixed(length: usize, seed: usize) -> Vec<u8> {
    const FAR: usize = 50_000;
    let mut state = (seed as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut random = |end: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as usize % end
    };
    let mut bytes = Vec::with_capacity(length + 4096);
    while bytes.len() < length {
        let run = 4 + random(120);
        match random(50) {
            0..=29 if bytes.len() > 300 => {
                let back = 1 + random(bytes.len().min(FAR));
                (0..run).for_each(|_| bytes.push(bytes[bytes.len() - back]));
            }
            30..=32 => bytes.resize(bytes.len() + 3 * run, 0),
            33 => bytes.extend((0..30 * run).map(|_| random(256) as u8)),
            _ => bytes.extend((0..run / 3).map(|_| random(64) as u8)),
        }
    }
    bytes.truncate(length);
    bytes
}
