// SPDX-License-Identifier: GPL-2.0

//! Tables of records with a length in front, as the compression configurations and the long xattr
//! prefixes are.

use crate::{Image, Result};
use zerocopy::byteorder::little_endian as le;

/// A record that is in its image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Where its data starts.
    pub(crate) start: u64,
    /// Bytes of data: 1 to 65536.
    pub(crate) len: u64,
}

impl Record {
    /// The record at the next multiple of 4 from `pos` on: 16 bits of length, then the data. The
    /// length 0 means 65536.
    pub(crate) fn read(image: &(impl Image + ?Sized), pos: u64) -> Result<Self> {
        let pos = pos.checked_next_multiple_of(4).unwrap_or(u64::MAX);
        let len = match image.read::<le::U16>(pos)?.get() {
            0 => 1 << 16,
            len => u64::from(len),
        };
        let start = pos.saturating_add(2);
        image.check(start, len)?;
        Ok(Record { start, len })
    }

    /// Where it ends.
    pub(crate) fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }
}
