// SPDX-License-Identifier: GPL-2.0

//! Long xattr prefixes (`struct erofs_xattr_long_prefix`): a table of records, each an index and an
//! infix.

use crate::contents::{Contents, Metadata};
use crate::features::{compat, incompat};
use crate::record::Record;
use crate::superblock::SuperBlock;
use crate::volume::Volume;
use crate::{Error, Image, Result};

/// Size of the index before the infix.
const INDEX_SIZE: u64 = 1;

/// One long prefix, its infix still where it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    base_index: u8,
    infix_len: u8,
    infix_start: u64,
}

impl Prefix {
    /// What stands before the infix (`INDEX_*`); not checked to be one of them.
    pub(super) fn base_index(&self) -> u8 {
        self.base_index
    }

    pub(super) fn infix_len(&self) -> usize {
        usize::from(self.infix_len)
    }

    pub(super) fn copy_infix<V: Volume + ?Sized>(
        &self,
        volume: &V,
        sb: &SuperBlock,
        out: &mut [u8],
    ) -> Result<()> {
        table(volume, sb)?.read_at(self.infix_start, out)
    }

    pub(super) fn has_infix<V: Volume + ?Sized>(
        &self,
        volume: &V,
        sb: &SuperBlock,
        infix: &[u8],
    ) -> Result<bool> {
        let order = table(volume, sb)?.cmp_at(self.infix_start, self.infix_len(), infix)?;
        Ok(order.is_eq())
    }
}

/// What the prefixes' offsets count in: the image itself if it says so, or has neither of the special
/// inodes; else its metabox, if it has one; else its packed inode.
fn table<'a, V: Volume + ?Sized>(volume: &'a V, sb: &'a SuperBlock) -> Result<Metadata<'a, V>> {
    if sb.has_compat(compat::PLAIN_XATTR_PREFIXES) {
        return Metadata::new(volume, sb, false);
    }
    if sb.has_incompat(incompat::METABOX) {
        return Metadata::new(volume, sb, true);
    }
    match sb.packed() {
        Some(inode) => Ok(Metadata::Inside(Contents::new(volume, sb, inode))),
        None => Metadata::new(volume, sb, false),
    }
}

/// The long prefixes of a filesystem, in the order of their numbers, which the caller keeps for
/// [`Xattrs::new`](super::Xattrs::new). There are
/// [`xattr_prefix_count`](SuperBlock::xattr_prefix_count) of them.
///
/// Ends after the first error:
///
/// * [`Error::Corrupt`]: a record that is longer than 256 bytes
/// * [`Error::Unsupported`]: they are in a compressed inode
/// * [`Error::OutOfBounds`]: they are not in the image
#[derive(Debug)]
pub struct Prefixes<'a, V: ?Sized> {
    volume: &'a V,
    sb: &'a SuperBlock,
    pos: u64,
    left: u8,
}

impl<'a, V: Volume + ?Sized> Prefixes<'a, V> {
    /// The prefixes of the filesystem with this superblock.
    pub fn new(volume: &'a V, sb: &'a SuperBlock) -> Self {
        Prefixes {
            volume,
            sb,
            pos: sb.xattr_prefix_start(),
            left: sb.xattr_prefix_count(),
        }
    }

    fn read(&mut self) -> Result<Prefix> {
        let table = table(self.volume, self.sb)?;
        let record = Record::read(&table, self.pos)?;
        self.pos = record.end();
        let infix_len = record
            .len
            .checked_sub(INDEX_SIZE)
            .and_then(|len| u8::try_from(len).ok())
            .ok_or(Error::Corrupt("xattr prefix of a wrong length"))?;
        Ok(Prefix {
            base_index: table.read(record.start)?,
            infix_len,
            infix_start: record.start.saturating_add(INDEX_SIZE),
        })
    }
}

impl<V: Volume + ?Sized> Iterator for Prefixes<'_, V> {
    type Item = Result<Prefix>;

    fn next(&mut self) -> Option<Self::Item> {
        let left = self.left.checked_sub(1)?;
        let prefix = self.read();
        self.left = if prefix.is_ok() { left } else { 0 };
        Some(prefix)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(usize::from(self.left)))
    }
}

impl<V: Volume + ?Sized> core::iter::FusedIterator for Prefixes<'_, V> {}
