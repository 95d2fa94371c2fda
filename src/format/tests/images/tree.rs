// SPDX-License-Identifier: GPL-2.0

//! Trees of files that a test wants an image of.

use std::collections::BTreeMap;

/// A tree: paths without a leading slash, and what is there. Directories go before what they hold.
pub(crate) type Tree = BTreeMap<String, Node>;

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) permissions: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: u32,
    /// Names with the part before the first dot, and values.
    pub(crate) xattrs: Vec<(String, Vec<u8>)>,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    File(Vec<u8>),
    Directory,
    Symlink(String),
    /// Another name of a file that is before this one.
    HardLink(String),
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
    Fifo,
}

impl Node {
    pub(crate) fn new(kind: Kind) -> Self {
        Node {
            kind,
            permissions: 0o755,
            uid: 0,
            gid: 0,
            mtime: 1_600_000_000,
            xattrs: Vec::new(),
        }
    }

    pub(crate) fn xattr(mut self, name: &str, value: &[u8]) -> Self {
        self.xattrs.push((name.to_owned(), value.to_vec()));
        self
    }

    pub(crate) fn file(len: usize) -> Self {
        Node::new(Kind::File(content(len)))
    }
}

/// Bytes that differ from block to block and have no NUL.
pub(crate) fn content(len: usize) -> Vec<u8> {
    (1..=251).cycle().take(len).collect()
}

/// Every kind of file, sizes around the block sizes, and directories of several blocks.
pub(crate) fn example(large_ids: bool) -> Tree {
    let mut tree = Tree::new();
    for len in [
        0, 1, 60, 511, 512, 513, 1024, 2047, 4032, 4064, 4095, 4096, 4097, 8192, 12_345, 300_000,
    ] {
        tree.insert(format!("file{len}"), Node::file(len));
    }
    let mut insert = |path: &str, kind| tree.insert(path.to_owned(), Node::new(kind));
    insert("dev", Kind::Directory);
    insert("dev/console", Kind::CharDevice(5, 1));
    insert("dev/nvme", Kind::BlockDevice(259, 0x1_2345));
    insert("dev/fifo", Kind::Fifo);
    insert("empty", Kind::Directory);
    insert("deep", Kind::Directory);
    insert("deep/er", Kind::Directory);
    insert("deep/er/link", Kind::Symlink("../../file1".to_owned()));
    insert("long-link", Kind::Symlink("t".repeat(4000)));
    insert("zz-link-to-file60", Kind::HardLink("file60".to_owned()));
    insert(&"n".repeat(255), Kind::File(content(3)));
    insert("\u{FC}ml\u{E4}ut", Kind::File(content(4)));
    insert("many", Kind::Directory);
    for number in 0..700 {
        let kind = Kind::File(number.to_string().into_bytes());
        insert(&format!("many/entry number {number}"), kind);
    }
    let attributes = |uid, gid, permissions, mtime| Node {
        permissions,
        uid,
        gid,
        mtime,
        ..Node::file(10)
    };
    tree.insert("setuid".to_owned(), attributes(1000, 65_535, 0o4711, 1));
    if large_ids {
        let node = attributes(100_000, 2_000_000, 0o600, u32::MAX);
        tree.insert("large-ids".to_owned(), node);
    }
    tree
}

/// Records of a POSIX extended header: their length, which counts itself, a name and a value.
fn pax_records(node: &Node) -> Vec<u8> {
    let mut records = Vec::new();
    for (name, value) in &node.xattrs {
        let rest = [format!(" SCHILY.xattr.{name}=").as_bytes(), value, b"\n"].concat();
        let mut len = rest.len();
        while len != rest.len() + len.to_string().len() {
            len = rest.len() + len.to_string().len();
        }
        records.extend(len.to_string().into_bytes());
        records.extend(rest);
    }
    records
}

/// The tree as a tar archive in GNU's format, with POSIX headers for xattrs.
pub(crate) fn tar(tree: &Tree) -> Vec<u8> {
    let mut archive = Vec::new();
    for (path, node) in tree {
        let (kind, target, device, body): (u8, &str, _, &[u8]) = match &node.kind {
            Kind::File(body) => (b'0', "", (0, 0), body),
            Kind::HardLink(target) => (b'1', target, (0, 0), &[]),
            Kind::Symlink(target) => (b'2', target, (0, 0), &[]),
            Kind::CharDevice(major, minor) => (b'3', "", (*major, *minor), &[]),
            Kind::BlockDevice(major, minor) => (b'4', "", (*major, *minor), &[]),
            Kind::Directory => (b'5', "", (0, 0), &[]),
            Kind::Fifo => (b'6', "", (0, 0), &[]),
        };
        let records = pax_records(node);
        if !records.is_empty() {
            let header = Node::new(Kind::Fifo);
            tar_member(
                &mut archive,
                "./PaxHeaders/x",
                &header,
                b'x',
                "",
                (0, 0),
                &records,
            );
        }
        for (long_kind, text) in [(b'L', path.as_str()), (b'K', target)] {
            if text.len() > 100 {
                let text = format!("{text}\0");
                let name = Node::new(Kind::Fifo);
                tar_member(
                    &mut archive,
                    "././@LongLink",
                    &name,
                    long_kind,
                    "",
                    (0, 0),
                    text.as_bytes(),
                );
            }
        }
        tar_member(&mut archive, path, node, kind, target, device, body);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

fn tar_member(
    archive: &mut Vec<u8>,
    path: &str,
    node: &Node,
    kind: u8,
    target: &str,
    (major, minor): (u32, u32),
    body: &[u8],
) {
    let mut header = [0; 512];
    let mut put = |at: usize, text: &str, room: usize| {
        let text = &text.as_bytes()[..text.len().min(room)];
        header[at..at + text.len()].copy_from_slice(text);
    };
    put(0, path, 100);
    put(100, &format!("{:07o}", node.permissions), 8);
    put(108, &format!("{:07o}", node.uid), 8);
    put(116, &format!("{:07o}", node.gid), 8);
    put(124, &format!("{:011o}", body.len()), 12);
    put(136, &format!("{:011o}", node.mtime), 12);
    put(148, "        ", 8);
    put(157, target, 100);
    put(257, "ustar  ", 8);
    put(329, &format!("{major:07o}"), 8);
    put(337, &format!("{minor:07o}"), 8);
    header[156] = kind;
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    archive.extend(header);
    archive.extend(body);
    archive.resize(archive.len().next_multiple_of(512), 0);
}
