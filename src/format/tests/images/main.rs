// SPDX-License-Identifier: GPL-2.0

//! Images made by mkfs.erofs, compared with what they were made of; the same images with bytes
//! changed; and an archive made by GNU cpio.

mod compressed;
mod decode;
mod features;
mod newer;
mod once;
mod tree;
mod walk;

use decode::Decoding;
use erodax_format::inode::{FileType, Inode, Layout};
use erodax_format::newc::{self, Walk};
use erodax_format::superblock::{self, SuperBlock};
use erodax_format::{Error, Image, Volume};
use proptest::prelude::*;
use std::fs;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use tree::{content, example, Kind, Node, Tree};
use walk::{survive, walk, Walked};

const UUID: &str = "00112233-4455-6677-8899-aabbccddeeff";

/// Runs mkfs.erofs on a directory or, with `--tar=f`, a tar archive.
fn mkfs(options: &[&str], source: &Path) -> Vec<u8> {
    run_mkfs("mkfs.erofs".as_ref(), options, source)
}

fn run_mkfs(program: &Path, options: &[&str], source: &Path) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    let output = Command::new(program)
        .args(["--quiet", "-U", UUID])
        .args(options)
        .args([&image, source])
        .output()
        .expect("these tests need mkfs.erofs (package erofs-utils)");
    assert!(
        output.status.success(),
        "mkfs.erofs {options:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    fs::read(image).unwrap()
}

fn mkfs_tree(options: &[&str], tree: &Tree) -> Vec<u8> {
    run_mkfs_tree("mkfs.erofs".as_ref(), options, tree)
}

fn run_mkfs_tree(program: &Path, options: &[&str], tree: &Tree) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("tree.tar");
    fs::write(&archive, tree::tar(tree)).unwrap();
    run_mkfs(program, &[options, &["--tar=f"]].concat(), &archive)
}

/// Compares a whole image with the tree that it was made of.
fn compare(image: &[u8], tree: &Tree, times: bool) -> Walked {
    compare_volume(image, tree, times)
}

fn compare_volume<V: Volume + ?Sized>(image: &V, tree: &Tree, times: bool) -> Walked {
    let walked = walk(image);
    assert_eq!(walked.sb.size(), image.primary().len());
    let paths: Vec<_> = walked
        .inodes
        .keys()
        .filter(|path| !path.is_empty())
        .collect();
    let expected: Vec<_> = tree.keys().collect();
    assert_eq!(paths, expected);
    for (path, node) in tree {
        let inode = &walked.inodes[path];
        let (node, nlink) = match &node.kind {
            Kind::HardLink(target) => {
                assert_eq!(inode, &walked.inodes[target]);
                (&tree[target], Some(2))
            }
            Kind::Directory => (node, None),
            _ if path == "file60" => (node, Some(2)),
            _ => (node, Some(1)),
        };
        assert_eq!(inode.mode & 0o7777, node.permissions, "{path}");
        assert_eq!((inode.uid, inode.gid), (node.uid, node.gid), "{path}");
        assert!(nlink.is_none_or(|nlink| nlink == inode.nlink), "{path}");
        if times {
            assert_eq!(inode.mtime, i64::from(node.mtime), "{path}");
        }
        compare_kind(image, &walked, path, &node.kind);
    }
    walked
}

fn compare_kind<V: Volume + ?Sized>(image: &V, walked: &Walked, path: &str, kind: &Kind) {
    let inode = &walked.inodes[path];
    let (file_type, rdev) = match kind {
        Kind::File(body) => {
            assert_eq!(inode.size, u64::try_from(body.len()).unwrap());
            assert_eq!(walked.data(image, path).unwrap(), *body, "{path}");
            (FileType::Regular, (0, 0))
        }
        Kind::Symlink(target) => {
            let mut buf = [0; 4095];
            let link = inode.read_link(image, &walked.sb, &mut buf);
            assert_eq!(link, Ok(target.as_bytes()));
            (FileType::Symlink, (0, 0))
        }
        Kind::CharDevice(major, minor) => (FileType::CharDevice, (*major, *minor)),
        Kind::BlockDevice(major, minor) => (FileType::BlockDevice, (*major, *minor)),
        Kind::Fifo => (FileType::Fifo, (0, 0)),
        Kind::Directory => (FileType::Directory, (0, 0)),
        Kind::HardLink(_) => unreachable!("resolved by the caller"),
    };
    assert_eq!(
        (inode.file_type(), inode.rdev()),
        (file_type, rdev),
        "{path}"
    );
}

/// How many regular files have this layout.
fn count_files(walked: &Walked, layout: Layout) -> usize {
    let inodes = walked.inodes.values();
    let files = inodes.filter(|inode| inode.file_type() == FileType::Regular);
    files.filter(|file| file.layout == layout).count()
}

#[test]
fn default_options() {
    let tree = example(true);
    let walked = compare(&mkfs_tree(&[], &tree), &tree, true);
    assert!(walked.sb.inodes() > 700);
    assert_eq!(walked.inodes["large-ids"].mtime, i64::from(u32::MAX));
}

#[test]
fn block_sizes() {
    let tree = example(true);
    for size in ["512", "1024", "2048", "4096"] {
        let image = mkfs_tree(&[&format!("-b{size}")], &tree);
        let walked = compare(&image, &tree, true);
        assert_eq!(walked.sb.block_size().to_string(), size);
        // mkfs.erofs states no checksum where the superblock is not in the first block.
        let has_checksum = walked.sb.feature_compat() & 1 == 1;
        assert_eq!(has_checksum, walked.sb.block_size() > 1024);
    }
}

#[test]
fn plain_data() {
    let tree = example(true);
    let walked = compare(&mkfs_tree(&["-E^inline_data"], &tree), &tree, true);
    assert_eq!(walked.inodes["file12345"].layout, Layout::FlatPlain);
}

#[test]
fn inode_forms() {
    let tree = example(true);
    compare(&mkfs_tree(&["-Eforce-inode-extended"], &tree), &tree, true);
    let tree = example(false);
    let image = mkfs_tree(&["-Eforce-inode-compact", "-T1600000000"], &tree);
    compare(&image, &tree, false);
}

#[test]
fn no_checksum() {
    let tree = Tree::from([("file".to_owned(), Node::file(5000))]);
    let mut image = mkfs_tree(&["-Enosbcrc"], &tree);
    image[1028] ^= 1;
    let walked = compare(&image, &tree, true);
    assert_eq!(walked.sb.feature_compat() & 1, 0);
}

/// Writes what of the tree an unprivileged user can make.
fn write_tree(tree: &Tree, dir: &Path) {
    for (path, node) in tree {
        let path = dir.join(path);
        match &node.kind {
            Kind::File(body) => fs::write(path, body).unwrap(),
            Kind::Directory => fs::create_dir(path).unwrap(),
            Kind::Symlink(target) => std::os::unix::fs::symlink(target, path).unwrap(),
            _ => {}
        }
    }
}

#[test]
fn from_a_directory() {
    let source = tempfile::tempdir().unwrap();
    write_tree(&example(false), source.path());
    let _socket = UnixListener::bind(source.path().join("socket")).unwrap();
    let options = [
        &["-Lname", "-T1700000000"][..],
        &["-E^inline_data", "-T1700000000"],
    ];
    for options in options {
        let image = mkfs(options, source.path());
        let walked = walk(&image[..]);
        let socket = &walked.inodes["socket"];
        assert_eq!(socket.file_type(), FileType::Socket);
        assert_eq!(
            walked.data(&image[..], "file12345").unwrap(),
            content(12_345)
        );
        assert!(walked
            .inodes
            .values()
            .all(|inode| inode.mtime == 1_700_000_000));
        let inline = count_files(&walked, Layout::FlatInline);
        if options[0] == "-Lname" {
            assert_eq!(walked.sb.volume_name(), b"name");
            assert!(inline > 700, "{inline}");
        } else {
            assert_eq!(inline, 0);
        }
        assert_eq!(walked.sb.uuid()[..4], [0x00, 0x11, 0x22, 0x33]);
        assert_eq!(walked.sb.build_time(), 1_700_000_000);
    }
}

/// Inodes of these files can be read, and their data is refused, not misread.
#[test]
fn unsupported_data() {
    let source = tempfile::tempdir().unwrap();
    write_tree(&example(false), source.path());
    let cases = [
        (&["-zlz4"][..], Layout::CompressedCompact, "compressed data"),
        (
            &["-zlz4", "-Elegacy-compress"],
            Layout::CompressedFull,
            "compressed data",
        ),
    ];
    for (options, layout, text) in cases {
        let image = mkfs(options, source.path());
        let walked = walk(&image[..]);
        let inode = &walked.inodes["file300000"];
        assert_eq!((inode.layout, inode.size), (layout, 300_000), "{options:?}");
        let data = walked.data(&image[..], "file300000");
        assert_eq!(data, Err(Error::Unsupported(text)));
        assert!(walked.data(&image[..], "deep/er/link").is_ok());
        assert!(inode.sectors(&walked.sb) < 300_000 / 512);
    }
}

#[test]
fn truncated_anywhere() {
    let image = sample();
    for len in 0..image.len() {
        let error = SuperBlock::read(&image[..len]).unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{len}: {error}");
    }
    assert!(SuperBlock::read(image).is_ok());
}

#[test]
fn checksum_covers_the_superblock() {
    let mut image = sample().to_vec();
    for place in 1032..2048 {
        image[place] ^= 0x10;
        let error = SuperBlock::read(&image[..]).unwrap_err();
        // Some fields are looked at before the checksum, as it depends on them.
        assert!(
            matches!(error, Error::Checksum | Error::Invalid(_)),
            "{place}"
        );
        image[place] ^= 0x10;
    }
}

#[test]
fn gnu_cpio() {
    let source = tempfile::tempdir().unwrap();
    let mut tree = example(false);
    tree.retain(|path, node| path.is_ascii() && !matches!(node.kind, Kind::Symlink(_)));
    write_tree(&tree, source.path());
    fs::create_dir(source.path().join(".erofs.d")).unwrap();
    fs::write(source.path().join(".erofs.d/root.erofs"), sample()).unwrap();
    let mut names: Vec<String> = tree
        .iter()
        .filter(|(_, node)| matches!(node.kind, Kind::File(_) | Kind::Directory))
        .map(|(path, _)| path.clone())
        .collect();
    names.push(".erofs.d/root.erofs".to_owned());
    let archive = [cpio(&names, source.path()), cpio(&names, source.path())].concat();
    let archive = &archive[..];

    let mut buf = [0; 4096];
    let found: Vec<_> = Walk::new(archive)
        .map(|member| member.unwrap().path(archive, &mut buf).unwrap().to_vec())
        .collect();
    let expected = names.iter().chain(&names).map(String::as_bytes);
    assert!(found.iter().map(Vec::as_slice).eq(expected));
    let images: Vec<_> = newc::images(archive).map(Result::unwrap).collect();
    assert_eq!(images.len(), 2);
    for member in images {
        assert_eq!(member.image_name(archive, &mut buf), Ok(&b"root"[..]));
        let start = usize::try_from(member.data_offset).unwrap();
        assert_eq!(&archive[start..start + sample().len()], sample());
    }
}

fn cpio(names: &[String], dir: &Path) -> Vec<u8> {
    let mut cpio = Command::new("cpio")
        .args(["--create", "--format=newc", "--quiet"])
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test needs cpio");
    let mut input = cpio.stdin.take().unwrap();
    let list = names.join("\n");
    let writer = std::thread::spawn(move || input.write_all(list.as_bytes()));
    let output = cpio.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    output.stdout
}

/// A small image with everything in it.
fn sample() -> &'static [u8] {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(|| mkfs_tree(&["-b2048"], &small_tree()))
}

/// The same without a checksum, to get past the superblock.
fn unsealed() -> &'static [u8] {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(|| mkfs_tree(&["-b512", "-Enosbcrc"], &small_tree()))
}

/// The same files in chunks.
fn chunked() -> &'static [u8] {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let source = tempfile::tempdir().unwrap();
        write_tree(&example(false), source.path());
        let options = ["-Enosbcrc", "--chunksize=4096", "-Eforce-chunk-indexes"];
        mkfs(&options, source.path())
    })
}

/// The same files compressed, in every way at once that one image can have.
fn compressed() -> &'static [u8] {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let source = tempfile::tempdir().unwrap();
        write_tree(&example(false), source.path());
        let options = [
            "-Enosbcrc,ztailpacking,fragments",
            "-zlz4hc",
            "-C16384",
            "-b1024",
        ];
        mkfs(&options, source.path())
    })
}

fn small_tree() -> Tree {
    let mut tree = example(true);
    tree.extend(features::tree_with_xattrs());
    tree.retain(|path, node| match &node.kind {
        Kind::File(body) => body.len() < 5000 && !path.starts_with("many/entry number 1"),
        _ => true,
    });
    tree
}

/// Where changes hurt: the superblock, and the start of a block, of an inode or of a dirent.
fn place(len: usize) -> impl Strategy<Value = usize> {
    prop_oneof![
        1 => 1024..1152_usize,
        2 => (0..len / 512, 0..24_usize).prop_map(|(block, byte)| block * 512 + byte),
        4 => (0..len / 32, 0..8_usize).prop_map(|(slot, byte)| slot * 32 + byte),
        2 => 0..len,
    ]
}

#[test]
fn unchanged_images_survive() {
    assert!(survive(sample()) > 500);
    assert!(survive(unsealed()) > 500);
    assert!(survive(chunked()) > 500);
    assert!(survive(&Decoding::new(compressed())) > 500);
}

proptest! {
    #[test]
    fn changed_images(
        changes in prop::collection::vec((place(unsealed().len()), any::<u8>()), 1..40),
        in_chunks in any::<bool>(),
    ) {
        let mut image = if in_chunks { chunked() } else { unsealed() }.to_vec();
        for (place, value) in changes {
            let len = image.len();
            image[place % len] = value;
        }
        survive(&image[..]);
    }

    /// Any bytes as the root directory's inode, and as what follows it.
    #[test]
    fn changed_root(bytes in prop::collection::vec(any::<u8>(), 32..96)) {
        let mut image = unsealed().to_vec();
        let sb = SuperBlock::read(&image[..]).unwrap();
        let root = usize::try_from(sb.inode_offset(sb.root_nid()).unwrap()).unwrap();
        let kept = image[root + 4..root + 6].to_vec();
        image[root..root + bytes.len()].copy_from_slice(&bytes);
        // Directories only, and layouts that exist; the rest is refused early.
        image[root] &= 0x15;
        image[root + 1] = 0;
        image[root + 4..root + 6].copy_from_slice(&kept);
        survive(&image[..]);
    }

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..4096), bits in 8_u8..14) {
        let mut image = vec![0; 8192];
        image[1024..1028].copy_from_slice(&0xE0F5_E1E2_u32.to_le_bytes());
        image[1036] = bits;
        image[1152..1152 + bytes.len()].copy_from_slice(&bytes);
        prop_assert!(superblock::has_magic(&image[..]));
        survive(&image[..]);
        if let Ok(sb) = SuperBlock::read(&image[..]) {
            for nid in 0..Image::len(&image[..]) / 32 + 1 {
                let inode = Inode::read(&image[..], &sb, nid);
                if let Ok(inode) = inode {
                    let _ = inode.extent_at(&image[..], &sb, inode.size / 2);
                }
            }
        }
        survive(&bytes[..]);
    }
}

proptest! {
    // Each decodes a lot.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn changed_compressed_images(
        changes in prop::collection::vec((place(compressed().len()), any::<u8>()), 1..40),
    ) {
        let mut image = compressed().to_vec();
        for (place, value) in changes {
            image[place] = value;
        }
        survive(&Decoding::new(&image));
    }
}
