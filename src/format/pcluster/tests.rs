// SPDX-License-Identifier: GPL-2.0

mod broken;
#[cfg(not(miri))]
mod model;
#[cfg(not(miri))]
mod properties;
mod special;

use super::*;
use crate::testing::{TestImage, TestInode, COMPRESSED_COMPACT, COMPRESSED_FULL};

/// The inode is at the start of block 8.
const INODE_BLOCK: usize = 8;

/// A file whose header and index a test writes.
#[derive(Clone)]
struct File {
    image: TestImage,
    size: u64,
    /// Where the header starts.
    header: usize,
}

/// The 8 bytes of a map header.
fn header(lo: u32, advise: u16, algorithms: u8, cluster_bits: u8) -> Vec<u8> {
    let [l0, l1, l2, l3] = lo.to_le_bytes();
    let [a0, a1] = advise.to_le_bytes();
    vec![l0, l1, l2, l3, a0, a1, algorithms, cluster_bits]
}

impl File {
    /// A file of this layout and size in an image with blocks of `1 << bits` bytes. `body` starts
    /// with the header, which is `skew` times 8 bytes behind a multiple of 32.
    fn new(bits: u8, layout: u16, size: u64, skew: usize, body: &[u8]) -> Self {
        let block_size = 1 << bits;
        let start = INODE_BLOCK * block_size;
        let blocks = INODE_BLOCK + (200 + body.len()).div_ceil(block_size);
        let mut image = TestImage::new(bits, u32::try_from(blocks).unwrap());
        // 12 bytes and 4 for each further unit, rounded up to 8 for the header.
        let xattr_count = u16::try_from(2 * skew).unwrap();
        let inode = TestInode {
            xattr_count,
            ..TestInode::file(layout, size, 1).extended()
        };
        let header = start + 64 + 8 * skew + if skew == 0 { 0 } else { 8 };
        image
            .enable_compression()
            .put_inode(start / 32, &inode)
            .put(header, body);
        File {
            image,
            size,
            header,
        }
    }

    fn full(size: u64, head: &[u8], elements: &[[u8; 8]]) -> Self {
        File::new(9, COMPRESSED_FULL, size, 0, &full_body(head, elements))
    }

    fn inode(&self) -> (SuperBlock, Inode) {
        let sb = self.image.superblock();
        let nid = (INODE_BLOCK << sb.block_bits()) / 32;
        let inode = Inode::read(self.image.image(), &sb, u64::try_from(nid).unwrap()).unwrap();
        (sb, inode)
    }

    fn map_header(&self) -> Result<MapHeader> {
        let (sb, inode) = self.inode();
        inode.map_header(self.image.image(), &sb)
    }

    fn at(&self, pos: u64) -> Result<Pcluster> {
        self.next(&mut Cursor::default(), pos)
    }

    fn next(&self, cursor: &mut Cursor, pos: u64) -> Result<Pcluster> {
        let (sb, inode) = self.inode();
        let header = inode.map_header(self.image.image(), &sb)?;
        inode.pcluster_at(self.image.image(), &sb, &header, cursor, pos)
    }
}

/// A header, the gap of full indexes, and their elements.
fn full_body(head: &[u8], elements: &[[u8; 8]]) -> Vec<u8> {
    [head, &[0; 8], &elements.concat()].concat()
}

const PLAIN: u16 = 0;
const HEAD1: u16 = 1;
const HEAD2: u16 = 3;
const LI_HOLE: u16 = 1 << 14;
const PARTIAL_REF: u16 = 1 << 15;

/// An element of a full index: a head.
fn head(advise: u16, offset: u16, block: u32) -> [u8; 8] {
    let [a0, a1] = advise.to_le_bytes();
    let [o0, o1] = offset.to_le_bytes();
    let [b0, b1, b2, b3] = block.to_le_bytes();
    [a0, a1, o0, o1, b0, b1, b2, b3]
}

/// An element of a full index: no head.
fn non_head(before: u16, behind: u16) -> [u8; 8] {
    let [b0, b1] = before.to_le_bytes();
    let [n0, n1] = behind.to_le_bytes();
    [2, 0, 0, 0, b0, b1, n0, n1]
}

/// The same with a number of blocks.
fn block_count(count: u16, behind: u16) -> [u8; 8] {
    non_head(0x800 | count, behind)
}

fn pcluster(start: u64, len: u64, data: Data) -> Result<Pcluster> {
    Ok(Pcluster {
        start,
        len,
        is_whole: true,
        data,
    })
}

fn encoded(offset: u64, len: u32, encoding: Encoding) -> Data {
    Data::Encoded(Encoded {
        place: Place::Device { device: 0, offset },
        len,
        encoding,
        is_partial: false,
    })
}

fn compressed(offset: u64, len: u32, algorithm: Algorithm) -> Data {
    encoded(offset, len, Encoding::Compressed(algorithm))
}

#[test]
fn full_index() {
    let elements = [
        head(HEAD1, 0, 100),
        non_head(1, 2),
        non_head(2, 1),
        head(PLAIN, 100, 90),
        head(HEAD2 | PARTIAL_REF, 50, 80),
        non_head(1, 1),
    ];
    // Algorithms 1 and 3; lclusters of 512 bytes.
    let file = File::full(5 * 512 + 200, &header(0, 0, 0x31, 0), &elements);
    let first = pcluster(0, 1636, compressed(51_200, 512, Algorithm::Lzma));
    let plain = pcluster(1636, 462, encoded(46_080, 512, Encoding::Shifted));
    for (pos, expected) in [
        (0, first),
        (511, first),
        (1535, first),
        (1635, first),
        (1636, plain),
        (2048, plain),
        (2097, plain),
    ] {
        assert_eq!(file.at(pos), expected, "{pos}");
    }
    let last = file.at(2098).unwrap();
    assert_eq!((last.start, last.len, last.is_whole), (2098, 662, true));
    let Data::Encoded(data) = last.data else {
        panic!("{last:?}");
    };
    assert!(data.is_partial);
    assert_eq!(data.encoding, Encoding::Compressed(Algorithm::Zstd));
    assert_eq!(file.at(2759), Ok(last));
    assert_eq!(file.at(2760), Err(Error::OutOfBounds));
}

/// A compact index byte by byte: two small packs, a large one and a small one.
#[test]
fn compact_index() {
    // Elements of 16 bits, the low byte first.
    let small = |first: u16, second: u16, block: u32| {
        let [b0, b1, b2, b3] = block.to_le_bytes();
        let ([f0, f1], [s0, s1]) = (first.to_le_bytes(), second.to_le_bytes());
        vec![f0, f1, s0, s1, b0, b1, b2, b3]
    };
    let head1 = |offset: u16| (1 << 12) | offset;
    let non_head = |distance: u16| (2 << 12) | distance;
    let large = |elements: [u16; 16], block: u32| {
        let mut bytes = vec![0_u8; 28];
        for (index, element) in elements.iter().enumerate() {
            for bit in 0..14 {
                let place = 14 * index + bit;
                bytes[place / 8] |= u8::from((element >> bit) & 1 == 1) << (place % 8);
            }
        }
        bytes.extend(block.to_le_bytes());
        bytes
    };
    let mut elements = [head1(7); 16];
    elements[3] = non_head(1);
    elements[14] = non_head(1);
    // The last one of a pack: the distance to the next head, which is in the next pack.
    elements[15] = non_head(2);
    let body = [
        header(0, 1, 0, 0),
        small(head1(0), non_head(1), 99),
        small(head1(3), head1(5), 100),
        large(elements, 102),
        small(non_head(3), head1(9), 117),
    ]
    .concat();
    // 16 bytes lead to the large pack, so that there are two small ones.
    let file = File::new(9, COMPRESSED_COMPACT, 22 * 512, 4, &body);
    assert_eq!(file.header % 32, 8);
    let data = |block: u64| compressed(block * 512, 512, Algorithm::Lz4);
    for (pos, start, end, block) in [
        (700, 0, 2 * 512 + 3, 100),
        (2 * 512 + 3, 2 * 512 + 3, 3 * 512 + 5, 101),
        (3 * 512 + 5, 3 * 512 + 5, 4 * 512 + 7, 102),
        (4 * 512 + 7, 4 * 512 + 7, 5 * 512 + 7, 103),
        (7 * 512 + 9, 6 * 512 + 7, 8 * 512 + 7, 105),
        (19 * 512 + 9, 17 * 512 + 7, 21 * 512 + 9, 115),
        (20 * 512, 17 * 512 + 7, 21 * 512 + 9, 115),
        (21 * 512 + 9, 21 * 512 + 9, 22 * 512, 118),
    ] {
        assert_eq!(
            file.at(pos),
            pcluster(start, end - start, data(block)),
            "{pos}"
        );
    }
}

#[test]
fn lcluster_sizes() {
    for bits in 0..=15_u8 {
        let size = 512_u64 << bits;
        let file = File::full(
            size + 10,
            &header(0, 0, 0, bits),
            &[head(HEAD1, 0, 7), head(PLAIN, 5, 8)],
        );
        let expected = pcluster(0, size + 5, compressed(7 * 512, 512, Algorithm::Lz4));
        if size <= MAX_DECODED_SIZE {
            assert_eq!(file.at(size + 4), expected, "{bits}");
        }
        // Offsets in a compact index have 14 bits at most.
        let [low, high] = 1_u16
            .wrapping_shl(u32::from(bits + 9).max(12))
            .to_le_bytes();
        let body = [header(0, 0, 0, bits), vec![low, high, 0, 0, 6, 0, 0, 0]].concat();
        let compact = File::new(9, COMPRESSED_COMPACT, size, 0, &body);
        let found = compact.at(0);
        match bits {
            0..=5 => assert_eq!(
                found,
                pcluster(0, size, compressed(7 * 512, 512, Algorithm::Lz4))
            ),
            _ => assert!(matches!(found, Err(Error::Invalid(_))), "{bits}: {found:?}"),
        }
    }
}
