// SPDX-License-Identifier: GPL-2.0

use super::*;
use crate::testing::{field, TestImage, TestInode, INLINE, PLAIN};

const BLOCK: u64 = 4096;
/// Its inode is at the start of block 1.
const NID: usize = 128;
const BODY: u64 = BLOCK + 32;

struct Fixture {
    image: TestImage,
    sb: SuperBlock,
    inode: Inode,
}

/// An image of 8 blocks with one inode, each byte of whose blocks is the block's number.
fn fixture(inode: TestInode) -> Fixture {
    let mut image = TestImage::new(12, 8);
    image.put(field::U1, &[1]);
    for block in 2..8 {
        let byte = u8::try_from(block).unwrap();
        image.put_block(block, &[byte; 4096]);
    }
    image.put_inode(NID, &inode);
    let sb = image.superblock();
    let inode = Inode::read(image.image(), &sb, 128).unwrap();
    Fixture { image, sb, inode }
}

impl Fixture {
    fn extent(&self, pos: u64) -> Result<Extent> {
        self.inode.extent_at(self.image.image(), &self.sb, pos)
    }

    fn tail(&self) -> Result<Option<InlineTail>> {
        self.inode.inline_tail(&self.sb)
    }
}

fn data(offset: u64, len: u64) -> Result<Extent> {
    Ok(Extent::Data {
        device: 0,
        offset,
        len,
    })
}

#[test]
fn plain() {
    let file = fixture(TestInode::file(PLAIN, 2 * BLOCK + 5, 3));
    assert_eq!(file.extent(0), data(3 * BLOCK, 2 * BLOCK + 5));
    assert_eq!(file.extent(BLOCK + 1), data(4 * BLOCK + 1, BLOCK + 4));
    assert_eq!(file.extent(2 * BLOCK + 4), data(5 * BLOCK + 4, 1));
    assert_eq!(file.extent(2 * BLOCK + 5), Err(Error::OutOfBounds));
    assert_eq!(file.extent(u64::MAX), Err(Error::OutOfBounds));
    assert_eq!(file.tail(), Ok(None));
}

#[test]
fn empty() {
    for layout in [PLAIN, INLINE] {
        let file = fixture(TestInode::file(layout, 0, u32::MAX));
        assert_eq!(file.extent(0), Err(Error::OutOfBounds));
        assert_eq!(file.tail(), Ok(None));
        let mut buf = [1];
        let read = file
            .inode
            .read_data(file.image.image(), &file.sb, 0, &mut buf);
        assert_eq!((read, buf), (Ok(0), [1]));
    }
}

#[test]
fn inline() {
    let file = fixture(TestInode::file(INLINE, 2 * BLOCK + 100, 3));
    assert_eq!(file.extent(0), data(3 * BLOCK, 2 * BLOCK));
    assert_eq!(file.extent(2 * BLOCK - 1), data(5 * BLOCK - 1, 1));
    assert_eq!(file.extent(2 * BLOCK), data(BODY, 100));
    assert_eq!(file.extent(2 * BLOCK + 99), data(BODY + 99, 1));
    assert_eq!(file.extent(2 * BLOCK + 100), Err(Error::OutOfBounds));
    assert_eq!(
        file.tail(),
        Ok(Some(InlineTail {
            pos: 2 * BLOCK,
            len: 100,
        }))
    );
}

#[test]
fn inline_behind_xattrs() {
    let file = fixture(TestInode {
        xattr_count: 3,
        ..TestInode::file(INLINE, 7, u32::MAX)
    });
    assert_eq!(file.extent(0), data(BODY + 20, 7));
}

#[test]
fn tail_of_a_whole_block() {
    // An inode whose body starts at a block boundary.
    let mut image = TestImage::new(9, 16);
    image.put_inode(79, &TestInode::file(INLINE, 2 * 512, 9));
    let sb = image.superblock();
    let inode = Inode::read(image.image(), &sb, 79).unwrap();
    assert_eq!(inode.extent_at(image.image(), &sb, 0), data(9 * 512, 512));
    assert_eq!(inode.extent_at(image.image(), &sb, 512), data(80 * 32, 512));
    assert_eq!(
        inode.extent_at(image.image(), &sb, 1023),
        data(80 * 32 + 511, 1)
    );
}

#[test]
fn tail_across_blocks() {
    let fits = BLOCK - 32;
    let file = fixture(TestInode::file(INLINE, fits, 0));
    assert_eq!(file.extent(0), data(BODY, fits));
    let file = fixture(TestInode::file(INLINE, BLOCK + fits + 1, 3));
    let across = Error::Corrupt("inline data across a block boundary");
    assert_eq!(file.extent(0), data(3 * BLOCK, BLOCK), "still readable");
    assert_eq!(file.extent(BLOCK), Err(across));
    assert_eq!(file.extent(BLOCK + fits), Err(across), "also from inside");
    assert_eq!(file.tail(), Err(across));
}

#[test]
fn hole() {
    let file = fixture(TestInode::file(PLAIN, 2 * BLOCK + 5, u32::MAX));
    assert_eq!(file.extent(0), Ok(Extent::Hole { len: 2 * BLOCK + 5 }));
    assert_eq!(file.extent(BLOCK + 4), Ok(Extent::Hole { len: BLOCK + 1 }));
    let mut buf = [1; 6];
    let read = file
        .inode
        .read_data(file.image.image(), &file.sb, 2 * BLOCK, &mut buf);
    assert_eq!((read, buf), (Ok(5), [0, 0, 0, 0, 0, 1]));
}

#[test]
fn addresses_do_not_wrap() {
    let far = TestInode {
        nb: u16::MAX,
        ..TestInode::file(PLAIN, (1 << 63) - 1, u32::MAX - 1).extended()
    };
    let file = fixture(far);
    let block = (1_u64 << 48) - 2;
    assert_eq!(file.extent(0), data(block * BLOCK, (1 << 63) - 1));
    let last = (1 << 63) - 2;
    assert_eq!(file.extent(last), data(block * BLOCK + last, 1));
    let read = file
        .inode
        .read_data(file.image.image(), &file.sb, 0, &mut [0]);
    assert_eq!(read, Err(Error::OutOfBounds));
}

#[test]
fn other_layouts() {
    for layout in [1, 3] {
        let file = fixture(TestInode::file(layout, 5, 0));
        assert_eq!(file.extent(0), Err(Error::Unsupported("compressed data")));
        assert_eq!(file.tail(), Ok(None));
    }
}

#[test]
fn read_data_joins_extents() {
    let mut file = fixture(TestInode::file(INLINE, 2 * BLOCK + 3, 6));
    file.image.put(usize::try_from(BODY).unwrap(), b"end");
    let read = |pos, buf: &mut [u8]| {
        file.inode
            .read_data(file.image.image(), &file.sb, pos, buf)
            .unwrap()
    };
    let mut buf = [0; 9000];
    let len = read(0, &mut buf);
    assert_eq!(len, 2 * 4096 + 3);
    assert!(buf[..4096].iter().all(|byte| *byte == 6));
    assert!(buf[4096..8192].iter().all(|byte| *byte == 7));
    assert_eq!(&buf[8192..len], b"end");
    let mut buf = [0; 2];
    assert_eq!(read(2 * BLOCK - 1, &mut buf), 2);
    assert_eq!(&buf, b"\x07e");
    assert_eq!(read(2 * BLOCK + 3, &mut buf), 0);
    assert_eq!(read(u64::MAX, &mut buf), 0);
}

#[test]
fn links() {
    let link = |size, target: &[u8]| {
        let mut link = fixture(TestInode::new(0o120_777, INLINE, size, u32::MAX));
        link.image.put(usize::try_from(BODY).unwrap(), target);
        let mut buf = [0; 16];
        link.inode
            .read_link(link.image.image(), &link.sb, &mut buf)
            .map(<[u8]>::to_vec)
    };
    assert_eq!(link(7, b"/target"), Ok(b"/target".to_vec()));
    assert_eq!(
        link(16, b"sixteen letters!"),
        Ok(b"sixteen letters!".to_vec())
    );
    assert!(matches!(link(17, b""), Err(Error::Corrupt(_))));
    assert!(matches!(link(0, b""), Err(Error::Corrupt(_))));
    assert!(matches!(link(7, b"/tar\0et"), Err(Error::Corrupt(_))));
}
