// SPDX-License-Identifier: GPL-2.0

use super::*;
use crate::image::to_u64;
use crate::testing::{field, TestImage, TestInode, TestVolume, CHUNKED};
use crate::volume::DeviceSlot;
use proptest::prelude::*;

const BLOCK: u64 = 512;
/// The inode is at the start of block 4.
const NID: u64 = 64;
const BODY: usize = 4 * 512 + 32;

/// What a test wants a chunk to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Chunk {
    device: u16,
    block: u64,
}

const HOLE: Chunk = Chunk {
    device: 0xFFFF,
    block: (1 << 48) - 1,
};

fn at(block: u64) -> Chunk {
    Chunk { device: 0, block }
}

fn encode(format: u16, chunk: Chunk) -> Vec<u8> {
    let block = chunk.block.to_le_bytes();
    if format & FORMAT_INDEXES == 0 {
        return block[..4].to_vec();
    }
    [&block[4..6], &chunk.device.to_le_bytes(), &block[..4]].concat()
}

fn map(format: u16, chunks: &[Chunk]) -> Vec<u8> {
    chunks
        .iter()
        .flat_map(|chunk| encode(format, *chunk))
        .collect()
}

/// An image of 16 blocks and a chunk-based file of this size, whose addresses are at `map_start`.
fn fixture(format: u16, size: u64, map_start: usize, chunks: &[Chunk]) -> (TestImage, Inode) {
    let mut image = TestImage::new(9, 16);
    let file = TestInode::file(CHUNKED, size, u32::from(format));
    image
        .put_inode(64, &file)
        .put(map_start, &map(format, chunks));
    let inode = Inode::read(image.image(), &image.superblock(), NID).unwrap();
    (image, inode)
}

fn extents(format: u16, size: u64, chunks: &[Chunk]) -> Vec<Result<Extent>> {
    let (image, inode) = fixture(format, size, BODY, chunks);
    let sb = image.superblock();
    let mut extents = Vec::new();
    let mut pos = 0;
    while pos < size {
        let extent = inode.extent_at(image.image(), &sb, pos);
        extents.push(extent);
        let Ok(Extent::Data { len, .. } | Extent::Hole { len }) = extent else {
            break;
        };
        pos += len;
    }
    extents
}

fn data(block: u64, len: u64) -> Result<Extent> {
    Ok(Extent::Data {
        device: 0,
        offset: block * BLOCK,
        len,
    })
}

fn hole(len: u64) -> Result<Extent> {
    Ok(Extent::Hole { len })
}

#[test]
fn block_map() {
    let chunks = [at(7), at(8), HOLE, HOLE, at(5), at(9)];
    assert_eq!(
        extents(0, 5 * BLOCK + 3, &chunks),
        [data(7, 1024), hole(1024), data(5, 512), data(9, 3)]
    );
    // The device is not there, and the address has 32 bits.
    let chunks = [at(u64::from(u32::MAX) - 1), at((1 << 32) | 7)];
    for format in [0, FORMAT_WIDE] {
        assert_eq!(
            extents(format, 2 * BLOCK, &chunks),
            [data(0xFFFF_FFFE, 512), data(7, 512)]
        );
    }
}

#[test]
fn indexes() {
    let narrow = FORMAT_INDEXES;
    let wide = FORMAT_INDEXES | FORMAT_WIDE;
    let high = at((3 << 32) | 7);
    // Without the bit, the upper half does not count.
    assert_eq!(extents(narrow, 1, &[high]), [data(7, 1)]);
    assert_eq!(extents(wide, 1, &[high]), [data((3 << 32) | 7, 1)]);
    let half_null = at(0xFFFF_FFFF);
    assert_eq!(extents(narrow, 1, &[half_null]), [hole(1)]);
    assert_eq!(extents(wide, 1, &[half_null]), [data(0xFFFF_FFFF, 1)]);
    for format in [narrow, wide] {
        assert_eq!(extents(format, 700, &[HOLE, HOLE]), [hole(700)]);
    }
    // Without a device table there is one device.
    let elsewhere = Chunk {
        device: 5,
        block: 9,
    };
    assert_eq!(extents(narrow, 1, &[elsewhere]), [data(9, 1)]);
}

#[test]
fn chunk_sizes() {
    let chunks = [at(10), at(14), at(30)];
    assert_eq!(
        extents(2, 8 * BLOCK + 9, &chunks),
        [data(10, 8 * BLOCK), data(30, 9)]
    );
    let (image, mut inode) = fixture(31, 1, BODY, &[at(3); 1025]);
    inode.size = (1 << 50) + 5;
    let sb = image.superblock();
    assert_eq!(inode.chunk_size(&sb), Some(1 << 40));
    for (pos, len) in [((1 << 50) - 512, 512), (1 << 50, 5)] {
        let extent = inode.extent_at(image.image(), &sb, pos);
        let block = 3 + (pos % (1 << 40)) / BLOCK;
        assert_eq!(extent, data(block, len));
    }
}

#[test]
fn from_inside_a_chunk() {
    let (image, inode) = fixture(1, 9 * BLOCK, BODY, &[at(10), at(12), at(20), HOLE, at(3)]);
    let sb = image.superblock();
    let extent = |pos| inode.extent_at(image.image(), &sb, pos);
    let inside = |offset, len| {
        Ok(Extent::Data {
            device: 0,
            offset,
            len,
        })
    };
    assert_eq!(extent(1), inside(10 * BLOCK + 1, 4 * BLOCK - 1));
    assert_eq!(extent(4 * BLOCK - 1), inside(14 * BLOCK - 1, 1));
    assert_eq!(extent(4 * BLOCK + 700), inside(20 * BLOCK + 700, 324));
    assert_eq!(extent(7 * BLOCK), hole(BLOCK));
    assert_eq!(extent(9 * BLOCK - 1), inside(4 * BLOCK - 1, 1));
    assert_eq!(extent(9 * BLOCK), Err(Error::OutOfBounds));
    // As little work as wanted.
    let first = inode.extent_for(image.image(), &sb, 1, 1023);
    assert_eq!(first, inside(10 * BLOCK + 1, 1023));
    let more = inode.extent_for(image.image(), &sb, 1, 1024);
    assert_eq!(more, inside(10 * BLOCK + 1, 4 * BLOCK - 1));
    let none = inode.extent_for(image.image(), &sb, 1, 0);
    assert_eq!(none, inside(10 * BLOCK + 1, 1023));
}

#[test]
fn aligned_to_the_element() {
    // 5 units of xattrs: the body ends at a multiple of 4 that is not one of 8.
    for (format, start) in [(0, BODY + 12 + 16), (FORMAT_INDEXES, BODY + 12 + 20)] {
        let mut image = TestImage::new(9, 16);
        let file = TestInode {
            xattr_count: 5,
            ..TestInode::file(CHUNKED, 1, u32::from(format))
        };
        image
            .put_inode(64, &file)
            .put(start, &encode(format, at(9)));
        let sb = image.superblock();
        let inode = Inode::read(image.image(), &sb, NID).unwrap();
        assert_eq!(inode.extent_at(image.image(), &sb, 0), data(9, 1));
    }
}

/// Addresses in the next block of metadata begin another extent: it bounds the work, and Linux shows
/// the same extents.
#[test]
fn extents_end_with_the_addresses_block() {
    let per_block = u64::try_from((512 - 32) / 4).unwrap();
    let chunks: Vec<_> = (0..200).map(at).collect();
    assert_eq!(
        extents(0, 200 * BLOCK, &chunks),
        [
            data(0, per_block * BLOCK),
            data(per_block, (200 - per_block) * BLOCK)
        ]
    );
}

#[test]
fn addresses_past_the_end() {
    let (image, inode) = fixture(0, 1 << 31, BODY, &[]);
    let sb = image.superblock();
    let last = 16 * BLOCK - to_u64(BODY);
    let extent = |entry: u64| inode.extent_at(image.image(), &sb, entry * BLOCK);
    assert!(extent(last / 4 - 1).is_ok());
    assert_eq!(extent(last / 4), Err(Error::OutOfBounds));
    let (_, mut huge) = fixture(FORMAT_INDEXES, 1, BODY, &[]);
    huge.size = (1 << 63) - 1;
    let extent = huge.extent_at(image.image(), &sb, (1 << 63) - 2);
    assert_eq!(extent, Err(Error::OutOfBounds));
}

#[test]
fn only_chunked_files_have_a_chunk_size() {
    let mut image = TestImage::new(9, 16);
    image.put_inode(64, &TestInode::file(0, 5, 3));
    let sb = image.superblock();
    let inode = Inode::read(image.image(), &sb, NID).unwrap();
    assert_eq!(inode.chunk_size(&sb), None);
}

#[test]
fn other_devices() {
    let slots = [
        DeviceSlot {
            blocks: 4,
            uniaddr: 16,
        },
        DeviceSlot {
            blocks: 4,
            uniaddr: 20,
        },
    ];
    let chunk = |device, block| Chunk { device, block };
    // Masked to 1, 2, 2, 0 and 3.
    let chunks = [
        chunk(1, 3),
        chunk(2, 0),
        chunk(0xFF02, 1),
        chunk(4, 16),
        chunk(3, 0),
    ];
    let (mut image, inode) = fixture(FORMAT_INDEXES, 5 * BLOCK, BODY, &chunks);
    image.put_devices(8, &slots);
    let sb = image.superblock();
    let bytes = |first: u8| (0..4).flat_map(|block| [first + block; 512]).collect();
    let volume = TestVolume {
        primary: image.image(),
        extra: vec![(slots[0], bytes(16)), (slots[1], bytes(20))],
    };
    let on = |device, block, len| {
        Ok(Extent::Data {
            device,
            offset: block * BLOCK,
            len,
        })
    };
    let given = |index: u64| inode.extent_at(&volume, &sb, index * BLOCK);
    assert_eq!(given(0), on(1, 3, BLOCK));
    assert_eq!(given(1), on(2, 0, 2 * BLOCK));
    assert_eq!(given(3), on(1, 0, BLOCK), "in the first device's range");
    assert_eq!(given(4), Err(Error::NoDevice));
    let flat = |index: u64| inode.extent_at(image.image(), &sb, index * BLOCK);
    assert_eq!(flat(0), on(0, 19, BLOCK));
    assert_eq!(flat(1), on(0, 20, 2 * BLOCK));
    assert_eq!(flat(3), on(0, 16, BLOCK));
    assert_eq!(flat(4), Err(Error::NoDevice));
    let mut buf = [0; 4 * 512];
    let len = inode.read_data(&volume, &sb, 0, &mut buf);
    assert_eq!(len, Ok(buf.len()));
    let expected: Vec<u8> = [19, 20, 21, 16].iter().flat_map(|b| [*b; 512]).collect();
    assert_eq!(buf[..], expected);
}

#[cfg(not(miri))]
proptest! {
    /// Each byte is where its own chunk says, wherever the search for it starts.
    #[test]
    fn model(
        blocks in prop::collection::vec(prop_oneof![
            Just(None),
            (8_u64..12).prop_map(Some),
            (0_u64..(1 << 32) - 1).prop_map(Some),
        ], 1..150),
        repeat in 1_u64..4,
        bits in 0_u16..3,
        indexes in any::<bool>(),
        size in 0_u64..(1 << 18),
        pos in any::<prop::sample::Index>(),
        wanted in prop_oneof![Just(u64::MAX), 0_u64..5000],
    ) {
        let format = bits | if indexes { FORMAT_INDEXES } else { 0 };
        // Runs of chunks that follow each other, but for their number as often as not.
        let chunk_blocks = 1 << bits;
        let chunks: Vec<_> = blocks
            .iter()
            .flat_map(|block| (0..repeat).map(move |n| match block {
                None => HOLE,
                Some(block) => at((block + n * chunk_blocks).min((1 << 32) - 2)),
            }))
            .take(150)
            .collect();
        let chunk_size = chunk_blocks * BLOCK;
        let size = size.clamp(1, u64::try_from(chunks.len()).unwrap() * chunk_size);
        let (image, inode) = fixture(format, size, BODY, &chunks);
        let sb = image.superblock();

        let pos = u64::try_from(pos.index(usize::try_from(size).unwrap())).unwrap();
        let place = |pos: u64| {
            let chunk = chunks[usize::try_from(pos / chunk_size).unwrap()];
            (chunk != HOLE).then(|| chunk.block * BLOCK + pos % chunk_size)
        };
        let extent = inode.extent_for(image.image(), &sb, pos, wanted).unwrap();
        let (Extent::Data { len, .. } | Extent::Hole { len }) = extent;
        prop_assert!(len >= 1 && len <= size - pos);
        for skip in [0, len / 2, len - 1] {
            let found = match extent {
                Extent::Data { device, offset, .. } => {
                    prop_assert_eq!(device, 0);
                    Some(offset + skip)
                }
                Extent::Hole { .. } => None,
            };
            prop_assert_eq!(found, place(pos + skip), "{} + {}", pos, skip);
        }
        let chunk_end = (pos / chunk_size + 1) * chunk_size;
        prop_assert!(pos + len >= chunk_end.min(size), "at least a chunk");
    }

    /// Any addresses, also on devices that are not there.
    #[test]
    fn hostile(
        format in 0..=FORMAT_ALL,
        size in any::<u64>(),
        pos in any::<u64>(),
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        devices in any::<u16>(),
    ) {
        let (mut image, mut inode) = fixture(format, 1, BODY, &[]);
        inode.size = size >> 1;
        image.put(BODY, &bytes).put_devices(8, &[DeviceSlot { blocks: 2, uniaddr: 3 }; 3]);
        image.put(field::EXTRA_DEVICES, &(devices % 33).to_le_bytes());
        let Ok(sb) = SuperBlock::read(image.image()) else {
            return Ok(());
        };
        for pos in [pos % 30_000, pos] {
            if let Ok(extent) = inode.extent_at(image.image(), &sb, pos) {
                let (Extent::Data { len, .. } | Extent::Hole { len }) = extent;
                prop_assert!(len >= 1 && len <= inode.size - pos);
            }
            let mut buf = [0; 3000];
            let _ = inode.read_data(image.image(), &sb, pos, &mut buf);
        }
    }
}
