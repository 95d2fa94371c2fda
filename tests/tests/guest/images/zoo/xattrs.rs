// SPDX-License-Identifier: GPL-2.0

//! Extended attributes: of every namespace and size, alone and in common.

use super::{noise, Kind, Tree};

/// What one attribute of each namespace looks like.
const SECRET: (&str, &[u8]) = ("trusted.secret", b"for root only");

pub(super) fn add_to(tree: &mut Tree) {
    tree.add("xattrs", Kind::Directory)
        .set("user.directory", b"yes".to_vec());
    sizes(tree);
    names(tree);
    prefixes(tree);
    many(tree);
    shared(tree);
    acls(tree);
    other_types(tree);
}

impl super::Node {
    fn set(&mut self, name: impl Into<String>, value: Vec<u8>) -> &mut Self {
        self.xattrs.push((name.into(), value));
        self
    }
}

fn sizes(tree: &mut Tree) {
    for size in [0, 1, 3, 4, 100, 1000] {
        for namespace in ["user", "trusted", "security"] {
            tree.add(
                format!("xattrs/{namespace}-{size}"),
                Kind::File(noise(size)),
            )
            .set(format!("{namespace}.value"), noise(size));
        }
    }
    tree.add("xattrs/every-kind", Kind::File(noise(5000)))
        .set("user.plain", b"a value".to_vec())
        .set(SECRET.0, SECRET.1.to_vec())
        .set("security.label", b"a:label:with:parts\0".to_vec())
        .set("user.empty", Vec::new());
}

/// Up to the longest that there are: 255 bytes with the namespace.
fn names(tree: &mut Tree) {
    let long = "n".repeat(255 - "user.".len());
    tree.add("xattrs/names", Kind::File(Vec::new()))
        .set("user.x", b"short".to_vec())
        .set(format!("user.{long}"), b"longest".to_vec())
        .set(format!("user.{}", &long[1..]), b"almost".to_vec())
        .set("user.with.dots", b"dots".to_vec())
        .set("user.\u{e4}", b"not ASCII".to_vec());
}

/// Names with a beginning in common, that beginning alone, and a bit less.
fn prefixes(tree: &mut Tree) {
    for index in 0..8 {
        tree.add(
            format!("xattrs/prefix-{index}"),
            Kind::File(noise(index * 700)),
        )
        .set(format!("user.in.common.{index}"), noise(index * 10))
        .set(format!("trusted.in.common.{index}"), noise(index))
        .set("user.in.common.", b"the beginning".to_vec())
        .set("user.in.common", b"less".to_vec())
        .set("user.in", b"much less".to_vec());
    }
}

/// More than fits into a block, on a file with a tail, so that entries, names and values cross
/// blocks' ends.
fn many(tree: &mut Tree) {
    let node = tree.add("xattrs/many", Kind::File(noise(4500)));
    for index in 0..90_usize {
        node.set(
            format!("user.{}-{index}", "m".repeat(index)),
            noise(index * 3),
        );
    }
}

/// The same attribute on many files, with one of its own on each.
fn shared(tree: &mut Tree) {
    for index in 0..40 {
        tree.add(
            format!("xattrs/shared-{index:02}"),
            Kind::File(noise(index)),
        )
        .set("user.in-common", noise(300))
        .set(SECRET.0, SECRET.1.to_vec())
        .set("user.own", index.to_string().into_bytes());
    }
}

/// Enough in common that the shared ones take several blocks and cross their ends, but no more on
/// each file than the host's filesystem may allow, which is a block; and one of its own.
pub(super) fn add_shared_to(tree: &mut Tree) {
    const IN_COMMON: usize = 40;
    const ON_EACH: usize = 10;
    for index in 0..IN_COMMON {
        let node = tree.add(format!("file-{index:02}"), Kind::File(noise(index * 300)));
        for number in (index..index + ON_EACH).map(|number| number % IN_COMMON) {
            node.set(format!("user.in.common.{number}"), noise(60 + number * 6));
        }
        node.set("user.own", index.to_string().into_bytes());
    }
    tree.add("directory", Kind::Directory)
        .set("user.in.common.0", noise(60));
}

fn acls(tree: &mut Tree) {
    tree.add("xattrs/acl", Kind::File(b"for user 1000, too".to_vec()))
        .set(ACCESS, acl(0o6, Some((1000, 0o4)), 0o0, 0o0))
        .permissions = 0o640;
    let directory = tree.add("xattrs/acl-directory", Kind::Directory);
    directory.set(ACCESS, acl(0o7, Some((1000, 0o5)), 0o5, 0o0));
    directory.set(DEFAULT, acl(0o7, Some((1001, 0o7)), 0o5, 0o5));
    directory.permissions = 0o750;
}

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";

/// A list in the form of linux/posix_acl_xattr.h: the owner's permissions, those of one more
/// user, of the group and of others, and a mask that lets everything pass that is in one of them.
fn acl(owner: u16, user: Option<(u32, u16)>, group: u16, other: u16) -> Vec<u8> {
    const NOBODY: u32 = u32::MAX;
    let mask = user.map_or(0, |(_, permissions)| permissions) | group;
    let mut entries = vec![(0x01, owner, NOBODY)];
    entries.extend(user.map(|(id, permissions)| (0x02, permissions, id)));
    entries.extend([
        (0x04, group, NOBODY),
        (0x10, mask, NOBODY),
        (0x20, other, NOBODY),
    ]);
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        let tag: u16 = tag;
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

/// Where the VFS lets only the privileged namespaces in.
fn other_types(tree: &mut Tree) {
    tree.add("xattrs/link", Kind::Symlink(b"every-kind".to_vec()))
        .set("trusted.link", b"of the link itself".to_vec());
    tree.add("xattrs/fifo", Kind::Fifo)
        .set("security.fifo", b"pipe".to_vec());
    tree.add("xattrs/device", Kind::Character(1, 3))
        .set("trusted.device", b"null".to_vec());
}
