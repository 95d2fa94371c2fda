// SPDX-License-Identifier: GPL-2.0

//! What the index of a compressed file says, element by element.

use erodax_format::{inode::Inode, superblock::SuperBlock};
use erodax_mutation::{
    field::Structure,
    places::{Index, Place},
};

/// Bits of `i_format`, `h_advise` and `di_advise`, and the type of lclusters that are no heads.
const FORMAT_EXTENDED: u64 = 1;
const BIG_PCLUSTERS: u64 = 6;
const ADVISE_HOLE: u64 = 1 << 14;
const ADVISE_TYPE: u64 = 3;
const NONHEAD: u64 = 2;
/// A distance that is a number of blocks.
const CBLKCNT: u64 = 1 << 11;
/// The least bits of an element in a pack that are not its type.
const MIN_LOW_BITS: u32 = 12;
/// Elements of an index that are looked at.
const MAX_ELEMENTS: usize = 4096;

/// The elements of one file's index.
pub(super) struct Elements<'a> {
    image: &'a [u8],
    /// `None` if it is not in the image as it is.
    index: Option<Index>,
}

/// How far the head of an lcluster is before it, as that says.
#[derive(Clone, Copy)]
enum Lookback {
    /// It is a head.
    Head,
    Lclusters(u64),
    /// It follows the head, and has its number of blocks.
    Blocks,
    /// It says something else.
    Unsaid,
}

impl<'a> Elements<'a> {
    pub(super) fn new(image: &'a [u8], sb: &SuperBlock, inode: &Inode) -> Self {
        Self {
            image,
            index: find(image, sb, inode),
        }
    }

    fn places(&self) -> &[Place] {
        self.index.as_ref().map_or(&[], |index| &index.elements)
    }

    /// Whether records of extents, among which a binary search is made, are not in their order.
    pub(super) fn are_unsorted(&self) -> bool {
        let starts = self.places().iter().filter_map(|place| {
            let has_start = matches!(place.structure, Structure::Extent16 | Structure::Extent32);
            has_start.then(|| place.get(self.image, "lstart_lo"))?
        });
        !starts.is_sorted_by(|one, next| one < next)
    }

    /// Whether some hole begins inside an lcluster.
    pub(super) fn have_a_hole_inside(&self) -> bool {
        self.places().iter().any(|place| {
            let number = |name| match place.structure {
                Structure::LclusterIndex => place.get(self.image, name).unwrap_or(0),
                _ => 0,
            };
            let advise = number("di_advise");
            let is_head = advise & ADVISE_TYPE != NONHEAD;
            is_head && advise & ADVISE_HOLE != 0 && number("di_clusterofs") != 0
        })
    }

    /// Whether some lcluster says that its head is where it is not, or that its pcluster is big where
    /// none can be.
    pub(super) fn have_a_wrong_distance(&self) -> bool {
        let Some(index) = &self.index else {
            return false;
        };
        let may_be_big = index.header.get(self.image, "h_advise").unwrap_or(0) & BIG_PCLUSTERS != 0;
        let lookbacks = index.elements.iter().flat_map(|place| {
            let count = match place.structure {
                Structure::LclusterIndex => 1,
                Structure::SmallPack => 2,
                Structure::LargePack => 16,
                _ => 0,
            };
            (0..count).map(|number| self.lookback(place, number, index.lcluster_bits))
        });
        let count = usize::try_from(index.count).unwrap_or(usize::MAX);
        // How far the last head is behind.
        let mut distance = None;
        let mut is_right = lookbacks.take(count).map(|lookback| {
            distance = distance.map(|distance| distance + 1);
            match lookback {
                Lookback::Head => distance = Some(0),
                Lookback::Lclusters(said) => return distance == Some(said),
                Lookback::Blocks => return may_be_big && distance == Some(1),
                Lookback::Unsaid => {}
            }
            true
        });
        !is_right.all(|is_right| is_right)
    }

    /// That of an lcluster of a full index, or of one in a pack.
    fn lookback(&self, place: &Place, number: u32, lcluster_bits: u32) -> Lookback {
        let (kind, low) = match place.structure {
            Structure::LclusterIndex => {
                let field = |name| place.get(self.image, name).unwrap_or(0);
                (field("di_advise") & ADVISE_TYPE, field("delta0"))
            }
            _ => self.packed(place, number, lcluster_bits.max(MIN_LOW_BITS)),
        };
        // The last one of a pack looks ahead.
        let is_last = matches!(
            (place.structure, number),
            (Structure::SmallPack, 1) | (Structure::LargePack, 15)
        );
        match kind {
            NONHEAD if low & CBLKCNT != 0 => Lookback::Blocks,
            NONHEAD if is_last => Lookback::Unsaid,
            NONHEAD => Lookback::Lclusters(low),
            _ => Lookback::Head,
        }
    }

    /// The type of an element of a pack, and its lower bits.
    fn packed(&self, place: &Place, number: u32, low_bits: u32) -> (u64, u64) {
        let bits = match place.structure {
            Structure::LargePack => 14,
            _ => 16,
        };
        let bit = number * bits;
        let at = usize::try_from(bit / 8).ok();
        let bytes = at.and_then(|at| self.image.get(place.offset + at..)?.first_chunk());
        let word = u32::from_le_bytes(bytes.copied().unwrap_or_default()) >> (bit % 8);
        let low = word & ((1 << low_bits) - 1);
        (u64::from((word >> low_bits) & 3), u64::from(low))
    }
}

/// The index of an inode that is not in the metabox.
fn find(image: &[u8], sb: &SuperBlock, inode: &Inode) -> Option<Index> {
    if inode.in_metabox() {
        return None;
    }
    let start = sb.inode_offset(inode.nid).ok()?;
    let place = Place {
        structure: Structure::CompactInode,
        offset: usize::try_from(start).ok()?,
    };
    let structure = match place.get(image, "i_format")? & FORMAT_EXTENDED {
        0 => Structure::CompactInode,
        _ => Structure::ExtendedInode,
    };
    let xattrs = usize::try_from(inode.xattr_size()).ok()?;
    let body = (place.offset + structure.size()).checked_add(xattrs)?;
    Index::find(image, sb, inode, body, MAX_ELEMENTS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::difference::crafted::{
        compact, file, image, lcluster, GOOD, HEAD1, HEADER, NONHEAD,
    };

    fn ask(image: &[u8], ask: impl FnOnce(Elements<'_>) -> bool) -> bool {
        let (sb, inode) = file(image);
        ask(Elements::new(image, &sb, &inode))
    }

    #[test]
    fn holes_begin_with_their_lclusters() {
        let has_hole = |image: &[u8]| ask(image, |elements| elements.have_a_hole_inside());
        let mut image = image(GOOD);
        assert!(!has_hole(&image));
        let head = lcluster(2);
        head.set(&mut image, "di_advise", HEAD1 | ADVISE_HOLE);
        assert!(!has_hole(&image));
        head.set(&mut image, "di_clusterofs", 5);
        assert!(has_hole(&image));
    }

    #[test]
    fn records_are_sorted() {
        let are_unsorted = |image: &[u8]| ask(image, |elements| elements.are_unsorted());
        let mut image = image(GOOD);
        // Two records of 16 bytes.
        HEADER.set(&mut image, "h_advise", 1 | (2 << 1));
        HEADER.set(&mut image, "h_fragmentoff", 2);
        let records = [2096, 2112].map(|offset| Place {
            structure: Structure::Extent16,
            offset,
        });
        for (record, start) in records.iter().zip([0, 512]) {
            record.set(&mut image, "lstart_lo", start);
        }
        assert!(!are_unsorted(&image));
        records[1].set(&mut image, "lstart_lo", 0);
        assert!(are_unsorted(&image));
    }

    fn has_wrong_distance(image: &[u8]) -> bool {
        ask(image, |elements| elements.have_a_wrong_distance())
    }

    #[test]
    fn distances_lead_to_heads() {
        assert!(!has_wrong_distance(&image(GOOD)));
        let mut headless = GOOD;
        headless[0].0 = NONHEAD;
        assert!(has_wrong_distance(&image(headless)));
        let mut far = GOOD;
        far[3].1 = 3;
        assert!(has_wrong_distance(&image(far)));
    }

    #[test]
    fn pclusters_are_big_where_some_may_be() {
        let mut big = GOOD;
        big[1].1 = CBLKCNT | 1;
        let mut image = image(big);
        assert!(has_wrong_distance(&image));
        HEADER.set(&mut image, "h_advise", BIG_PCLUSTERS);
        assert!(!has_wrong_distance(&image));
    }

    #[test]
    fn distances_in_packs_lead_to_heads() {
        // The second one is the last in its pack, and says how far the next head is.
        let with = |distance| compact([(HEAD1, 0), (NONHEAD, 2), (NONHEAD, distance), (HEAD1, 0)]);
        assert!(!has_wrong_distance(&with(2)));
        assert!(has_wrong_distance(&with(1)));
    }
}
