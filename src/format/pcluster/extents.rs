// SPDX-License-Identifier: GPL-2.0

//! Encoded extents (`struct z_erofs_extent`), as images with 48-bit addresses have them: byte ranges
//! of the file, each with a byte range of the device.
//!
//! A record has the first 4, 8, 16 or 32 bytes of the structure. Short ones lack the place in the
//! file, so all of their extents have the size of an lcluster but for the last one; the shortest lack
//! the place on the device too: their data is in one piece, whose start is before the first record.

use super::header::MapHeader;
use super::{Cursor, Encoding, Found, Source};
use crate::algorithms::Algorithm;
use crate::superblock::SuperBlock;
use crate::{Error, Image, Result};
use zerocopy::byteorder::little_endian as le;
use zerocopy::{FromBytes, IntoBytes};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, Unaligned};

/// `plen`: the encoded length.
const PLEN_LEN: u32 = (1 << 21) - 1;
/// `plen`: the data may decode to more than what is used.
const PLEN_PARTIAL: u32 = 1 << 27;
/// `plen`: log2 of the lowest bit of the format, 0 or one more than an algorithm.
const PLEN_FORMAT_SHIFT: u32 = 28;

/// The first 8 bytes.
#[derive(FromBytes, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct RawShort {
    plen: le::U32,
    pstart_lo: le::U32,
}

/// The first 16 bytes.
#[derive(FromBytes, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct RawLong {
    short: RawShort,
    pstart_hi: le::U32,
    lstart_lo: le::U32,
}

/// `struct z_erofs_extent`.
#[derive(FromBytes, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct RawExtent {
    long: RawLong,
    lstart_hi: le::U32,
    reserved: [u8; 12],
}

/// Size of what the shortest records have before the first of them.
const BASE_SIZE: u64 = 8;
const _: () = assert!(size_of::<RawShort>() == 8);
const _: () = assert!(size_of::<RawLong>() == 16);
const _: () = assert!(size_of::<RawExtent>() == 32);

/// A record.
#[derive(Clone, Copy, Debug)]
struct Record {
    plen: u32,
    /// Where the data is on the device.
    address: u64,
    /// Where it is in the file.
    start: u64,
}

/// Where a search among the shortest records has come to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scan {
    index: u64,
    /// Where the data of this record starts on the device.
    address: u64,
}

/// The records of one file.
pub(super) struct Extents<'a, M: ?Sized> {
    metadata: &'a M,
    sb: &'a SuperBlock,
    header: &'a MapHeader,
    /// Bytes of the file.
    size: u64,
    record_size: u64,
    count: u64,
}

impl<'a, M: Image + ?Sized> Extents<'a, M> {
    pub(super) fn new(
        metadata: &'a M,
        sb: &'a SuperBlock,
        header: &'a MapHeader,
        size: u64,
        record_size: u64,
        count: u64,
    ) -> Self {
        Extents {
            metadata,
            sb,
            header,
            size,
            record_size,
            count,
        }
    }

    /// The extent that has byte `pos` of the file, as Linux's `z_erofs_map_blocks_ext()`.
    pub(super) fn find(&self, pos: u64, cursor: &mut Cursor) -> Result<Found> {
        let (record, end, is_last) = match self.record_size {
            4 | 8 => self.find_uniform(pos, cursor)?,
            _ => self.find_sorted(pos, cursor)?,
        };
        let (start, source) = match record {
            Some(record) => (record.start, self.source_of(&record, is_last)?),
            // No extent starts before the byte.
            None => (pos, Source::Hole),
        };
        Ok(Found {
            start,
            end,
            is_whole: true,
            source,
        })
    }

    fn source_of(&self, record: &Record, is_last: bool) -> Result<Source> {
        if is_last && self.header.has_fragment() {
            let high = match self.record_size {
                4 => 0,
                _ => record.address.wrapping_shl(32),
            };
            return Ok(Source::Fragment {
                offset: high | u64::from(record.plen),
            });
        }
        let len = u64::from(record.plen & PLEN_LEN);
        if len == 0 {
            return Ok(Source::Hole);
        }
        let in_blocks = self.sb.offset_in_block(record.address | len) == 0;
        Ok(Source::Data {
            address: record.address,
            len,
            encoding: match algorithm(record.plen)? {
                Some(algorithm) => Encoding::Compressed(algorithm),
                None if self.header.is_interlaced() && in_blocks => Encoding::Interlaced,
                None => Encoding::Shifted,
            },
            is_partial: record.plen & PLEN_PARTIAL != 0,
            is_inline: false,
        })
    }

    /// Among records without a place in the file: the one for byte `pos`, where its extent ends, and
    /// whether it is the last one.
    fn find_uniform(&self, pos: u64, cursor: &mut Cursor) -> Result<(Option<Record>, u64, bool)> {
        let bits = self.header.lcluster_bits;
        let index = pos.wrapping_shr(bits);
        let start = index.wrapping_shl(bits);
        let end = start.saturating_add(self.header.lcluster_size());
        let (plen, address) = match self.record_size {
            4 => self.scan(index, cursor)?,
            _ => {
                let raw: RawShort = self.read(self.header.start, index)?;
                (raw.plen.get(), u64::from(raw.pstart_lo))
            }
        };
        let record = Record {
            plen,
            address,
            start,
        };
        Ok((Some(record), end.min(self.size), end >= self.size))
    }

    /// `plen` of shortest record `index`, and the sum of those before it and the base.
    fn scan(&self, index: u64, cursor: &mut Cursor) -> Result<(u32, u64)> {
        let first = self
            .header
            .start
            .checked_add(BASE_SIZE)
            .ok_or(Error::OutOfBounds)?;
        let mut scan = match cursor.scan {
            Some(scan) if scan.index <= index => scan,
            _ => Scan {
                index: 0,
                address: self.metadata.read::<le::U64>(self.header.start)?.get(),
            },
        };
        loop {
            let plen = self.read::<le::U32>(first, scan.index)?.get();
            if scan.index >= index {
                cursor.scan = Some(scan);
                return Ok((plen, scan.address));
            }
            scan.index = scan.index.wrapping_add(1);
            scan.address = scan
                .address
                .checked_add(u64::from(plen & PLEN_LEN))
                .ok_or(Error::Corrupt("extent's address too large"))?;
        }
    }

    /// Among records in the order of their places in the file: the last one that starts at byte
    /// `pos` or before, if there is one, where its extent ends, and whether it is the last one.
    fn find_sorted(&self, pos: u64, cursor: &mut Cursor) -> Result<(Option<Record>, u64, bool)> {
        let mut found = None;
        let mut end = self.size;
        let (mut low, mut high) = (0, self.count);
        // Reading a file in order stays in a record, or goes on to the next one.
        let mut likely = cursor
            .record
            .map_or(0..0, |last| last..last.saturating_add(3));
        while low < high {
            let middle = likely
                .find(|index| (low..high).contains(index))
                .unwrap_or(low.wrapping_add(high.wrapping_sub(low) >> 1));
            let record = self.record(middle)?;
            if record.start <= pos {
                low = middle.wrapping_add(1);
                found = Some(record);
                continue;
            }
            if record.start > end {
                return Err(Error::Corrupt("extents out of order"));
            }
            high = middle;
            end = record.start;
        }
        cursor.record = low.checked_sub(1);
        Ok((found, end, low >= self.count))
    }

    fn record(&self, index: u64) -> Result<Record> {
        let (long, high) = match self.record_size {
            16 => (self.read::<RawLong>(self.header.start, index)?, 0),
            _ => {
                let raw: RawExtent = self.read(self.header.start, index)?;
                (raw.long, u64::from(raw.lstart_hi))
            }
        };
        Ok(Record {
            plen: long.short.plen.get(),
            address: (u64::from(long.pstart_hi) << 32) | u64::from(long.short.pstart_lo),
            start: (high << 32) | u64::from(long.lstart_lo),
        })
    }

    /// Reads record `index` of those that start at byte `first` of the metadata.
    fn read<T: FromBytes + IntoBytes>(&self, first: u64, index: u64) -> Result<T> {
        let offset = index
            .checked_mul(self.record_size)
            .and_then(|offset| offset.checked_add(first))
            .ok_or(Error::OutOfBounds)?;
        self.metadata.read(offset)
    }
}

/// The algorithm that a `plen` names; `None` for plain data.
fn algorithm(plen: u32) -> Result<Option<Algorithm>> {
    match u8::try_from(plen >> PLEN_FORMAT_SHIFT)
        .unwrap_or(u8::MAX)
        .checked_sub(1)
    {
        Some(format) => Algorithm::from_format(format).map(Some),
        None => Ok(None),
    }
}
