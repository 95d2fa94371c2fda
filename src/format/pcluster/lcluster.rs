// SPDX-License-Identifier: GPL-2.0

//! Finding a pcluster by lclusters: what full and compact indexes have in common.
//!
//! A file is cut into lclusters of a power of two of blocks, and the index has an element for each.
//! A *head* is one in which a pcluster starts, at most one, and says where. The others (`NONHEAD`)
//! say how far their head is before them and how far the next one is behind them. If pclusters can
//! have several blocks, the first element after a head has their number instead (`CBLKCNT`); a head
//! without such an element has one block.

use super::header::{Index, MapHeader, Tail};
use super::{compact, full, Cursor, Encoding, Found, Source, MAX_DECODED_SIZE};
use crate::superblock::SuperBlock;
use crate::{Error, Image, Result};

/// The first distance of an element that is not a head: it is the number of blocks of its pcluster.
pub(super) const CBLKCNT: u16 = 1 << 11;

/// Elements that are looked at before a search is given up: what the largest pcluster can have if
/// its lclusters are of the smallest size and each leads to its neighbour only.
const MAX_STEPS: u64 = MAX_DECODED_SIZE / 512;

/// How the data that starts in a head is stored (`Z_EROFS_LCLUSTER_TYPE_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadType {
    Plain,
    Head1,
    Head2,
}

impl HeadType {
    /// The type in the lowest two bits; `None` if it is not a head.
    pub(super) fn from_format(bits: u16) -> Option<Self> {
        match bits & 3 {
            0 => Some(HeadType::Plain),
            1 => Some(HeadType::Head1),
            2 => None,
            _ => Some(HeadType::Head2),
        }
    }
}

/// An lcluster in which a pcluster starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) head_type: HeadType,
    /// Where in the lcluster, in bytes.
    pub(super) cluster_offset: u32,
    /// The first block of its data.
    pub(super) block: u64,
    /// The field for a block number as stored, of full indexes.
    pub(super) block_field: u32,
    /// The data may decode to more than what is used.
    pub(super) is_partial: bool,
    /// It has no data (`LI_HOLE`).
    pub(super) is_hole: bool,
}

/// Another lcluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NonHead {
    /// How many lclusters its head is before it; 0 is wrong.
    pub(super) lookback: u32,
    /// How many lclusters the next head, or one that leads there, is behind it; 0 means 1.
    pub(super) lookahead: u32,
    /// The number of blocks of its pcluster.
    pub(super) blocks: Option<u32>,
}

impl NonHead {
    /// Where to look for the next head, if this is lcluster `lcn`.
    fn next(&self, lcn: u64) -> Next {
        // mkfs.erofs before 1.0 wrote some zeros.
        Next::Lcluster(lcn.saturating_add(u64::from(self.lookahead.max(1))))
    }
}

/// Where the next pcluster is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It starts at this byte of the file.
    At(u64),
    /// It starts in this lcluster, or in one that this one leads to.
    Lcluster(u64),
}

/// What an element of the index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lcluster {
    Head(Head),
    NonHead(NonHead),
}

/// The lclusters of one file, for one search.
pub(super) struct Lclusters<'a, M: ?Sized> {
    metadata: &'a M,
    sb: &'a SuperBlock,
    header: &'a MapHeader,
    /// Bytes of the file.
    size: u64,
    cursor: &'a mut Cursor,
    /// The last two that were read, with their numbers. That behind a head is asked for once more.
    read: [Option<(u64, Lcluster)>; 2],
}

impl<'a, M: Image + ?Sized> Lclusters<'a, M> {
    pub(super) fn new(
        metadata: &'a M,
        sb: &'a SuperBlock,
        header: &'a MapHeader,
        size: u64,
        cursor: &'a mut Cursor,
    ) -> Self {
        Lclusters {
            metadata,
            sb,
            header,
            size,
            cursor,
            read: [None; 2],
        }
    }

    /// The extent that has byte `pos` of the file, as Linux's `z_erofs_map_blocks_fo()`.
    pub(super) fn find(&mut self, pos: u64) -> Result<Found> {
        let (lcn, head, next) = self.head_of(pos)?;
        // While the lcluster behind the head is still known.
        let source = self.source_of(lcn, &head)?;
        let (end, is_whole) = match next {
            Next::At(end) => (end, true),
            Next::Lcluster(next) => self.end_from(next, pos)?,
        };
        Ok(Found {
            start: self.start_of(lcn)? | u64::from(head.cluster_offset),
            // A head in the last lcluster may start past the end of the file.
            end: end.min(self.size),
            is_whole,
            source,
        })
    }

    fn source_of(&mut self, lcn: u64, head: &Head) -> Result<Source> {
        let (address, len, is_inline) = match self.header.tail {
            Tail::Fragment { head, offset } if head == lcn => {
                return Ok(Source::Fragment { offset });
            }
            Tail::Inline { head, offset, len } if head == lcn => (offset, u64::from(len), true),
            _ => match self.blocks_of(lcn, head)? {
                0 => return Ok(Source::Hole),
                count => (
                    self.sb.block_start(head.block)?,
                    self.sb.block_start(u64::from(count))?,
                    false,
                ),
            },
        };
        let [first, second] = self.header.algorithms;
        Ok(Source::Data {
            address,
            len,
            encoding: match head.head_type {
                // Inline data is never interlaced.
                HeadType::Plain if self.header.is_interlaced() && !is_inline => {
                    Encoding::Interlaced
                }
                HeadType::Plain => Encoding::Shifted,
                HeadType::Head1 => Encoding::Compressed(first),
                HeadType::Head2 => Encoding::Compressed(second),
            },
            is_partial: head.is_partial,
            is_inline,
        })
    }

    fn load(&mut self, lcn: u64) -> Result<Lcluster> {
        let mut known = self.read.iter().flatten();
        if let Some((_, lcluster)) = known.find(|(read, _)| *read == lcn) {
            return Ok(*lcluster);
        }
        let [last, before] = &mut self.read;
        let lcluster = match self.header.index {
            Index::Compact { .. } => compact::load(
                self.metadata,
                self.header,
                self.sb,
                self.size,
                lcn,
                &mut self.cursor.packs,
                last.is_none(),
            )?,
            _ => full::load(self.metadata, self.header, lcn)?,
        };
        if let Lcluster::Head(head) = lcluster {
            if u64::from(head.cluster_offset) >= self.header.lcluster_size() {
                return Err(Error::Corrupt("pcluster starts past its lcluster"));
            }
        }
        *before = last.replace((lcn, lcluster));
        Ok(lcluster)
    }

    fn lcn_of(&self, pos: u64) -> u64 {
        pos.wrapping_shr(self.header.lcluster_bits)
    }

    /// Where lcluster `lcn` starts in the file.
    fn start_of(&self, lcn: u64) -> Result<u64> {
        lcn.checked_mul(self.header.lcluster_size())
            .ok_or(Error::OutOfBounds)
    }

    /// The number of the head of the pcluster that has byte `pos` of the file, the head, and where to
    /// look for the next one.
    pub(super) fn head_of(&mut self, pos: u64) -> Result<(u64, Head, Next)> {
        let mut lcn = self.lcn_of(pos);
        let start = self.start_of(lcn)?;
        let (mut lookback, next) = match self.load(lcn)? {
            Lcluster::Head(head) => {
                let pcluster_start = start | u64::from(head.cluster_offset);
                if pcluster_start <= pos {
                    return Ok((lcn, head, Next::Lcluster(lcn.saturating_add(1))));
                }
                (1, Next::At(pcluster_start))
            }
            Lcluster::NonHead(non_head) => (non_head.lookback, non_head.next(lcn)),
        };
        for _ in 0..MAX_STEPS {
            lcn = match lcn.checked_sub(u64::from(lookback)) {
                Some(before) if before < lcn => before,
                _ => break,
            };
            match self.load(lcn)? {
                Lcluster::Head(head) => return Ok((lcn, head, next)),
                Lcluster::NonHead(non_head) => lookback = non_head.lookback,
            }
        }
        Err(Error::Corrupt("lcluster without a head"))
    }

    /// Where in the file the pcluster ends that has byte `pos` and all lclusters from there to
    /// `next`; or how far it goes at least, and `false`, if it goes on for longer than it is worth
    /// searching.
    fn end_from(&mut self, next: u64, pos: u64) -> Result<(u64, bool)> {
        let mut next = Next::Lcluster(next);
        let mut known = pos;
        for _ in 0..MAX_STEPS {
            let lcn = match next {
                Next::Lcluster(lcn) => lcn,
                Next::At(end) => return Ok((end, true)),
            };
            known = self.start_of(lcn)?;
            if known >= self.size {
                return Ok((self.size, true));
            }
            if known.saturating_sub(pos) > MAX_DECODED_SIZE {
                break;
            }
            next = match self.load(lcn)? {
                Lcluster::Head(head) => {
                    Next::At(known.saturating_add(u64::from(head.cluster_offset)))
                }
                Lcluster::NonHead(non_head) => non_head.next(lcn),
            };
        }
        Ok((known, false))
    }

    /// The number of blocks of the pcluster of head `lcn`; 0 if it is a hole.
    fn blocks_of(&mut self, lcn: u64, head: &Head) -> Result<u32> {
        if head.is_hole {
            return Ok(0);
        }
        let can_be_big = match head.head_type {
            HeadType::Head1 => self.header.has_big_head1(),
            HeadType::Plain | HeadType::Head2 => self.header.has_big_others(),
        };
        let next = lcn.saturating_add(1);
        if !can_be_big || self.start_of(next)? >= self.size {
            return Ok(1);
        }
        match self.load(next)? {
            Lcluster::Head(_) => Ok(1),
            Lcluster::NonHead(non_head) => non_head
                .blocks
                .ok_or(Error::Corrupt("big pcluster without a number of blocks")),
        }
    }

    /// Where in the metadata the element of the lcluster that has byte `pos` ends, or its pack.
    pub(super) fn behind(&self, pos: u64) -> Result<u64> {
        let lcn = self.lcn_of(pos);
        match self.header.index {
            Index::Compact { .. } => compact::behind(self.header, self.sb, self.size, lcn),
            _ => full::behind(self.header, lcn),
        }
    }
}
