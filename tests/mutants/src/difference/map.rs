// SPDX-License-Identifier: GPL-2.0

//! What the map of a compressed file says, and whether that is one thing.

use std::ops::Range;

use erodax_format::{
    inode::Inode,
    pcluster::{Cursor, Data, Encoded, Encoding, MapHeader, Pcluster},
    superblock::SuperBlock,
    Result,
};

use super::elements::Elements;
use crate::transcript::Question;

const PAGE_SIZE: u64 = 4096;
/// The smallest block: pclusters that are longer than their place begin at least that far apart.
const STEP: u64 = 512;
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
    pub(super) fn range(&self, question: &Question) -> Range<u64> {
        match question {
            Question::Page(page) | Question::Mapped(page) => {
                let start = page.saturating_mul(PAGE_SIZE);
                start..start.saturating_add(PAGE_SIZE).min(self.inode.size)
            }
            _ => 0..self.inode.size.min(AROUND),
        }
    }

    /// What the index says, element by element.
    pub(super) fn elements(&self) -> Elements<'_> {
        Elements::new(self.image, self.sb, &self.inode)
    }

    /// The map of the packed inode and the bytes there, if some of a range are a fragment.
    pub(super) fn packed(&self, range: &Range<u64>) -> Option<Result<(Map<'a>, Range<u64>)>> {
        let last = self.at(range.end.checked_sub(1)?).ok()?;
        let Data::Fragment { offset } = last.data else {
            return None;
        };
        let packed = self.sb.packed()?;
        if !packed.layout.is_compressed() || packed.nid == self.inode.nid {
            return None;
        }
        let there = |position: u64| offset.saturating_add(position.saturating_sub(last.start));
        let range = there(range.start)..there(range.end).min(packed.size);
        let map = Map::new(self.image, self.sb, packed.clone());
        Some(map.map(|map| (map, range)))
    }

    /// Whether around a range pclusters overlap, or some bytes are in one when looked for themselves,
    /// and in another when going from one pcluster to the next.
    pub(super) fn is_contradictory(&self, Range { start, end }: Range<u64>) -> bool {
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

    /// Whether the bytes of a range are in a pcluster of which this or another map says that it is
    /// stored in another way.
    pub(super) fn disagrees(&self, range: Range<u64>, other: &Map<'_>) -> bool {
        let others = other.encoded(0..other.inode.size.min(AROUND));
        self.encoded(range).iter().any(|ours| {
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

    /// Why the bytes of a range cannot be had, as far as maps say it: their error, or that something
    /// must be decoded for them, or for others in the same folio.
    pub(super) fn reason(&self, range: Range<u64>) -> Option<String> {
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
                Data::Fragment { .. } => self.reason_of_fragment(position..behind.min(range.end)),
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
        match self.packed(&range)? {
            Err(error) => Some(format!("map of the packed inode: {error}")),
            Ok((map, range)) => map.reason_in(range),
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
    use crate::difference::crafted::{file, image, GOOD, NONHEAD};

    fn ask<T>(image: &[u8], ask: impl FnOnce(Map<'_>) -> T) -> T {
        let (sb, inode) = file(image);
        ask(Map::new(image, &sb, inode).unwrap())
    }

    #[test]
    fn a_map_says_one_thing() {
        let is_contradictory =
            |lclusters| ask(&image(lclusters), |map| map.is_contradictory(0..2048));
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
                ask(&image[1], |other| one.disagrees(0..2048, &other))
            })
        };
        assert!(!disagree(GOOD, GOOD));
        let mut plain = [10, 12, 13, 14].map(|block| (0, block, 0));
        assert!(disagree(GOOD, plain));
        plain[0].1 = 9;
        assert!(!disagree(GOOD, plain));
    }

    #[test]
    fn errors_have_reasons() {
        let reason = |lclusters| ask(&image(lclusters), |map| map.reason(0..2048));
        assert_eq!(reason(GOOD).unwrap(), "damaged compressed data");
        let mut headless = GOOD;
        headless[0] = (NONHEAD, 0, 1);
        assert!(reason(headless).unwrap().ends_with("without a head"));
        // Bytes as they are cannot be damaged.
        let plain = [10, 11, 12, 13].map(|block| (0, block, 0));
        assert_eq!(reason(plain), None);
    }
}
