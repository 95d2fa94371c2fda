// SPDX-License-Identifier: GPL-2.0

use super::*;
use crate::testing::{field, Minimal, TestImage, TestInode, PLAIN};

fn read(image: &TestImage) -> Result<SuperBlock> {
    let read = SuperBlock::read(image.image());
    let minimal = SuperBlock::read(&Minimal(image.image()));
    assert_eq!(
        minimal.as_ref().map(SuperBlock::size),
        read.as_ref().map(SuperBlock::size)
    );
    read
}

fn error(image: &TestImage) -> Error {
    read(image).expect_err("a superblock that must not be accepted")
}

/// States the checksum that the image has.
fn with_checksum(mut image: TestImage) -> TestImage {
    image.put(field::FEATURE_COMPAT, &1_u32.to_le_bytes());
    let block_size = 1 << image.bytes[field::BLOCK_BITS];
    let end = if block_size > 1024 {
        block_size
    } else {
        1024 + block_size
    };
    let sum = crc32c(CHECKSUM_SEED, &image.bytes[1032..end]);
    image.put(field::CHECKSUM, &sum.to_le_bytes());
    image
}

#[test]
fn fields() {
    let mut image = TestImage::new(12, 3);
    image
        .put(field::ROOT_NID, &36_u16.to_le_bytes())
        .put(field::INODES, &7_u64.to_le_bytes())
        .put(field::EPOCH, &1_700_000_000_i64.to_le_bytes())
        .put(field::FIXED_NSEC, &5_u32.to_le_bytes())
        .put(field::META_BLOCK, &2_u32.to_le_bytes())
        .put(field::UUID, b"0123456789abcdef")
        .put(field::VOLUME_NAME, b"label")
        .put(field::BUILD_TIME, &60_u32.to_le_bytes());
    let sb = read(&image).unwrap();
    assert_eq!((sb.block_bits(), sb.block_size()), (12, 4096));
    assert_eq!((sb.blocks(), sb.size()), (3, 3 * 4096));
    assert_eq!((sb.root_nid(), sb.inodes()), (36, 7));
    assert_eq!((sb.epoch(), sb.fixed_nsec()), (1_700_000_000, 5));
    assert_eq!(sb.build_time(), 1_700_000_060);
    assert_eq!(sb.uuid(), b"0123456789abcdef");
    assert_eq!(sb.volume_name(), b"label");
    assert_eq!((sb.feature_compat(), sb.feature_incompat()), (0, 0));
    assert_eq!(sb.inode_offset(36), Ok(2 * 4096 + 36 * 32));
}

#[test]
fn label_without_nul() {
    let mut image = TestImage::new(12, 1);
    image.put(field::VOLUME_NAME, b"sixteen letters!");
    assert_eq!(read(&image).unwrap().volume_name(), b"sixteen letters!");
}

#[test]
fn not_erofs() {
    assert!(!has_magic(&[][..]));
    assert!(has_magic(TestImage::new(12, 1).image()));
    let mut image = TestImage::new(12, 1);
    image.put(field::MAGIC, &[0]);
    assert!(!has_magic(image.image()));
    assert_eq!(
        error(&image),
        Error::Invalid("no EROFS superblock: wrong magic")
    );
    let short = &TestImage::new(12, 1).bytes[..1151];
    assert_eq!(
        SuperBlock::read(short).unwrap_err(),
        Error::Invalid("too short for an EROFS superblock")
    );
}

#[test]
fn block_sizes() {
    for bits in 9..=12 {
        let sb = read(&TestImage::new(bits, 8)).unwrap();
        assert_eq!(sb.block_size(), 1 << bits);
        assert_eq!(sb.blocks_for(0), 0);
        assert_eq!(sb.blocks_for(1), 1);
        assert_eq!(sb.blocks_for(1 << bits), 1);
        assert_eq!(sb.blocks_for((1 << bits) + 1), 2);
        assert_eq!(sb.blocks_for(u64::MAX), 1 << (64 - bits));
    }
    for (bits, text) in [
        (0, "block size under 512 bytes"),
        (8, "block size under 512 bytes"),
        (13, "block size over a page (4096 bytes)"),
        (255, "block size over a page (4096 bytes)"),
    ] {
        let mut image = TestImage::new(12, 8);
        image.put(field::BLOCK_BITS, &[bits]);
        assert_eq!(error(&image), Error::Invalid(text));
    }
    let mut image = TestImage::new(12, 8);
    image.put(field::DIR_BLOCK_BITS, &[1]);
    assert!(matches!(error(&image), Error::Invalid(_)));
}

#[test]
fn checksum_of_each_block_size() {
    for bits in 9..=12 {
        let image = with_checksum(TestImage::new(bits, 8));
        assert!(read(&image).is_ok());
        let end = if bits > 10 {
            1 << bits
        } else {
            1024 + (1 << bits)
        };
        for (place, covered) in [
            (1023, false),
            (field::CHECKSUM, true),
            (field::UUID, true),
            (1152, true),
            (end - 1, true),
            (end, false),
        ] {
            let mut changed = image.clone();
            changed.bytes[place] ^= 1;
            match read(&changed) {
                Ok(_) => assert!(!covered, "byte {place} of {bits}"),
                Err(error) => assert!(covered && error == Error::Checksum),
            }
        }
    }
}

#[test]
fn checksum_goes_first() {
    let mut image = with_checksum(TestImage::new(12, 8));
    image.put(field::FEATURE_INCOMPAT, &(1_u32 << 31).to_le_bytes());
    assert_eq!(error(&image), Error::Checksum);
    image = with_checksum(image);
    assert_eq!(
        error(&image),
        Error::Invalid("unknown incompatible feature")
    );
}

#[test]
fn features() {
    let with = |features: u32, extra_devices: u16| {
        let mut image = TestImage::new(12, 1);
        image
            .put(field::FEATURE_INCOMPAT, &features.to_le_bytes())
            .put(field::EXTRA_DEVICES, &extra_devices.to_le_bytes());
        read(&image).map(|sb| sb.feature_incompat())
    };
    // Those that concern compressed, chunk-based and packed inodes, and xattrs.
    for bit in [0, 1, 2, 4, 5, 6, 7] {
        assert_eq!(with(1 << bit, 0), Ok(1 << bit));
    }
    for bit in 9..32 {
        assert!(matches!(with(1 << bit, 0), Err(Error::Invalid(_))));
    }
    // One bit, two meanings: a second algorithm, or more devices.
    assert_eq!(with(8, 0), Ok(8));
    assert_eq!(with(8, 1), Ok(8));
    assert_eq!(with(0, 1), Ok(0));
}

#[test]
fn size() {
    let mut image = TestImage::new(12, 2);
    image.put(field::EXTENSION_SLOTS, &[184]);
    assert!(read(&image).is_ok());
    image.put(field::EXTENSION_SLOTS, &[185]);
    assert_eq!(
        error(&image),
        Error::Invalid("superblock larger than a page")
    );

    let mut image = with_checksum(TestImage::new(12, 2));
    image.bytes.push(0);
    assert!(read(&image).is_ok(), "a longer image is fine");
    image.bytes.truncate(2 * 4096 - 1);
    assert_eq!(error(&image), TRUNCATED);
    image.bytes.truncate(4095);
    assert_eq!(error(&image), TRUNCATED, "no whole block to sum up");

    let mut image = TestImage::new(9, 3);
    image.put(field::EXTENSION_SLOTS, &[24]);
    assert!(read(&image).is_ok());
    image.put(field::EXTENSION_SLOTS, &[25]);
    assert_eq!(error(&image), TRUNCATED, "superblock over the end");

    let mut image = TestImage::new(12, 2);
    image.put(field::BLOCKS, &u32::MAX.to_le_bytes());
    assert_eq!(error(&image), TRUNCATED);
}

#[test]
fn impossible_nids() {
    let sb = read(&TestImage::new(12, 1)).unwrap();
    assert!(matches!(sb.inode_offset(1 << 59), Err(Error::Corrupt(_))));
    assert_eq!(sb.inode_offset((1 << 59) - 1), Ok(u64::MAX - 31));
    let mut image = TestImage::new(12, 1);
    image.put(field::META_BLOCK, &u32::MAX.to_le_bytes());
    let sb = read(&image).unwrap();
    assert!(matches!(
        sb.inode_offset((1 << 59) - 1),
        Err(Error::Corrupt(_))
    ));
}

#[test]
fn wide_root_and_blocks() {
    let facts = |incompat: u32, wide: u64| {
        let mut image = TestImage::new(12, 2);
        image
            .enable(incompat)
            .put(field::ROOT_NID, &36_u16.to_le_bytes())
            .put(field::WIDE_ROOT_NID, &wide.to_le_bytes());
        SuperBlock::read(image.image()).map(|sb| (sb.root_nid(), sb.blocks()))
    };
    assert_eq!(facts(0, 0), Ok((36, 2)));
    assert_eq!(facts(0, 1 << 40), Ok((36, 2)));
    // mkfs.erofs leaves the short one in place where it can.
    assert_eq!(facts(1 << 7, 0), Ok((36, 2)));
    // Then the short one's place has bits of the number of blocks, which are not there.
    assert_eq!(facts(1 << 7, 1 << 40), Err(TRUNCATED));
    let mut image = TestImage::new(12, 2);
    image
        .enable(1 << 7)
        .put(field::WIDE_ROOT_NID, &((1_u64 << 63) | 5).to_le_bytes());
    assert_eq!(read(&image).unwrap().root_nid(), (1 << 63) | 5);
}

#[test]
fn inode_numbers() {
    let mut image = TestImage::new(12, 2);
    let nids = [0, 5, (1 << 31) + 5, 1 << 62, (1 << 63) | 5];
    let sb = read(&image).unwrap();
    assert_eq!(nids.map(|nid| sb.inode_number(nid)), nids);
    image
        .put_inode(128, &TestInode::file(PLAIN, 0, 0))
        .set_metabox(128);
    let sb = read(&image).unwrap();
    assert_eq!(
        nids.map(|nid| sb.inode_number(nid)),
        [0, 5, (1 << 32) + 5, 1 << 63, (1 << 31) + 5]
    );
}

#[test]
fn metabox() {
    let with = |inode: TestInode, nid: u64| {
        let mut image = TestImage::new(12, 2);
        image
            .put(field::U1, &[1])
            .put_inode(128, &inode)
            .set_metabox(nid);
        SuperBlock::read(image.image()).map(|sb| sb.metabox().map(|inode| inode.nid))
    };
    let file = TestInode::file(PLAIN, 4096, 1);
    assert_eq!(with(file, 128), Ok(Ok(128)));
    assert_eq!(with(TestInode::dir(PLAIN, 0, 0), 128), Ok(Ok(128)));
    for layout in [1, 3] {
        assert_eq!(with(TestInode { layout, ..file }, 128), Ok(Ok(128)));
    }
    let in_itself = with(file, 128 | (1 << 63));
    assert!(matches!(in_itself, Err(Error::Corrupt(_))));
    let fifo = with(TestInode::new(0o010_644, PLAIN, 0, 0), 128);
    assert!(matches!(fifo, Err(Error::Corrupt(_))));
    let nothing = with(TestInode { mode: 0, ..file }, 128);
    assert!(matches!(nothing, Err(Error::Corrupt(_))));
    assert_eq!(with(file, 1 << 30), Err(Error::OutOfBounds));

    let mut image = TestImage::new(12, 2);
    image.put_inode(128, &file).set_metabox(128);
    image.put(field::EXTENSION_SLOTS, &[0]);
    assert_eq!(error(&image), Error::Corrupt("metabox without a nid"));
    // The nid without the feature is nothing.
    let mut image = TestImage::new(12, 2);
    image.put(field::METABOX_NID, &[0xFF; 8]);
    assert!(matches!(
        read(&image).unwrap().metabox(),
        Err(Error::Corrupt(_))
    ));
}

#[test]
fn packed_inode() {
    let with = |features: u32, nid: u64| {
        let mut image = TestImage::new(12, 2);
        image
            .enable(features)
            .put_inode(128, &TestInode::file(PLAIN, 4096, 1))
            .put(field::PACKED_NID, &nid.to_le_bytes());
        SuperBlock::read(image.image()).map(|sb| sb.packed().map(|inode| inode.nid))
    };
    const FRAGMENTS: u32 = 1 << 5;
    assert_eq!(with(FRAGMENTS, 128), Ok(Some(128)));
    assert_eq!(with(FRAGMENTS, 0), Ok(None));
    assert_eq!(with(0, 128), Ok(None));
    assert_eq!(with(FRAGMENTS, 1 << 30), Err(Error::OutOfBounds));
    let no_inode = with(FRAGMENTS, 129);
    assert!(matches!(no_inode, Err(Error::Corrupt(_))));
    let in_metabox = with(FRAGMENTS, 128 | (1 << 63));
    assert!(matches!(in_metabox, Err(Error::Corrupt(_))));
}

#[test]
fn digest_prefix() {
    let with = |compat: u32, id: u8, count: u8| {
        let mut image = TestImage::new(12, 2);
        image
            .put(field::FEATURE_COMPAT, &compat.to_le_bytes())
            .put(field::DIGEST_PREFIX, &[id])
            .put(field::XATTR_PREFIX_COUNT, &[count]);
        SuperBlock::read(image.image()).map(|sb| sb.xattr_prefix_count())
    };
    const DIGESTS: u32 = 1 << 5;
    assert_eq!(with(DIGESTS, 1, 2), Ok(2));
    for (id, count) in [(2, 2), (0, 0), (255, 255)] {
        assert!(matches!(with(DIGESTS, id, count), Err(Error::Corrupt(_))));
    }
    assert_eq!(with(0, 2, 2), Ok(2));
}

#[test]
fn ignored_fields() {
    // Unknown compatible features, and fields of features that the image does not have.
    let mut image = TestImage::new(12, 2);
    image
        .put(field::FEATURE_COMPAT, &0xFFFF_FFC0_u32.to_le_bytes())
        .put(field::EXTRA_DEVICES, &[0xFF; 4])
        .put(field::XATTR_BLOCK, &[0xFF; 4])
        .put(field::XATTR_PREFIX_START, &[0xFF; 14])
        .put(field::WIDE_ROOT_NID, &[0xFF; 24]);
    let sb = read(&image).unwrap();
    assert_eq!((sb.blocks(), sb.root_nid()), (2, 0));
    assert_eq!((sb.extra_devices(), sb.total_blocks()), (0, 2));
}
