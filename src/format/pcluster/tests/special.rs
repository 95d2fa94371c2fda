// SPDX-License-Identifier: GPL-2.0

//! Pclusters that are not simply in blocks of the image.

use super::*;
use crate::testing::{field, TestVolume};
use crate::volume::DeviceSlot;

const BIG: u16 = 6;
const INTERLACED: u16 = 0x10;

/// Gives the file's image a packed inode of 1 MiB.
fn with_packed_inode(mut file: File) -> File {
    let nid = INODE_BLOCK * 512 / 32 - 2;
    let packed = TestInode::file(crate::testing::PLAIN, 1 << 20, 1).extended();
    file.image.enable(1 << 5).put_inode(nid, &packed).put(
        field::PACKED_NID,
        &u64::try_from(nid).unwrap().to_le_bytes(),
    );
    file
}

#[test]
fn holes_of_a_full_index() {
    let elements = [
        head(HEAD1 | LI_HOLE, 0, u32::MAX),
        non_head(1, 2),
        non_head(2, 1),
        head(HEAD2, 9, 60),
        block_count(0, 1),
        head(PLAIN, 0, 70),
        head(HEAD1 | LI_HOLE, 5, 0),
    ];
    let file = File::full(6 * 512 + 7, &header(0, BIG, 0, 0), &elements);
    assert_eq!(file.at(512), pcluster(0, 3 * 512 + 9, Data::Hole));
    assert_eq!(file.at(1545), pcluster(1545, 1015, Data::Hole));
    // What precedes a hole has data, though Linux 7.3 lets the hole's flag leak into it.
    let plain = encoded(70 * 512, 512, Encoding::Shifted);
    assert_eq!(file.at(6 * 512 - 1), file.at(5 * 512));
    let short = File::full(5 * 512 + 512 + 5, &header(0, BIG, 0, 0), &elements);
    assert_eq!(
        short.at(5 * 512),
        Err(Error::Corrupt("plain pcluster too short")),
        "517 bytes in a block"
    );
    let mut elements = elements;
    elements[6] = head(HEAD1 | LI_HOLE, 0, 0);
    let file = File::full(6 * 512 + 7, &header(0, BIG, 0, 0), &elements);
    assert_eq!(file.at(6 * 512 - 1), pcluster(5 * 512, 512, plain));
    assert_eq!(file.at(6 * 512), pcluster(6 * 512, 7, Data::Hole));
}

/// A hole may be longer than what any pcluster decodes to.
#[test]
fn long_holes() {
    let count = if cfg!(miri) { 30_000 } else { 200_000_u64 };
    let elements: Vec<_> = (0..count)
        .map(|lcn| match lcn {
            0 => head(HEAD1 | LI_HOLE, 0, 0),
            _ => non_head(
                u16::try_from(lcn.min(2047)).unwrap(),
                u16::try_from((count - lcn).min(2047)).unwrap(),
            ),
        })
        .collect();
    let file = File::full(count * 512, &header(0, 0, 0, 0), &elements);
    for pos in [0, count * 256, count * 512 - 1] {
        let found = file.at(pos).unwrap();
        assert_eq!((found.start, found.data), (0, Data::Hole));
        assert!(found.len > pos && found.len <= file.size);
        assert_eq!(found.is_whole, found.len == file.size);
    }
}

/// Data that decodes to more than it may: Linux decodes the first 12 MiB, too.
#[test]
fn long_extents() {
    let count = 30_000_u64;
    let mut elements: Vec<_> = (0..count)
        .map(|lcn| {
            let next = u16::try_from((count - lcn).min(2047)).unwrap();
            non_head(u16::try_from(lcn.min(2047)).unwrap(), next)
        })
        .collect();
    elements[0] = head(HEAD1, 0, 7);
    let file = File::full(count * 512, &header(0, 0, 0, 0), &elements);
    let expected = Pcluster {
        start: 0,
        len: MAX_DECODED_SIZE,
        is_whole: false,
        data: compressed(7 * 512, 512, Algorithm::Lz4),
    };
    for pos in [0, 5 << 20, MAX_DECODED_SIZE - 1] {
        assert_eq!(file.at(pos), Ok(expected));
    }
    let beyond = file.at(MAX_DECODED_SIZE);
    assert!(matches!(beyond, Err(Error::Unsupported(_))), "{beyond:?}");
}

#[test]
fn old_indexes_without_distances() {
    let elements = [
        head(HEAD1, 0, 7),
        non_head(1, 0),
        non_head(2, 0),
        head(HEAD1, 3, 8),
    ];
    let file = File::full(4 * 512, &header(0, 0, 0, 0), &elements);
    let data = compressed(7 * 512, 512, Algorithm::Lz4);
    assert_eq!(file.at(600), pcluster(0, 3 * 512 + 3, data));
}

#[test]
fn whole_file_in_the_packed_inode() {
    let lo = 0x0002_0100;
    for layout in [COMPRESSED_FULL, COMPRESSED_COMPACT] {
        let map = header(lo, 0, 0, 0x80);
        let file = with_packed_inode(File::new(9, layout, 3000, 0, &map));
        let expected = pcluster(0, 3000, Data::Fragment { offset: 0x2_0100 });
        assert_eq!(file.at(0), expected);
        assert_eq!(file.at(2999), expected);
        // 63 bits of offset.
        let far = header(u32::MAX, u16::MAX, 0xFF, 0xFF);
        let file = with_packed_inode(File::new(9, layout, 1, 0, &far));
        assert_eq!(file.at(0), Err(Error::OutOfBounds));
        let tail = file.map_header().unwrap().tail;
        let offset = u64::MAX >> 1;
        assert_eq!(tail, Tail::WholeFile { offset });
    }
}

#[test]
fn fragments_need_a_packed_inode() {
    let map = header((1 << 20) - 10, 0, 0, 0x80);
    let without = File::new(9, COMPRESSED_FULL, 10, 0, &map);
    assert!(matches!(without.at(0), Err(Error::Corrupt(_))));
    assert!(with_packed_inode(without).at(0).is_ok());
    // One byte more than the packed inode has.
    let past = with_packed_inode(File::new(9, COMPRESSED_FULL, 11, 0, &map));
    assert_eq!(past.at(0), Err(Error::OutOfBounds));
    let mut itself = File::new(9, COMPRESSED_FULL, 10, 0, &header(0, 0, 0, 0x80));
    let nid = u64::try_from(INODE_BLOCK * 512 / 32).unwrap();
    itself
        .image
        .enable(1 << 5)
        .put(field::PACKED_NID, &nid.to_le_bytes());
    assert!(matches!(itself.at(0), Err(Error::Corrupt(_))));
}

/// The end of a file whose last pcluster starts in the first lcluster is all of it.
#[test]
fn fragment_from_the_first_lcluster_on() {
    let elements = [head(HEAD1, 0, 1), non_head(1, 1)];
    let file = File::full(1000, &header(7, 0x20, 0, 0), &elements);
    let offset = (1 << 32) | 7;
    assert_eq!(file.map_header().unwrap().tail, Tail::WholeFile { offset });
}

#[test]
fn inline_data() {
    // The index ends 8 + 8 + 8 bytes behind the header, which is 64 bytes into the block.
    let tail = 8 * 512 + 64 + 24;
    let element = [head(PLAIN, 0, 1)];
    let of = |len: u32| File::full(300, &header(len << 16, 8 | INTERLACED, 0, 0), &element);
    assert_eq!(
        of(300).at(0),
        pcluster(0, 300, encoded(tail, 300, Encoding::Shifted))
    );
    let longest = u32::try_from(512 - tail % 512).unwrap();
    assert!(of(longest).at(0).is_ok());
    assert!(matches!(of(longest + 1).at(0), Err(Error::Corrupt(_))));
    assert!(matches!(of(299).at(0), Err(Error::Corrupt(_))), "too short");
    // Without a size, there is none.
    let file = File::full(300, &header(0, 8, 0, 0), &element);
    assert_eq!(
        file.at(0),
        pcluster(0, 300, encoded(512, 512, Encoding::Shifted))
    );
}

#[test]
fn in_a_metabox() {
    let mut image = TestImage::new(9, 64);
    // The metabox has the blocks from 32 on; the inode is in its second one.
    let metabox = TestInode::file(crate::testing::PLAIN, 10 * 512, 32);
    let element = [head(HEAD1, 0, 1)];
    let body = full_body(&header(100 << 16, 8, 0, 0), &element);
    image
        .set_metabox(64)
        .enable(3)
        .put(field::U1, &[1, 0])
        .put(1168, &[14, 0])
        .put_inode(64, &metabox)
        .put(33 * 512, &TestInode::file(COMPRESSED_FULL, 500, 1).encode())
        .put(33 * 512 + 32, &body);
    let sb = image.superblock();
    let nid = crate::testing::metabox_nid(512);
    let inode = Inode::read(image.image(), &sb, nid).unwrap();
    let map = inode.map_header(image.image(), &sb).unwrap();
    let found = inode.pcluster_at(image.image(), &sb, &map, &mut Cursor::default(), 0);
    let place = Place::Metabox {
        offset: 512 + 32 + 24,
    };
    let expected = Encoded {
        place,
        len: 100,
        encoding: Encoding::Compressed(Algorithm::Lz4),
        is_partial: false,
    };
    assert_eq!(found, pcluster(0, 500, Data::Encoded(expected)));
}

#[test]
fn on_other_devices() {
    let elements = [head(HEAD1, 0, 99), head(HEAD1, 0, 100), head(HEAD1, 0, 109)];
    let mut file = File::full(3 * 512, &header(0, 0, 0, 0), &elements);
    let slot = DeviceSlot {
        blocks: 10,
        uniaddr: 100,
    };
    file.image.put_devices(6, &[slot]);
    let (sb, inode) = file.inode();
    let volume = TestVolume {
        primary: file.image.image(),
        extra: vec![(slot, vec![0; 5120])],
    };
    let map = inode.map_header(&volume, &sb).unwrap();
    let place = |pos| {
        let found = inode.pcluster_at(&volume, &sb, &map, &mut Cursor::default(), pos);
        match found.unwrap().data {
            Data::Encoded(Encoded {
                place: Place::Device { device, offset },
                ..
            }) => (device, offset),
            data => panic!("{data:?}"),
        }
    };
    assert_eq!(place(0), (0, 99 * 512));
    assert_eq!(place(512), (1, 0));
    assert_eq!(place(1024), (1, 9 * 512));
    // Without the device, its blocks are behind the others.
    assert_eq!(
        file.at(512),
        pcluster(512, 512, compressed(51_200, 512, Algorithm::Lz4))
    );

    let elements = [
        head(HEAD1, 0, 98),
        block_count(3, 2),
        non_head(2, 1),
        non_head(3, 1),
    ];
    let mut file = File::full(4 * 512, &header(0, BIG, 0, 0), &elements);
    file.image.put_devices(6, &[slot]);
    let (sb, inode) = file.inode();
    let volume = TestVolume {
        primary: file.image.image(),
        extra: vec![(slot, vec![0; 5120])],
    };
    let map = inode.map_header(&volume, &sb).unwrap();
    let found = inode.pcluster_at(&volume, &sb, &map, &mut Cursor::default(), 0);
    assert_eq!(found, Err(Error::Corrupt("pcluster on two devices")));
}

/// Where the bytes of a plain pcluster are, in runs.
fn plain_parts(start: u64, len: u64, size: u32, encoding: Encoding) -> Vec<(u64, u64, u64)> {
    let sb = TestImage::new(9, 8).superblock();
    let pcluster = Pcluster {
        start,
        len,
        is_whole: true,
        data: encoded(0, size, encoding),
    };
    let mut parts = Vec::new();
    let mut skip = 0;
    while let Some(part) = pcluster.plain_part(&sb, skip) {
        parts.push((skip, part.offset, part.len));
        skip += part.len;
    }
    assert_eq!(
        skip,
        if matches!(encoding, Encoding::Compressed(_)) {
            0
        } else {
            len
        }
    );
    parts
}

#[test]
fn plain_data() {
    let parts = plain_parts;
    assert_eq!(parts(700, 500, 512, Encoding::Shifted), [(0, 0, 500)]);
    assert_eq!(parts(0, 512, 512, Encoding::Interlaced), [(0, 0, 512)]);
    // Byte 700 is byte 188 of its block, and the next block starts 324 bytes behind it.
    let rotated = [(0, 188, 324), (324, 0, 176)];
    assert_eq!(parts(700, 500, 512, Encoding::Interlaced), rotated);
    assert_eq!(parts(700, 300, 512, Encoding::Interlaced), [(0, 188, 300)]);
    let two_blocks = [(0, 512 + 188, 324), (324, 0, 600)];
    assert_eq!(parts(700, 924, 1024, Encoding::Interlaced), two_blocks);
    assert!(parts(0, 512, 512, Encoding::Compressed(Algorithm::Lz4)).is_empty());
}
