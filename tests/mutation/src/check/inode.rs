// SPDX-License-Identifier: GPL-2.0

use super::Subject;
use crate::views::Minimal;
use erodax_format::inode::{FileType, Inode, Layout};

/// Inodes.
pub fn inode(image: &[u8]) {
    let Some(Subject {
        sb,
        inode,
        question,
        ..
    }) = Subject::of(image)
    else {
        return;
    };
    let again = Inode::read(&Minimal(image), &sb, inode.nid);
    assert_eq!(again.as_ref(), Ok(&inode));
    assert!(i64::try_from(inode.size).is_ok());
    assert_eq!(FileType::from_mode(inode.mode), Some(inode.file_type()));
    assert_eq!(inode.in_metabox(), inode.nid >> 63 != 0);
    let is_device = matches!(
        inode.file_type(),
        FileType::CharDevice | FileType::BlockDevice
    );
    let (major, minor) = inode.rdev();
    assert!(is_device || (major, minor) == (0, 0));
    assert!(major < 1 << 12 && minor < 1 << 20);
    assert!(inode.xattr_size() == 0 || inode.xattr_size() >= 12);
    assert!(!inode.dot_omitted() || inode.file_type() == FileType::Directory);
    if !inode.layout.is_compressed() {
        let bytes = u128::from(inode.sectors(&sb)) * 512;
        let size = u128::from(inode.size);
        assert!(bytes >= size && bytes - size < u128::from(sb.block_size()));
    }
    match inode.chunk_size(&sb) {
        Some(size) => {
            assert_eq!(inode.layout, Layout::ChunkBased);
            assert!(size.is_power_of_two() && size >= u64::from(sb.block_size()));
        }
        None => assert_ne!(inode.layout, Layout::ChunkBased),
    }
    if let Ok(Some(tail)) = inode.inline_tail(&sb) {
        assert_eq!(inode.layout, Layout::FlatInline);
        assert!((1..=u64::from(sb.block_size())).contains(&tail.len));
        assert_eq!(tail.pos % u64::from(sb.block_size()), 0);
        assert_eq!(tail.pos + tail.len, inode.size);
    }
    check_link(
        image,
        &sb,
        &inode,
        usize::try_from(question.len % 8192).unwrap(),
    );
}

fn check_link(
    image: &[u8],
    sb: &erodax_format::superblock::SuperBlock,
    inode: &Inode,
    room: usize,
) {
    let mut buf = vec![0; room];
    if let Ok(target) = inode.read_link(image, sb, &mut buf) {
        assert_eq!(u64::try_from(target.len()), Ok(inode.size));
        assert!(!target.is_empty() && !target.contains(&0));
    }
}
