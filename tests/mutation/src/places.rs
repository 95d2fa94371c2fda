// SPDX-License-Identifier: GPL-2.0

//! Where in an image the structures are whose fields a mutation patches.

use crate::field::{Field, Structure};
use crate::views::Decoded;
use erodax_format::dir::{Cursor, NAME_MAX};
use erodax_format::flat::Extent;
use erodax_format::inode::{FileType, Inode, Layout};
use erodax_format::superblock::SuperBlock;
use std::collections::BTreeSet;

mod index;

pub use index::Index;

/// Limits, so that finding the places stays fast. They are above what the seeds have of most.
const MAX_INODES: usize = 96;
const MAX_DIRENTS: usize = 64;
const MAX_ENTRIES: usize = 16;
const MAX_ELEMENTS: usize = 256;

/// Bits of `i_format` and of a chunk format.
const FORMAT_EXTENDED: u64 = 1 << 0;
const CHUNK_INDEXES: u64 = 0x20;

/// A structure in an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// What is there.
    pub structure: Structure,
    /// Where it starts.
    pub offset: usize,
}

/// A structure that was found, and the inode that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub place: Place,
    /// The nid of an inode that needs it; the superblock and its tables belong to none.
    pub owner: Option<u64>,
}

/// The superblock, which every image has at the same place.
pub const SUPER_BLOCK: Place = Place {
    structure: Structure::SuperBlock,
    offset: 1024,
};

impl Place {
    /// The bytes of a field, if they are in the image.
    fn bytes<'a>(&self, image: &'a [u8], field: Field) -> Option<&'a [u8]> {
        let start = self.offset.checked_add(field.offset)?;
        image.get(start..start.checked_add(field.size)?)
    }

    /// What a field says, if it is in the image; of one over 8 bytes, the first 8.
    ///
    /// # Panics
    ///
    /// If the structure has no such field.
    pub fn get(&self, image: &[u8], name: &str) -> Option<u64> {
        self.get_field(image, self.structure.field(name))
    }

    pub(crate) fn get_field(&self, image: &[u8], field: Field) -> Option<u64> {
        let bytes = self.bytes(image, field)?;
        if self.structure == Structure::CpioHeader {
            let digits = std::str::from_utf8(bytes).ok()?;
            return u64::from_str_radix(digits, 16).ok();
        }
        let mut number = [0; 8];
        let len = bytes.len().min(8);
        number[..len].copy_from_slice(&bytes[..len]);
        Some(u64::from_le_bytes(number))
    }

    /// Writes a field, if it is in the image: the lower bytes of `value`.
    ///
    /// # Panics
    ///
    /// If the structure has no such field.
    pub fn set(&self, image: &mut [u8], name: &str, value: u64) {
        self.set_field(image, self.structure.field(name), value);
    }

    pub(crate) fn set_field(&self, image: &mut [u8], field: Field, value: u64) {
        let start = self.offset.saturating_add(field.offset);
        let end = start.saturating_add(field.size);
        let Some(bytes) = image.get_mut(start..end) else {
            return;
        };
        if self.structure == Structure::CpioHeader {
            let digits = format!("{value:0width$x}", width = field.size);
            bytes.copy_from_slice(&digits.as_bytes()[digits.len() - field.size..]);
            return;
        }
        let number = value.to_le_bytes();
        let len = bytes.len().min(8);
        bytes[..len].copy_from_slice(&number[..len]);
    }
}

/// What was found in an image.
#[derive(Debug, Default)]
pub struct Places {
    /// The structures.
    pub all: Vec<Found>,
    /// The nids of inodes.
    pub nids: Vec<u64>,
    /// Where names of directory entries are, and their lengths.
    pub names: Vec<(u64, usize)>,
    /// Whose structures are being found.
    owner: Option<u64>,
}

impl Places {
    /// Finds the structures of an EROFS image: at least the superblock, and as much of the rest as
    /// can be reached.
    pub fn find(image: &[u8]) -> Self {
        let mut places = Places::default();
        places.push(image, Structure::SuperBlock, Some(SUPER_BLOCK.offset));
        if let Ok(sb) = SuperBlock::read(image) {
            places.add_tables(image, &sb);
            places.add_inodes(image, &sb);
        }
        places
    }

    /// Finds the headers of a newc archive by their magic.
    pub fn find_cpio(image: &[u8]) -> Self {
        let mut places = Places::default();
        for offset in (0..image.len()).step_by(4) {
            if image[offset..].starts_with(b"07070") {
                places.push(image, Structure::CpioHeader, Some(offset));
            }
        }
        places
    }

    fn push(&mut self, image: &[u8], structure: Structure, offset: Option<usize>) {
        let Some(offset) = offset else { return };
        let end = offset.saturating_add(structure.size());
        if end <= image.len() {
            self.all.push(Found {
                place: Place { structure, offset },
                owner: self.owner,
            });
        }
    }

    fn add_tables(&mut self, image: &[u8], sb: &SuperBlock) {
        let number = |name| {
            SUPER_BLOCK
                .get(image, name)
                .and_then(|n| usize::try_from(n).ok())
        };
        let behind = number("sb_extslots").map(|slots| 1024 + 128 + 16 * slots);
        self.push(image, Structure::Algorithm, behind);
        for id in 0..usize::from(sb.extra_devices()).min(MAX_ENTRIES) {
            let slot = number("devt_slotoff").map(|first| (first + id) * 128);
            self.push(image, Structure::DeviceSlot, slot);
        }
        let mut prefix = number("xattr_prefix_start").map(|words| words * 4);
        for _ in 0..sb.xattr_prefix_count().min(4) {
            self.push(image, Structure::XattrPrefix, prefix);
            prefix = prefix.and_then(|at| {
                let bytes = image.get(at..)?.first_chunk()?;
                Some((at + 2 + usize::from(u16::from_le_bytes(*bytes))).next_multiple_of(4))
            });
        }
    }

    fn add_inodes(&mut self, image: &[u8], sb: &SuperBlock) {
        let volume = Decoded::new(image);
        let mut seen = BTreeSet::new();
        let special = ["metabox_nid", "packed_nid"].map(|name| SUPER_BLOCK.get(image, name));
        let mut unread: Vec<u64> = special.into_iter().flatten().collect();
        unread.push(sb.root_nid());
        while let Some(nid) = unread.pop() {
            if seen.len() == MAX_INODES {
                break;
            }
            if !seen.insert(nid) {
                continue;
            }
            let Ok(inode) = Inode::read(&volume, sb, nid) else {
                continue;
            };
            self.nids.push(nid);
            self.owner = Some(nid);
            self.add_inode(image, sb, &inode);
            if inode.file_type() == FileType::Directory {
                unread.extend(match inode.is_decoded(sb) {
                    true => decoded_nids(&volume, sb, &inode),
                    false => self.add_dirents(image, sb, &inode),
                });
            }
        }
    }

    fn add_inode(&mut self, image: &[u8], sb: &SuperBlock, inode: &Inode) {
        let Some(start) = metadata_place(image, sb, inode, sb.inode_offset(inode.nid).ok()) else {
            return;
        };
        let compact = Place {
            structure: Structure::CompactInode,
            offset: start,
        };
        let is_extended = compact.get(image, "i_format").unwrap_or(0) & FORMAT_EXTENDED != 0;
        let structure = match is_extended {
            true => Structure::ExtendedInode,
            false => Structure::CompactInode,
        };
        self.push(image, structure, Some(start));
        let body = start.saturating_add(structure.size());
        let xattr_size = usize::try_from(inode.xattr_size()).unwrap_or(usize::MAX);
        self.add_xattrs(image, sb, body, xattr_size);
        if inode.layout.is_compressed() {
            self.add_index(image, sb, inode, body.saturating_add(xattr_size));
        }
        if inode.layout == Layout::ChunkBased {
            let format = Place {
                structure,
                offset: start,
            }
            .get(image, "i_u")
            .unwrap_or(0);
            let (structure, size) = match format & CHUNK_INDEXES {
                0 => (Structure::BlockMapEntry, 4_usize),
                _ => (Structure::ChunkIndex, 8),
            };
            let first = body.saturating_add(xattr_size).next_multiple_of(size);
            for index in 0..MAX_ENTRIES {
                self.push(image, structure, Some(first + index * size));
            }
        }
    }

    fn add_index(&mut self, image: &[u8], sb: &SuperBlock, inode: &Inode, body: usize) {
        let Some(index) = Index::find(image, sb, inode, body, MAX_ELEMENTS) else {
            return self.push(
                image,
                Structure::MapHeader,
                body.checked_next_multiple_of(8),
            );
        };
        for place in [index.header].iter().chain(&index.elements) {
            self.push(image, place.structure, Some(place.offset));
        }
    }

    fn add_xattrs(&mut self, image: &[u8], sb: &SuperBlock, body: usize, size: usize) {
        if size == 0 {
            return;
        }
        self.push(image, Structure::XattrHeader, Some(body));
        let header = Place {
            structure: Structure::XattrHeader,
            offset: body,
        };
        let number = |name| {
            header
                .get(image, name)
                .and_then(|n| usize::try_from(n).ok())
        };
        let shared = number("h_shared_count").unwrap_or(0);
        if let (true, Some(id)) = (shared > 0, number("h_shared_xattrs")) {
            let start = SUPER_BLOCK.get(image, "xattr_blkaddr").unwrap_or(0);
            let start = start.saturating_mul(u64::from(sb.block_size()));
            let start = usize::try_from(start).unwrap_or(usize::MAX);
            self.push(image, Structure::XattrEntry, start.checked_add(id * 4));
        }
        let mut at = body.saturating_add(12 + 4 * shared);
        for _ in 0..MAX_ENTRIES {
            if at >= body.saturating_add(size) {
                break;
            }
            self.push(image, Structure::XattrEntry, Some(at));
            let entry = Place {
                structure: Structure::XattrEntry,
                offset: at,
            };
            let len = |name| entry.get(image, name).and_then(|n| usize::try_from(n).ok());
            let lens = len("e_name_len").zip(len("e_value_size"));
            let Some((name, value)) = lens else { break };
            at = (at + 4 + name + value).next_multiple_of(4);
        }
    }

    /// Adds the dirents of a directory and returns the nids in them.
    fn add_dirents(&mut self, image: &[u8], sb: &SuperBlock, dir: &Inode) -> Vec<u64> {
        let mut nids = Vec::new();
        let mut cursor = Cursor::new(0);
        while let Ok(Some(record)) = cursor.advance(image, sb, dir) {
            if nids.len() == MAX_DIRENTS {
                break;
            }
            nids.push(record.nid);
            self.names.push((record.name_offset, record.name_len));
            let place = data_place(image, sb, dir, record.pos);
            self.push(image, Structure::Dirent, place);
        }
        nids
    }
}

/// The nids in a directory whose entries are at no place in the image.
fn decoded_nids(volume: &Decoded<'_>, sb: &SuperBlock, dir: &Inode) -> Vec<u64> {
    let mut nids = Vec::new();
    let (mut cursor, mut name) = (Cursor::new(0), [0; NAME_MAX]);
    while let Ok(Some(entry)) = cursor.next(volume, sb, dir, &mut name) {
        if nids.len() == MAX_DIRENTS {
            break;
        }
        nids.push(entry.nid);
    }
    nids
}

/// Where in the image byte `pos` of a file is.
fn data_place(image: &[u8], sb: &SuperBlock, inode: &Inode, pos: u64) -> Option<usize> {
    match inode.extent_for(image, sb, pos, 1) {
        Ok(Extent::Data { offset, .. }) => usize::try_from(offset).ok(),
        _ => None,
    }
}

/// Where in the image something is that is at `offset` of the metadata that has the inode.
fn metadata_place(
    image: &[u8],
    sb: &SuperBlock,
    inode: &Inode,
    offset: Option<u64>,
) -> Option<usize> {
    if !inode.in_metabox() {
        return usize::try_from(offset?).ok();
    }
    let metabox = Inode::read(image, sb, SUPER_BLOCK.get(image, "metabox_nid")?).ok()?;
    data_place(image, sb, &metabox, offset?)
}
