// SPDX-License-Identifier: GPL-2.0

use super::model::{End, Extent, Model, BLOCK};
use super::*;
use crate::testing::field;
use proptest::prelude::*;

/// What an extent is made of; the file decides what of it is possible.
#[derive(Clone, Debug)]
struct Wish {
    lclusters: u64,
    offset: u64,
    head_type: u16,
    blocks: u32,
    is_partial: bool,
}

fn wish() -> impl Strategy<Value = Wish> {
    let lclusters = prop_oneof![5 => 1..4_u64, 5 => 1..40_u64, 1 => 2000..4200_u64];
    let head_type = prop_oneof![Just(0_u16), Just(1), Just(3)];
    let blocks = prop_oneof![Just(0_u32), Just(1), 1..9_u32, 1..2048_u32];
    (lclusters, any::<u16>(), head_type, blocks, any::<bool>()).prop_map(
        |(lclusters, offset, head_type, blocks, is_partial)| Wish {
            lclusters,
            offset: u64::from(offset),
            head_type,
            blocks,
            is_partial,
        },
    )
}

fn model(compact: bool) -> impl Strategy<Value = Model> {
    let end = prop_oneof![
        2 => Just(End::Block),
        1 => (1..200_u16).prop_map(End::Inline),
        1 => (0..1_u64 << 40).prop_map(End::Fragment),
    ];
    (
        (0..6_u8, any::<bool>(), any::<bool>(), 0..5_usize, end),
        prop::collection::vec(wish(), 1..60),
        (any::<u64>(), 1..0x1_0000_u32),
    )
        .prop_map(
            move |((cluster_bits, big, interlaced, skew, end), wishes, (tail, block))| {
                let mut model = Model {
                    cluster_bits,
                    big,
                    extents: Vec::new(),
                    size: 0,
                    end,
                    interlaced,
                    skew,
                };
                lay_out(&mut model, &wishes, tail, block);
                assign(&mut model, &wishes, compact);
                model
            },
        )
}

/// Decides where extents start.
fn lay_out(model: &mut Model, wishes: &[Wish], tail: u64, block: u32) {
    let size = model.lcluster();
    let mut lcn = 0;
    for wish in wishes {
        let offset = if lcn == 0 { 0 } else { wish.offset % size };
        model.extents.push(Extent {
            start: lcn * size + offset,
            head_type: wish.head_type,
            blocks: wish.blocks,
            block,
            is_partial: wish.is_partial,
        });
        // No extent is longer than what a pcluster may decode to.
        lcn += wish.lclusters.min(MAX_DECODED_SIZE / size - 1);
    }
    let last = model.extents[wishes.len() - 1].start;
    model.size = last + 1 + tail % (lcn * size - last);
}

/// Makes the numbers of blocks possible.
fn assign(model: &mut Model, wishes: &[Wish], compact: bool) {
    let mut block = model.extents[0].block;
    let lcluster = model.lcluster();
    for (index, wish) in wishes.iter().enumerate() {
        let (end, is_last) = (model.end_of(index), index + 1 == wishes.len());
        let extent = &mut model.extents[index];
        let len = end - extent.start;
        // Only an element that is not a head has a number of blocks.
        let lcn = extent.start / lcluster;
        let has_number = model.big
            && match is_last {
                true => lcn + 1 < end.div_ceil(lcluster),
                false => wish.lclusters > 1,
            };
        if !has_number {
            let can_be_hole = !compact && extent.blocks == 0;
            extent.blocks = if can_be_hole { 0 } else { 1 };
        }
        // Compressed data is not larger than what it decodes to, plain data not smaller.
        let most = u32::try_from(len / BLOCK).unwrap();
        let least = u32::try_from(len.div_ceil(BLOCK)).unwrap();
        if extent.head_type == 0 && extent.blocks != 0 && extent.blocks < least {
            extent.head_type = 1;
        }
        if extent.head_type != 0 && !is_last && extent.blocks > most {
            extent.blocks = if has_number { most } else { 1 };
            extent.head_type = if most == 0 { 0 } else { extent.head_type };
        }
        if matches!(model.end, End::Inline(_)) && is_last {
            extent.head_type = 1;
        }
        if compact {
            extent.is_partial = false;
            extent.block = block;
        } else {
            extent.block = extent.block.wrapping_mul(7 + u32::try_from(index).unwrap());
        }
        block += extent.blocks;
    }
}

/// A packed inode that is large enough.
fn with_packed_inode(file: &mut File) {
    let packed = TestInode::file(crate::testing::PLAIN, 1 << 42, 1).extended();
    file.image
        .enable(1 << 5)
        .put_inode(INODE_BLOCK * 512 / 32 - 2, &packed)
        .put(field::PACKED_NID, &(8_u64 * 512 / 32 - 2).to_le_bytes());
}

fn check(model: &Model, (mut file, tail): (File, u64), places: &[u64]) {
    with_packed_inode(&mut file);
    let (sb, inode) = file.inode();
    let map = inode.map_header(file.image.image(), &sb).unwrap();
    let mut cursor = Cursor::default();
    let mut positions: Vec<u64> = places
        .iter()
        .map(|place| place.wrapping_rem(model.size))
        .collect();
    for extent in &model.extents {
        positions.extend([extent.start, extent.start.saturating_sub(1)]);
    }
    positions.push(model.size - 1);
    for pos in positions {
        let index = model.extents.partition_point(|extent| extent.start <= pos) - 1;
        let expected = match model.end {
            End::Inline(len)
                if index + 1 == model.extents.len() && tail % BLOCK + u64::from(len) > BLOCK =>
            {
                Err(Error::Corrupt("inline pcluster across a block boundary"))
            }
            _ => Ok(model.pcluster(index, tail)),
        };
        for cursor in [&mut cursor, &mut Cursor::default()] {
            let found = inode.pcluster_at(file.image.image(), &sb, &map, cursor, pos);
            assert_eq!(found, expected, "byte {pos}, extent {index}");
        }
    }
}

proptest! {
    #[test]
    fn full(model in model(false), places in prop::collection::vec(any::<u64>(), 30)) {
        check(&model, model.full(), &places);
    }

    #[test]
    fn compact(
        mut model in model(true),
        places in prop::collection::vec(any::<u64>(), 30),
        with_large_packs in any::<bool>(),
    ) {
        // A compact index has no room for the upper half.
        if let End::Fragment(offset) = &mut model.end {
            *offset &= 0xFFFF_FFFF;
        }
        check(&model, model.compact(with_large_packs && model.cluster_bits <= 3), &places);
    }
}

/// An encoded extent: bytes of the file, of the image, and the upper bits of `plen`.
#[derive(Clone, Debug)]
struct Record {
    len: u64,
    encoded: u32,
    address: u64,
    format: u32,
    is_partial: bool,
}

fn record(lens: std::ops::Range<u64>) -> impl Strategy<Value = Record> {
    let encoded = prop_oneof![Just(0_u32), 1..3000_u32, Just(512), Just(1024)];
    let address = prop_oneof![
        0..1_u64 << 20,
        0..1_u64 << 50,
        (0..1_u64 << 20).prop_map(|n| n << 9)
    ];
    (lens, encoded, address, 0..5_u32, any::<bool>()).prop_map(
        |(len, encoded, address, format, is_partial)| Record {
            len,
            encoded,
            address,
            format,
            is_partial,
        },
    )
}

/// Makes a record possible: plain data is not too short, and compressed data not too long.
fn adjust(record: &mut Record, is_last: bool) {
    let len = u32::try_from(record.len).unwrap();
    match record.format {
        0 if record.encoded != 0 => record.encoded = record.encoded.max(len),
        _ if !is_last => record.encoded = record.encoded.min(len),
        _ => {}
    }
}

/// What the record for `len` bytes from byte `start` of the file on means.
fn meaning(record: &Record, start: u64, interlaced: bool) -> Pcluster {
    let aligned = (record.address | u64::from(record.encoded)) % BLOCK == 0;
    let encoding = match usize::try_from(record.format).unwrap().checked_sub(1) {
        Some(algorithm) => Encoding::Compressed(Algorithm::ALL[algorithm]),
        None if interlaced && aligned => Encoding::Interlaced,
        None => Encoding::Shifted,
    };
    let data = Data::Encoded(Encoded {
        place: Place::Device {
            device: 0,
            offset: record.address,
        },
        len: record.encoded,
        encoding,
        is_partial: record.is_partial,
    });
    Pcluster {
        start,
        len: record.len,
        is_whole: true,
        data: if record.encoded == 0 {
            Data::Hole
        } else {
            data
        },
    }
}

fn plen(record: &Record) -> u32 {
    record.encoded | (u32::from(record.is_partial) << 27) | (record.format << 28)
}

/// A file with these records, each of `4 << size_bits` bytes.
fn extents_file(
    records: &[Record],
    size_bits: u16,
    (interlaced, fragment): (bool, bool),
    first: u64,
    skew: usize,
) -> File {
    let advise = 1 | (size_bits << 1) | (u16::from(interlaced) << 4) | (u16::from(fragment) << 5);
    let count = u32::try_from(records.len()).unwrap();
    // Uniform extents have the size of an lcluster there, others the upper half of the number.
    let cluster_bits = if size_bits < 2 { 2 } else { 0 };
    let size = first + records.iter().map(|record| record.len).sum::<u64>();
    let start = File::new(9, COMPRESSED_FULL, size, skew, &[]).header;
    let mut body = header(count, advise, 0, cluster_bits);
    body.resize((start + 8).next_multiple_of(4 << size_bits) - start, 0);
    if size_bits == 0 {
        body.extend(records[0].address.to_le_bytes());
    }
    let mut place = first;
    for record in records {
        let mut bytes = plen(record).to_le_bytes().to_vec();
        let address = record.address.to_le_bytes();
        bytes.extend(&address);
        bytes.extend(place.to_le_bytes());
        bytes.resize(32, 0xEE);
        body.extend(&bytes[..4 << size_bits]);
        place += record.len;
    }
    File::new(9, COMPRESSED_FULL, size, skew, &body)
}

/// Searches in any order, with one cursor and with new ones.
fn check_extents(file: &File, expected: &[Pcluster], places: &[u64]) {
    let (sb, inode) = file.inode();
    let map = inode.map_header(file.image.image(), &sb).unwrap();
    let mut cursor = Cursor::default();
    let starts = expected.iter().map(|pcluster| pcluster.start);
    let random = places.iter().map(|place| place % inode.size);
    let begin = expected[0].start;
    for pos in starts.clone().chain(random).chain(starts) {
        let index = expected.partition_point(|pcluster| pcluster.start <= pos);
        let expected = match index.checked_sub(1) {
            Some(index) => expected[index],
            None => Pcluster {
                start: pos,
                len: begin - pos,
                is_whole: true,
                data: Data::Hole,
            },
        };
        for cursor in [&mut cursor, &mut Cursor::default()] {
            let found = inode.pcluster_at(file.image.image(), &sb, &map, cursor, pos);
            assert_eq!(found, Ok(expected), "byte {pos}, extent {index}");
        }
    }
}

proptest! {
    #[test]
    fn sorted_extents(
        mut records in prop::collection::vec(record(1..9000), 1..60),
        wide in any::<bool>(),
        interlaced in any::<bool>(),
        fragment in any::<bool>(),
        first in prop_oneof![Just(0_u64), 1..5000_u64],
        skew in 0..5_usize,
        places in prop::collection::vec(any::<u64>(), 30),
    ) {
        let count = records.len();
        let mut start = first;
        let mut expected = Vec::new();
        for (index, record) in records.iter_mut().enumerate() {
            adjust(record, index + 1 == count);
            expected.push(meaning(record, start, interlaced));
            start += record.len;
        }
        if fragment {
            let last = &mut records[count - 1];
            let offset = u64::from(plen(last)) | ((last.address & 0xFF) << 32);
            last.address &= 0xFF;
            expected[count - 1].data = Data::Fragment { offset };
        }
        let size_bits = if wide { 3 } else { 2 };
        let mut file = extents_file(&records, size_bits, (interlaced, fragment), first, skew);
        with_packed_inode(&mut file);
        check_extents(&file, &expected, &places);
    }

    #[test]
    fn uniform_extents(
        mut records in prop::collection::vec(record(1..2048), 1..60),
        consecutive in any::<bool>(),
        interlaced in any::<bool>(),
        fragment in any::<bool>(),
        skew in 0..5_usize,
        places in prop::collection::vec(any::<u64>(), 30),
    ) {
        let count = records.len();
        let mut expected = Vec::new();
        let mut address = records[0].address;
        for (index, record) in records.iter_mut().enumerate() {
            if index + 1 != count {
                record.len = 2048;
            }
            adjust(record, index + 1 == count);
            record.address = if consecutive { address } else { record.address & 0xFFFF_FFFF };
            address += u64::from(record.encoded);
            let start = 2048 * u64::try_from(index).unwrap();
            expected.push(meaning(record, start, interlaced));
        }
        if fragment {
            let last = &mut records[count - 1];
            let mut offset = u64::from(plen(last));
            if !consecutive {
                last.address &= 0xFF;
                offset |= last.address << 32;
            }
            expected[count - 1].data = Data::Fragment { offset };
        }
        let size_bits = if consecutive { 0 } else { 1 };
        let mut file = extents_file(&records, size_bits, (interlaced, fragment), 0, skew);
        with_packed_inode(&mut file);
        check_extents(&file, &expected, &places);
    }
}
