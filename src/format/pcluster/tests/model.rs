// SPDX-License-Identifier: GPL-2.0

//! Indexes made from a list of extents, for every layout. What a decoder must find is in the list.

use super::{block_count, full_body, head, header, non_head, File};
use crate::pcluster::{Algorithm, Data, Encoded, Encoding, Pcluster, Place};
use crate::testing::{COMPRESSED_COMPACT, COMPRESSED_FULL};

pub(super) const BLOCK_BITS: u8 = 9;
pub(super) const BLOCK: u64 = 1 << BLOCK_BITS;

/// What is at the end of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Block,
    /// Inline, with so many bytes.
    Inline(u16),
    /// At this byte of the packed inode.
    Fragment(u64),
}

/// An extent that starts where the one before ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// Where it starts in the file.
    pub(super) start: u64,
    /// 0, 1 or 3.
    pub(super) head_type: u16,
    pub(super) blocks: u32,
    pub(super) block: u32,
    pub(super) is_partial: bool,
}

/// A file whose extents are in blocks.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) cluster_bits: u8,
    pub(super) big: bool,
    pub(super) extents: Vec<Extent>,
    pub(super) size: u64,
    pub(super) end: End,
    pub(super) interlaced: bool,
    pub(super) skew: usize,
}

/// What an lcluster is.
#[derive(Clone, Copy)]
enum Element {
    Head(Extent),
    Other {
        before: u16,
        behind: u16,
        blocks: Option<u32>,
    },
}

impl Model {
    pub(super) fn lcluster(&self) -> u64 {
        BLOCK << self.cluster_bits
    }

    pub(super) fn end_of(&self, index: usize) -> u64 {
        self.extents
            .get(index + 1)
            .map_or(self.size, |next| next.start)
    }

    /// The pcluster of extent `index`; `tail` is where inline data is.
    pub(super) fn pcluster(&self, index: usize, tail: u64) -> Pcluster {
        let extent = self.extents[index];
        let is_last = index + 1 == self.extents.len();
        let mut encoding = match extent.head_type {
            0 if self.interlaced => Encoding::Interlaced,
            0 => Encoding::Shifted,
            1 => Encoding::Compressed(Algorithm::Deflate),
            _ => Encoding::Compressed(Algorithm::Lzma),
        };
        let (offset, len) = match self.end {
            End::Inline(len) if is_last => {
                if encoding == Encoding::Interlaced {
                    encoding = Encoding::Shifted;
                }
                (tail, u32::from(len))
            }
            _ => (u64::from(extent.block) * BLOCK, extent.blocks << BLOCK_BITS),
        };
        Pcluster {
            start: extent.start,
            len: self.end_of(index) - extent.start,
            is_whole: true,
            data: match self.end {
                End::Fragment(offset) if is_last => Data::Fragment { offset },
                _ if len == 0 => Data::Hole,
                _ => Data::Encoded(Encoded {
                    place: Place::Device { device: 0, offset },
                    len,
                    encoding,
                    is_partial: extent.is_partial,
                }),
            },
        }
    }

    fn elements(&self) -> Vec<Element> {
        let lclusters = self.size.div_ceil(self.lcluster());
        let mut elements = Vec::new();
        let lcn_of = |extent: &Extent| extent.start / self.lcluster();
        let mut heads = self.extents.iter().peekable();
        let mut last = (0, self.extents[0]);
        for lcn in 0..lclusters {
            if let Some(extent) = heads.next_if(|extent| lcn_of(extent) == lcn) {
                last = (lcn, *extent);
                elements.push(Element::Head(*extent));
                continue;
            }
            let next = heads.peek().map_or(lclusters, |next| lcn_of(next));
            let limited = |distance: u64| u16::try_from(distance.min(2047)).unwrap();
            elements.push(Element::Other {
                before: limited(lcn - last.0),
                behind: limited(next - lcn),
                blocks: (self.big && lcn == last.0 + 1).then_some(last.1.blocks),
            });
        }
        assert!(heads.next().is_none(), "one head for each lcluster");
        elements
    }

    fn header(&self, advise: u16) -> Vec<u8> {
        let big = if self.big { 6 } else { 0 };
        let interlaced = if self.interlaced { 0x10 } else { 0 };
        let (lo, end) = match self.end {
            End::Block => (0, 0),
            End::Inline(len) => (u32::from(len) << 16, 8),
            // The upper half is elsewhere.
            End::Fragment(offset) => (u32::try_from(offset & 0xFFFF_FFFF).unwrap(), 0x20),
        };
        let advise = advise | big | interlaced | end;
        header(lo, advise, 0x12, self.cluster_bits)
    }

    /// The file with a full index, and where inline data would be.
    pub(super) fn full(&self) -> (File, u64) {
        let count = self.extents.len();
        let mut elements = Vec::new();
        for element in self.elements() {
            elements.push(match element {
                Element::Head(extent) => {
                    let offset = u16::try_from(extent.start % self.lcluster()).unwrap();
                    let partial = if extent.is_partial {
                        super::PARTIAL_REF
                    } else {
                        0
                    };
                    let is_last = extent.start == self.extents[count - 1].start;
                    let block = match self.end {
                        End::Fragment(offset) if is_last => u32::try_from(offset >> 32).unwrap(),
                        _ => extent.block,
                    };
                    let hole = if extent.blocks == 0 {
                        super::LI_HOLE
                    } else {
                        0
                    };
                    head(extent.head_type | partial | hole, offset, block)
                }
                Element::Other {
                    before,
                    behind,
                    blocks: None,
                } => non_head(before, behind),
                Element::Other {
                    behind,
                    blocks: Some(blocks),
                    ..
                } => block_count(u16::try_from(blocks).unwrap(), behind),
            });
        }
        let body = full_body(&self.header(0), &elements);
        self.file(COMPRESSED_FULL, &body)
    }

    fn file(&self, layout: u16, body: &[u8]) -> (File, u64) {
        let file = File::new(BLOCK_BITS, layout, self.size, self.skew, body);
        let tail = file.header + body.len();
        (file, u64::try_from(tail).unwrap())
    }

    /// The file with a compact index, and where inline data would be. The blocks of extents that
    /// start in one pack must follow each other; partial references cannot be expressed.
    pub(super) fn compact(&self, with_large_packs: bool) -> (File, u64) {
        let elements = self.elements();
        let mut body = self.header(u16::from(with_large_packs));
        // Where the header is does not depend on what it holds.
        let start = File::new(BLOCK_BITS, COMPRESSED_COMPACT, self.size, self.skew, &[]).header + 8;
        let mut rest = &elements[..];
        // Blocks of the file, even where an lcluster has several: that many elements there could be.
        let mut left = usize::try_from(self.size.div_ceil(BLOCK)).unwrap();
        // The block behind those of the last pcluster whose number of blocks is known.
        let mut known_to = self.extents[0].block;
        while !rest.is_empty() {
            let at = start + body.len() - 8;
            let is_large = with_large_packs && at % 32 == 0 && left >= 16;
            let count = if is_large { 16 } else { 2 };
            let (pack, behind) = rest.split_at(count.min(rest.len()));
            body.extend(self.pack(pack, count, &mut known_to));
            rest = behind;
            left = left.saturating_sub(count);
        }
        self.file(COMPRESSED_COMPACT, &body)
    }

    /// A pack of `count` elements, with zeros for those that there are not.
    fn pack(&self, elements: &[Element], count: usize, known_to: &mut u32) -> Vec<u8> {
        let low_bits = u32::from(BLOCK_BITS + self.cluster_bits).max(12);
        let bits = if count == 16 { 14 } else { 16 };
        let mut bytes = vec![0_u8; bits * count / 8];
        let mut block = None;
        for (index, element) in elements.iter().enumerate() {
            let (head_type, low) = match *element {
                Element::Head(extent) => {
                    block.get_or_insert(extent.block);
                    *known_to = if self.big {
                        extent.block
                    } else {
                        extent.block + 1
                    };
                    (extent.head_type, extent.start % self.lcluster())
                }
                Element::Other {
                    blocks: Some(blocks),
                    ..
                } => {
                    block.get_or_insert(*known_to);
                    (2, u64::from(0x800 | blocks))
                }
                Element::Other { behind, .. } if index + 1 == count => (2, u64::from(behind)),
                Element::Other { before, .. } => (2, u64::from(before)),
            };
            let value = (u64::from(head_type) << low_bits) | low;
            for bit in 0..bits {
                let place = bits * index + bit;
                bytes[place / 8] |= u8::from((value >> bit) & 1 == 1) << (place % 8);
            }
        }
        let before_first = if self.big { 0 } else { 1 };
        let block = block.unwrap_or(*known_to).wrapping_sub(before_first);
        bytes.extend(block.to_le_bytes());
        bytes
    }
}
