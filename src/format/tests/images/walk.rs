// SPDX-License-Identifier: GPL-2.0

//! Reading whole images.

use erodax_format::dir::{self, Cursor, NAME_MAX};
use erodax_format::inode::{FileType, Inode};
use erodax_format::superblock::SuperBlock;
use erodax_format::{Image, Result};
use std::collections::BTreeMap;

/// All of a good image: paths without a leading slash, the root as "".
pub(crate) struct Walked {
    pub(crate) sb: SuperBlock,
    pub(crate) inodes: BTreeMap<String, Inode>,
}

/// Walks a good image, and checks that lookup and listing of each directory agree.
pub(crate) fn walk(image: &[u8]) -> Walked {
    let sb = SuperBlock::read(image).unwrap();
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

fn read_dir(image: &[u8], sb: &SuperBlock, dir: &Inode) -> Vec<(String, Inode)> {
    let mut children = Vec::new();
    let mut last_name = Vec::new();
    let mut cursor = Cursor::new(0);
    let mut buf = [0; NAME_MAX];
    while let Some(entry) = cursor.next(image, sb, dir, &mut buf).unwrap() {
        assert!(*entry.name > last_name[..], "names are sorted");
        last_name = entry.name.to_vec();
        let found = dir::lookup(image, sb, dir, entry.name).unwrap();
        assert_eq!(found, Some((entry.nid, entry.file_type)));
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
    pub(crate) fn data(&self, image: &[u8], path: &str) -> Result<Vec<u8>> {
        let inode = &self.inodes[path];
        let mut data = vec![0; usize::try_from(inode.size).unwrap()];
        let len = inode.read_data(image, &self.sb, 0, &mut data)?;
        assert_eq!(len, data.len());
        Ok(data)
    }
}

/// Uses every decoder on what may be anything, with a limit on inodes, as directories may contain
/// themselves. Returns how many directory entries there were.
pub(crate) fn survive<I: Image + ?Sized>(image: &I) -> usize {
    let Ok(sb) = SuperBlock::read(image) else {
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
        let _ = inode.read_link(image, &sb, &mut buf);
        nids.extend(survive_dir(image, &sb, &inode));
    }
    nids.len() - 1
}

fn survive_dir<I: Image + ?Sized>(image: &I, sb: &SuperBlock, dir: &Inode) -> Vec<u64> {
    let mut nids = Vec::new();
    let mut cursor = Cursor::new(0);
    let mut buf = [0; NAME_MAX];
    while let Ok(Some(entry)) = cursor.next(image, sb, dir, &mut buf) {
        assert!((1..=NAME_MAX).contains(&entry.name.len()));
        assert!(entry.pos < entry.next && entry.next <= dir.size);
        // The blocks of a directory don't overlap, so the image's size is a limit.
        assert!(u64::try_from(nids.len()).unwrap() <= image.len() / 12);
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
