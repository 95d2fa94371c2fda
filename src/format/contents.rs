// SPDX-License-Identifier: GPL-2.0

//! Metadata, which is in the image itself or in the data of a special inode.

use crate::image::to_u64;
use crate::inode::Inode;
use crate::superblock::SuperBlock;
use crate::volume::Volume;
use crate::{Image, Result};
use core::cmp::Ordering;
use zerocopy::{FromBytes, IntoBytes};

/// The data of an inode, as an image.
pub(crate) struct Contents<'a, V: ?Sized> {
    volume: &'a V,
    sb: &'a SuperBlock,
    inode: &'a Inode,
}

impl<'a, V: Volume + ?Sized> Contents<'a, V> {
    pub(crate) fn new(volume: &'a V, sb: &'a SuperBlock, inode: &'a Inode) -> Self {
        Contents { volume, sb, inode }
    }
}

impl<V: Volume + ?Sized> Image for Contents<'_, V> {
    fn len(&self) -> u64 {
        self.inode.size
    }

    #[inline(never)]
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.check(offset, to_u64(buf.len()))?;
        self.inode.read_data(self.volume, self.sb, offset, buf)?;
        Ok(())
    }
}

/// Where a piece of metadata is.
pub(crate) enum Metadata<'a, V: Volume + ?Sized> {
    /// In the image itself.
    Plain(&'a V::Device),
    /// In the data of the metabox inode, or of the packed one.
    Inside(Contents<'a, V>),
}

impl<'a, V: Volume + ?Sized> Metadata<'a, V> {
    /// Either the image's own metadata or that in its metabox.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::Error::Corrupt) if the image has no metabox.
    #[inline]
    pub(crate) fn new(volume: &'a V, sb: &'a SuperBlock, in_metabox: bool) -> Result<Self> {
        if !in_metabox {
            return Ok(Metadata::Plain(volume.primary()));
        }
        let inode = sb.metabox()?;
        Ok(Metadata::Inside(Contents::new(volume, sb, inode)))
    }
}

impl<V: Volume + ?Sized> Image for Metadata<'_, V> {
    #[inline]
    fn len(&self) -> u64 {
        match self {
            Metadata::Plain(image) => image.len(),
            Metadata::Inside(file) => file.len(),
        }
    }

    #[inline]
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        match self {
            Metadata::Plain(image) => image.read_at(offset, buf),
            Metadata::Inside(file) => file.read_at(offset, buf),
        }
    }

    #[inline]
    fn read<T: FromBytes + IntoBytes>(&self, offset: u64) -> Result<T> {
        match self {
            Metadata::Plain(image) => image.read(offset),
            Metadata::Inside(file) => file.read(offset),
        }
    }

    #[inline]
    fn cmp_at(&self, offset: u64, len: usize, other: &[u8]) -> Result<Ordering> {
        match self {
            Metadata::Plain(image) => image.cmp_at(offset, len, other),
            Metadata::Inside(file) => file.cmp_at(offset, len, other),
        }
    }
}

#[cfg(test)]
mod tests;
