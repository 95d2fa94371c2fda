// SPDX-License-Identifier: GPL-2.0

//! Compact indexes: packs of elements of a few bits, with one block number for each pack.
//!
//! A pack has 2 elements in 8 bytes or, where it is aligned and the header allows it, 16 elements in
//! 32 bytes. An element has the type in its two upper bits; below are, for a head, where the
//! pcluster starts in the lcluster, and for others the distance to their head. The last element of a
//! pack has the distance to the next head instead. Behind the elements stands the number of the block
//! before the first pcluster that starts in the pack; or with big pclusters that of the first one
//! whose number of blocks is in the pack.

use super::header::{Index, MapHeader};
use super::lcluster::{Head, HeadType, Lcluster, NonHead, CBLKCNT};
use crate::superblock::SuperBlock;
use crate::{Error, Image, Result};

/// Elements of the two forms of pack.
const SMALL_COUNT: u32 = 2;
const LARGE_COUNT: u32 = 16;
/// Log2 of the bytes for each element, those of the block number included.
const SMALL_SHIFT: u32 = 2;
const LARGE_SHIFT: u32 = 1;
/// Bytes of the block number at the end of a pack.
const BLOCK_NUMBER_SIZE: u32 = 4;
/// Bytes of a large pack, which it is aligned to.
const LARGE_SIZE: u64 = 32;

/// The bits of an element that are not its type, unless larger lclusters need more: one more than
/// the flag [`CBLKCNT`] does.
const MIN_LOW_BITS: u32 = 12;
/// The largest lclusters whose offsets fit into a small pack and into a large one.
const MAX_SMALL_BITS: u32 = 14;
const MAX_LARGE_BITS: u32 = 12;

/// Where a pack is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// Where in the metadata it starts.
    start: u64,
    /// Its first lcluster.
    first: u64,
    /// How many it has.
    count: u32,
}

impl Place {
    /// The pack that lcluster `lcn` of a file of so many bytes is in, and which one there it is.
    fn of(header: &MapHeader, sb: &SuperBlock, size: u64, lcn: u64) -> Result<(Self, u32)> {
        if header.lcluster_bits > MAX_SMALL_BITS {
            return Err(Error::Invalid("compact index with lclusters over 16 KiB"));
        }
        // Small packs lead to the alignment of large ones. The format counts blocks here, however
        // large an lcluster is.
        let total = sb.blocks_for(size);
        let leading =
            (LARGE_SIZE.wrapping_sub(header.start & LARGE_SIZE.wrapping_sub(1)) >> SMALL_SHIFT) & 7;
        let in_large = match header.index {
            Index::Compact { has_2b_packs: true } => {
                total.saturating_sub(leading) & !u64::from(LARGE_COUNT - 1)
            }
            _ => 0,
        };
        if lcn >= total {
            return Err(Error::Corrupt("lcluster past the end of the file"));
        }
        let (before, index, count) = match lcn.checked_sub(leading) {
            None => (0, lcn, SMALL_COUNT),
            Some(rest) if rest < in_large => (leading << SMALL_SHIFT, rest, LARGE_COUNT),
            Some(rest) => (
                (leading << SMALL_SHIFT).wrapping_add(in_large << LARGE_SHIFT),
                rest.wrapping_sub(in_large),
                SMALL_COUNT,
            ),
        };
        if count == LARGE_COUNT && header.lcluster_bits > MAX_LARGE_BITS {
            return Err(Error::Unsupported("packs of 16 with lclusters over 4 KiB"));
        }
        let inside = index & u64::from(count.wrapping_sub(1));
        let shift = if count == LARGE_COUNT {
            LARGE_SHIFT
        } else {
            SMALL_SHIFT
        };
        // No overflow but in the last sum: `total` has less than 2^55 elements.
        let before = before.wrapping_add(index.wrapping_sub(inside) << shift);
        let place = Place {
            start: header.start.checked_add(before).ok_or(Error::OutOfBounds)?,
            first: lcn.wrapping_sub(inside),
            count,
        };
        Ok((place, u32::try_from(inside).unwrap_or(0)))
    }

    fn size(&self) -> u32 {
        match self.count {
            LARGE_COUNT => LARGE_COUNT << LARGE_SHIFT,
            _ => SMALL_COUNT << SMALL_SHIFT,
        }
    }
}

/// A pack that was read. Its place tells whether it is the one that is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pack {
    place: Place,
    /// The low bits of an element.
    low_bits: u32,
    /// Bytes of a small pack are followed by zeros.
    bytes: [u8; 32],
}

/// The packs that a search comes back to: memory can change, so that it reads none of them twice.
#[derive(Clone, Debug, Default)]
pub(super) struct Packs {
    /// Where the search began: from there it goes both back to a head and on to the next one.
    first: Option<Pack>,
    /// The last two of the others: when it has come to a head, what is behind that is looked at.
    others: [Option<Pack>; 2],
}

impl Packs {
    /// Where the pack at `place` is, or is to be put. `begins` says that a search begins there.
    fn slot(&mut self, place: Place, begins: bool) -> &mut Option<Pack> {
        let is_there = |slot: &Option<Pack>| slot.as_ref().is_some_and(|pack| pack.place == place);
        let [last, before] = &mut self.others;
        if begins {
            // The last search has ended where this one begins, if a file is read in its order.
            if is_there(last) {
                core::mem::swap(&mut self.first, last);
            }
            return &mut self.first;
        }
        if is_there(&self.first) {
            return &mut self.first;
        }
        if !is_there(last) {
            core::mem::swap(last, before);
        }
        last
    }
}

/// One element.
#[derive(Clone, Copy)]
struct Element {
    /// `None` if it is not a head.
    head_type: Option<HeadType>,
    low: u32,
}

impl Element {
    /// The number of blocks of the pcluster, if that is what this is for.
    fn blocks(self) -> Option<u32> {
        let flag = u32::from(CBLKCNT);
        (self.head_type.is_none() && self.low & flag != 0).then_some(self.low & !flag)
    }
}

/// Where the pack of lcluster `lcn` ends.
pub(super) fn behind(header: &MapHeader, sb: &SuperBlock, size: u64, lcn: u64) -> Result<u64> {
    let (place, _) = Place::of(header, sb, size, lcn)?;
    place
        .start
        .checked_add(u64::from(place.size()))
        .ok_or(Error::OutOfBounds)
}

/// Reads lcluster `lcn` of a file of so many bytes, as Linux's `z_erofs_load_compact_lcluster()`.
/// `begins` says that a search begins there.
pub(super) fn load<M: Image + ?Sized>(
    metadata: &M,
    header: &MapHeader,
    sb: &SuperBlock,
    size: u64,
    lcn: u64,
    packs: &mut Packs,
    begins: bool,
) -> Result<Lcluster> {
    let (place, index) = Place::of(header, sb, size, lcn)?;
    let slot = packs.slot(place, begins);
    let pack = match slot {
        Some(pack) if pack.place == place => pack,
        _ => slot.insert(Pack::read(metadata, header, place)?),
    };
    let element = pack.element(index);
    let Some(head_type) = element.head_type else {
        return Ok(Lcluster::NonHead(pack.non_head(header, index, element)?));
    };
    let block = pack.block(header, index)?;
    Ok(Lcluster::Head(Head {
        head_type,
        cluster_offset: element.low,
        block,
        block_field: 0,
        is_partial: false,
        is_hole: false,
    }))
}

impl Pack {
    fn read<M: Image + ?Sized>(metadata: &M, header: &MapHeader, place: Place) -> Result<Self> {
        let mut bytes = [0; 32];
        match place.count {
            LARGE_COUNT => bytes = metadata.read(place.start)?,
            _ => {
                let small: [u8; 8] = metadata.read(place.start)?;
                bytes
                    .iter_mut()
                    .zip(small)
                    .for_each(|(to, from)| *to = from);
            }
        }
        Ok(Pack {
            place,
            low_bits: header.lcluster_bits.max(MIN_LOW_BITS),
            bytes,
        })
    }

    /// The 32 bits from byte `at` on, which is in the pack.
    fn word(&self, at: u32) -> u32 {
        let bytes = usize::try_from(at)
            .ok()
            .and_then(|at| self.bytes.get(at..)?.first_chunk());
        u32::from_le_bytes(bytes.copied().unwrap_or_default())
    }

    fn element(&self, index: u32) -> Element {
        // All bits before the block number are shared out evenly: 14 or 16 for each element.
        let bits = if self.place.count == LARGE_COUNT {
            14
        } else {
            16
        };
        let bit = index.wrapping_mul(bits);
        let word = self.word(bit >> 3).wrapping_shr(bit & 7);
        let head_type = u16::try_from(word.wrapping_shr(self.low_bits) & 3).unwrap_or(0);
        Element {
            head_type: HeadType::from_format(head_type),
            low: word & 1_u32.wrapping_shl(self.low_bits).wrapping_sub(1),
        }
    }

    fn non_head(&self, header: &MapHeader, index: u32, element: Element) -> Result<NonHead> {
        let blocks = element.blocks();
        if blocks.is_some() && !header.has_big_head1() {
            return Err(Error::Corrupt("size of a pcluster where none is big"));
        }
        let is_last = index.wrapping_add(1) == self.place.count;
        let lookback = match (blocks, index.checked_sub(1)) {
            (Some(_), _) => 1,
            // The last element has another distance, but it is one further than the one before.
            (None, Some(before)) if is_last => {
                let before = self.element(before);
                match (before.head_type, before.blocks()) {
                    (Some(_), _) => 1,
                    (None, Some(_)) => 2,
                    (None, None) => before.low.wrapping_add(1),
                }
            }
            _ => element.low,
        };
        Ok(NonHead {
            lookback,
            lookahead: self.lookahead(index),
            blocks,
        })
    }

    /// The distance from element `index`, which is not a head, to the next head, as far as this pack
    /// tells it.
    fn lookahead(&self, index: u32) -> u32 {
        let mut last = 0;
        for other in index..self.place.count {
            let element = self.element(other);
            if element.head_type.is_some() {
                return other.wrapping_sub(index);
            }
            last = if element.blocks().is_some() {
                1
            } else {
                element.low
            };
        }
        self.place
            .count
            .wrapping_sub(index)
            .wrapping_add(last)
            .saturating_sub(1)
    }

    /// The number of the block that the pcluster of head `index` starts at.
    fn block(&self, header: &MapHeader, index: u32) -> Result<u64> {
        let before = match header.has_big_head1() {
            false => {
                let heads = (0..index).filter(|other| self.element(*other).head_type.is_some());
                // A count of up to 16.
                u32::try_from(heads.count()).unwrap_or(0).wrapping_add(1)
            }
            true => self.big_blocks_before(index)?,
        };
        let base = self.word(self.place.size().wrapping_sub(BLOCK_NUMBER_SIZE));
        Ok(u64::from(base.wrapping_add(before)))
    }

    /// The number of blocks of all big pclusters whose number is in the pack before head `index`.
    fn big_blocks_before(&self, index: u32) -> Result<u32> {
        let mut blocks = 0_u32;
        let mut is_after_head = false;
        for other in 0..index {
            let element = self.element(other);
            match element.blocks() {
                Some(count) => {
                    // It takes the place of the one block that the head alone stands for.
                    blocks = blocks
                        .saturating_sub(u32::from(is_after_head))
                        .saturating_add(count);
                }
                None if element.head_type.is_some() => blocks = blocks.saturating_add(1),
                None if is_after_head => {
                    return Err(Error::Corrupt("big pcluster without a number of blocks"));
                }
                None => {}
            }
            is_after_head = element.head_type.is_some();
        }
        Ok(blocks)
    }
}
