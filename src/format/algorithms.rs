// SPDX-License-Identifier: GPL-2.0

//! The compression algorithms that an image says it uses.
//!
//! An image whose configuration is wrong must not be mounted, and one without any algorithm must
//! have no compressed inode.

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

/// A compression algorithm (`Z_EROFS_COMPRESSION_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// LZ4 blocks.
    Lz4,
    /// MicroLZMA: LZMA1 without its header's first byte.
    Lzma,
    /// Raw DEFLATE.
    Deflate,
    /// Zstandard frames.
    Zstd,
}

impl Algorithm {
    /// All of them, in the order of their numbers.
    pub const ALL: [Algorithm; 4] = [
        Algorithm::Lz4,
        Algorithm::Lzma,
        Algorithm::Deflate,
        Algorithm::Zstd,
    ];

    /// The algorithm with this number.
    pub(crate) fn from_format(number: u8) -> Result<Self> {
        Algorithm::ALL
            .get(usize::from(number))
            .copied()
            .ok_or(Error::Unsupported("unknown compression algorithm"))
    }

    /// Its bit in `available_compr_algs`.
    fn bit(self) -> u16 {
        match self {
            Algorithm::Lz4 => 1 << 0,
            Algorithm::Lzma => 1 << 1,
            Algorithm::Deflate => 1 << 2,
            Algorithm::Zstd => 1 << 3,
        }
    }
}

/// Bits of all algorithms.
const ALL_BITS: u16 = (1 << 4) - 1;

/// The algorithms that an image uses, and how much memory those that need any need at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Algorithms {
    bits: u16,
    lzma_dictionary: u32,
    zstd_window: u32,
}

impl Algorithms {
    /// Those of images without configurations.
    pub(crate) const LZ4_ONLY: Self = Algorithms {
        bits: 1 << 0,
        lzma_dictionary: 0,
        zstd_window: 0,
    };

    /// Whether the image may have data compressed by `algorithm`.
    pub fn contains(&self, algorithm: Algorithm) -> bool {
        self.bits & algorithm.bit() != 0
    }

    /// Whether the image cannot have any compressed data.
    pub fn is_empty(&self) -> bool {
        self.bits == 0
    }

    /// Bytes of LZMA's dictionary: 4 KiB to 8 MiB if the image uses LZMA, otherwise 0.
    pub fn lzma_dictionary(&self) -> u32 {
        self.lzma_dictionary
    }

    /// Bytes of the largest window of Zstandard: 1 KiB to 1 MiB if the image uses it, otherwise 0.
    pub fn zstd_window(&self) -> u32 {
        self.zstd_window
    }
}

/// Log2 of the largest physical cluster, 1 MiB, which is the largest window of Zstandard too.
const MAX_PCLUSTER_BITS: u32 = 20;

/// Reads and checks the configurations from byte `pos` on, in the order of `bits`, as
/// Linux's `z_erofs_parse_cfgs()`.
///
/// # Errors
///
/// * [`Error::Unsupported`]: an unknown algorithm, a window of DEFLATE over 32 KiB
/// * [`Error::Invalid`]: any other value that is out of range
/// * [`Error::OutOfBounds`]
pub(crate) fn read(
    image: &(impl Image + ?Sized),
    bits: u16,
    pos: u64,
    block_bits: u32,
) -> Result<Algorithms> {
    if bits & !ALL_BITS != 0 {
        return Err(Error::Unsupported("unknown compression algorithm"));
    }
    let mut algorithms = Algorithms {
        bits,
        ..Algorithms::default()
    };
    let mut pos = pos;
    for algorithm in Algorithm::ALL {
        if !algorithms.contains(algorithm) {
            continue;
        }
        let record = Record::read(image, pos)?;
        pos = record.end();
        match algorithm {
            Algorithm::Lz4 => check_lz4(image, &record, block_bits)?,
            Algorithm::Lzma => algorithms.lzma_dictionary = read_lzma(image, &record)?,
            Algorithm::Deflate => check_deflate(image, &record)?,
            Algorithm::Zstd => algorithms.zstd_window = read_zstd(image, &record)?,
        }
    }
    Ok(algorithms)
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

/// The size of the dictionary.
fn read_lzma(image: &(impl Image + ?Sized), record: &Record) -> Result<u32> {
    const BAD: Error = Error::Invalid("bad LZMA configuration");
    const DICTIONARY_SIZES: core::ops::RangeInclusive<u32> = 4 << 10..=8 << 20;
    if record.len < 14 {
        return Err(BAD);
    }
    let raw: RawLzma = image.read(record.start)?;
    if raw.format.get() != 0 || !DICTIONARY_SIZES.contains(&raw.dict_size.get()) {
        return Err(BAD);
    }
    Ok(raw.dict_size.get())
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

/// The size of the window.
fn read_zstd(image: &(impl Image + ?Sized), record: &Record) -> Result<u32> {
    const BAD: Error = Error::Invalid("bad Zstandard configuration");
    /// What `windowlog` counts from.
    const MIN_WINDOW_BITS: u32 = 10;
    if record.len < 6 {
        return Err(BAD);
    }
    let raw: RawZstd = image.read(record.start)?;
    let window_bits = MIN_WINDOW_BITS.saturating_add(u32::from(raw.windowlog));
    if raw.format != 0 || window_bits > MAX_PCLUSTER_BITS {
        return Err(BAD);
    }
    Ok(1_u32.wrapping_shl(window_bits))
}

#[cfg(test)]
mod tests;
