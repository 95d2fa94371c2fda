// SPDX-License-Identifier: GPL-2.0

//! Images with features that are not on by default.

use crate::tree::{content, example, Kind, Node, Tree};
use crate::walk::{walk, Walked};
use crate::{compare, mkfs, mkfs_tree, write_tree};
use erodax_format::flat::Extent;
use erodax_format::inode::Layout;
use erodax_format::superblock::SuperBlock;
use erodax_format::volume::DeviceSlot;
use erodax_format::{Error, Volume};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A file of 40 pages with data in the 4th and at the start of the 20th.
fn write_sparse(dir: &Path) -> Vec<u8> {
    let mut data = vec![0; 40 * 4096];
    let file = fs::File::create(dir.join("sparse")).unwrap();
    file.set_len(40 * 4096).unwrap();
    for (page, len) in [(4, 4096), (20, 100)] {
        let start = page * 4096;
        let bytes = content(len);
        data[start..start + len].copy_from_slice(&bytes);
        file.write_all_at(&bytes, u64::try_from(start).unwrap())
            .unwrap();
    }
    data
}

#[test]
fn chunks() {
    let source = tempfile::tempdir().unwrap();
    let tree = example(false);
    write_tree(&tree, source.path());
    let sparse = write_sparse(source.path());
    for (options, size) in [
        (["-Eforce-inode-blockmap", "--chunksize=4096"], 4096),
        (["-Eforce-chunk-indexes", "--chunksize=4096"], 4096),
        (["-Eforce-inode-blockmap", "--chunksize=16384"], 16384),
        (["-Eforce-chunk-indexes", "--chunksize=65536"], 65536),
    ] {
        let image = mkfs(&options, source.path());
        let walked = walk(&image[..]);
        assert!(walked.sb.has_chunked_files());
        let inode = &walked.inodes["file300000"];
        assert_eq!(inode.layout, Layout::ChunkBased);
        assert_eq!(inode.chunk_size(&walked.sb), Some(size), "{options:?}");
        for (path, node) in &tree {
            if let Kind::File(body) = &node.kind {
                assert_eq!(walked.data(&image[..], path).unwrap(), *body, "{path}");
            }
        }
        assert_eq!(walked.data(&image[..], "sparse").unwrap(), sparse);
        let first = walked.inodes["sparse"].extent_at(&image[..], &walked.sb, 0);
        if size == 4096 {
            assert_eq!(first, Ok(Extent::Hole { len: 4 * 4096 }));
        }
    }
    let flat = mkfs(&[], source.path());
    assert!(!walk(&flat[..]).sb.has_chunked_files());
}

/// An image, and the device with its data.
struct TwoDevices {
    primary: Vec<u8>,
    extra: Vec<u8>,
    slot: DeviceSlot,
}

impl Volume for TwoDevices {
    type Device = [u8];

    fn primary(&self) -> &[u8] {
        &self.primary
    }

    fn extra(&self, id: u16) -> Option<(&[u8], DeviceSlot)> {
        (id == 1).then_some((&self.extra[..], self.slot))
    }
}

#[test]
fn blob_device() {
    let source = tempfile::tempdir().unwrap();
    let tree = example(false);
    write_tree(&tree, source.path());
    let blob = tempfile::NamedTempFile::new().unwrap();
    let option = format!("--blobdev={}", blob.path().display());
    let primary = mkfs(&[&option, "--chunksize=4096"], source.path());
    let extra = fs::read(blob.path()).unwrap();
    let sb = SuperBlock::read(&primary[..]).unwrap();
    let slot = sb.device_slot(&primary[..], 1).unwrap();
    assert_eq!(sb.extra_devices(), 1);
    assert_eq!(slot.blocks * 4096, u64::try_from(extra.len()).unwrap());
    assert_eq!(sb.total_blocks(), sb.blocks() + slot.blocks);
    let volume = TwoDevices {
        primary,
        extra,
        slot,
    };
    let walked = walk(&volume);
    for (path, node) in &tree {
        if let Kind::File(body) = &node.kind {
            assert_eq!(walked.data(&volume, path).unwrap(), *body, "{path}");
        }
    }
    let extent = walked.inodes["file300000"].extent_at(&volume, &walked.sb, 0);
    assert!(matches!(extent, Ok(Extent::Data { device: 1, .. })));
}

#[test]
fn tar_index() {
    let mut tree = example(false);
    // An index has the targets of links itself, and nothing that is longer than a block.
    tree.retain(|path, _| path != "long-link");
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("tree.tar");
    fs::write(&archive, crate::tree::tar(&tree)).unwrap();
    let primary = mkfs(&["--tar=i"], &archive);
    let mut extra = fs::read(&archive).unwrap();
    let sb = SuperBlock::read(&primary[..]).unwrap();
    let slot = sb.device_slot(&primary[..], 1).unwrap();
    extra.resize(usize::try_from(slot.blocks).unwrap() * 512, 0);

    // The archive as a device of its own, and behind the image.
    assert_eq!(slot.uniaddr, sb.blocks());
    let flat = [&primary[..], &extra].concat();
    let volume = TwoDevices {
        primary,
        extra,
        slot,
    };
    let walked = walk(&volume);
    for (path, node) in &tree {
        if let Kind::File(body) = &node.kind {
            assert_eq!(walked.data(&volume, path).unwrap(), *body, "{path}");
            assert_eq!(walked.data(&flat[..], path).unwrap(), *body, "{path}");
        }
    }
    // The image alone has no data.
    let alone = walked.data(&volume.primary[..], "file300000");
    assert_eq!(alone, Err(Error::OutOfBounds));
}

/// A tree with xattrs of all kinds and sizes, as far as mkfs.erofs reads them from an archive (32 KiB
/// for each file); many files have the same ones.
pub(crate) fn tree_with_xattrs() -> Tree {
    // Version 2, and an entry for the owner, the group and others.
    let acl = |tags: [u8; 3]| {
        let mut acl = vec![2, 0, 0, 0];
        for tag in tags {
            acl.extend([tag, 0, 5, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
        }
        acl
    };
    let mut tree = Tree::new();
    let mut insert = |path: &str, node: Node| tree.insert(format!("x-{path}"), node);
    insert("none", Node::file(5));
    insert("one", Node::file(0).xattr("user.one", b"1"));
    insert("empty", Node::file(5).xattr("user.empty", b""));
    insert(
        "dir",
        Node::new(Kind::Directory)
            .xattr("system.posix_acl_default", &acl([1, 4, 0x20]))
            .xattr("trusted.overlay.opaque", b"y"),
    );
    insert(
        "link",
        Node::new(Kind::Symlink("one".to_owned())).xattr("security.selinux", b"link_t"),
    );
    insert(
        "big",
        Node::file(5000)
            .xattr("user.big", &content(20_000))
            .xattr(&format!("user.{}", "n".repeat(250)), &content(3000)),
    );
    let mut many = Node::file(7);
    for number in 0..150 {
        many = many.xattr(&format!("user.many.{number}"), &content(number));
    }
    insert("many", many);
    for number in 0..40 {
        let node = Node::file(number * 100)
            .xattr("security.selinux", b"system_u:object_r:lib_t:s0")
            .xattr("security.capability", &[2; 20])
            .xattr("user.long.prefix.number", number.to_string().as_bytes())
            .xattr("system.posix_acl_access", &acl([1, 4, 0x20]));
        insert(&format!("shared{number}"), node);
    }
    tree
}

pub(crate) fn compare_xattrs(image: &[u8], walked: &Walked, tree: &Tree) {
    for (path, node) in tree {
        let expected: BTreeSet<_> = node.xattrs.iter().cloned().collect();
        assert_eq!(walked.xattrs(image, path), expected, "{path}");
    }
}

#[test]
fn xattrs() {
    let tree = tree_with_xattrs();
    for options in [
        &[][..],
        &["-x1"],
        &["-x100000"],
        &["-b512"],
        &["-E^xattr-name-filter"],
    ] {
        let image = mkfs_tree(options, &tree);
        let walked = compare(&image, &tree, true);
        compare_xattrs(&image, &walked, &tree);
        let no_filter = options.contains(&"-E^xattr-name-filter");
        assert_eq!(walked.sb.feature_compat() & 4 == 0, no_filter);
    }
}
