// SPDX-License-Identifier: GPL-2.0

//! Where extents start and end, read from an index in the simplest way: all elements in their order.
//! Where elements contradict each other there is no right answer, and nothing is expected.

use crate::field::Structure;
use crate::places::{Index, Place};
use erodax_format::inode::Inode;
use erodax_format::pcluster::Pcluster;
use erodax_format::superblock::SuperBlock;

/// Of longer indexes nothing is known.
const MAX_ELEMENTS: usize = 4096;

/// `di_advise`, and the elements of packs.
const TYPE: u64 = 3;
const NON_HEAD: u64 = 2;
const CBLKCNT: u64 = 1 << 11;

/// What is known of the extents of one file.
pub(super) enum Expected {
    /// Nothing, not even whether the index is in order.
    Unknown,
    /// The index is in order if it is one of lclusters, but says different things.
    Contradicting,
    /// Where extents start, in order. What is before the first one is a hole.
    Starts { starts: Vec<u64>, size: u64 },
}

/// What an element says.
#[derive(Clone, Copy)]
enum Element {
    /// An extent starts so many bytes into the lcluster.
    Head(u64),
    /// Its distances to the head before it and to the one behind it, where it has them.
    Other {
        back: Option<u64>,
        ahead: Option<u64>,
    },
}

impl Expected {
    pub(super) fn of(image: &[u8], sb: &SuperBlock, inode: &Inode) -> Self {
        if inode.in_metabox() {
            return Expected::Unknown;
        }
        let Some(index) = body(image, sb, inode)
            .and_then(|body| Index::find(image, sb, inode, body, MAX_ELEMENTS))
        else {
            return Expected::Contradicting;
        };
        let records = index.elements.last().map(|last| last.structure);
        let starts = match records {
            Some(Structure::Extent16 | Structure::Extent32) => match sorted(image, &index) {
                Some(starts) => Some(starts),
                None => return Expected::Unknown,
            },
            Some(Structure::Extent4 | Structure::Extent8) => uniform(&index),
            _ => lclusters(image, &index).and_then(|elements| heads(&index, &elements)),
        };
        match starts {
            Some(starts) => Expected::Starts {
                starts,
                size: inode.size,
            },
            None => Expected::Contradicting,
        }
    }

    /// Whether each way through the index leads to the same elements.
    pub(super) fn is_ordered(&self) -> bool {
        !matches!(self, Expected::Unknown)
    }

    /// Whether all is known.
    pub(super) fn is_known(&self) -> bool {
        matches!(self, Expected::Starts { .. })
    }

    /// Checks what was found for byte `pos`.
    pub(super) fn check(&self, found: &Pcluster, pos: u64) {
        let Expected::Starts { starts, size } = self else {
            return;
        };
        let next = starts.partition_point(|start| *start <= pos);
        let start = match next.checked_sub(1) {
            Some(last) => starts[last],
            None => pos,
        };
        let end = starts.get(next).map_or(*size, |next| (*next).min(*size));
        assert_eq!(found.start, start, "{pos}: {found:?}");
        let len = end - start;
        if found.is_whole {
            assert_eq!(found.len, len, "{pos}: {found:?}");
        } else {
            assert!(found.len <= len, "{pos}: {found:?}, {len}");
        }
    }
}

/// Where the inode and its xattrs end.
fn body(image: &[u8], sb: &SuperBlock, inode: &Inode) -> Option<usize> {
    let start = usize::try_from(sb.inode_offset(inode.nid).ok()?).ok()?;
    let inode_size = match image.get(start)? & 1 {
        0 => Structure::CompactInode.size(),
        _ => Structure::ExtendedInode.size(),
    };
    Some(start + inode_size + usize::try_from(inode.xattr_size()).ok()?)
}

/// The starts of records that all are of lclusters.
fn uniform(index: &Index) -> Option<Vec<u64>> {
    let is_short = index.count <= u64::try_from(MAX_ELEMENTS).ok()?;
    is_short.then(|| {
        let starts = (0..index.count).map(|number| number << index.lcluster_bits);
        starts.collect()
    })
}

/// The starts of records in order; `None` if they are not, or not all were found.
fn sorted(image: &[u8], index: &Index) -> Option<Vec<u64>> {
    let start = |record: &Place| {
        let high = match record.structure {
            Structure::Extent32 => record.get(image, "lstart_hi")?,
            _ => 0,
        };
        Some((high << 32) | record.get(image, "lstart_lo")?)
    };
    let starts: Vec<u64> = index.elements.iter().map(start).collect::<Option<_>>()?;
    let is_complete = u64::try_from(starts.len()) == Ok(index.count);
    (is_complete && starts.is_sorted()).then_some(starts)
}

/// All elements of an index of lclusters.
fn lclusters(image: &[u8], index: &Index) -> Option<Vec<Element>> {
    let mut elements = Vec::new();
    for place in &index.elements {
        match place.structure {
            Structure::LclusterIndex => elements.push(full(image, place)?),
            structure => {
                let count = if structure == Structure::LargePack {
                    16
                } else {
                    2
                };
                for number in 0..count {
                    elements.push(packed(image, index, place, number, count)?);
                }
            }
        }
    }
    let count = usize::try_from(index.count).ok()?;
    (elements.len() >= count).then(|| {
        elements.truncate(count);
        elements
    })
}

fn full(image: &[u8], place: &Place) -> Option<Element> {
    if place.get(image, "di_advise")? & TYPE != NON_HEAD {
        return Some(Element::Head(place.get(image, "di_clusterofs")?));
    }
    let back = place.get(image, "delta0")?;
    Some(Element::Other {
        back: (back & CBLKCNT == 0).then_some(back),
        ahead: place.get(image, "delta1"),
    })
}

/// Element `number` of a pack of `count`: so many bits in a row, the lowest ones first.
fn packed(
    image: &[u8],
    index: &Index,
    pack: &Place,
    number: usize,
    count: usize,
) -> Option<Element> {
    let bits = 8 * (pack.structure.size() - 4) / count;
    let bytes = image.get(pack.offset..)?;
    let value = (0..bits).rev().try_fold(0, |value, bit| {
        let bit = bits * number + bit;
        Some((value << 1) | u64::from((bytes.get(bit / 8)? >> (bit % 8)) & 1))
    })?;
    let low_bits = index.lcluster_bits.max(12);
    let low = value & ((1 << low_bits) - 1);
    if (value >> low_bits) & TYPE != NON_HEAD {
        return Some(Element::Head(low));
    }
    let is_last = number + 1 == count;
    let distance = (low & CBLKCNT == 0).then_some(low);
    Some(Element::Other {
        back: distance.filter(|_| !is_last),
        ahead: distance.filter(|_| is_last),
    })
}

/// Where the extents start, if no distance is wrong: each may lead to the head that it is about, or
/// to another element on the way there.
fn heads(index: &Index, elements: &[Element]) -> Option<Vec<u64>> {
    let number = |lcn: usize| u64::try_from(lcn).unwrap_or(u64::MAX);
    let mut starts = Vec::new();
    let mut last = None;
    for (lcn, element) in elements.iter().enumerate() {
        match *element {
            Element::Head(offset) if offset < 1 << index.lcluster_bits => {
                starts.push((number(lcn) << index.lcluster_bits) + offset);
                last = Some(lcn);
            }
            Element::Head(_) => return None,
            Element::Other { back, .. } => {
                let most = number(lcn - last?);
                let is_right = |back: u64| (1..=most).contains(&back);
                back.is_none_or(is_right).then_some(())?;
            }
        }
    }
    let mut next = None;
    for (lcn, element) in elements.iter().enumerate().rev() {
        match *element {
            Element::Head(_) => next = Some(lcn),
            Element::Other { ahead, .. } => {
                let most = next.map_or(u64::MAX, |next| number(next - lcn));
                ahead.is_none_or(|ahead| ahead <= most).then_some(())?;
            }
        }
    }
    (starts.first() == Some(&0)).then_some(starts)
}
