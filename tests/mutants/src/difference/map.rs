// SPDX-License-Identifier: GPL-2.0

//! What the map of a compressed file says, and whether that is one thing.

use std::ops::Range;

use erodax_format::{
    inode::Inode,
    pcluster::{Cursor, Data, Encoded, Encoding, MapHeader, Pcluster},
    superblock::SuperBlock,
    Result,
};
use erodax_mutation::{
    field::Structure,
    places::{Index, Place},
};

use crate::transcript::Question;

const PAGE_SIZE: u64 = 4096;
/// The smallest block: pclusters that are longer than their place begin at least that far apart.
const STEP: u64 = 512;
/// Bits of `i_format` and of `di_advise`, and the type of lclusters that are no heads.
const FORMAT_EXTENDED: u64 = 1;
const ADVISE_HOLE: u64 = 1 << 14;
const ADVISE_TYPE: u64 = 3;
const NONHEAD: u64 = 2;
/// Elements of an index that are looked at.
const MAX_ELEMENTS: usize = 4096;
/// How far readahead goes: to get at a page, a driver may look at the map so far before and behind it.
const AROUND: u64 = 128 << 10;

/// What a folio has at most that is made for the few pages that are asked for. It is read as a whole or
/// not at all.
const FOLIO_SIZE: u64 = 32 << 10;

/// A compressed file of an image.
pub(super) struct Map<'a> {
    image: &'a [u8],
    sb: &'a SuperBlock,
    inode: Inode,
    header: MapHeader,
}

impl<'a> Map<'a> {
    /// Reads the header of the map.
    pub(super) fn new(image: &'a [u8], sb: &'a SuperBlock, inode: Inode) -> Result<Self> {
        Ok(Self {
            header: inode.map_header(image, sb)?,
            image,
            sb,
            inode,
        })
    }

    /// The pcluster that has a byte, however one gets to it.
    fn at(&self, position: u64) -> Result<Pcluster> {
        let cursor = &mut Cursor::default();
        self.inode
            .pcluster_at(self.image, self.sb, &self.header, cursor, position)
    }

    /// The bytes that a question is about.
    fn range(&self, question: &Question) -> Range<u64> {
        match question {
            Question::Page(page) | Question::Mapped(page) => {
                let start = page.saturating_mul(PAGE_SIZE);
                start..start.saturating_add(PAGE_SIZE).min(self.inode.size)
            }
            _ => 0..self.inode.size.min(AROUND),
        }
    }

    /// Whether around what the question is about pclusters overlap, or some bytes are in one when
    /// looked for themselves, and in another when going from one pcluster to the next.
    pub(super) fn is_contradictory(&self, question: &Question) -> bool {
        if self.is_unsorted() {
            return true;
        }
        let Range { start, end } = self.range(question);
        let end = end.saturating_add(AROUND).min(self.inode.size);
        let start = start.saturating_sub(AROUND);
        let mut position = self.at(start).map_or(start, |first| first.start);
        // Where the last pcluster ends that was found.
        let mut known = position;
        while position < end {
            let Ok(pcluster) = self.at(position) else {
                // Later bytes may lead to pclusters before this one.
                position = (position + 1).next_multiple_of(STEP);
                continue;
            };
            let follows = known..=position;
            let behind = pcluster.start.saturating_add(pcluster.len);
            if !follows.contains(&pcluster.start) || behind <= position {
                return true;
            }
            if self.differs(&pcluster, position..behind.min(end)) {
                return true;
            }
            position = behind;
            known = behind;
        }
        false
    }

    /// The elements of the index; none if it is not in the image as it is.
    fn elements(&self) -> Vec<Place> {
        let Ok(start) = self.sb.inode_offset(self.inode.nid) else {
            return Vec::new();
        };
        let inode = Place {
            structure: Structure::CompactInode,
            offset: usize::try_from(start).unwrap_or(usize::MAX),
        };
        let Some(format) = inode.get(self.image, "i_format") else {
            return Vec::new();
        };
        let structure = match format & FORMAT_EXTENDED {
            0 => Structure::CompactInode,
            _ => Structure::ExtendedInode,
        };
        let xattrs = usize::try_from(self.inode.xattr_size()).unwrap_or(usize::MAX);
        let body = (inode.offset + structure.size()).saturating_add(xattrs);
        let index = match self.inode.in_metabox() {
            true => None,
            false => Index::find(self.image, self.sb, &self.inode, body, MAX_ELEMENTS),
        };
        index.map_or_else(Vec::new, |index| index.elements)
    }

    /// Whether records of extents, among which a binary search is made, are not in their order.
    fn is_unsorted(&self) -> bool {
        let starts = self.elements().into_iter().filter_map(|place| {
            let has_start = matches!(place.structure, Structure::Extent16 | Structure::Extent32);
            has_start.then(|| place.get(self.image, "lstart_lo"))?
        });
        !starts.is_sorted_by(|one, next| one < next)
    }

    /// Whether some hole begins inside an lcluster.
    pub(super) fn has_hole_inside(&self) -> bool {
        self.elements().into_iter().any(|place| {
            let number = |name| match place.structure {
                Structure::LclusterIndex => place.get(self.image, name).unwrap_or(0),
                _ => 0,
            };
            let advise = number("di_advise");
            let is_head = advise & ADVISE_TYPE != NONHEAD;
            is_head && advise & ADVISE_HOLE != 0 && number("di_clusterofs") != 0
        })
    }

    /// Whether some byte of a range is not in the pcluster.
    fn differs(&self, pcluster: &Pcluster, range: Range<u64>) -> bool {
        let steps = range.start.div_ceil(STEP)..range.end.div_ceil(STEP);
        let steps = steps.map(|step| step * STEP);
        let inside = steps.flat_map(|step| [step.saturating_sub(1).max(range.start), step]);
        let mut positions = inside.chain([range.start, range.end - 1]);
        positions.any(|position| {
            let there = self.at(position);
            !there.is_ok_and(|there| there.start == pcluster.start && there.data == pcluster.data)
        })
    }

    /// Whether the bytes that a question is about are in a pcluster of which this or another map says
    /// that it is stored in another way.
    pub(super) fn disagrees(&self, question: &Question, other: &Map<'_>) -> bool {
        let others = other.encoded(0..other.inode.size.min(AROUND));
        self.encoded(self.range(question)).iter().any(|ours| {
            let mut others = others.iter();
            others.any(|theirs| theirs.place == ours.place && is_unlike(ours, theirs))
        })
    }

    /// The pclusters with data of a range, as far as there is no error.
    fn encoded(&self, range: Range<u64>) -> Vec<Encoded> {
        let mut found = Vec::new();
        let mut position = range.start;
        while position < range.end {
            let Ok(pcluster) = self.at(position) else {
                break;
            };
            if let Data::Encoded(encoded) = pcluster.data {
                found.push(encoded);
            }
            position = pcluster
                .start
                .saturating_add(pcluster.len)
                .max(position + 1);
        }
        found
    }

    /// Why the bytes that a question is about cannot be had, as far as maps say it: their error, or
    /// that something must be decoded for them, or for others in the same folio.
    pub(super) fn reason(&self, question: &Question) -> Option<String> {
        let range = self.range(question);
        let start = range.start - range.start % FOLIO_SIZE;
        let end = start.saturating_add(FOLIO_SIZE).min(self.inode.size);
        let around = || {
            self.reason_in(start..end)
                .map(|_| "damage in the same folio".to_owned())
        };
        self.reason_in(range).or_else(around)
    }

    fn reason_in(&self, range: Range<u64>) -> Option<String> {
        let mut position = range.start;
        while position < range.end {
            let pcluster = match self.at(position) {
                Err(error) => return Some(format!("map of a compressed file: {error}")),
                Ok(pcluster) => pcluster,
            };
            let behind = pcluster.start.saturating_add(pcluster.len);
            let reason = match &pcluster.data {
                Data::Hole => None,
                Data::Fragment { offset } => {
                    let start = offset + position.saturating_sub(pcluster.start);
                    let len = behind.min(range.end).saturating_sub(position);
                    self.reason_of_fragment(start..start.saturating_add(len))
                }
                Data::Encoded(encoded) => match encoded.encoding {
                    Encoding::Compressed(_) => Some("damaged compressed data".to_owned()),
                    Encoding::Shifted | Encoding::Interlaced => None,
                },
            };
            if reason.is_some() || behind <= position {
                return reason;
            }
            position = behind;
        }
        None
    }

    fn reason_of_fragment(&self, range: Range<u64>) -> Option<String> {
        let packed = self.sb.packed()?;
        if !packed.layout.is_compressed() || packed.nid == self.inode.nid {
            return None;
        }
        match Map::new(self.image, self.sb, packed.clone()) {
            Err(error) => Some(format!("map of the packed inode: {error}")),
            Ok(map) => map.reason_in(range),
        }
    }
}

/// Whether it is not the same data, or not to be decoded alike.
fn is_unlike(one: &Encoded, other: &Encoded) -> bool {
    one.len != other.len || one.encoding != other.encoding
}

#[cfg(test)]
mod tests {
    use super::*;
    use erodax_mutation::places::SUPER_BLOCK;

    const NID: u64 = 64;
    const HEAD1: u64 = 1;

    /// An image with one file of four blocks, whose lclusters have this type and these two numbers:
    /// of a head, its block; of others, how far the heads before and behind them are.
    fn image(lclusters: [(u64, u64, u64); 4]) -> Vec<u8> {
        let mut image = vec![0; 8192];
        SUPER_BLOCK.set(&mut image, "magic", 0xE0F5_E1E2);
        SUPER_BLOCK.set(&mut image, "blkszbits", 9);
        SUPER_BLOCK.set(&mut image, "blocks_lo", 16);
        // There is LZ4.
        SUPER_BLOCK.set(&mut image, "feature_incompat", 1);
        let inode = Place {
            structure: Structure::CompactInode,
            offset: 2048,
        };
        // With a full index.
        inode.set(&mut image, "i_format", 1 << 1);
        inode.set(&mut image, "i_mode", 0o100_644);
        inode.set(&mut image, "i_nb", 1);
        inode.set(&mut image, "i_size", 2048);
        for (number, (kind, low, high)) in lclusters.into_iter().enumerate() {
            let lcluster = Place {
                structure: Structure::LclusterIndex,
                offset: 2096 + 8 * number,
            };
            lcluster.set(&mut image, "di_advise", kind);
            lcluster.set(&mut image, "delta0", low);
            lcluster.set(&mut image, "delta1", high);
        }
        image
    }

    fn ask<T>(image: &[u8], ask: impl FnOnce(Map<'_>) -> T) -> T {
        let sb = SuperBlock::read(image).unwrap();
        let inode = Inode::read(image, &sb, NID).unwrap();
        ask(Map::new(image, &sb, inode).unwrap())
    }

    const GOOD: [(u64, u64, u64); 4] = [
        (HEAD1, 10, 0),
        (NONHEAD, 1, 1),
        (HEAD1, 11, 0),
        (NONHEAD, 1, 1),
    ];

    #[test]
    fn a_map_says_one_thing() {
        let is_contradictory = |lclusters| {
            ask(&image(lclusters), |map| {
                map.is_contradictory(&Question::Page(0))
            })
        };
        assert!(!is_contradictory(GOOD));
        // The first extent ends with the file, but another one begins in it.
        let mut long = GOOD;
        long[1] = (NONHEAD, 1, 3);
        assert!(is_contradictory(long));
        // What follows the second head says that it is the first one's.
        let mut other = GOOD;
        other[3] = (NONHEAD, 3, 1);
        assert!(is_contradictory(other));
    }

    #[test]
    fn pclusters_are_stored_in_one_way() {
        let disagree = |one, other| {
            let image = [image(one), image(other)];
            ask(&image[0], |one| {
                ask(&image[1], |other| one.disagrees(&Question::Page(0), &other))
            })
        };
        assert!(!disagree(GOOD, GOOD));
        let mut plain = [10, 12, 13, 14].map(|block| (0, block, 0));
        assert!(disagree(GOOD, plain));
        plain[0].1 = 9;
        assert!(!disagree(GOOD, plain));
    }

    #[test]
    fn holes_begin_with_their_lclusters() {
        let mut image = image(GOOD);
        assert!(!ask(&image, |map| map.has_hole_inside()));
        let head = Place {
            structure: Structure::LclusterIndex,
            offset: 2096 + 16,
        };
        head.set(&mut image, "di_advise", HEAD1 | ADVISE_HOLE);
        assert!(!ask(&image, |map| map.has_hole_inside()));
        head.set(&mut image, "di_clusterofs", 5);
        assert!(ask(&image, |map| map.has_hole_inside()));
    }

    #[test]
    fn records_are_sorted() {
        let mut image = image(GOOD);
        let header = Place {
            structure: Structure::MapHeader,
            offset: 2080,
        };
        // Two records of 16 bytes.
        header.set(&mut image, "h_advise", 1 | (2 << 1));
        header.set(&mut image, "h_fragmentoff", 2);
        let records = [2096, 2112].map(|offset| Place {
            structure: Structure::Extent16,
            offset,
        });
        for (record, start) in records.iter().zip([0, 512]) {
            record.set(&mut image, "lstart_lo", start);
        }
        assert!(!ask(&image, |map| map.is_unsorted()));
        records[1].set(&mut image, "lstart_lo", 0);
        assert!(ask(&image, |map| map.is_unsorted()));
    }

    #[test]
    fn errors_have_reasons() {
        let reason = |lclusters| ask(&image(lclusters), |map| map.reason(&Question::Page(0)));
        assert_eq!(reason(GOOD).unwrap(), "damaged compressed data");
        let mut headless = GOOD;
        headless[0] = (NONHEAD, 0, 1);
        assert!(reason(headless).unwrap().ends_with("without a head"));
        // Bytes as they are cannot be damaged.
        let plain = [10, 11, 12, 13].map(|block| (0, block, 0));
        assert_eq!(reason(plain), None);
    }
}
