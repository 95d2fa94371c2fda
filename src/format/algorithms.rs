// SPDX-License-Identifier: GPL-2.0

//! The compression algorithms that an image says it uses.
//!
//! Compressed data is not supported; but an image whose configuration is wrong must not be mounted,
//! and one without any algorithm must have no compressed inode.

use crate::record::Record;
use crate::{Error, Image, Result};
use zerocopy::byteorder::little_endian as le;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, Unaligned};

/// `struct z_erofs_lz4_cfgs`.
#[derive(FromBytes, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct RawLz4 {
    max_distance: le::U16,
    max_pclusterblks: le::U16,
    reserved: [u8; 10],
}

/// `struct z_erofs_lzma_cfgs`.
#[derive(FromBytes, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct RawLzma {
    dict_size: le::U32,
    format: le::U16,
    reserved: [u8; 8],
}

/// `struct z_erofs_deflate_cfgs`.
#[derive(FromBytes, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct RawDeflate {
    windowbits: u8,
    reserved: [u8; 5],
}

/// `struct z_erofs_zstd_cfgs`.
#[derive(FromBytes, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct RawZstd {
    format: u8,
    windowlog: u8,
    reserved: [u8; 4],
}

const _: () = assert!(size_of::<RawLz4>() == 14);
const _: () = assert!(size_of::<RawLzma>() == 14);
const _: () = assert!(size_of::<RawDeflate>() == 6);
const _: () = assert!(size_of::<RawZstd>() == 6);

/// The only algorithm of images without configurations.
pub(crate) const LZ4: u16 = 1 << 0;
const LZMA: u16 = 1 << 1;
const DEFLATE: u16 = 1 << 2;
const ZSTD: u16 = 1 << 3;

/// Log2 of the largest physical cluster, 1 MiB, which is the largest window of Zstandard too.
const MAX_PCLUSTER_BITS: u32 = 20;

/// Reads and checks the configurations from byte `pos` on, in the order of `algorithms`' bits, as
/// Linux's `z_erofs_parse_cfgs()`.
///
/// # Errors
///
/// * [`Error::Unsupported`]: an unknown algorithm, a window of DEFLATE over 32 KiB
/// * [`Error::Invalid`]: any other value that is out of range
/// * [`Error::OutOfBounds`]
pub(crate) fn check(
    image: &(impl Image + ?Sized),
    algorithms: u16,
    pos: u64,
    block_bits: u32,
) -> Result<()> {
    if algorithms & !(LZ4 | LZMA | DEFLATE | ZSTD) != 0 {
        return Err(Error::Unsupported("unknown compression algorithm"));
    }
    let mut pos = pos;
    for algorithm in [LZ4, LZMA, DEFLATE, ZSTD] {
        if algorithms & algorithm == 0 {
            continue;
        }
        let record = Record::read(image, pos)?;
        pos = record.end();
        match algorithm {
            LZ4 => check_lz4(image, &record, block_bits)?,
            LZMA => check_lzma(image, &record)?,
            DEFLATE => check_deflate(image, &record)?,
            _ => check_zstd(image, &record)?,
        }
    }
    Ok(())
}

fn check_lz4(image: &(impl Image + ?Sized), record: &Record, block_bits: u32) -> Result<()> {
    const BAD: Error = Error::Invalid("bad LZ4 configuration");
    if record.len < 14 {
        return Err(BAD);
    }
    let raw: RawLz4 = image.read(record.start)?;
    let max_blocks = 1_u32.wrapping_shl(MAX_PCLUSTER_BITS.saturating_sub(block_bits));
    if u32::from(raw.max_pclusterblks) > max_blocks {
        return Err(BAD);
    }
    Ok(())
}

fn check_lzma(image: &(impl Image + ?Sized), record: &Record) -> Result<()> {
    const BAD: Error = Error::Invalid("bad LZMA configuration");
    const DICTIONARY_SIZES: core::ops::RangeInclusive<u32> = 4 << 10..=8 << 20;
    if record.len < 14 {
        return Err(BAD);
    }
    let raw: RawLzma = image.read(record.start)?;
    if raw.format.get() != 0 || !DICTIONARY_SIZES.contains(&raw.dict_size.get()) {
        return Err(BAD);
    }
    Ok(())
}

fn check_deflate(image: &(impl Image + ?Sized), record: &Record) -> Result<()> {
    const MAX_WINDOW_BITS: u8 = 15;
    if record.len < 6 {
        return Err(Error::Invalid("bad DEFLATE configuration"));
    }
    let raw: RawDeflate = image.read(record.start)?;
    if raw.windowbits > MAX_WINDOW_BITS {
        return Err(Error::Unsupported("DEFLATE with a window over 32 KiB"));
    }
    Ok(())
}

fn check_zstd(image: &(impl Image + ?Sized), record: &Record) -> Result<()> {
    const BAD: Error = Error::Invalid("bad Zstandard configuration");
    /// `windowlog` counts from a window of 1 KiB.
    const MAX_WINDOW_LOG: u32 = MAX_PCLUSTER_BITS - 10;
    if record.len < 6 {
        return Err(BAD);
    }
    let raw: RawZstd = image.read(record.start)?;
    if raw.format != 0 || u32::from(raw.windowlog) > MAX_WINDOW_LOG {
        return Err(BAD);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
