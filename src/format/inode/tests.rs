// SPDX-License-Identifier: GPL-2.0

use super::*;
use crate::testing::{field, TestImage, TestInode, INLINE, PLAIN};

const NID: u64 = 40;

fn read(inode: TestInode) -> Result<Inode> {
    let mut image = TestImage::new(12, 2);
    image
        .put(field::EPOCH, &1000_i64.to_le_bytes())
        .put(field::FIXED_NSEC, &77_u32.to_le_bytes())
        .put(field::U1, &[1])
        .put_inode(40, &inode);
    Inode::read(image.image(), &image.superblock(), NID)
}

#[test]
fn compact() {
    let inode = read(TestInode {
        nb: 3,
        uid: 1000,
        gid: 65_534,
        mtime: u32::MAX,
        ..TestInode::file(INLINE, 10, 0)
    })
    .unwrap();
    assert_eq!((inode.nid, inode.mode, inode.size), (NID, 0o100_644, 10));
    assert_eq!((inode.uid, inode.gid, inode.nlink), (1000, 65_534, 3));
    assert_eq!(inode.mtime, 1000 + i64::from(u32::MAX));
    assert_eq!(inode.mtime_nsec, 77);
    assert_eq!(inode.layout, Layout::FlatInline);
    assert_eq!(inode.file_type(), FileType::Regular);
    assert_eq!(inode.behind_xattrs(), Ok(40 * 32 + 32));
}

#[test]
fn extended() {
    let mut inode = TestInode::file(PLAIN, 1 << 40, 5).extended();
    inode.nlink = 100_000;
    inode.mtime = 9;
    let inode = read(inode).unwrap();
    assert_eq!((inode.size, inode.nlink), (1 << 40, 100_000));
    assert_eq!((inode.mtime, inode.mtime_nsec), (9, 0));
    assert_eq!(inode.behind_xattrs(), Ok(40 * 32 + 64));
}

#[test]
fn extended_across_blocks() {
    let mut image = TestImage::new(9, 8);
    // The last 32 bytes of a block.
    let nid = 4 * 512 / 32 - 1;
    image.put_inode(nid, &TestInode::file(PLAIN, 300, 6).extended());
    let nid = u64::try_from(nid).unwrap();
    let inode = Inode::read(image.image(), &image.superblock(), nid).unwrap();
    assert_eq!((inode.size, inode.start_block()), (300, Some(6)));
}

#[test]
fn links_or_address() {
    const BIT: u16 = 1 << 4;
    let file = TestInode {
        nb: 2,
        ..TestInode::file(PLAIN, 1, 7)
    };
    let dir = TestInode {
        mode: 0o040_755,
        ..file
    };
    let flagged = |inode| TestInode {
        format: BIT,
        ..inode
    };
    let facts = |inode| {
        let inode = read(inode).unwrap();
        (inode.nlink, inode.start_block(), inode.dot_omitted())
    };
    assert_eq!(facts(file), (2, Some(7), false));
    assert_eq!(facts(flagged(file)), (1, Some((2 << 32) | 7), false));
    assert_eq!(facts(dir), (2, Some(7), false));
    assert_eq!(facts(flagged(dir)), (2, Some(7), true));
    // Extended inodes always have both.
    let file = TestInode {
        nb: 2,
        nlink: 9,
        ..file.extended()
    };
    assert_eq!(facts(file), (9, Some((2 << 32) | 7), false));
    assert_eq!(facts(flagged(file)), (9, Some((2 << 32) | 7), false));
}

#[test]
fn null_address_is_a_hole() {
    let start = |inode: TestInode| read(inode).unwrap().start_block();
    let compact = TestInode::file(PLAIN, 1, u32::MAX);
    assert_eq!(start(compact), None);
    let wide = TestInode {
        format: 1 << 4,
        ..compact
    };
    assert_eq!(start(wide), Some((1 << 32) | u64::from(u32::MAX)));
    let null = TestInode {
        nb: u16::MAX,
        ..wide
    };
    assert_eq!(start(null), None);
    assert_eq!(start(compact.extended()), Some(u64::from(u32::MAX)));
    let null = TestInode {
        nb: u16::MAX,
        ..compact.extended()
    };
    assert_eq!(start(null), None);
    // Only plain data can be a hole: a file with nothing but a tail has no block either.
    let inline = TestInode {
        layout: INLINE,
        ..compact
    };
    assert_eq!(start(inline), Some(u64::from(u32::MAX)));
}

#[test]
fn refused() {
    let file = TestInode::file(PLAIN, 0, 0);
    for format in [1 << 5, 1 << 15] {
        let inode = TestInode { format, ..file };
        assert!(matches!(read(inode), Err(Error::Unsupported(_))));
    }
    for layout in 5..8 {
        let inode = TestInode { layout, ..file };
        assert_eq!(read(inode), Err(Error::Unsupported("unknown data layout")));
    }
    for mode in [0, 0o644, 0o030_644, 0o170_644] {
        let inode = TestInode { mode, ..file };
        assert_eq!(read(inode), Err(Error::Corrupt("mode without a file type")));
    }
    let huge = |size| read(TestInode { size, ..file }.extended()).map(|inode| inode.size);
    assert_eq!(huge((1 << 63) - 1), Ok((1 << 63) - 1));
    assert_eq!(huge(1 << 63), Err(Error::Corrupt("negative size")));
    let chunked = |u| {
        read(TestInode {
            layout: 4,
            u,
            ..file
        })
        .map(|inode| inode.layout)
    };
    assert_eq!(chunked(0xFFFF_007F), Ok(Layout::ChunkBased));
    assert!(matches!(chunked(0x80), Err(Error::Unsupported(_))));
}

#[test]
fn past_the_end() {
    let mut image = TestImage::new(12, 1);
    let file = TestInode::file(PLAIN, 0, 0);
    image.put_inode(127, &file);
    let sb = image.superblock();
    assert!(Inode::read(image.image(), &sb, 127).is_ok());
    assert_eq!(
        Inode::read(image.image(), &sb, 128),
        Err(Error::OutOfBounds)
    );
    // The second half of an extended one.
    image.bytes[127 * 32] |= 1;
    assert_eq!(
        Inode::read(image.image(), &sb, 127),
        Err(Error::OutOfBounds)
    );
    assert_eq!(
        Inode::read(image.image(), &sb, (1 << 59) - 1),
        Err(Error::OutOfBounds)
    );
}

#[test]
fn file_types() {
    for (mode, dirent, file_type) in [
        (0o100_000, 1, FileType::Regular),
        (0o040_000, 2, FileType::Directory),
        (0o020_000, 3, FileType::CharDevice),
        (0o060_000, 4, FileType::BlockDevice),
        (0o010_000, 5, FileType::Fifo),
        (0o140_000, 6, FileType::Socket),
        (0o120_000, 7, FileType::Symlink),
    ] {
        let inode = read(TestInode::new(mode, PLAIN, 0, 0)).unwrap();
        assert_eq!(inode.file_type(), file_type);
        assert_eq!(FileType::from_dirent(dirent), Some(file_type));
    }
    assert_eq!(FileType::from_dirent(0), None);
    assert_eq!(FileType::from_dirent(8), None);
}

#[test]
fn device_numbers() {
    for mode in [0o020_600, 0o060_600] {
        let rdev = |dev| read(TestInode::new(mode, PLAIN, 0, dev)).unwrap().rdev();
        assert_eq!(rdev(0x0103), (1, 3));
        assert_eq!(rdev(0xFFFF_FFFF), (0xFFF, 0xF_FFFF));
        // makedev(259, 0x12345) as Linux encodes it.
        assert_eq!(rdev(0x1231_0345), (259, 0x1_2345));
    }
    let file = read(TestInode::file(PLAIN, 0, 0x0103)).unwrap();
    assert_eq!(file.rdev(), (0, 0));
}

#[test]
fn xattr_sizes() {
    for (count, size) in [(0, 0), (1, 12), (2, 16), (u16::MAX, 12 + 4 * 65_534)] {
        let inode = read(TestInode {
            xattr_count: count,
            ..TestInode::file(INLINE, 1, 0)
        })
        .unwrap();
        assert_eq!(inode.xattr_size(), size);
        assert_eq!(inode.behind_xattrs(), Ok(41 * 32 + u64::from(size)));
    }
}

#[test]
fn sectors() {
    let sb = TestImage::new(12, 2).superblock();
    let sectors = |layout, size, u| {
        let inode = TestInode::file(layout, size, u);
        read(inode).unwrap().sectors(&sb)
    };
    assert_eq!(sectors(PLAIN, 0, 0), 0);
    assert_eq!(sectors(INLINE, 1, 0), 8);
    assert_eq!(sectors(PLAIN, 4097, 0), 16);
    assert_eq!(sectors(1, 1 << 20, 3), 24);
    assert_eq!(sectors(3, 1 << 20, 3), 24);
}
