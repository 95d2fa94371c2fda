// SPDX-License-Identifier: GPL-2.0

//! Which blocks of an image are looked at.

use std::cell::{Ref, RefCell};

use erodax_format::{Image, Result};

use super::blocks::Blocks;

/// An image that remembers where it was read: while only metadata is, that is where metadata is.
pub(crate) struct Recorder<'a, I> {
    image: &'a I,
    block_size: u64,
    read: RefCell<Blocks>,
}

impl<'a, I: Image> Recorder<'a, I> {
    pub(crate) fn new(image: &'a I, block_size: u64) -> Self {
        Self {
            image,
            block_size,
            read: RefCell::default(),
        }
    }

    /// The blocks so far.
    pub(crate) fn blocks(&self) -> Ref<'_, Blocks> {
        self.read.borrow()
    }

    /// As if `len` bytes at `offset` had been read.
    pub(crate) fn mark(&self, offset: u64, len: u64) {
        let end = offset.saturating_add(len).div_ceil(self.block_size);
        let blocks = offset / self.block_size..end;
        let mut read = self.read.borrow_mut();
        if !read.contains(&blocks) {
            read.insert(blocks);
        }
    }
}

impl<I: Image> Image for Recorder<'_, I> {
    fn len(&self) -> u64 {
        self.image.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.image.read_at(offset, buf)?;
        self.mark(offset, u64::try_from(buf.len()).unwrap_or(u64::MAX));
        Ok(())
    }
}
