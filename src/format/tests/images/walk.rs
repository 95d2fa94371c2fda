// SPDX-License-Identifier: GPL-2.0

//! Reading whole images.

use erodax_format::dir::{self, Cursor, NAME_MAX};
use erodax_format::inode::{FileType, Inode};
use erodax_format::pcluster;
use erodax_format::superblock::SuperBlock;
use erodax_format::xattr::{self, Prefix, Prefixes, Xattrs};
use erodax_format::{Image, Result, Volume};
use std::collections::{BTreeMap, BTreeSet};

/// All of a good image: paths without a leading slash, the root as "".
pub(crate) struct Walked {
    pub(crate) sb: SuperBlock,
    pub(crate) inodes: BTreeMap<String, Inode>,
}

/// Walks a good image, and checks that lookup and listing of each directory agree.
pub(crate) fn walk<V: Volume + ?Sized>(image: &V) -> Walked {
    let sb = SuperBlock::read(image.primary()).unwrap();
    let root = Inode::read(image, &sb, sb.root_nid()).unwrap();
    assert_eq!(root.file_type(), FileType::Directory);
    let mut inodes = BTreeMap::from([(String::new(), root)]);
    let mut unread = vec![String::new()];
    while let Some(path) = unread.pop() {
        let dir = inodes[&path].clone();
        for (name, inode) in read_dir(image, &sb, &dir) {
            let child = format!("{path}/{name}").trim_start_matches('/').to_owned();
            if inode.file_type() == FileType::Directory {
                unread.push(child.clone());
            }
            assert!(inodes.insert(child, inode).is_none());
        }
    }
    Walked { sb, inodes }
}

fn read_dir<V: Volume + ?Sized>(image: &V, sb: &SuperBlock, dir: &Inode) -> Vec<(String, Inode)> {
    let mut children = Vec::new();
    let mut last_name = Vec::new();
    let mut cursor = Cursor::new(0);
    let mut buf = [0; NAME_MAX];
    while let Some(entry) = cursor.next(image, sb, dir, &mut buf).unwrap() {
        if entry.pos < dir.size {
            assert!(*entry.name > last_name[..], "names are sorted");
            last_name = entry.name.to_vec();
            let found = dir::lookup(image, sb, dir, entry.name).unwrap();
            let found = found.map(|found| (found.nid, found.file_type, found.next));
            assert_eq!(found, Some((entry.nid, entry.file_type, entry.next)));
        }
        // Neighbours of the name that are not there.
        let longer = [entry.name, b"\x01"].concat();
        assert_eq!(dir::lookup(image, sb, dir, &longer), Ok(None));
        let inode = Inode::read(image, sb, entry.nid).unwrap();
        let file_type = FileType::from_dirent(entry.file_type);
        assert_eq!(file_type, Some(inode.file_type()));
        match entry.name {
            b"." => assert_eq!(entry.nid, dir.nid),
            b".." => assert_eq!(inode.file_type(), FileType::Directory),
            name => children.push((String::from_utf8(name.to_vec()).unwrap(), inode)),
        }
    }
    assert_eq!(cursor.pos(), dir.size + u64::from(dir.dot_omitted()));
    children
}

impl Walked {
    /// All bytes of a file.
    pub(crate) fn data<V: Volume + ?Sized>(&self, image: &V, path: &str) -> Result<Vec<u8>> {
        let inode = &self.inodes[path];
        let mut data = vec![0; usize::try_from(inode.size).unwrap()];
        let len = inode.read_data(image, &self.sb, 0, &mut data)?;
        assert_eq!(len, data.len());
        Ok(data)
    }

    /// All xattrs of a file by their whole names, after checking that lookup and listing agree.
    pub(crate) fn xattrs<V: Volume + ?Sized>(
        &self,
        image: &V,
        path: &str,
    ) -> BTreeSet<(String, Vec<u8>)> {
        let inode = &self.inodes[path];
        let prefixes: Vec<Prefix> = Prefixes::new(image, &self.sb)
            .collect::<Result<_>>()
            .unwrap();
        assert_eq!(prefixes.len(), usize::from(self.sb.xattr_prefix_count()));
        let xattrs = Xattrs::new(image, &self.sb, &prefixes);
        let mut found = BTreeSet::new();
        let mut list = xattrs.list(inode).unwrap();
        while let Some(entry) = list.next(&xattrs).unwrap() {
            let mut name = [0; xattr::NAME_MAX];
            let name = xattrs.copy_name(&entry, &mut name).unwrap();
            let mut value = vec![0; entry.value_len];
            let len = xattrs.get(inode, entry.index, name, &mut value);
            assert_eq!(len, Ok(Some(value.len())));
            let absent = [name, b"!"].concat();
            let got = xattrs.get(inode, entry.index, &absent, &mut []);
            assert_eq!(got, Ok(None));
            let beginning = beginning(entry.index);
            let name = format!("{beginning}{}", String::from_utf8_lossy(name));
            assert!(found.insert((name, value)));
        }
        let has_acl = |name: &str| {
            let name = format!("system.posix_acl_{name}");
            found.iter().any(|(found, _)| *found == name)
        };
        if has_acl("access") || has_acl("default") {
            assert_eq!(xattrs.may_have_acl(inode), Ok(true));
        }
        found
    }
}

fn beginning(index: u8) -> &'static str {
    match index {
        xattr::INDEX_USER => "user.",
        xattr::INDEX_POSIX_ACL_ACCESS => "system.posix_acl_access",
        xattr::INDEX_POSIX_ACL_DEFAULT => "system.posix_acl_default",
        xattr::INDEX_TRUSTED => "trusted.",
        xattr::INDEX_SECURITY => "security.",
        _ => panic!("an unexpected index: {index}"),
    }
}

/// Uses every decoder on what may be anything, with a limit on inodes, as directories may contain
/// themselves. Returns how many directory entries there were.
pub(crate) fn survive<V: Volume + ?Sized>(image: &V) -> usize {
    let Ok(sb) = SuperBlock::read(image.primary()) else {
        return 0;
    };
    let mut nids = vec![sb.root_nid()];
    let mut read = 0;
    while read < nids.len().min(100) {
        let nid = nids[read];
        read += 1;
        let Ok(inode) = Inode::read(image, &sb, nid) else {
            continue;
        };
        let (_, _) = (inode.rdev(), inode.sectors(&sb));
        if let Ok(Some(tail)) = inode.inline_tail(&sb) {
            assert!((1..=u64::from(sb.block_size())).contains(&tail.len));
            assert_eq!(tail.pos.checked_add(tail.len), Some(inode.size));
        }
        let mut buf = [0; 5000];
        for pos in [0, inode.size / 2, inode.size.saturating_sub(1)] {
            let _ = inode.read_data(image, &sb, pos, &mut buf);
        }
        survive_pclusters(image, &sb, &inode);
        let _ = inode.read_link(image, &sb, &mut buf);
        survive_xattrs(image, &sb, &inode);
        nids.extend(survive_dir(image, &sb, &inode));
    }
    nids.len() - 1
}

/// Looks up extents from the start on and from some other places.
fn survive_pclusters<V: Volume + ?Sized>(image: &V, sb: &SuperBlock, inode: &Inode) {
    if !inode.layout.is_compressed() {
        return;
    }
    let Ok(header) = inode.map_header(image, sb) else {
        return;
    };
    for start in [0, inode.size / 3, inode.size.saturating_sub(1)] {
        let mut pos = start;
        let mut cursor = pcluster::Cursor::default();
        for _ in 0..20 {
            let Ok(found) = inode.pcluster_at(image, sb, &header, &mut cursor, pos) else {
                break;
            };
            let end = found.start.checked_add(found.len).unwrap();
            assert!(found.start <= pos && pos < end && end <= inode.size);
            pos = end;
        }
    }
}

fn survive_xattrs<V: Volume + ?Sized>(image: &V, sb: &SuperBlock, inode: &Inode) {
    let prefixes: Vec<_> = Prefixes::new(image, sb).map_while(Result::ok).collect();
    let xattrs = Xattrs::new(image, sb, &prefixes);
    let Ok(mut list) = xattrs.list(inode) else {
        return;
    };
    let mut name = [0; xattr::NAME_MAX];
    let mut value = vec![0; 1 << 16];
    let mut left = u32::from(u16::MAX) + 255;
    while let Ok(Some(entry)) = list.next(&xattrs) {
        left -= 1;
        let name = xattrs.copy_name(&entry, &mut name).unwrap_or(b"short");
        let _ = xattrs.get(inode, entry.index, name, &mut value);
    }
    let _ = xattrs.get(inode, 1, b"none", &mut value);
    let _ = xattrs.may_have_acl(inode);
    assert!(left > 0);
}

fn survive_dir<V: Volume + ?Sized>(image: &V, sb: &SuperBlock, dir: &Inode) -> Vec<u64> {
    let mut nids = Vec::new();
    let mut cursor = Cursor::new(0);
    let mut buf = [0; NAME_MAX];
    while let Ok(Some(entry)) = cursor.next(image, sb, dir, &mut buf) {
        assert!((1..=NAME_MAX).contains(&entry.name.len()));
        assert!(entry.pos < entry.next && entry.next <= dir.size + 1);
        // The blocks of a directory don't overlap, so the image's size is a limit, but for compressed
        // ones.
        if dir.layout.is_compressed() && nids.len() == 500 {
            break;
        }
        let limit = image.primary().len() / 12;
        assert!(dir.layout.is_compressed() || u64::try_from(nids.len()).unwrap() <= limit);
        if nids.len() < 10 {
            let _ = dir::lookup(image, sb, dir, entry.name);
        }
        nids.push(entry.nid);
    }
    for name in [&b"."[..], b"many", b"zzz", &[b'n'; NAME_MAX]] {
        let _ = dir::lookup(image, sb, dir, name);
    }
    nids
}
