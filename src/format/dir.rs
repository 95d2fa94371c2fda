// SPDX-License-Identifier: GPL-2.0

//! Directories: blocks of `struct erofs_dirent`s, each followed by the block's names.
//!
//! A block starts with its dirents, sorted by name as strings of unsigned bytes, also across blocks.
//! The first dirent's `nameoff` is where the names start, so it tells how many dirents there are.
//! A name ends where the next one starts, the last one of a block at a NUL or the end of the block.
//! The last block of a directory ends with the directory.
//!
//! Nothing is checked ahead: each dirent and each name is checked when it is used. "." and ".." are
//! names like all others, except that a directory may omit "." ([`Inode::dot_omitted`]): it is then listed
//! as the last entry.
//!
//! The data of a directory can be compressed; it is then read through the volume.

mod cursor;
mod decoded;

pub use cursor::{Cursor, Entry, Record};

use crate::image::to_u64;
use crate::inode::Inode;
use crate::superblock::SuperBlock;
use crate::volume::Volume;
use crate::{flat::Extent, Error, Image, Result};
use core::{cmp::Ordering, mem::offset_of};
use zerocopy::byteorder::little_endian as le;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, Unaligned};

/// The longest name in bytes (`EROFS_NAME_LEN`).
pub const NAME_MAX: usize = 255;

/// `struct erofs_dirent`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct RawDirent {
    nid: le::U64,
    nameoff: le::U16,
    file_type: u8,
    reserved: u8,
}

/// What comparing the name of a dirent needs of it and of the one behind it.
#[derive(FromBytes, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct RawNameRange {
    nameoff: le::U16,
    between: [u8; 10],
    next_nameoff: le::U16,
}

const DIRENT_SIZE: u64 = 12;
const NAMEOFF_OFFSET: u64 = 8;
const _: () = assert!(size_of::<RawDirent>() == 12);
const _: () = assert!(offset_of!(RawDirent, nameoff) == 8);
const _: () = assert!(offset_of!(RawNameRange, next_nameoff) == 12);

const BAD_NAMEOFF: Error = Error::Corrupt("dirents whose names don't follow one another");
const BAD_LENGTH: Error = Error::Corrupt("dirent with a name of 0 or over 255 bytes");

/// One block of a directory, of which the first `nameoff` was read and checked.
///
/// # Invariants
///
/// * The `len` bytes from `start` on are on the device, or in that data; `len` is at most the block
///   size.
/// * `names` is a multiple of a dirent's size, and not 0, and less than `len`.
#[derive(Clone, Copy, Debug)]
struct Block {
    /// Where in the directory it starts.
    pos: u64,
    /// The device that it is on; 0 if it is in the directory's decoded data.
    device: u16,
    /// Where on the device, or in that data, it starts.
    start: u64,
    /// Its size in bytes: the block size, or less for the last one.
    len: u64,
    /// Where in it the dirents end and the first name starts.
    names: u64,
}

/// Where the name of one dirent is.
#[derive(Clone, Copy, Debug)]
struct Name {
    /// Where it starts in what the block is read from.
    start: u64,
    /// Its length, at least 1; if it is the last one in its block, a NUL may end it earlier.
    len: usize,
    last: bool,
}

/// The blocks of one directory.
trait Blocks {
    /// What blocks are read from.
    type Image: Image + ?Sized;

    /// The block that starts at `pos`, a multiple of the block size before the directory's end, and
    /// what to read it from.
    fn open(&self, pos: u64) -> Result<(Block, &Self::Image)>;
}

/// Blocks that are stored as they are.
struct Stored<'a, V: ?Sized> {
    volume: &'a V,
    sb: &'a SuperBlock,
    dir: &'a Inode,
}

impl<V: Volume + ?Sized> Blocks for Stored<'_, V> {
    type Image = V::Device;

    // Not inline: every search opens several.
    #[inline(never)]
    fn open(&self, pos: u64) -> Result<(Block, &V::Device)> {
        let Stored { volume, sb, dir } = *self;
        let block_size = u64::from(sb.block_size());
        let Extent::Data {
            device,
            offset: start,
            len,
        } = dir.extent_for(volume, sb, pos, block_size)?
        else {
            return Err(Error::Corrupt("directory with a hole"));
        };
        // Data in a metabox ends with that, wherever the directory says it does.
        let size = block_size.min(dir.size.saturating_sub(pos));
        if len < size {
            return Err(Error::OutOfBounds);
        }
        let image = volume.device(device)?;
        let block = Block::read(image, pos, device, start, size)?;
        Ok((block, image))
    }
}

impl Block {
    /// The block that starts at `pos`: `len` bytes from `start` on.
    #[inline(always)]
    fn read<I: Image + ?Sized>(
        image: &I,
        pos: u64,
        device: u16,
        start: u64,
        len: u64,
    ) -> Result<Self> {
        image.check(start, len)?;
        let names: le::U16 = image.read(start.saturating_add(NAMEOFF_OFFSET))?;
        let names = u64::from(names);
        if names == 0 || names % DIRENT_SIZE != 0 || names >= len {
            return Err(Error::Corrupt("directory block with a bad first nameoff"));
        }
        Ok(Block {
            pos,
            device,
            start,
            len,
            names,
        })
    }

    /// Where byte `offset` of the block is on its device, or in the directory's data.
    #[inline]
    fn at(&self, offset: u64) -> u64 {
        // By the invariant, no offset up to `len` wraps.
        self.start.wrapping_add(offset)
    }

    /// The dirent at byte `dirent` of the block, before `names`.
    #[inline]
    fn dirent<I: Image + ?Sized>(&self, image: &I, dirent: u64) -> Result<RawDirent> {
        image.read(self.at(dirent))
    }

    /// The name from byte `nameoff` of the block to byte `end`, where the next one starts.
    #[inline]
    fn inner_name(&self, nameoff: u64, end: u64) -> Result<Name> {
        if nameoff < self.names || nameoff > end || end > self.len {
            return Err(BAD_NAMEOFF);
        }
        match usize::try_from(end.wrapping_sub(nameoff)) {
            Ok(len @ 1..=NAME_MAX) => Ok(Name {
                start: self.at(nameoff),
                len,
                last: false,
            }),
            _ => Err(BAD_LENGTH),
        }
    }

    /// The name from byte `nameoff` of the block on, its last one.
    #[inline]
    fn last_name(&self, nameoff: u64) -> Result<Name> {
        if nameoff < self.names || nameoff >= self.len {
            return Err(BAD_NAMEOFF);
        }
        let len = usize::try_from(self.len.wrapping_sub(nameoff)).map_err(|_| BAD_NAMEOFF)?;
        Ok(Name {
            start: self.at(nameoff),
            len,
            last: true,
        })
    }

    /// The name of the first dirent, whose `nameoff` was read already.
    #[inline]
    fn first_name<I: Image + ?Sized>(&self, image: &I) -> Result<Name> {
        if self.names == DIRENT_SIZE {
            return self.last_name(self.names);
        }
        let end: le::U16 = image.read(self.at(DIRENT_SIZE + NAMEOFF_OFFSET))?;
        self.inner_name(self.names, u64::from(end))
    }

    /// The name of the dirent at byte `dirent` of the block.
    #[inline(always)]
    fn name_of<I: Image + ?Sized>(&self, image: &I, dirent: u64) -> Result<Name> {
        let at = self.at(dirent.wrapping_add(NAMEOFF_OFFSET));
        if dirent.wrapping_add(DIRENT_SIZE) < self.names {
            let range: RawNameRange = image.read(at)?;
            self.inner_name(u64::from(range.nameoff), u64::from(range.next_nameoff))
        } else {
            let nameoff: le::U16 = image.read(at)?;
            self.last_name(u64::from(nameoff))
        }
    }

    /// Looks for `name` among all dirents but the first, which orders before it.
    #[inline]
    fn search<I: Image + ?Sized>(&self, image: &I, name: &[u8]) -> Result<Option<Found>> {
        let mut low = 1;
        let mut high = self.names / DIRENT_SIZE;
        while low < high {
            let mid = low.midpoint(high);
            let dirent = mid.wrapping_mul(DIRENT_SIZE);
            match self.name_of(image, dirent)?.cmp(image, name)? {
                Ordering::Less => low = mid.wrapping_add(1),
                Ordering::Equal => return self.target(image, dirent).map(Some),
                Ordering::Greater => high = mid,
            }
        }
        Ok(None)
    }

    /// What a lookup finds at byte `dirent` of the block.
    #[inline(always)]
    fn target<I: Image + ?Sized>(&self, image: &I, dirent: u64) -> Result<Found> {
        let raw = self.dirent(image, dirent)?;
        let behind = dirent.wrapping_add(DIRENT_SIZE);
        let behind = if behind < self.names {
            behind
        } else {
            self.len
        };
        Ok(Found {
            nid: raw.nid.get(),
            file_type: raw.file_type,
            next: self.pos.saturating_add(behind),
        })
    }
}

impl Name {
    /// How the name orders against `wanted`.
    #[inline(always)]
    fn cmp<I: Image + ?Sized>(&self, image: &I, wanted: &[u8]) -> Result<Ordering> {
        if self.last {
            self.cmp_open(image, wanted)
        } else {
            image.cmp_at(self.start, self.len, wanted)
        }
    }

    /// The same for a name that a NUL may end, without looking for that NUL first: it orders before
    /// all other bytes.
    fn cmp_open<I: Image + ?Sized>(&self, image: &I, wanted: &[u8]) -> Result<Ordering> {
        let common = self.len.min(wanted.len());
        let order = image.cmp_at(self.start, common, wanted)?;
        match order {
            Ordering::Equal if common < self.len => {
                let next: u8 = image.read(self.start.saturating_add(to_u64(common)))?;
                // What is behind the end is not part of a name, even if `wanted` has a NUL as well.
                let longer = next != 0 || wanted.contains(&0);
                Ok(longer.cmp(&false))
            }
            Ordering::Less if image.read::<u8>(self.start)? == 0 => Err(BAD_LENGTH),
            _ => Ok(order),
        }
    }

    /// The length of a name that a NUL may end.
    fn measure<I: Image + ?Sized>(&self, image: &I) -> Result<usize> {
        // One byte more than allowed, to notice a name that is too long.
        let max = self.len.min(NAME_MAX + 1);
        match image.strnlen_at(self.start, max)? {
            len @ 1..=NAME_MAX => Ok(len),
            _ => Err(BAD_LENGTH),
        }
    }
}

/// What a lookup has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The inode.
    pub nid: u64,
    /// What kind of file the dirent says the inode is (`FT_*`); see
    /// [`FileType::from_dirent`](crate::inode::FileType::from_dirent).
    pub file_type: u8,
    /// The cookie of what follows the dirent.
    pub next: u64,
}

/// Looks for `name` in the directory `dir`.
///
/// A "." that the directory omits is not found. Searches for the block by the blocks' first names, then
/// in that block, both binary: reads only the dirents and names that it compares.
///
/// # Errors
///
/// [`Error::Corrupt`] if something that the search comes across contradicts the format, and the
/// errors of [`Inode::extent_at`], or those of [`Volume::read_compressed`].
pub fn lookup<V: Volume + ?Sized>(
    volume: &V,
    sb: &SuperBlock,
    dir: &Inode,
    name: &[u8],
) -> Result<Option<Found>> {
    if dir.is_decoded(sb) {
        return decoded::lookup(volume, sb, dir, name);
    }
    search(&Stored { volume, sb, dir }, sb, dir, name)
}

/// See [`lookup`].
fn search<B: Blocks>(
    blocks: &B,
    sb: &SuperBlock,
    dir: &Inode,
    name: &[u8],
) -> Result<Option<Found>> {
    if name.is_empty() || name.len() > NAME_MAX {
        return Ok(None);
    }
    let mut candidate = None;
    let mut low = 0;
    let mut high = sb.blocks_for(dir.size);
    while low < high {
        let mid = low.midpoint(high);
        let (block, image) = blocks.open(sb.block_start(mid)?)?;
        match block.first_name(image)?.cmp(image, name)? {
            Ordering::Less => {
                candidate = Some((block, image));
                low = mid.wrapping_add(1);
            }
            Ordering::Equal => return block.target(image, 0).map(Some),
            Ordering::Greater => high = mid,
        }
    }
    match candidate {
        Some((block, image)) => block.search(image, name),
        None => Ok(None),
    }
}

/// The same for a name that may well be that of the dirent at `cookie`: looks there first.
///
/// Whoever looks all names up in the order of the directory, as `find` and `ls -l` do, so finds each
/// at the [`next`](Found::next) of the one before it. `cookie` can be any number.
///
/// # Errors
///
/// Those of [`lookup`].
pub fn lookup_near<V: Volume + ?Sized>(
    volume: &V,
    sb: &SuperBlock,
    dir: &Inode,
    name: &[u8],
    cookie: u64,
) -> Result<Option<Found>> {
    if dir.is_decoded(sb) {
        return decoded::lookup_near(volume, sb, dir, name, cookie);
    }
    search_near(&Stored { volume, sb, dir }, sb, dir, name, cookie)
}

/// See [`lookup_near`].
#[inline]
fn search_near<B: Blocks>(
    blocks: &B,
    sb: &SuperBlock,
    dir: &Inode,
    name: &[u8],
    cookie: u64,
) -> Result<Option<Found>> {
    match look_at(blocks, sb, dir, name, cookie) {
        // What is wrong there only matters if the search comes across it.
        Ok(None) | Err(_) => search(blocks, sb, dir, name),
        found => found,
    }
}

/// The dirent at `cookie`, if there is one and it has that name.
#[inline]
fn look_at<B: Blocks>(
    blocks: &B,
    sb: &SuperBlock,
    dir: &Inode,
    name: &[u8],
    cookie: u64,
) -> Result<Option<Found>> {
    let dirent = sb.offset_in_block(cookie);
    if cookie >= dir.size || dirent % DIRENT_SIZE != 0 {
        return Ok(None);
    }
    let (block, image) = blocks.open(sb.round_down(cookie))?;
    if dirent >= block.names || block.name_of(image, dirent)?.cmp(image, name)?.is_ne() {
        return Ok(None);
    }
    block.target(image, dirent).map(Some)
}

#[cfg(test)]
mod tests;
