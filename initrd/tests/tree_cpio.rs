// SPDX-License-Identifier: GPL-2.0

//! `write_tree_cpio`, read back by GNU cpio.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use erodax_initrd::{write_tree_cpio, Compression, CpioOptions, Error};
use support::{cpio_extract, cpio_list, decompressed, succeed, Workshop};

fn write(shop: &Workshop, compression: Compression) -> Vec<u8> {
    let options = CpioOptions {
        compression,
        force: true,
    };
    let size = write_tree_cpio(&shop.tree(), &shop.output(), options).unwrap();
    let bytes = fs::read(shop.output()).unwrap();
    assert_eq!(u64::try_from(bytes.len()), Ok(size));
    bytes
}

#[test]
fn a_tree_comes_back_as_it_was() {
    let shop = Workshop::new();
    let tree = shop.tree();
    fs::set_permissions(tree.join("data"), fs::Permissions::from_mode(0o4711)).unwrap();
    fs::set_permissions(&tree, fs::Permissions::from_mode(0o751)).unwrap();
    std::os::unix::fs::symlink("etc/hostname", tree.join("link")).unwrap();
    succeed(Command::new("mkfifo").arg(tree.join("fifo")));
    succeed(
        Command::new("touch")
            .args(["-d", "@1234567890"])
            .arg(tree.join("data")),
    );
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let mut archive = write(&shop, compression);
        if compression != Compression::None {
            archive = decompressed(&archive, 0, &compression.to_string());
        }
        assert_eq!(
            cpio_list(&archive, &[]),
            [".", "data", "etc", "etc/hostname", "fifo", "link"]
        );
        let root = &cpio_list(&archive, &["-nv"])[0];
        assert!(root.starts_with("drwxr-x--x"), "{root}");
        let copy = shop.path(&compression.to_string());
        cpio_extract(&archive, &copy);
        for name in ["data", "etc", "etc/hostname", "fifo", "link"] {
            let meta = |root: &Path| fs::symlink_metadata(root.join(name)).unwrap();
            let (ours, theirs) = (meta(&tree), meta(&copy));
            assert_eq!(ours.mode(), theirs.mode(), "{name}");
            if !ours.is_dir() && !ours.is_symlink() {
                assert_eq!(
                    (ours.mtime(), ours.len()),
                    (theirs.mtime(), theirs.len()),
                    "{name}"
                );
            }
        }
        let read = |root: &Path| fs::read(root.join("data")).unwrap();
        assert!(read(&tree) == read(&copy));
    }
}

#[test]
fn hard_links_stay_links_and_their_contents_come_once() {
    let shop = Workshop::new();
    let tree = shop.tree();
    let single = write(&shop, Compression::None).len();
    fs::hard_link(tree.join("data"), tree.join("etc/data2")).unwrap();
    fs::hard_link(tree.join("data"), tree.join("zzz")).unwrap();
    // A name outside the tree must not count.
    fs::hard_link(tree.join("etc/hostname"), shop.path("in/outside")).unwrap();
    let archive = write(&shop, Compression::None);
    assert!(
        archive.len() < single + 1000,
        "the contents are there several times"
    );

    let copy = shop.path("copy");
    cpio_extract(&archive, &copy);
    let meta = |name: &str| fs::metadata(copy.join(name)).unwrap();
    assert_eq!(meta("data").nlink(), 3);
    assert_eq!(meta("data").ino(), meta("zzz").ino());
    assert_eq!(meta("data").ino(), meta("etc/data2").ino());
    assert_eq!(meta("etc/hostname").nlink(), 1);
    assert!(fs::read(copy.join("zzz")).unwrap() == fs::read(tree.join("data")).unwrap());
    // The last name carries the contents.
    let sizes: Vec<_> = cpio_list(&archive, &["-nv"])
        .iter()
        .filter(|line| line.ends_with("data") || line.ends_with("data2") || line.ends_with("zzz"))
        .map(|line| line.split_whitespace().nth(4).unwrap().to_owned())
        .collect();
    assert_eq!(sizes, ["0", "0", "50001"]);
}

#[test]
fn owners_and_device_nodes_are_kept() {
    let shop = Workshop::new();
    let tree = shop.tree();
    let own = fs::metadata(&tree).unwrap();
    let node = tree.join("null");
    let made = Command::new("mknod")
        .arg(&node)
        .args(["c", "1", "3"])
        .output()
        .unwrap();
    if made.status.success() {
        std::os::unix::fs::chown(tree.join("data"), Some(1234), Some(5678)).unwrap();
    } else {
        eprintln!("device nodes and other owners need root");
    }
    let archive = write(&shop, Compression::None);
    let listing = cpio_list(&archive, &["-nv"]).join("\n");
    assert!(listing.contains(&format!(" {} ", own.uid())), "{listing}");
    if made.status.success() {
        assert!(listing.contains(" 1234     5678 "), "{listing}");
        let line = listing
            .lines()
            .find(|line| line.ends_with(" null"))
            .unwrap();
        assert!(line.starts_with('c') && line.contains(" 1,   3 "), "{line}");
    }
}

#[test]
fn refusals_leave_nothing() {
    let shop = Workshop::new();
    let options = CpioOptions::default();
    let write = |dir: &Path, out: &Path| write_tree_cpio(dir, out, options).unwrap_err();
    assert!(matches!(
        write(&shop.path("no"), &shop.output()),
        Error::Read { .. }
    ));
    let inside = shop.tree().join("etc/out");
    assert!(matches!(
        write(&shop.tree(), &inside),
        Error::OutputInsideInput { .. }
    ));
    fs::write(shop.output(), "").unwrap();
    assert!(matches!(
        write(&shop.tree(), &shop.output()),
        Error::OutputExists(_)
    ));
    assert_eq!(shop.outputs(), ["initrd"]);
}
