// SPDX-License-Identifier: GPL-2.0

use crate::question::Question;
use crate::views::{Spread, Unsteady};
use erodax_format::dir::{self, Cursor, NAME_MAX};
use erodax_format::flat::Extent;
use erodax_format::inode::{FileType, Inode};
use erodax_format::superblock::SuperBlock;
use erodax_format::xattr::{
    self, Prefix, Prefixes, Xattrs, INDEX_POSIX_ACL_ACCESS, INDEX_POSIX_ACL_DEFAULT,
};
use erodax_format::{Result, Volume};
use std::collections::BTreeSet;
use std::hint::black_box;

/// Limits, as a directory can contain itself and a file can have 2^63 bytes.
const MAX_INODES: usize = 200;
const MAX_ENTRIES: usize = 400;
const MAX_XATTRS: usize = 100;
const MAX_EXTENTS: usize = 50;
const MAX_LOOKUPS: usize = 20;
const BYTES: usize = 4096;

/// A mount and a walk that uses everything; on bytes that change under it, too.
pub fn image(image: &[u8]) {
    let _ = mount(image);
    let _ = mount(&Unsteady::new(image, Question::of(image).pos));
    if let Some(sb) = SuperBlock::read(image)
        .ok()
        .filter(|sb| sb.extra_devices() > 0)
    {
        let _ = mount(&Spread::new(image, &sb, u16::MAX));
    }
}

/// A mounted image.
struct Walk<'a, V: ?Sized> {
    volume: &'a V,
    sb: SuperBlock,
    prefixes: Vec<Prefix>,
}

/// Mounts an image as the driver does, and walks it. Fails where the mount would.
fn mount<V: Volume + ?Sized>(volume: &V) -> Result<()> {
    let sb = SuperBlock::read(volume.primary())?;
    let prefixes = Prefixes::new(volume, &sb).collect::<Result<_>>()?;
    let root = Inode::read(volume, &sb, sb.root_nid())?;
    if root.file_type() == FileType::Directory {
        let walk = Walk {
            volume,
            sb,
            prefixes,
        };
        walk.all(root.nid);
    }
    Ok(())
}

impl<V: Volume + ?Sized> Walk<'_, V> {
    fn all(&self, root: u64) {
        let mut unread = vec![root];
        let mut read = BTreeSet::new();
        while let Some(nid) = unread.pop() {
            if read.len() == MAX_INODES {
                break;
            }
            if !read.insert(nid) {
                continue;
            }
            let Ok(inode) = Inode::read(self.volume, &self.sb, nid) else {
                continue;
            };
            self.inode(&inode);
            if inode.file_type() == FileType::Directory {
                unread.extend(self.directory(&inode));
            }
        }
    }

    fn inode(&self, inode: &Inode) {
        black_box((inode.rdev(), inode.sectors(&self.sb)));
        if inode.file_type() == FileType::Symlink {
            let mut target = [0; BYTES - 1];
            let _ = black_box(inode.read_link(self.volume, &self.sb, &mut target));
        }
        if matches!(inode.file_type(), FileType::Regular | FileType::Directory) {
            self.data(inode);
        }
        self.xattrs(inode);
    }

    /// Maps all of a file, and reads its start and its end.
    fn data(&self, inode: &Inode) {
        let _ = black_box(inode.inline_tail(&self.sb));
        let mut pos = 0;
        for _ in 0..MAX_EXTENTS {
            let extent = inode.extent_at(self.volume, &self.sb, pos);
            let Ok(Extent::Data { len, .. } | Extent::Hole { len }) = extent else {
                break;
            };
            assert!(len > 0 && len <= inode.size - pos);
            pos += len;
        }
        let mut bytes = [0; BYTES];
        let end = inode
            .size
            .saturating_sub(u64::try_from(BYTES / 2).unwrap_or(0));
        for pos in [0, end] {
            let _ = black_box(inode.read_data(self.volume, &self.sb, pos, &mut bytes));
        }
    }

    /// Lists a directory, looks its first names up, and returns the nids in it.
    fn directory(&self, dir: &Inode) -> Vec<u64> {
        let mut nids = Vec::new();
        let mut cursor = Cursor::new(0);
        let mut name = [0; NAME_MAX];
        for count in 0..MAX_ENTRIES {
            let next = cursor.next(self.volume, &self.sb, dir, &mut name);
            let Ok(Some(entry)) = next else { break };
            assert!((1..=NAME_MAX).contains(&entry.name.len()));
            assert!(entry.pos < entry.next);
            nids.push(entry.nid);
            if count < MAX_LOOKUPS {
                let _ = black_box(dir::lookup(self.volume, &self.sb, dir, entry.name));
            }
        }
        for name in [&b"."[..], b"absent", &[b'~'; NAME_MAX]] {
            let _ = black_box(dir::lookup(self.volume, &self.sb, dir, name));
        }
        nids
    }

    fn xattrs(&self, inode: &Inode) {
        let xattrs = Xattrs::new(self.volume, &self.sb, &self.prefixes);
        let mut value = [0; BYTES];
        let _ = black_box(xattrs.may_have_acl(inode));
        for index in [INDEX_POSIX_ACL_ACCESS, INDEX_POSIX_ACL_DEFAULT] {
            let _ = black_box(xattrs.get(inode, index, b"", &mut value));
        }
        let Ok(mut list) = xattrs.list(inode) else {
            return;
        };
        let mut name = [0; xattr::NAME_MAX];
        for _ in 0..MAX_XATTRS {
            let Ok(Some(entry)) = list.next(&xattrs) else {
                break;
            };
            assert!(entry.name_len <= xattr::NAME_MAX);
            let name = xattrs.copy_name(&entry, &mut name).unwrap_or_default();
            let _ = black_box(xattrs.get(inode, entry.index, name, &mut value));
        }
    }
}
