// SPDX-License-Identifier: GPL-2.0

//! Directories whose data is compressed, or part of compressed metadata.
//!
//! Each read of such data costs the volume a search at least, and the decoding of a pcluster at worst.
//! Dirents are therefore read several at a time.

use super::{search, search_near, Block, Blocks, Found};
use crate::contents::Contents;
use crate::image::to_u64;
use crate::inode::Inode;
use crate::superblock::SuperBlock;
use crate::volume::Volume;
use crate::{Error, Image, Result};
use core::cell::Cell;
use zerocopy::{FromBytes, IntoBytes};

/// Bytes that are decoded together: ten dirents, and not too much for a kernel's stack.
const WINDOW: usize = 128;

/// Decoded bytes of a directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// Where in the directory they start.
    start: u64,
    /// How many they are.
    len: usize,
    bytes: [u8; WINDOW],
}

impl Window {
    /// The bytes of the structure at `offset`, if all of them are here.
    fn read<T: FromBytes + IntoBytes>(&self, offset: u64) -> Option<T> {
        let skip = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let bytes = self.bytes.get(..self.len)?;
        let (value, _) = T::read_from_prefix(bytes.get(skip..)?).ok()?;
        Some(value)
    }
}

/// The decoded data of a directory, in which small structures are read together.
pub(super) struct Decoded<'a, V: ?Sized> {
    contents: Contents<'a, V>,
    sb: &'a SuperBlock,
    window: Cell<Option<Window>>,
}

impl<'a, V: Volume + ?Sized> Decoded<'a, V> {
    /// The data of `dir`, of which `window` was decoded already.
    pub(super) fn new(
        volume: &'a V,
        sb: &'a SuperBlock,
        dir: &'a Inode,
        window: Option<Window>,
    ) -> Self {
        Decoded {
            contents: Contents::new(volume, sb, dir),
            sb,
            window: Cell::new(window),
        }
    }

    /// What was decoded last.
    pub(super) fn into_window(self) -> Option<Window> {
        self.window.into_inner()
    }

    /// Decodes what is around the `len` bytes at `offset`.
    fn decode(&self, offset: u64, len: usize) -> Result<Window> {
        // A block starts with a window, so that the first one tells as much of it as can be.
        let aligned = offset & !(to_u64(WINDOW) - 1);
        let fits = offset.saturating_add(to_u64(len)) <= aligned.saturating_add(to_u64(WINDOW));
        let start = if fits { aligned } else { offset };
        let left = usize::try_from(self.len().saturating_sub(start)).unwrap_or(usize::MAX);
        let mut window = Window {
            start,
            len: left.min(WINDOW),
            bytes: [0; WINDOW],
        };
        let bytes = window.bytes.get_mut(..window.len).unwrap_or_default();
        self.contents.read_at(start, bytes)?;
        Ok(window)
    }
}

impl<V: Volume + ?Sized> Image for Decoded<'_, V> {
    fn len(&self) -> u64 {
        self.contents.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.contents.read_at(offset, buf)
    }

    fn read<T: FromBytes + IntoBytes>(&self, offset: u64) -> Result<T> {
        if let Some(value) = self.window.get().and_then(|window| window.read(offset)) {
            return Ok(value);
        }
        let window = self.decode(offset, size_of::<T>())?;
        self.window.set(Some(window));
        window.read(offset).ok_or(Error::OutOfBounds)
    }
}

impl<V: Volume + ?Sized> Blocks for Decoded<'_, V> {
    type Image = Self;

    fn open(&self, pos: u64) -> Result<(Block, &Self)> {
        let left = self.len().saturating_sub(pos);
        let len = left.min(u64::from(self.sb.block_size()));
        let block = Block::read(self, pos, 0, pos, len)?;
        Ok((block, self))
    }
}

/// See [`lookup`](super::lookup).
#[inline(never)]
pub(super) fn lookup<V: Volume + ?Sized>(
    volume: &V,
    sb: &SuperBlock,
    dir: &Inode,
    name: &[u8],
) -> Result<Option<Found>> {
    search(&Decoded::new(volume, sb, dir, None), sb, dir, name)
}

/// See [`lookup_near`](super::lookup_near).
#[inline(never)]
pub(super) fn lookup_near<V: Volume + ?Sized>(
    volume: &V,
    sb: &SuperBlock,
    dir: &Inode,
    name: &[u8],
    cookie: u64,
) -> Result<Option<Found>> {
    let blocks = Decoded::new(volume, sb, dir, None);
    search_near(&blocks, sb, dir, name, cookie)
}
