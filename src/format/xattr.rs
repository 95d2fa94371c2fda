// SPDX-License-Identifier: GPL-2.0

//! Extended attributes.
//!
//! Behind its fixed part, an inode with xattrs has a `struct erofs_xattr_ibody_header`, the ids of
//! shared xattrs, and its own entries. An entry is a `struct erofs_xattr_entry`, the name and the
//! value, aligned to 4 bytes; the id of a shared one is its place in the shared area in units of 4
//! bytes. The beginning of a name, such as `user.`, is a number in the entry (`INDEX_*`): either that
//! of the beginning itself, or that of a long prefix, which has such a number and more characters
//! (the infix). Names here are without what the number stands for, but with the infix.
//!
//! The header also has a filter: 32 bits, of which each tells that no name with a certain hash is
//! there.
//!
//! # Examples
//!
//! ```no_run
//! use erodax_format::xattr::{Prefixes, Xattrs, INDEX_USER};
//! use erodax_format::{inode::Inode, superblock::SuperBlock};
//!
//! let bytes = std::fs::read("root.erofs")?;
//! let image = bytes.as_slice();
//! let sb = SuperBlock::read(image)?;
//! let prefixes = Prefixes::new(image, &sb).collect::<Result<Vec<_>, _>>()?;
//! let xattrs = Xattrs::new(image, &sb, &prefixes);
//! let root = Inode::read(image, &sb, sb.root_nid())?;
//! let mut value = [0; 64];
//! match xattrs.get(&root, INDEX_USER, b"comment", &mut value)? {
//!     None => println!("no user.comment"),
//!     Some(len) if len > value.len() => println!("{len} bytes"),
//!     Some(len) => println!("{:?}", &value[..len]),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod prefix;

pub use prefix::{Prefix, Prefixes};

use crate::contents::Metadata;
use crate::features::compat;
use crate::image::to_u64;
use crate::inode::Inode;
use crate::superblock::SuperBlock;
use crate::volume::Volume;
use crate::xxh32::xxh32;
use crate::{Error, Image, Result};
use zerocopy::byteorder::little_endian as le;
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, Unaligned};

/// Names that start with `user.`
pub const INDEX_USER: u8 = 1;
/// `system.posix_acl_access`, whose name here is empty.
pub const INDEX_POSIX_ACL_ACCESS: u8 = 2;
/// `system.posix_acl_default`, whose name here is empty.
pub const INDEX_POSIX_ACL_DEFAULT: u8 = 3;
/// Names that start with `trusted.`
pub const INDEX_TRUSTED: u8 = 4;
/// Names that start with `lustre.`, which Linux does not serve.
pub const INDEX_LUSTRE: u8 = 5;
/// Names that start with `security.`
pub const INDEX_SECURITY: u8 = 6;

/// The longest name: an infix and what an entry has, of 255 bytes each.
pub const NAME_MAX: usize = 510;

/// `e_name_index`: the other bits are the number of a long prefix.
const LONG_PREFIX: u8 = 0x80;

/// The hash of a name for the filter starts from this and the index.
const FILTER_SEED: u32 = 0x25BB_E08F;

/// Size of an inode's xattrs that leaves room for the header only.
const ONLY_HEADER: u32 = 12;

/// `struct erofs_xattr_ibody_header`.
#[derive(FromBytes, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct RawHeader {
    h_name_filter: le::U32,
    h_shared_count: u8,
    h_reserved2: [u8; 7],
}

/// `struct erofs_xattr_entry`.
#[derive(FromBytes, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
struct RawEntry {
    e_name_len: u8,
    e_name_index: u8,
    e_value_size: le::U16,
}

const HEADER_SIZE: u64 = 12;
const ENTRY_SIZE: u64 = 4;
/// The unit of shared ids, and the size of one.
const ID_SIZE: u64 = 4;
const _: () = assert!(size_of::<RawHeader>() == 12);
const _: () = assert!(size_of::<RawEntry>() == 4);

/// The xattrs of one filesystem.
#[derive(Debug)]
pub struct Xattrs<'a, V: ?Sized> {
    volume: &'a V,
    sb: &'a SuperBlock,
    prefixes: &'a [Prefix],
}

/// One xattr of an inode, its name and value still where they are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What stands before the name (`INDEX_*`); not checked to be one of them.
    pub index: u8,
    /// Length of the name in bytes: up to [`NAME_MAX`].
    pub name_len: usize,
    /// Length of the value in bytes.
    pub value_len: usize,
    prefix: Option<Prefix>,
    in_metabox: bool,
    /// Where the name without infix starts, and the value behind it.
    start: u64,
    stored_name_len: usize,
}

impl<'a, V: Volume + ?Sized> Xattrs<'a, V> {
    /// The xattrs of a filesystem, of which `prefixes` are all long prefixes as [`Prefixes`] gave
    /// them. Entries with a number beyond them are left out, as Linux does.
    pub fn new(volume: &'a V, sb: &'a SuperBlock, prefixes: &'a [Prefix]) -> Self {
        Xattrs {
            volume,
            sb,
            prefixes,
        }
    }

    /// Looks for an xattr of `inode` and returns the length of its value, which is in `out` if it is
    /// not longer than `out`. An empty `out` asks for the length only.
    ///
    /// # Errors
    ///
    /// * [`Error::Corrupt`]: there are more shared xattrs than there is room for, an entry does not
    ///   fit into its inode, or something is in a metabox that the image lacks
    /// * [`Error::Unsupported`]: the xattrs consist of nothing but a header
    /// * [`Error::OutOfBounds`]: an address that the search comes across is not in the image
    pub fn get(
        &self,
        inode: &Inode,
        index: u8,
        name: &[u8],
        out: &mut [u8],
    ) -> Result<Option<usize>> {
        let Some(entry) = self.find(inode, index, name)? else {
            return Ok(None);
        };
        if let Some(out) = out.get_mut(..entry.value_len) {
            self.copy_value(&entry, out)?;
        }
        Ok(Some(entry.value_len))
    }

    /// Looks for an xattr of `inode`.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Xattrs::get).
    pub fn find(&self, inode: &Inode, index: u8, name: &[u8]) -> Result<Option<Entry>> {
        let Some((header, mut list)) = self.open(inode)? else {
            return Ok(None);
        };
        if self.is_filtered(&header, filter_bit(index, name)) {
            return Ok(None);
        }
        while let Some(entry) = list.next(self)? {
            if entry.index == index
                && entry.name_len == name.len()
                && self.has_name(&entry, name)?
            {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// All xattrs of `inode`: first its own ones, then the shared ones.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Xattrs::get).
    pub fn list(&self, inode: &Inode) -> Result<List> {
        let opened = self.open(inode)?;
        Ok(opened.map_or(List::EMPTY, |(_, list)| list))
    }

    /// Whether `inode` may have a POSIX ACL; mostly answered without looking at entries.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`] if the xattrs are not in the image, [`Error::Corrupt`] if they are in a
    /// metabox that it lacks.
    pub fn may_have_acl(&self, inode: &Inode) -> Result<bool> {
        if inode.xattr_size() == 0 {
            return Ok(false);
        }
        let header: RawHeader = self.metadata(inode.in_metabox())?.read(inode.body())?;
        let is_absent = |index| self.is_filtered(&header, filter_bit(index, b""));
        Ok(!is_absent(INDEX_POSIX_ACL_ACCESS) || !is_absent(INDEX_POSIX_ACL_DEFAULT))
    }

    /// Copies the name of an entry to the start of `out` and returns that part of it.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`] if it is not in the image, or longer than `out`.
    pub fn copy_name<'b>(&self, entry: &Entry, out: &'b mut [u8]) -> Result<&'b [u8]> {
        let out = out.get_mut(..entry.name_len).ok_or(Error::OutOfBounds)?;
        let infix_len = entry.prefix.map_or(0, |prefix| prefix.infix_len());
        let (infix, stored) = out
            .split_at_mut_checked(infix_len)
            .ok_or(Error::OutOfBounds)?;
        if let Some(prefix) = entry.prefix {
            prefix.copy_infix(self.volume, self.sb, infix)?;
        }
        self.metadata(entry.in_metabox)?
            .read_at(entry.start, stored)?;
        Ok(out)
    }

    /// Copies the value of an entry to the start of `out` and returns that part of it.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`] if it is not in the image, or longer than `out`.
    pub fn copy_value<'b>(&self, entry: &Entry, out: &'b mut [u8]) -> Result<&'b [u8]> {
        let out = out.get_mut(..entry.value_len).ok_or(Error::OutOfBounds)?;
        let start = entry.start.saturating_add(to_u64(entry.stored_name_len));
        self.metadata(entry.in_metabox)?.read_at(start, out)?;
        Ok(out)
    }

    fn metadata(&self, in_metabox: bool) -> Result<Metadata<'a, V>> {
        Metadata::new(self.volume, self.sb, in_metabox)
    }

    /// Reads the header of an inode's xattrs, if it has xattrs.
    fn open(&self, inode: &Inode) -> Result<Option<(RawHeader, List)>> {
        let room = match inode.xattr_size() {
            0 => return Ok(None),
            1..=ONLY_HEADER => return Err(Error::Unsupported("xattrs without room for any")),
            size => u64::from(size).saturating_sub(HEADER_SIZE),
        };
        let in_metabox = inode.in_metabox();
        let header: RawHeader = self.metadata(in_metabox)?.read(inode.body())?;
        let ids_size = u64::from(header.h_shared_count).saturating_mul(ID_SIZE);
        let left = room
            .checked_sub(ids_size)
            .ok_or(Error::Corrupt("more shared xattrs than room for them"))?;
        let ids = inode.body().saturating_add(HEADER_SIZE);
        let list = List {
            in_metabox,
            ids,
            ids_left: header.h_shared_count,
            next: ids.saturating_add(ids_size),
            left,
        };
        Ok(Some((header, list)))
    }

    /// Whether the filter tells that no name with this bit is there.
    fn is_filtered(&self, header: &RawHeader, bit: u32) -> bool {
        self.sb.has_xattr_filter() && header.h_name_filter.get() & bit != 0
    }

    /// Whether an entry whose name is as long as `name` has that name.
    fn has_name(&self, entry: &Entry, name: &[u8]) -> Result<bool> {
        let mut stored = name;
        if let Some(prefix) = entry.prefix {
            let Some((infix, rest)) = name.split_at_checked(prefix.infix_len()) else {
                return Ok(false);
            };
            if !prefix.has_infix(self.volume, self.sb, infix)? {
                return Ok(false);
            }
            stored = rest;
        }
        let metadata = self.metadata(entry.in_metabox)?;
        let order = metadata.cmp_at(entry.start, entry.stored_name_len, stored)?;
        Ok(order.is_eq())
    }

    /// What an entry whose fixed part is before byte `start` says; `None` if its prefix is unknown.
    fn entry(&self, raw: &RawEntry, in_metabox: bool, start: u64) -> Option<Entry> {
        let stored_name_len = usize::from(raw.e_name_len);
        let prefix = match raw.e_name_index & LONG_PREFIX {
            0 => None,
            _ => Some(
                *self
                    .prefixes
                    .get(usize::from(raw.e_name_index & !LONG_PREFIX))?,
            ),
        };
        let infix_len = prefix.map_or(0, |prefix| prefix.infix_len());
        Some(Entry {
            index: prefix.map_or(raw.e_name_index, |prefix| prefix.base_index()),
            name_len: infix_len.saturating_add(stored_name_len),
            value_len: usize::from(raw.e_value_size),
            prefix,
            in_metabox,
            start,
            stored_name_len,
        })
    }
}

/// A place in the list of an inode's xattrs.
#[derive(Clone, Debug)]
pub struct List {
    /// Whether the inode is in the metabox.
    in_metabox: bool,
    /// Where the next shared id is, and how many there are from there on.
    ids: u64,
    ids_left: u8,
    /// Where the inode's next own entry is, and how many bytes of such entries there are from there
    /// on: a multiple of 4.
    next: u64,
    left: u64,
}

impl List {
    const EMPTY: Self = List {
        in_metabox: false,
        ids: 0,
        ids_left: 0,
        next: 0,
        left: 0,
    };

    /// The next xattr; `None` at the end. Lists up to 65,534 own entries and 255 shared ones.
    ///
    /// # Errors
    ///
    /// Those of [`Xattrs::get`]. After an error, the list may go on or end.
    pub fn next<V: Volume + ?Sized>(&mut self, xattrs: &Xattrs<'_, V>) -> Result<Option<Entry>> {
        while self.left != 0 {
            if let Some(entry) = self.next_own(xattrs)? {
                return Ok(Some(entry));
            }
        }
        while let Some(ids_left) = self.ids_left.checked_sub(1) {
            self.ids_left = ids_left;
            if let Some(entry) = self.next_shared(xattrs)? {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// The inode's next own entry; `None` if its prefix is unknown.
    fn next_own<V: Volume + ?Sized>(&mut self, xattrs: &Xattrs<'_, V>) -> Result<Option<Entry>> {
        let raw: RawEntry = xattrs.metadata(self.in_metabox)?.read(self.next)?;
        let start = self.next.saturating_add(ENTRY_SIZE);
        let size = raw.size();
        self.left = self
            .left
            .checked_sub(size)
            .ok_or(Error::Corrupt("xattr that does not fit into its inode"))?;
        self.next = self.next.saturating_add(size);
        Ok(xattrs.entry(&raw, self.in_metabox, start))
    }

    /// The entry of the next shared id; `None` if its prefix is unknown.
    fn next_shared<V: Volume + ?Sized>(&mut self, xattrs: &Xattrs<'_, V>) -> Result<Option<Entry>> {
        let id: le::U32 = xattrs.metadata(self.in_metabox)?.read(self.ids)?;
        self.ids = self.ids.saturating_add(ID_SIZE);
        let in_metabox = xattrs.sb.has_compat(compat::SHARED_XATTRS_IN_METABOX);
        let offset = u64::from(id).saturating_mul(ID_SIZE);
        let place = xattrs.sb.xattr_start().saturating_add(offset);
        let raw: RawEntry = xattrs.metadata(in_metabox)?.read(place)?;
        let start = place.saturating_add(ENTRY_SIZE);
        Ok(xattrs.entry(&raw, in_metabox, start))
    }
}

impl RawEntry {
    /// Bytes that the entry takes: at least 4.
    fn size(&self) -> u64 {
        let len = u64::from(self.e_name_len).saturating_add(u64::from(self.e_value_size));
        ENTRY_SIZE.saturating_add(len).next_multiple_of(ENTRY_SIZE)
    }
}

/// The bit of the filter that a name belongs to.
fn filter_bit(index: u8, name: &[u8]) -> u32 {
    let hash = xxh32(name, FILTER_SEED.wrapping_add(u32::from(index)));
    1_u32.wrapping_shl(hash)
}

#[cfg(test)]
mod tests;
