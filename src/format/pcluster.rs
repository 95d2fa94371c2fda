// SPDX-License-Identifier: GPL-2.0

//! Where the bytes of compressed files are (`EROFS_INODE_COMPRESSED_FULL` and
//! `EROFS_INODE_COMPRESSED_COMPACT`).
//!
//! A file is a row of extents, and the data of each is a *pcluster*: bytes of the image that decode
//! to the extent's bytes, or to them and more. What says where they are follows the inode and its
//! xattrs: a header, then one of three kinds of index. Two of them have an element for each *lcluster*,
//! which is a power of two of blocks of the file; the third one has records of extents.
//!
//! [`Inode::map_header`] reads the header, and [`Inode::pcluster_at`] finds the pcluster of a byte of
//! the file. Decoding is the caller's affair.

mod compact;
mod extents;
mod full;
mod header;
mod lcluster;

pub use crate::algorithms::Algorithm;
pub use header::MapHeader;

use crate::contents::Metadata;
use crate::flat::Extent;
use crate::inode::Inode;
use crate::superblock::SuperBlock;
use crate::volume::Volume;
use crate::{Error, Image, Result};
use extents::Extents;
use header::{Index, Tail};
use lcluster::Lclusters;

/// The most bytes that a pcluster has (`Z_EROFS_PCLUSTER_MAX_SIZE`).
pub const MAX_ENCODED_SIZE: u32 = 1 << 20;

/// The most bytes that a pcluster decodes to (`Z_EROFS_PCLUSTER_MAX_DSIZE`).
pub const MAX_DECODED_SIZE: u64 = 12 << 20;

/// Block numbers have so many bits.
const BLOCK_NUMBER_BITS: u32 = 48;

/// Bytes of a file that are stored together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pcluster {
    /// Where in the file they start.
    pub start: u64,
    /// How many they are: the byte that was asked for and those up to the end of the extent.
    pub len: u64,
    /// Whether `len` is all of the extent. It is not if that goes on for longer than it is allowed
    /// to, so that its end was not searched for.
    pub is_whole: bool,
    /// How they are stored.
    pub data: Data,
}

/// How the bytes of a [`Pcluster`] are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// They are zeros that are not stored.
    Hole,
    /// They are in the packed inode, [`SuperBlock::packed`], from this byte of it on.
    Fragment {
        /// Where in the packed inode's data they start.
        offset: u64,
    },
    /// They are encoded.
    Encoded(Encoded),
}

/// The data of a pcluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Where it is.
    pub place: Place,
    /// How many bytes it has: 1 to [`MAX_ENCODED_SIZE`]. With [`Encoding::Compressed`], zeros
    /// before the compressed stream are among them.
    pub len: u32,
    /// What it is.
    pub encoding: Encoding,
    /// Whether it may decode to more bytes than the extent has.
    pub is_partial: bool,
}

/// Where the data of a pcluster starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On a device, if it is large enough: who reads it checks that.
    Device {
        /// Which device, see [`Volume::device`]; 0 unless further ones were given.
        device: u16,
        /// Where it starts, from the device's start.
        offset: u64,
    },
    /// In the data of the metabox inode, [`SuperBlock::metabox`], from this byte of it on; it does
    /// not cross a block there.
    Metabox {
        /// Where in the metabox inode's data it starts.
        offset: u64,
    },
}

/// How the data of a pcluster is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// It is not: the bytes are there in their order.
    Shifted,
    /// It is not, but rotated: see [`Pcluster::plain_part`].
    Interlaced,
    /// By this algorithm.
    Compressed(Algorithm),
}

/// Bytes that stand together in a pcluster that is not compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainPart {
    /// Where in the pcluster's data they start.
    pub offset: u64,
    /// How many they are; at least one.
    pub len: u64,
}

/// What the last search in a file found, so that reading a file in order does not begin anew each
/// time. A new one is empty. It must be used with one inode only; its results do not depend on it.
#[derive(Clone, Debug, Default)]
pub struct Cursor {
    packs: compact::Packs,
    scan: Option<extents::Scan>,
    record: Option<u64>,
}

/// What an index says about the bytes of a file from `start` to `end`.
struct Found {
    start: u64,
    end: u64,
    is_whole: bool,
    source: Source,
}

/// Where an index says that they are.
enum Source {
    Hole,
    Fragment {
        offset: u64,
    },
    Data {
        /// A byte of the metadata if it is inline, of the image otherwise.
        address: u64,
        len: u64,
        encoding: Encoding,
        is_partial: bool,
        is_inline: bool,
    },
}

impl Inode {
    /// The pcluster that has byte `pos` of a compressed file, as Linux's
    /// `z_erofs_map_blocks_iter()`. `header` is what [`map_header`](Inode::map_header) returned for
    /// this inode.
    ///
    /// # Errors
    ///
    /// * [`Error::OutOfBounds`]: `pos` is not before the end of the file, the index is not in the
    ///   image, or a fragment is not in the packed inode
    /// * [`Error::Corrupt`]: the index contradicts itself, names an algorithm that the image does not
    ///   use, inline data crosses a block, there is no packed inode
    /// * [`Error::Unsupported`]: an unknown algorithm, a pcluster of over 1 MiB, or the byte is more
    ///   than 12 MiB after the start of its pcluster
    /// * [`Error::NoDevice`]: the data is on a device that the image or the volume lacks
    pub fn pcluster_at<V: Volume + ?Sized>(
        &self,
        volume: &V,
        sb: &SuperBlock,
        header: &MapHeader,
        cursor: &mut Cursor,
        pos: u64,
    ) -> Result<Pcluster> {
        if pos >= self.size {
            return Err(Error::OutOfBounds);
        }
        let found = match (header.tail, Metadata::new(volume, sb, self.in_metabox())?) {
            (Tail::WholeFile { offset }, _) => Found {
                start: 0,
                end: self.size,
                is_whole: true,
                source: Source::Fragment { offset },
            },
            (_, Metadata::Plain(image)) => self.find(image, sb, header, cursor, pos)?,
            (_, Metadata::Inside(file)) => self.find(&file, sb, header, cursor, pos)?,
        };
        let data = match found.source {
            Source::Hole => Data::Hole,
            Source::Fragment { offset } => self.fragment(sb, offset, &found)?,
            Source::Data { .. } => Data::Encoded(self.encoded(volume, sb, &found, pos)?),
        };
        let len = found.end.wrapping_sub(found.start);
        Ok(match data {
            // Its end was not searched for beyond this.
            Data::Encoded(_) if len > MAX_DECODED_SIZE => Pcluster {
                start: found.start,
                len: MAX_DECODED_SIZE,
                is_whole: false,
                data,
            },
            _ => Pcluster {
                start: found.start,
                len,
                is_whole: found.is_whole,
                data,
            },
        })
    }

    fn find<M: Image + ?Sized>(
        &self,
        metadata: &M,
        sb: &SuperBlock,
        header: &MapHeader,
        cursor: &mut Cursor,
        pos: u64,
    ) -> Result<Found> {
        match header.index {
            Index::Extents { record_size, count } => {
                Extents::new(metadata, sb, header, self.size, record_size, count).find(pos, cursor)
            }
            _ => Lclusters::new(metadata, sb, header, self.size, cursor).find(pos),
        }
    }

    fn fragment(&self, sb: &SuperBlock, offset: u64, found: &Found) -> Result<Data> {
        let packed = sb.packed().ok_or(Error::Corrupt(
            "fragment in an image without a packed inode",
        ))?;
        if packed.nid == self.nid {
            return Err(Error::Corrupt("fragment of the packed inode in itself"));
        }
        match offset.checked_add(found.end.wrapping_sub(found.start)) {
            Some(end) if end <= packed.size => Ok(Data::Fragment { offset }),
            _ => Err(Error::OutOfBounds),
        }
    }

    /// The data of an extent that has some, which has byte `pos`; checked as in Linux's
    /// `z_erofs_map_sanity_check()`.
    fn encoded<V: Volume + ?Sized>(
        &self,
        volume: &V,
        sb: &SuperBlock,
        found: &Found,
        pos: u64,
    ) -> Result<Encoded> {
        let Source::Data {
            address,
            len,
            encoding,
            is_partial,
            is_inline,
        } = found.source
        else {
            return Err(Error::Corrupt("extent without data"));
        };
        let decoded = found.end.wrapping_sub(found.start);
        match encoding {
            Encoding::Compressed(algorithm) => {
                sb.check_algorithm(algorithm)?;
                // mkfs.erofs makes such references to a part of a pcluster, but no such pclusters.
                let is_end = !found.is_whole || found.end >= self.size;
                if decoded < len && !is_partial && !is_end {
                    return Err(Error::Corrupt("pcluster larger than what it decodes to"));
                }
            }
            _ if decoded > len => return Err(Error::Corrupt("plain pcluster too short")),
            _ => {}
        }
        let encoded_len = match u32::try_from(len) {
            Ok(len) if len <= MAX_ENCODED_SIZE => len,
            _ => return Err(Error::Unsupported("pcluster of over 1 MiB")),
        };
        if pos.wrapping_sub(found.start) >= MAX_DECODED_SIZE {
            return Err(Error::Unsupported("pcluster that decodes to over 12 MiB"));
        }
        let end = address.checked_add(len).ok_or(Error::OutOfBounds)?;
        if end.wrapping_shr(sb.block_bits()) >> BLOCK_NUMBER_BITS != 0 {
            return Err(Error::Corrupt("block address too large"));
        }
        Ok(Encoded {
            place: match is_inline {
                true => self.inline_place(sb, address, len)?,
                false => place_on_device(volume, sb, address, len)?,
            },
            len: encoded_len,
            encoding,
            is_partial,
        })
    }

    /// Where inline data of `len` bytes at byte `offset` of the metadata is.
    fn inline_place(&self, sb: &SuperBlock, offset: u64, len: u64) -> Result<Place> {
        if sb.offset_in_block(offset).saturating_add(len) > u64::from(sb.block_size()) {
            return Err(Error::Corrupt("inline pcluster across a block boundary"));
        }
        Ok(match self.in_metabox() {
            true => Place::Metabox { offset },
            false => Place::Device { device: 0, offset },
        })
    }
}

/// Where `len` bytes at byte `address` of the image are.
fn place_on_device<V: Volume + ?Sized>(
    volume: &V,
    sb: &SuperBlock,
    address: u64,
    len: u64,
) -> Result<Place> {
    match sb.locate(volume, 0, address, len)? {
        Extent::Data {
            device,
            offset,
            len: there,
        } if there == len => Ok(Place::Device { device, offset }),
        _ => Err(Error::Corrupt("pcluster on two devices")),
    }
}

impl Pcluster {
    /// Where in the data of a pcluster that is not compressed the bytes of the extent from its byte
    /// `skip` on are; `None` if it is something else, or if there is no such byte.
    ///
    /// In interlaced data each byte is as far in a block as it is in the file: what comes before the
    /// first block boundary of the file is at the end of the data, and the rest at its start.
    pub fn plain_part(&self, sb: &SuperBlock, skip: u64) -> Option<PlainPart> {
        let Data::Encoded(encoded) = &self.data else {
            return None;
        };
        let left = self.len.checked_sub(skip).filter(|left| *left != 0)?;
        match encoded.encoding {
            Encoding::Compressed(_) => None,
            Encoding::Shifted => Some(PlainPart {
                offset: skip,
                len: left,
            }),
            Encoding::Interlaced => {
                let before =
                    u64::from(sb.block_size()).saturating_sub(sb.offset_in_block(self.start));
                Some(match before.checked_sub(skip) {
                    None | Some(0) => PlainPart {
                        offset: skip.saturating_sub(before),
                        len: left,
                    },
                    Some(in_front) => PlainPart {
                        offset: u64::from(encoded.len).checked_sub(in_front)?,
                        len: left.min(in_front),
                    },
                })
            }
        }
    }
}

#[cfg(test)]
mod tests;
