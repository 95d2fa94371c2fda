// SPDX-License-Identifier: GPL-2.0

//! Where the index of a compressed inode is, and its elements, as far as it can be told from the
//! image's own bytes.

use super::Place;
use crate::field::Structure;
use erodax_format::inode::{Inode, Layout};
use erodax_format::superblock::SuperBlock;

/// Bits of `h_advise`.
const COMPACTED_2B: u64 = 1 << 0;
const EXTENTS: u64 = 1 << 0;
/// Bits of `h_clusterbits`.
const CLUSTER_BITS: u64 = 0xF;
const WHOLE_FRAGMENT: u64 = 1 << 7;

/// The index of one inode.
#[derive(Clone, Debug)]
pub struct Index {
    /// `struct z_erofs_map_header`.
    pub header: Place,
    /// Log2 of the bytes of an lcluster.
    pub lcluster_bits: u32,
    /// How many elements there are: lclusters, or records.
    pub count: u64,
    /// The elements, or the packs of them, from the first one on, as many as were wanted.
    pub elements: Vec<Place>,
    /// How many were.
    max: usize,
}

impl Index {
    /// The index behind byte `body` of the image, where the inode's xattrs end, with `max` elements at
    /// most; `None` if the file has none, as all of it is a fragment.
    pub fn find(
        image: &[u8],
        sb: &SuperBlock,
        inode: &Inode,
        body: usize,
        max: usize,
    ) -> Option<Self> {
        let header = Place {
            structure: Structure::MapHeader,
            offset: body.checked_next_multiple_of(8)?,
        };
        let cluster_bits = header.get(image, "h_clusterbits")?;
        if cluster_bits & WHOLE_FRAGMENT != 0 {
            return None;
        }
        let mut index = Index {
            header,
            lcluster_bits: sb.block_bits() + u32::try_from(cluster_bits & CLUSTER_BITS).ok()?,
            count: 0,
            elements: Vec::new(),
            max,
        };
        index.count = inode.size.div_ceil(1_u64 << index.lcluster_bits);
        let advise = header.get(image, "h_advise")?;
        match inode.layout {
            Layout::CompressedFull if advise & EXTENTS != 0 => index.add_records(image, advise)?,
            Layout::CompressedFull => {
                index.add(Structure::LclusterIndex, header.offset + 16, index.count);
            }
            _ => index.add_packs(sb.block_bits(), inode.size, advise & COMPACTED_2B != 0),
        }
        Some(index)
    }

    /// Adds `count` structures and returns where they end.
    fn add(&mut self, structure: Structure, start: usize, count: u64) -> usize {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let left = self.max.saturating_sub(self.elements.len());
        let mut offset = start;
        for _ in 0..count.min(left) {
            self.elements.push(Place { structure, offset });
            offset = offset.saturating_add(structure.size());
        }
        offset
    }

    fn add_records(&mut self, image: &[u8], advise: u64) -> Option<()> {
        let structure = match (advise >> 1) & 3 {
            0 => Structure::Extent4,
            1 => Structure::Extent8,
            2 => Structure::Extent16,
            _ => Structure::Extent32,
        };
        let size = structure.size();
        let mut start = (self.header.offset + 8).checked_next_multiple_of(size)?;
        match structure {
            Structure::Extent4 => start = self.add(Structure::ExtentBase, start, 1),
            Structure::Extent8 => {}
            _ => {
                let high = ["h_algorithmtype", "h_clusterbits"];
                let [low, high] = high.map(|name| self.header.get(image, name));
                self.count =
                    self.header.get(image, "h_fragmentoff")? | (low? << 32) | (high? << 40);
            }
        }
        self.add(structure, start, self.count);
        Some(())
    }

    /// Packs of 2 up to a multiple of 32 bytes, then as many packs of 16 as are full, and the rest.
    fn add_packs(&mut self, block_bits: u32, size: u64, has_large: bool) {
        // However large lclusters are, it is blocks that are counted here.
        let total = size.div_ceil(1_u64 << block_bits);
        let mut at = self.header.offset + 8;
        let mut left = total;
        let leading = u64::try_from((32 - at % 32) / 4 % 8).unwrap_or(0).min(left);
        at = self.add(Structure::SmallPack, at, leading.div_ceil(2));
        left -= leading;
        if has_large {
            at = self.add(Structure::LargePack, at, left / 16);
            left %= 16;
        }
        self.add(Structure::SmallPack, at, left.div_ceil(2));
    }
}
