// SPDX-License-Identifier: GPL-2.0

//! What stands before the index of a compressed inode (`struct z_erofs_map_header`).

use super::lcluster::Lclusters;
use super::Cursor;
use crate::algorithms::Algorithm;
use crate::contents::Metadata;
use crate::features::incompat;
use crate::inode::{Inode, Layout};
use crate::superblock::SuperBlock;
use crate::volume::Volume;
use crate::{Error, Image, Result};
use zerocopy::byteorder::little_endian as le;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, Unaligned};

/// `h_advise` of compact indexes: packs of 16 with 2 bytes for each lcluster are used where they fit.
const ADVISE_COMPACTED_2B: u16 = 1 << 0;
/// `h_advise` of full indexes: there are encoded extents instead.
const ADVISE_EXTENTS: u16 = 1 << 0;
/// Log2 of the lowest of the bits that give the size of an encoded extent's record.
const ADVISE_RECORD_SIZE_SHIFT: u16 = 1;
const ADVISE_RECORD_SIZE_MASK: u16 = 3;
/// Pclusters of `HEAD1` can have several blocks.
const ADVISE_BIG_PCLUSTER_1: u16 = 1 << 1;
/// Pclusters of `PLAIN` and `HEAD2` can have several blocks.
const ADVISE_BIG_PCLUSTER_2: u16 = 1 << 2;
/// The last pcluster is inline.
const ADVISE_INLINE_PCLUSTER: u16 = 1 << 3;
/// Plain pclusters are interlaced.
const ADVISE_INTERLACED_PCLUSTER: u16 = 1 << 4;
/// The end of the file is in the packed inode.
const ADVISE_FRAGMENT_PCLUSTER: u16 = 1 << 5;

/// `h_clusterbits`: log2 of the blocks of an lcluster.
const CLUSTER_BITS_MASK: u8 = 0xF;
/// `h_clusterbits`, the header's last byte: all of the file is in the packed inode.
const CLUSTER_BITS_FRAGMENT: u8 = 1 << 7;

/// `struct z_erofs_map_header`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct RawMapHeader {
    /// `h_fragmentoff`, `h_extents_lo`, or 2 reserved bytes and `h_idata_size`.
    lo: le::U32,
    h_advise: le::U16,
    /// With the next one `h_extents_hi`.
    h_algorithmtype: u8,
    h_clusterbits: u8,
}

const RAW_SIZE: u64 = 8;
const _: () = assert!(size_of::<RawMapHeader>() == 8);

/// The header, its index and the index's end are aligned to this.
const ALIGNMENT: u64 = 8;
/// Full indexes leave so many bytes behind the header.
const FULL_INDEX_GAP: u64 = 8;

/// How an inode says where its pclusters are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Index {
    /// An element of 8 bytes for each lcluster.
    Full,
    /// Packs of elements of 4 bytes, or also of 2.
    Compact { has_2b_packs: bool },
    /// Records of so many bytes for each extent.
    Extents { record_size: u64, count: u64 },
}

/// What is special about the end of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing.
    Block,
    /// The last pcluster, which starts in lcluster `head`, is behind the index.
    Inline { head: u64, offset: u64, len: u32 },
    /// What would be the last pcluster is at byte `offset` of the packed inode.
    Fragment { head: u64, offset: u64 },
    /// All of the file is at byte `offset` of the packed inode.
    WholeFile { offset: u64 },
}

/// What a compressed inode says about all of its pclusters, checked.
///
/// It is read once for an inode, with [`Inode::map_header`], and used in each
/// [`Inode::pcluster_at`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapHeader {
    advise: u16,
    /// Log2 of the bytes of an lcluster: 9 to 27.
    pub(super) lcluster_bits: u32,
    /// Those of `HEAD1` and `HEAD2`.
    pub(super) algorithms: [Algorithm; 2],
    pub(super) index: Index,
    /// Where in the metadata the index starts.
    pub(super) start: u64,
    pub(super) tail: Tail,
}

impl Inode {
    /// Reads and checks the header of a compressed inode, and finds out where the end of the file
    /// is if that is special, as Linux's `z_erofs_fill_inode()`.
    ///
    /// # Errors
    ///
    /// * [`Error::Unsupported`]: an unknown algorithm
    /// * [`Error::Corrupt`]: the flags for big pclusters contradict the superblock or each other, or
    ///   the last pcluster cannot be found
    /// * [`Error::Invalid`]: the inode is not compressed, or its lclusters are too large for compact
    ///   indexes
    /// * [`Error::OutOfBounds`]: the header or the index is not in the image
    pub fn map_header<V: Volume + ?Sized>(&self, volume: &V, sb: &SuperBlock) -> Result<MapHeader> {
        if !self.layout.is_compressed() {
            return Err(Error::Invalid("not a compressed inode"));
        }
        match Metadata::new(volume, sb, self.in_metabox())? {
            Metadata::Plain(image) => MapHeader::read(image, sb, self),
            Metadata::Inside(file) => MapHeader::read(&file, sb, self),
        }
    }
}

impl MapHeader {
    fn read<M: Image + ?Sized>(metadata: &M, sb: &SuperBlock, inode: &Inode) -> Result<Self> {
        let pos = inode
            .behind_xattrs()?
            .checked_next_multiple_of(ALIGNMENT)
            .ok_or(Error::OutOfBounds)?;
        let raw: RawMapHeader = metadata.read(pos)?;
        let end = pos.checked_add(RAW_SIZE).ok_or(Error::OutOfBounds)?;
        if raw.h_clusterbits & CLUSTER_BITS_FRAGMENT != 0 {
            return Ok(MapHeader::whole_file(&raw));
        }
        let advise = raw.h_advise.get();
        let mut header = MapHeader {
            advise,
            lcluster_bits: sb
                .block_bits()
                .saturating_add(u32::from(raw.h_clusterbits & CLUSTER_BITS_MASK)),
            algorithms: [Algorithm::Lz4; 2],
            index: Index::Full,
            start: end,
            tail: Tail::Block,
        };
        match inode.layout {
            Layout::CompressedFull if advise & ADVISE_EXTENTS != 0 => {
                return header.extents(&raw);
            }
            Layout::CompressedFull => {
                header.start = end.checked_add(FULL_INDEX_GAP).ok_or(Error::OutOfBounds)?;
            }
            _ => {
                header.index = Index::Compact {
                    has_2b_packs: advise & ADVISE_COMPACTED_2B != 0,
                };
            }
        }
        header.algorithms = [
            Algorithm::from_format(raw.h_algorithmtype & 0xF)?,
            Algorithm::from_format(raw.h_algorithmtype >> 4)?,
        ];
        header.check_big_pclusters(sb)?;
        header.find_tail(metadata, sb, inode, raw.lo.get())?;
        Ok(header)
    }

    /// A header whose bytes are an offset but for their highest bit.
    fn whole_file(raw: &RawMapHeader) -> Self {
        let [b0, b1, b2, b3] = raw.lo.get().to_le_bytes();
        let [b4, b5] = raw.h_advise.get().to_le_bytes();
        let b7 = raw.h_clusterbits & !CLUSTER_BITS_FRAGMENT;
        let offset = u64::from_le_bytes([b0, b1, b2, b3, b4, b5, raw.h_algorithmtype, b7]);
        MapHeader {
            advise: ADVISE_FRAGMENT_PCLUSTER,
            lcluster_bits: 0,
            algorithms: [Algorithm::Lz4; 2],
            index: Index::Full,
            start: 0,
            tail: Tail::WholeFile { offset },
        }
    }

    /// The header of encoded extents, which name their algorithms themselves. Their records are
    /// aligned to their size.
    fn extents(mut self, raw: &RawMapHeader) -> Result<Self> {
        let size_bits = (self.advise >> ADVISE_RECORD_SIZE_SHIFT) & ADVISE_RECORD_SIZE_MASK;
        let record_size = 4_u64.wrapping_shl(u32::from(size_bits));
        let hi = u16::from_le_bytes([raw.h_algorithmtype, raw.h_clusterbits]);
        self.index = Index::Extents {
            record_size,
            count: (u64::from(hi) << 32) | u64::from(raw.lo),
        };
        self.start = self
            .start
            .checked_next_multiple_of(record_size)
            .ok_or(Error::OutOfBounds)?;
        Ok(self)
    }

    fn check_big_pclusters(&self, sb: &SuperBlock) -> Result<()> {
        let first = self.has(ADVISE_BIG_PCLUSTER_1);
        let second = self.has(ADVISE_BIG_PCLUSTER_2);
        if (first || second) && !sb.has_incompat(incompat::ALGORITHMS) {
            return Err(Error::Corrupt("big pclusters in an image without them"));
        }
        if matches!(self.index, Index::Compact { .. }) && first != second {
            return Err(Error::Corrupt("big pclusters of one head type only"));
        }
        Ok(())
    }

    /// Finds the last pcluster if it is somewhere else than the others.
    fn find_tail<M: Image + ?Sized>(
        &mut self,
        metadata: &M,
        sb: &SuperBlock,
        inode: &Inode,
        lo: u32,
    ) -> Result<()> {
        let [_, _, idata_size @ ..] = lo.to_le_bytes();
        let idata_size = u16::from_le_bytes(idata_size);
        let is_fragment = self.has(ADVISE_FRAGMENT_PCLUSTER);
        let is_inline = self.has(ADVISE_INLINE_PCLUSTER) && idata_size != 0;
        let last = match inode.size.checked_sub(1) {
            Some(last) if is_fragment || is_inline => last,
            _ => return Ok(()),
        };
        let mut cursor = Cursor::default();
        let mut lclusters = Lclusters::new(metadata, sb, self, inode.size, &mut cursor);
        let (lcn, head, _) = lclusters.head_of(last)?;
        let behind = lclusters.behind(last)?;
        self.tail = match (is_fragment, self.index) {
            (true, Index::Full) => Tail::Fragment {
                head: lcn,
                // A full index has the upper half in the last head's place for a block number.
                offset: (u64::from(head.block_field) << 32) | u64::from(lo),
            },
            (true, _) => Tail::Fragment {
                head: lcn,
                offset: u64::from(lo),
            },
            (false, _) => Tail::Inline {
                head: lcn,
                offset: behind,
                len: u32::from(idata_size),
            },
        };
        // Linux takes a tail that starts in the first lcluster for the whole file.
        if let Tail::Fragment { head: 0, offset } = self.tail {
            self.tail = Tail::WholeFile { offset };
        }
        Ok(())
    }

    fn has(&self, advise: u16) -> bool {
        self.advise & advise != 0
    }

    /// Whether plain pclusters are interlaced.
    pub(super) fn is_interlaced(&self) -> bool {
        self.has(ADVISE_INTERLACED_PCLUSTER)
    }

    /// Whether the end of the file is in the packed inode.
    pub(super) fn has_fragment(&self) -> bool {
        self.has(ADVISE_FRAGMENT_PCLUSTER)
    }

    /// Whether pclusters of `HEAD1` can have several blocks; for others see below.
    pub(super) fn has_big_head1(&self) -> bool {
        self.has(ADVISE_BIG_PCLUSTER_1)
    }

    /// Whether pclusters of `PLAIN` and `HEAD2` can have several blocks.
    pub(super) fn has_big_others(&self) -> bool {
        self.has(ADVISE_BIG_PCLUSTER_2)
    }

    /// The bytes of an lcluster.
    pub(super) fn lcluster_size(&self) -> u64 {
        1_u64.wrapping_shl(self.lcluster_bits)
    }
}
