// SPDX-License-Identifier: GPL-2.0

//! The generated tree: files of every type, and of every size, name, owner, mode and time at
//! which something could go wrong.

mod compressible;
mod xattrs;

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs,
    io::Cursor,
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::Path,
};

use anyhow::{bail, Context, Result};
use erodax_tests::{
    expectation::{sha256, Entry},
    image::{Data, Tree as Choice, Zoo, BUILD_TIME},
};
use rustix::fs::{setxattr, XattrFlags};
use tar::{Builder, EntryType, Header};

/// One name in the tree.
#[derive(Clone, Debug)]
pub(super) struct Node {
    path: Vec<u8>,
    kind: Kind,
    permissions: u32,
    owner: (u32, u32),
    /// Seconds and nanoseconds.
    time: (i64, u32),
    /// Extended attributes: full names and values.
    xattrs: Vec<(String, Vec<u8>)>,
}

#[derive(Clone, Debug)]
enum Kind {
    Directory,
    File(Vec<u8>),
    Symlink(Vec<u8>),
    /// Another name of the file with this path, which comes first.
    Link(Vec<u8>),
    Character(u32, u32),
    Block(u32, u32),
    Fifo,
}

/// The tree, parents before children.
pub(super) fn nodes(zoo: &Zoo) -> Vec<Node> {
    let mut tree = Tree::default();
    match zoo.tree {
        Choice::Whole => {
            tree.every_kind();
            tree.many(1200);
            tree.wide();
            tree.deep();
            tree.add("big", Kind::File(noise((3 << 20) + 1234)));
        }
        Choice::Sample => {
            tree.every_kind();
            tree.many(100);
        }
        Choice::Large => {
            tree.every_kind();
            tree.many(100);
            tree.add("large", Kind::File(noise((6 << 20) + 1234)));
            tree.add("other", Kind::File(noise((2 << 20) + 4096)));
        }
        Choice::Shared => xattrs::add_shared_to(&mut tree),
        Choice::Crowd => tree.crowd(),
        Choice::Compressible => compressible::add_to(&mut tree),
        Choice::Dense => compressible::add_dense_to(&mut tree),
        Choice::Sentence => compressible::add_sentence_to(&mut tree),
    }
    let mut nodes = tree.nodes;
    if zoo.one_time {
        nodes
            .iter_mut()
            .for_each(|node| node.time = (BUILD_TIME, 0));
    }
    if zoo.data == Data::Archive {
        // An index of an archive holds targets itself, and none that is longer than its blocks.
        nodes.retain(|node| !matches!(&node.kind, Kind::Symlink(target) if target.len() > 500));
    }
    nodes
}

/// Some of the tree: what is below this directory of the root.
pub(super) fn below(nodes: &[Node], directory: &str) -> Vec<Node> {
    let is_there = |node: &&Node| {
        let first = node.path.split(|byte| *byte == b'/').next();
        node.path.is_empty() || first == Some(directory.as_bytes())
    };
    nodes.iter().filter(is_there).cloned().collect()
}

struct Tree {
    nodes: Vec<Node>,
}

impl Default for Tree {
    fn default() -> Self {
        let mut tree = Self { nodes: Vec::new() };
        tree.add("", Kind::Directory);
        tree
    }
}

impl Tree {
    fn every_kind(&mut self) {
        self.sizes();
        self.zeros();
        self.names();
        self.links();
        self.special();
        self.attributes();
        xattrs::add_to(self);
    }

    fn add(&mut self, path: impl Into<Vec<u8>>, kind: Kind) -> &mut Node {
        // A time of its own for each, so that inodes that are mixed up are noticed.
        let serial = u32::try_from(self.nodes.len()).expect("a few thousand nodes");
        let permissions = if matches!(kind, Kind::Directory) {
            0o755
        } else {
            0o644
        };
        self.nodes.push(Node {
            path: path.into(),
            kind,
            permissions,
            owner: (0, 0),
            time: (BUILD_TIME + i64::from(serial), serial * 1000),
            xattrs: Vec::new(),
        });
        self.nodes.last_mut().expect("just pushed")
    }

    /// Around the edges of blocks, and of what fits inline behind an inode.
    fn sizes(&mut self) {
        const SIZES: [usize; 26] = [
            0, 1, 2, 31, 32, 100, 511, 512, 513, 1023, 1024, 1025, 4000, 4031, 4032, 4063, 4064,
            4095, 4096, 4097, 5000, 8191, 8192, 8193, 65_536, 100_001,
        ];
        self.add("sizes", Kind::Directory);
        for size in SIZES {
            self.add(format!("sizes/{size}"), Kind::File(noise(size)));
        }
    }

    /// Content that somebody might take for a hole.
    fn zeros(&mut self) {
        self.add("zeros", Kind::Directory);
        self.add("zeros/only", Kind::File(vec![0; 256 << 10]));
        self.add("zeros/odd", Kind::File(vec![0; 10_001]));
        self.add(
            "zeros/first",
            Kind::File([vec![0; 16 << 10], noise(5000)].concat()),
        );
        self.add(
            "zeros/last",
            Kind::File([noise(5000), vec![0; 16 << 10]].concat()),
        );
        self.add(
            "zeros/between",
            Kind::File([noise(4096), vec![0; 64 << 10], noise(100)].concat()),
        );
        let stripes = (0..20).flat_map(|_| [noise(4096), vec![0; 12 << 10]]);
        self.add(
            "zeros/striped",
            Kind::File(stripes.flatten().chain(noise(77)).collect()),
        );
    }

    fn names(&mut self) {
        self.add("names", Kind::Directory);
        let names: [&[u8]; 18] = [
            b"a",
            b"b",
            b"a b",
            b" ",
            b"-f",
            b"...",
            b".hidden",
            b"new\nline",
            b"tab\t",
            b"back\\slash",
            b"\"quoted\"",
            b"\xc3\xa4\xc3\xb6\xc3\xbc",
            b"\xff\xfe not UTF-8",
            b"ends with \x80",
            b"\x01",
            b"\x7f",
            &[b'x'; 255],
            &[b'x'; 254],
        ];
        for name in names {
            let path = [b"names/", name].concat();
            let content = Kind::File(path.clone());
            self.add(path, content);
        }
    }

    /// Directories of many blocks, of exactly one, and empty ones.
    fn many(&mut self, count: u64) {
        self.add("empty", Kind::Directory);
        self.add("many", Kind::Directory);
        for index in 0..count {
            // Names of different lengths, in an order that is not that of their numbers.
            let name = format!(
                "many/{:x}{}",
                index * 2_654_435_761_u64 % 99_991,
                "-".repeat(index as usize % 50)
            );
            self.add(name, Kind::File(index.to_string().into_bytes()));
        }
        self.long_names();
    }

    /// A directory of three blocks.
    fn long_names(&mut self) {
        self.add("long-names", Kind::Directory);
        for index in 0..40 {
            self.add(
                format!("long-names/{}{index:02}", "n".repeat(253)),
                Kind::File(Vec::new()),
            );
        }
    }

    /// More names of a file than a compact inode can count, many of them in one directory.
    fn crowd(&mut self) {
        const NAMES: u64 = 70_001;
        const IN_ONE_DIRECTORY: u64 = 10_000;
        self.add("first", Kind::File(b"one of many".to_vec()));
        self.add("large", Kind::Directory);
        self.add("links", Kind::Directory);
        for index in 1..NAMES {
            let name = if index <= IN_ONE_DIRECTORY {
                let tail = "-".repeat(index as usize % 50);
                format!("large/{:x}{tail}", index * 2_654_435_761 % 99_991)
            } else {
                format!("links/{index}")
            };
            self.add(name, Kind::Link(b"first".to_vec()));
        }
    }

    /// Each directory in a directory is a link to it.
    fn wide(&mut self) {
        self.add("wide", Kind::Directory);
        for index in 0..300 {
            self.add(format!("wide/{index}"), Kind::Directory);
        }
    }

    fn deep(&mut self) {
        let mut path = String::from("deep");
        self.add(path.clone(), Kind::Directory);
        for level in 0..40 {
            path.push_str(&format!("/level-{level:02}-{}", "d".repeat(50)));
            self.add(path.clone(), Kind::Directory);
        }
        self.add(path + "/bottom", Kind::File(noise(4242)));
    }

    fn links(&mut self) {
        self.add("links", Kind::Directory);
        for (name, target) in [
            ("to-a-file", "../sizes/4097".to_owned()),
            ("to-a-directory", "../sizes".to_owned()),
            ("to-nothing", "no/such/file".to_owned()),
            ("loop", "loop".to_owned()),
            ("absolute", "/sizes/1".to_owned()),
            ("long", "l".repeat(255)),
            ("longer", "../".repeat(600) + "x"),
            ("longest", "./".repeat(2047) + "y"),
        ] {
            self.add(format!("links/{name}"), Kind::Symlink(target.into_bytes()));
        }
        self.add("hard", Kind::Directory);
        self.add("hard/first", Kind::File(noise(9000)));
        for name in ["hard/second", "hard/third", "names/linked"] {
            self.add(name, Kind::Link(b"hard/first".to_vec()));
        }
        self.add("hard/null", Kind::Character(1, 3));
        self.add("hard/null-again", Kind::Link(b"hard/null".to_vec()));
    }

    fn special(&mut self) {
        self.add("special", Kind::Directory);
        self.add("special/null", Kind::Character(1, 3));
        self.add("special/largest", Kind::Character(4095, 1_048_575));
        self.add("special/disk", Kind::Block(8, 1));
        self.add("special/many-minors", Kind::Block(259, 70_000));
        self.add("special/fifo", Kind::Fifo);
    }

    fn attributes(&mut self) {
        self.add("modes", Kind::Directory).permissions = 0o1777;
        for mode in [
            0, 0o100, 0o400, 0o644, 0o755, 0o1000, 0o2755, 0o4755, 0o7777,
        ] {
            self.add(format!("modes/{mode:o}"), Kind::File(vec![b'm']))
                .permissions = mode;
        }
        self.add("modes/directory", Kind::Directory).permissions = 0o6750;
        self.add("owners", Kind::Directory).owner = (1000, 1000);
        for (user, group) in [
            (1, 2),
            (65_535, 65_535),
            (65_536, 0),
            (0, 65_536),
            (4_000_000_000, 3_000_000_000),
        ] {
            self.add(format!("owners/{user}-{group}"), Kind::File(vec![b'o']))
                .owner = (user, group);
        }
        self.add("times", Kind::Directory);
        for (name, time) in [
            ("build-time", (BUILD_TIME, 0)),
            ("a-moment-later", (BUILD_TIME, 1)),
            ("almost-a-second-later", (BUILD_TIME, 999_999_999)),
            ("epoch", (0, 0)),
            ("32-bit-end", (i64::from(i32::MAX), 0)),
            ("32-bit-unsigned-end", (i64::from(u32::MAX), 0)),
            ("far-away", (1 << 33, 5)),
        ] {
            self.add(format!("times/{name}"), Kind::File(vec![b't']))
                .time = time;
        }
    }
}

/// Bytes without pattern, the same in every run; none of them is zero, so that each missing one
/// is noticed.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15 ^ length as u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3].max(1)
    };
    (0..length).map(|_| next()).collect()
}

/// The contents of the regular files.
pub(super) fn contents(nodes: &[Node]) -> impl Iterator<Item = &[u8]> {
    nodes.iter().filter_map(|node| match &node.kind {
        Kind::File(bytes) => Some(bytes.as_slice()),
        _ => None,
    })
}

/// The tree as a tar archive with extended headers for what the old format cannot hold.
pub(super) fn archive(nodes: &[Node]) -> Result<Vec<u8>> {
    let mut builder = Builder::new(Vec::new());
    for node in nodes {
        let mut header = Header::new_ustar();
        header.set_mode(node.permissions);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        header.set_mtime(0);
        if let Kind::Link(first) = &node.kind {
            // All else is the file's. Crowds are made of these: no extended headers.
            header.set_entry_type(EntryType::Link);
            let [name, first] = [&node.path, first].map(|name| OsStr::from_bytes(name));
            builder.append_link(&mut header, name, first)?;
            continue;
        }
        let path = if node.path.is_empty() {
            b"./".to_vec()
        } else {
            node.path.clone()
        };
        let (user, group) = node.owner;
        let mut extended = vec![
            (
                "mtime",
                format!("{}.{:09}", node.time.0, node.time.1).into_bytes(),
            ),
            ("uid", user.to_string().into_bytes()),
            ("gid", group.to_string().into_bytes()),
            ("path", path),
        ];
        let xattrs: Vec<_> = node
            .xattrs
            .iter()
            .map(|(name, value)| (format!("SCHILY.xattr.{name}"), value))
            .collect();
        extended.extend(
            xattrs
                .iter()
                .map(|(key, value)| (key.as_str(), value.to_vec())),
        );
        let mut content: &[u8] = &[];
        match &node.kind {
            Kind::Directory => header.set_entry_type(EntryType::Directory),
            Kind::File(bytes) => {
                header.set_entry_type(EntryType::Regular);
                header.set_size(bytes.len() as u64);
                content = bytes;
            }
            Kind::Symlink(target) => {
                header.set_entry_type(EntryType::Symlink);
                extended.push(("linkpath", target.clone()));
            }
            Kind::Link(_) => unreachable!("is written above"),
            Kind::Character(major, minor) => device(&mut header, EntryType::Char, *major, *minor)?,
            Kind::Block(major, minor) => device(&mut header, EntryType::Block, *major, *minor)?,
            Kind::Fifo => header.set_entry_type(EntryType::Fifo),
        }
        header.set_cksum();
        builder
            .append_pax_extensions(extended.iter().map(|(key, value)| (*key, value.as_slice())))?;
        builder.append(&header, Cursor::new(content))?;
    }
    Ok(builder.into_inner()?)
}

fn device(header: &mut Header, kind: EntryType, major: u32, minor: u32) -> Result<()> {
    header.set_entry_type(kind);
    header.set_device_major(major)?;
    Ok(header.set_device_minor(minor)?)
}

/// The tree as files; only what any user can make.
pub(super) fn write(nodes: &[Node], directory: &Path) -> Result<()> {
    for node in nodes {
        let path = directory.join(OsStr::from_bytes(&node.path));
        match &node.kind {
            Kind::Directory if node.path.is_empty() => {}
            Kind::Directory => fs::create_dir(&path)?,
            Kind::File(bytes) => fs::write(&path, bytes)?,
            Kind::Symlink(target) => symlink(OsStr::from_bytes(target), &path)?,
            kind => bail!("{}: {kind:?}", path.display()),
        }
        for (name, value) in &node.xattrs {
            setxattr(&path, name.as_str(), value, XattrFlags::empty()).with_context(|| {
                format!(
                    "{name} of {}: is CARGO_TARGET_DIR on a filesystem with xattrs?",
                    path.display()
                )
            })?;
        }
    }
    Ok(())
}

/// What a driver must show of the tree.
pub(super) fn expectation(nodes: &[Node]) -> Vec<Entry> {
    let by_path: HashMap<&[u8], &Node> = nodes
        .iter()
        .map(|node| (node.path.as_slice(), node))
        .collect();
    let mut links: HashMap<&[u8], u64> = HashMap::new();
    for node in nodes {
        *links.entry(first_name(node)).or_default() += 1;
        if matches!(node.kind, Kind::Directory) {
            // A directory's own `.`, and the `..` of each directory in it.
            *links.entry(&node.path).or_default() += 1;
            if !node.path.is_empty() {
                *links.entry(parent(&node.path)).or_default() += 1;
            }
        }
    }
    nodes
        .iter()
        .map(|node| {
            let first = first_name(node);
            entry(node, by_path[first], links[first])
        })
        .collect()
}

/// What a node shows is that of the first name of its file.
fn entry(node: &Node, first: &Node, nlink: u64) -> Entry {
    let mut entry = Entry {
        path: node.path.clone(),
        mode: first.permissions,
        uid: first.owner.0,
        gid: first.owner.1,
        nlink,
        rdev: (0, 0),
        size: Some(0),
        mtime: first.time.0,
        mtime_nsec: first.time.1,
        xattrs: first.xattrs.clone(),
        target: None,
        sha256: None,
        same_as: None,
    };
    match &first.kind {
        Kind::Directory => (entry.mode, entry.size) = (entry.mode | 0o040_000, None),
        Kind::File(bytes) => {
            entry.mode |= 0o100_000;
            entry.size = Some(bytes.len() as u64);
            entry.sha256 = Some(sha256(bytes));
        }
        Kind::Symlink(target) => {
            // The permissions of a link mean nothing, but the format has them.
            entry.mode |= 0o120_000;
            entry.size = Some(target.len() as u64);
            entry.target = Some(target.clone());
        }
        Kind::Character(major, minor) => {
            (entry.mode, entry.rdev) = (entry.mode | 0o020_000, (*major, *minor))
        }
        Kind::Block(major, minor) => {
            (entry.mode, entry.rdev) = (entry.mode | 0o060_000, (*major, *minor))
        }
        Kind::Fifo => entry.mode |= 0o010_000,
        Kind::Link(_) => unreachable!("links lead to files that come first"),
    }
    if let Kind::Link(target) = &node.kind {
        entry.same_as = Some(target.clone());
    }
    entry
}

fn first_name(node: &Node) -> &[u8] {
    match &node.kind {
        Kind::Link(first) => first,
        _ => &node.path,
    }
}

fn parent(path: &[u8]) -> &[u8] {
    let slash = path.iter().rposition(|byte| *byte == b'/');
    &path[..slash.unwrap_or(0)]
}
