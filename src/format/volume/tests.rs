// SPDX-License-Identifier: GPL-2.0

use super::*;
use crate::inode::Inode;
use crate::testing::{field, TestImage, TestInode, TestVolume, PLAIN};
use proptest::prelude::*;

const BLOCK: u64 = 512;

fn slot(blocks: u64, uniaddr: u64) -> DeviceSlot {
    DeviceSlot { blocks, uniaddr }
}

/// An image of 16 blocks of 512 bytes with this device table in block 4.
fn image(slots: &[DeviceSlot]) -> TestImage {
    let mut image = TestImage::new(9, 16);
    image.put_devices(4, slots);
    image
}

/// A volume whose devices have their block numbers in the flat image in every byte.
fn volume<'a>(image: &'a TestImage, slots: &[DeviceSlot]) -> TestVolume<'a> {
    let bytes = |slot: &DeviceSlot| {
        (0..slot.blocks)
            .flat_map(|block| [u8::try_from(slot.uniaddr + block).unwrap(); 512])
            .collect()
    };
    TestVolume {
        primary: image.image(),
        extra: slots.iter().map(|slot| (*slot, bytes(slot))).collect(),
    }
}

fn data(device: u16, offset: u64, len: u64) -> Result<Extent> {
    Ok(Extent::Data {
        device,
        offset,
        len,
    })
}

#[test]
fn slots() {
    let wide = [slot(5, 16), slot((7 << 32) | 6, (9 << 32) | 21)];
    let mut image = image(&wide);
    let sb = image.superblock();
    assert_eq!(sb.extra_devices(), 2);
    assert_eq!(sb.device_slot(image.image(), 1), Ok(wide[0]));
    assert_eq!(sb.device_slot(image.image(), 2), Ok(slot(6, 21)));
    assert_eq!(sb.total_blocks(), 16 + 5 + 6);
    for absent in [0, 3, u16::MAX] {
        let found = sb.device_slot(image.image(), absent);
        assert_eq!(found, Err(Error::NoDevice));
    }
    image.enable(1 << 7);
    let sb = image.superblock();
    assert_eq!(sb.device_slot(image.image(), 2), Ok(wide[1]));
    assert_eq!((sb.blocks(), sb.size()), (16, 16 * BLOCK));
    assert_eq!(sb.total_blocks(), 16 + 5 + 6 + (7 << 32));
}

#[test]
fn table_past_the_end() {
    let mut image = image(&[slot(1, 16), slot(1, 17)]);
    let last = |image: &mut TestImage, slots: u16| {
        let offset = 16 * 4 - slots;
        image.put(field::DEVICE_TABLE, &offset.to_le_bytes());
        SuperBlock::read(image.image()).map(|sb| sb.extra_devices())
    };
    assert_eq!(last(&mut image, 2), Ok(2));
    assert_eq!(last(&mut image, 1), Err(Error::OutOfBounds));
    // Without the feature nobody looks.
    image.put(field::FEATURE_INCOMPAT, &[0; 4]);
    assert_eq!(last(&mut image, 1), Ok(0));
}

#[test]
fn id_masks() {
    for (count, mask) in [(0, 0), (1, 1), (2, 3), (3, 3), (4, 7), (7, 7), (8, 15)] {
        let slots = vec![slot(1, 0); count];
        let sb = image(&slots).superblock();
        assert_eq!(sb.device_id_mask(), mask, "{count}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "so many devices take minutes")]
fn id_mask_of_the_most_devices() {
    let mut many = TestImage::new(12, 2050);
    many.put_devices(1, &[])
        .put(field::EXTRA_DEVICES, &[0xFF, 0xFF]);
    let sb = many.superblock();
    assert_eq!((sb.extra_devices(), sb.device_id_mask()), (0xFFFF, 0xFFFF));
}

#[test]
fn flat() {
    let image = image(&[slot(5, 16), slot(6, 21)]);
    let sb = image.superblock();
    let locate = |device, offset| sb.locate(image.image(), device, offset, 100);
    assert_eq!(locate(0, 20 * BLOCK), data(0, 20 * BLOCK, 100));
    assert_eq!(locate(1, BLOCK), data(0, 17 * BLOCK, 100));
    assert_eq!(locate(2, 7), data(0, 21 * BLOCK + 7, 100));
    assert_eq!(locate(3, 7), Err(Error::NoDevice));
    assert_eq!(locate(2, u64::MAX), Err(Error::OutOfBounds));
}

#[test]
fn given_devices() {
    // The second one has no place in the flat image.
    let slots = [slot(5, 16), slot(6, 0), slot(2, 30)];
    let image = image(&slots);
    let sb = image.superblock();
    let volume = volume(&image, &slots);
    let locate = |device, block: u64, len| sb.locate(&volume, device, block * BLOCK, len);
    assert_eq!(locate(1, 3, 100), data(1, 3 * BLOCK, 100));
    assert_eq!(locate(2, 3, 100), data(2, 3 * BLOCK, 100));
    assert_eq!(locate(4, 0, 1), Err(Error::NoDevice));
    // Addresses without a device, inside and at the ends of ranges.
    assert_eq!(locate(0, 0, 100), data(0, 0, 100));
    assert_eq!(locate(0, 14, 9999), data(0, 14 * BLOCK, 2 * BLOCK));
    assert_eq!(locate(0, 16, 9999), data(1, 0, 5 * BLOCK));
    assert_eq!(locate(0, 20, 9999), data(1, 4 * BLOCK, BLOCK));
    assert_eq!(locate(0, 21, 9999), data(0, 21 * BLOCK, 9 * BLOCK));
    assert_eq!(locate(0, 31, 3), data(3, BLOCK, 3));
    assert_eq!(locate(0, 32, 3), data(0, 32 * BLOCK, 3));
    // Fewer devices than the table has.
    let mut fewer = volume;
    fewer.extra.truncate(1);
    assert_eq!(sb.locate(&fewer, 2, 0, 1), Err(Error::NoDevice));
    assert_eq!(sb.locate(&fewer, 0, 30 * BLOCK, 1), data(0, 30 * BLOCK, 1));
}

#[test]
fn device_of_a_volume() {
    let slots = [slot(1, 16)];
    let image = image(&slots);
    let volume = volume(&image, &slots);
    assert_eq!(volume.device(0).map(Image::len), Ok(16 * BLOCK));
    assert_eq!(volume.device(1).map(Image::len), Ok(BLOCK));
    assert_eq!(volume.device(2).map(Image::len), Err(Error::NoDevice));
    let plain = image.image();
    assert_eq!(plain.device(0).map(Image::len), Ok(16 * BLOCK));
    assert_eq!(plain.device(1).map(Image::len), Err(Error::NoDevice));
}

#[cfg(not(miri))]
proptest! {
    /// A file has the same bytes if the devices are given as if they follow each other in the image.
    #[test]
    fn flat_or_given(
        sizes in prop::collection::vec(1_u64..4, 1..4),
        start in 0_u64..30,
        size in 1_u64..8000,
        pos in 0_u64..8000,
    ) {
        let mut slots = Vec::new();
        let mut end = 16;
        for blocks in sizes {
            slots.push(slot(blocks, end));
            end += blocks;
        }
        let mut image = image(&slots);
        let start = start % end;
        let size = size.min((end - start) * BLOCK);
        let nid = usize::try_from(6 * BLOCK / 32).unwrap();
        image.put_inode(nid, &TestInode::file(PLAIN, size, u32::try_from(start).unwrap()));
        let given = volume(&image, &slots);
        let mut flat = image.image().to_vec();
        for (_, bytes) in &given.extra {
            flat.extend(bytes);
        }
        let sb = image.superblock();
        let inode = Inode::read(&given, &sb, 6 * BLOCK / 32).unwrap();
        let (mut one, mut other) = (vec![0; 8000], vec![0; 8000]);
        let len = inode.read_data(&given, &sb, pos, &mut one);
        prop_assert_eq!(len, Ok(usize::try_from(size.saturating_sub(pos)).unwrap()));
        prop_assert_eq!(inode.read_data(&flat[..], &sb, pos, &mut other), len);
        prop_assert_eq!(one, other);
    }
}
