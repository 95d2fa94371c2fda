// SPDX-License-Identifier: GPL-2.0

//! Images that only mkfs.erofs 1.9 can make; `ERODAX_MKFS_NEW` is the program.

use crate::decode::Decoding;
use crate::features::{compare_xattrs, tree_with_xattrs};
use crate::tree::{example, Tree};
use crate::walk::Walked;
use crate::{compare, compare_volume, run_mkfs, run_mkfs_tree, write_tree};
use erodax_format::dir;
use erodax_format::inode::{Inode, Layout};
use erodax_format::superblock::SuperBlock;
use erodax_format::Error;
use std::path::PathBuf;

const IN_METABOX: u64 = 1 << 63;

pub(crate) fn program() -> PathBuf {
    std::env::var_os("ERODAX_MKFS_NEW")
        .expect("ERODAX_MKFS_NEW is to name mkfs.erofs 1.9 or newer: `make test-host` sets it")
        .into()
}

fn mkfs(options: &[&str], tree: &Tree) -> Vec<u8> {
    run_mkfs_tree(&program(), options, tree)
}

fn made_and_compared(options: &[&str]) -> Walked {
    let tree = example(true);
    compare(&mkfs(options, &tree), &tree, true)
}

#[test]
fn wide_addresses() {
    let walked = made_and_compared(&["-E48bit"]);
    assert_eq!(walked.sb.feature_incompat(), 1 << 7);
}

#[test]
fn metabox() {
    for options in [
        &["-m4096"][..],
        &["-m512", "-b512"],
        &["-m4096", "-E^inline_data"],
        &["-m4096", "-Eforce-inode-extended"],
        &["-m4096", "-b1024", "-Edot-omitted"],
    ] {
        let walked = made_and_compared(options);
        assert!(walked.sb.root_nid() & IN_METABOX != 0, "{options:?}");
        let inside = walked.inodes.values().filter(|inode| inode.in_metabox());
        assert!(inside.count() > 700, "{options:?}");
    }
}

#[test]
fn compressed_metabox() {
    let tree = example(true);
    let image = mkfs(&["-zlz4", "-m4096"], &tree);
    let sb = SuperBlock::read(&image[..]).unwrap();
    let error = Inode::read(&image[..], &sb, sb.root_nid()).unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
    for options in [
        &["-zlz4", "-m4096"][..],
        &["-zlz4hc", "-m4096", "-Eztailpacking", "-C65536"],
        &["-zlz4", "-m4096:zstd"],
        &["-zlz4hc", "-m1024", "-b1024"],
    ] {
        let image = mkfs(options, &tree);
        let walked = compare_volume(&Decoding::new(&image), &tree, true);
        assert!(walked.sb.root_nid() & IN_METABOX != 0, "{options:?}");
        let metabox = walked.sb.metabox().unwrap();
        assert!(metabox.layout.is_compressed(), "{options:?}");
    }
}

#[test]
fn compressed_directories() {
    let tree = example(true);
    for options in [
        &["-zlz4hc"][..],
        &["-zlz4hc", "-Eall-fragments"],
        &["-zlz4hc", "-Eall-fragments", "-C65536"],
        &["-zlz4", "-Efragments", "-b512"],
        &["-zlz4", "-Eztailpacking,dot-omitted"],
        &["-zlz4", "-m4096"],
        &["-zlz4hc", "-E48bit"],
    ] {
        let options = [options, &["--zD"]].concat();
        let image = mkfs(&options, &tree);
        let walked = compare_volume(&Decoding::new(&image), &tree, true);
        let many = &walked.inodes["many"];
        assert!(many.layout.is_compressed(), "{options:?}");
        let found = dir::lookup(&image[..], &walked.sb, many, b"entry number 1");
        assert!(matches!(found, Err(Error::Unsupported(_))), "{options:?}");
    }
}

#[test]
fn dot_omitted() {
    let walked = made_and_compared(&["-Edot-omitted"]);
    assert!(walked.inodes[""].dot_omitted());
    assert!(walked.inodes["many"].dot_omitted());
}

#[test]
fn metadata_zone() {
    for option in ["--MZ", "--MZ=i", "--MZ=id"] {
        let walked = made_and_compared(&[option]);
        let first = walked.sb.inode_offset(0).unwrap();
        assert!(first > 300_000, "{option}: behind the data, not at {first}");
    }
}

#[test]
fn chunks() {
    let source = tempfile::tempdir().unwrap();
    let tree = example(false);
    write_tree(&tree, source.path());
    for options in [
        &["-E48bit", "--chunksize=4096"][..],
        &["-m4096", "--chunksize=4096"],
        &["-m4096", "--chunksize=8192", "-Eforce-chunk-indexes"],
    ] {
        let image = run_mkfs(&program(), options, source.path());
        let walked = crate::walk::walk(&image[..]);
        let file = walked.data(&image[..], "file300000").unwrap();
        assert_eq!(file, crate::content(300_000));
        assert_eq!(walked.inodes["file300000"].layout, Layout::ChunkBased);
    }
}

#[test]
fn xattrs() {
    let tree = tree_with_xattrs();
    let prefixes = [
        "--xattr-prefix=user.long.prefix.",
        "--xattr-prefix=trusted.overlay.",
    ];
    for options in [
        &[][..],
        &["-x1"],
        &["-m4096"],
        &["-m4096", "-x1"],
        &["-m512", "-b512", "-x1"],
        &["-Efragments"],
    ] {
        for prefixes in [&[][..], &prefixes] {
            let options = [options, prefixes].concat();
            let image = mkfs(&options, &tree);
            let walked = compare(&image, &tree, true);
            compare_xattrs(&image, &walked, &tree);
            let count = usize::from(walked.sb.xattr_prefix_count());
            assert_eq!(count, prefixes.len(), "{options:?}");
        }
    }
}

#[test]
fn digests() {
    let image = mkfs(&["--xattr-inode-digest=trusted.digest"], &example(true));
    let walked = compare(&image, &example(true), true);
    assert!(walked.sb.feature_compat() & (1 << 5) != 0);
    let found = walked.xattrs(&image[..], "file4097");
    assert_eq!(found.len(), 1);
    assert_eq!(found.first().unwrap().0, "trusted.digest");
}
