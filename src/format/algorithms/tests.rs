// SPDX-License-Identifier: GPL-2.0

use super::*;
use crate::inode::Inode;
use crate::superblock::SuperBlock;
use crate::testing::{field, TestImage, TestInode};

const ALGORITHMS: u32 = 1 << 1;
const LZ4: u16 = 1 << 0;
const LZMA: u16 = 1 << 1;
const DEFLATE: u16 = 1 << 2;
const ZSTD: u16 = 1 << 3;

/// A record with its length in front, padded.
fn record(data: &[u8]) -> Vec<u8> {
    let len = u16::try_from(data.len()).unwrap();
    let mut bytes = len.to_le_bytes().to_vec();
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn lz4(blocks: u16) -> Vec<u8> {
    let mut data = vec![0; 14];
    data[2..4].copy_from_slice(&blocks.to_le_bytes());
    record(&data)
}

fn lzma(dictionary: u32, format: u16) -> Vec<u8> {
    let mut data = vec![0; 14];
    data[..4].copy_from_slice(&dictionary.to_le_bytes());
    data[4..6].copy_from_slice(&format.to_le_bytes());
    record(&data)
}

fn deflate(window_bits: u8) -> Vec<u8> {
    record(&[window_bits, 0, 0, 0, 0, 0])
}

fn zstd(format: u8, window_log: u8) -> Vec<u8> {
    record(&[format, window_log, 0, 0, 0, 0])
}

fn mount(algorithms: u16, records: &[Vec<u8>]) -> Result<SuperBlock> {
    let mut image = TestImage::new(12, 1);
    image
        .enable(ALGORITHMS)
        .put(field::U1, &algorithms.to_le_bytes())
        .put(1152, &records.concat());
    SuperBlock::read(image.image())
}

#[test]
fn good() {
    let all = [lz4(256), lzma(8 << 20, 0), deflate(15), zstd(0, 10)];
    let has_any = |algorithms, records: &[_]| {
        let sb = mount(algorithms, records).unwrap();
        sb.check_algorithms().is_ok()
    };
    assert!(has_any(0xF, &all));
    let algorithms = *mount(0xF, &all).unwrap().algorithms();
    assert_eq!(algorithms.lzma_dictionary(), 8 << 20);
    assert_eq!(algorithms.zstd_window(), 1 << 20);
    let lowest = [lz4(0), lzma(4096, 0), deflate(0), zstd(0, 0)];
    assert!(has_any(0xF, &lowest));
    let some = *mount(0b1010, &[lzma(4096, 0), zstd(0, 3)])
        .unwrap()
        .algorithms();
    assert_eq!(
        Algorithm::ALL.map(|each| some.contains(each)),
        [false, true, false, true]
    );
    assert_eq!((some.lzma_dictionary(), some.zstd_window()), (4096, 8192));
    // Longer records are of a later version.
    assert!(mount(LZ4, &[record(&[0; 33])]).is_ok());
    assert!(!has_any(0, &[]));
}

#[test]
fn bad() {
    assert!(matches!(mount(1 << 4, &[]), Err(Error::Unsupported(_))));
    assert!(matches!(mount(1 << 15, &[]), Err(Error::Unsupported(_))));
    for (algorithm, bytes) in [
        (LZ4, record(&[0; 13])),
        (LZ4, lz4(257)),
        (LZMA, record(&[0xFF; 13])),
        (LZMA, lzma(4095, 0)),
        (LZMA, lzma((8 << 20) + 1, 0)),
        (LZMA, lzma(4096, 1)),
        (DEFLATE, record(&[0; 5])),
        (ZSTD, record(&[0; 5])),
        (ZSTD, zstd(1, 0)),
        (ZSTD, zstd(0, 11)),
    ] {
        let error = mount(algorithm, &[bytes]).unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{algorithm}: {error}");
    }
    let wide = mount(DEFLATE, &[deflate(16)]);
    assert!(matches!(wide, Err(Error::Unsupported(_))));
    // A length of 0 means 65536, which is more than the image has.
    assert!(matches!(mount(LZ4, &[]), Err(Error::OutOfBounds)));
}

#[test]
fn behind_the_extension_slots() {
    let mut image = TestImage::new(12, 1);
    image
        .enable(ALGORITHMS)
        .put(field::U1, &LZ4.to_le_bytes())
        .put(field::EXTENSION_SLOTS, &[2])
        .put(1152, &[0xFF; 32])
        .put(1152 + 32, &lz4(1));
    assert!(SuperBlock::read(image.image()).is_ok());
}

#[test]
fn without_configurations() {
    let read = |features: u32, distance: u16| {
        let mut image = TestImage::new(12, 2);
        image
            .enable(features)
            .put(field::U1, &distance.to_le_bytes())
            .put_inode(128, &TestInode::file(3, 1, 1));
        let inode = Inode::read(image.image(), &image.superblock(), 128);
        inode.map(|inode| inode.layout.is_compressed())
    };
    assert!(matches!(read(0, 0), Err(Error::Corrupt(_))));
    assert_eq!(read(1, 0), Ok(true));
    assert_eq!(read(0, 1), Ok(true));
}
