// SPDX-License-Identifier: GPL-2.0

//! Images with compressed files.

use crate::decode::{self, Decoding, Seen};
use crate::tree::{content, Kind, Node, Tree};
use crate::walk::{walk, Walked};
use crate::{count_files, newer, run_mkfs, write_tree};
use erodax_format::inode::Layout;
use erodax_format::pcluster::{Algorithm, Encoded, Encoding, Place};
use std::path::{Path, PathBuf};

/// Bytes that look like a program: somewhat compressible, differently so from place to place.
fn program(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    let mut bytes: Vec<u8> = Vec::with_capacity(len + 300);
    while bytes.len() < len {
        let kind = random() % 100;
        let run = usize::try_from(random() % 120 + 4).unwrap();
        match kind {
            // The same as before, from anywhere in the window.
            0..=69 if bytes.len() > 300 => {
                let far = bytes.len().min(60_000);
                let back = usize::try_from(random()).unwrap() % far + 1;
                for _ in 0..run {
                    bytes.push(bytes[bytes.len() - back]);
                }
            }
            70..=74 => bytes.extend(std::iter::repeat_n(0, run * 3)),
            // Now and then a stretch that no compressor can do anything with.
            75 => bytes.extend((0..run * 80).map(|_| random().to_le_bytes()[1])),
            _ => bytes.extend((0..run / 4 + 1).map(|_| random().to_le_bytes()[2] & 0x3F)),
        }
    }
    bytes.truncate(len);
    bytes
}

/// Files of all sizes and of everything between zeros and noise.
pub(crate) fn tree() -> Tree {
    tree_up_to(3_000_000)
}

/// The same with a largest file of `max` bytes.
fn tree_up_to(max: usize) -> Tree {
    let mut tree = Tree::new();
    let mut insert = |path: String, bytes| tree.insert(path, Node::new(Kind::File(bytes)));
    for (index, len) in [
        1, 100, 511, 512, 513, 3000, 4095, 4096, 4097, 8191, 8192, 10_000, 65_536, 100_000, 700_001,
    ]
    .into_iter()
    .filter(|len| *len <= max)
    .enumerate()
    {
        insert(format!("text{len}"), content(len));
        insert(
            format!("program{len}"),
            program(len, u32::try_from(index).unwrap() + 1),
        );
        insert(format!("zeros{len}"), vec![0; len]);
    }
    let large = program(max, 99);
    insert("large".to_owned(), large.clone());
    // Parts of it at other places, for deduplication.
    let moved = [
        &program(5000, 7),
        &large[max / 30..max / 10 * 3],
        &large[max / 75..][..5000],
    ]
    .concat();
    insert("moved".to_owned(), moved);
    insert("twice".to_owned(), large[..max / 10].repeat(2));
    for number in 0..60 {
        insert(format!("small{number}"), program(number * 37 + 1, 1000));
    }
    tree
}

fn old() -> PathBuf {
    "mkfs.erofs".into()
}

/// Compares all files of an image made with these options.
fn compare(program: &Path, options: &[&str], tree: &Tree) -> (Walked, Seen) {
    // Not of an archive: with fragments, mkfs.erofs 1.8 makes wrong images of them.
    let source = tempfile::tempdir().unwrap();
    write_tree(tree, source.path());
    let image = run_mkfs(program, options, source.path());
    let image = Decoding::new(&image);
    let walked = walk(&image);
    let mut seen = Seen::default();
    for (path, node) in tree {
        let Kind::File(expected) = &node.kind else {
            continue;
        };
        let inode = &walked.inodes[path];
        assert_eq!(inode.size, u64::try_from(expected.len()).unwrap());
        let data = if inode.layout.is_compressed() {
            decode::file(&image, &walked.sb, inode, &mut seen)
        } else {
            walked.data(&image, path)
        };
        let data = data.unwrap_or_else(|error| panic!("{options:?}: {path}: {error}"));
        assert!(data == *expected, "{options:?}: {path} differs");
    }
    (walked, seen)
}

fn is_compressed(algorithm: Algorithm) -> impl Fn(&Encoded) -> bool {
    move |encoded| encoded.encoding == Encoding::Compressed(algorithm)
}

#[test]
fn lz4() {
    for options in [
        &["-zlz4"][..],
        &["-zlz4hc"],
        &["-zlz4hc", "-C16384"],
        &["-zlz4hc", "-C65536"],
        &["-zlz4", "-C1048576"],
        &["-zlz4hc", "-Elegacy-compress"],
        &["-zlz4hc", "-Elegacy-compress", "-C65536"],
        &["-zlz4", "-b512"],
        &["-zlz4", "-b1024", "-C8192"],
        &["-zlz4hc", "-b2048", "-C65536", "-Eztailpacking"],
    ] {
        let (walked, seen) = compare(&old(), options, &tree());
        assert!(
            seen.count(is_compressed(Algorithm::Lz4)) > 10,
            "{options:?}"
        );
        let is_full = options.contains(&"-Elegacy-compress");
        let layout = walked.inodes["large"].layout;
        assert_eq!(layout == Layout::CompressedFull, is_full, "{options:?}");
        let block_size = walked.sb.block_size();
        // By default, a pcluster has 4096 bytes.
        let is_big = options.iter().any(|option| option.starts_with("-C")) || block_size < 4096;
        assert_eq!(seen.count(|encoded| encoded.len > block_size) > 0, is_big);
    }
}

#[test]
fn tails() {
    for options in [
        &["-zlz4", "-Eztailpacking"][..],
        &["-zlz4hc", "-Eztailpacking", "-C65536"],
        &["-zlz4hc", "-Eztailpacking,legacy-compress"],
    ] {
        let (_, seen) = compare(&old(), options, &tree());
        let odd = seen.count(|encoded| encoded.len % 512 != 0);
        assert!(odd > 20, "{options:?}: {odd}");
    }
}

#[test]
fn fragments() {
    for options in [
        &["-zlz4", "-Efragments"][..],
        &["-zlz4hc", "-Efragments", "-C65536"],
        &["-zlz4hc", "-Eall-fragments"],
        &["-zlz4hc", "-Eall-fragments", "-C65536"],
        &["-zlz4hc", "-Eall-fragments,dedupe", "-C32768"],
        &["-zlz4hc", "-Efragments,ztailpacking"],
        &["-zlz4hc", "-Efragments,legacy-compress"],
    ] {
        let (_, seen) = compare(&old(), options, &tree());
        assert!(seen.fragments() > 50, "{options:?}: {}", seen.fragments());
    }
}

#[test]
fn deduplicated() {
    for options in [
        &["-zlz4", "-Ededupe"][..],
        &["-zlz4hc", "-Ededupe", "-C65536"],
        &["-zlz4hc", "-Ededupe,fragments"],
    ] {
        let (_, seen) = compare(&old(), options, &tree());
        assert!(seen.count(|encoded| encoded.is_partial) > 0, "{options:?}");
    }
}

#[test]
fn other_algorithms() {
    let tree = tree_up_to(200_000);
    for (algorithm, name) in [
        (Algorithm::Lzma, "-zlzma"),
        (Algorithm::Deflate, "-zdeflate"),
        (Algorithm::Deflate, "-zlibdeflate"),
        (Algorithm::Zstd, "-zzstd"),
    ] {
        for more in [
            &[][..],
            &["-C65536", "-Ededupe,fragments"],
            &["-Eztailpacking", "-b1024"],
        ] {
            let options = [&[name], more].concat();
            let (_, seen) = compare(&old(), &options, &tree);
            assert!(seen.count(is_compressed(algorithm)) > 2, "{options:?}");
        }
    }
}

/// Files in chunks beside compressed ones.
#[test]
fn beside_chunks() {
    let options = ["-zlz4hc", "--chunksize=4096", "-Eforce-inode-blockmap"];
    let (walked, _) = compare(&old(), &options, &tree_up_to(200_000));
    let (chunks, others) = (
        count_files(&walked, Layout::ChunkBased),
        count_files(&walked, Layout::CompressedCompact),
    );
    assert!(chunks > 0, "{chunks} {others}");
}

/// Plain data is interlaced where there are fragments but no deduplication.
#[test]
fn plain() {
    for (options, encoding) in [
        (&["-zlz4"][..], Encoding::Shifted),
        (&["-zlz4", "-Efragments"], Encoding::Interlaced),
    ] {
        let (_, seen) = compare(&old(), options, &tree());
        let plain = seen.count(|encoded| encoded.encoding == encoding);
        assert!(plain > 20, "{options:?}: {plain}");
    }
}

#[test]
fn encoded_extents() {
    for options in [
        &["-zlz4hc"][..],
        &["-zlz4hc", "-C65536"],
        &["-zlz4hc", "-C65536", "-b512"],
        &["-zlz4hc", "-Efragments"],
        &["-zlz4hc", "-Eall-fragments"],
        &["-zlz4hc", "-Ededupe", "-C65536"],
        &["-zzstd", "-C65536", "-Efragments,dedupe"],
        &["-zlzma", "-C1048576"],
        &["-zdeflate", "-Eztailpacking"],
    ] {
        let options = [options, &["-E48bit"]].concat();
        let (walked, seen) = compare(&newer::program(), &options, &tree());
        let odd = |encoded: &Encoded| match encoded.place {
            Place::Device { offset, .. } => (offset | u64::from(encoded.len)) % 512 != 0,
            Place::Metabox { .. } => false,
        };
        // Where they would take more room than a compact index, there is one.
        let full = count_files(&walked, Layout::CompressedFull);
        assert!(
            full > 10 || options.contains(&"-Eztailpacking"),
            "{options:?}: {full}"
        );
        assert!(seen.count(odd) > 0 || !options.contains(&"-zzstd"));
    }
}
