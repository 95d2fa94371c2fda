// SPDX-License-Identifier: GPL-2.0

//! A check for each decoder.
//!
//! Each takes the bytes of an image, with a [`Question`] in the last of them, and returns after a
//! bounded time, whatever they are.
//!
//! # Panics
//!
//! A decoder panicked, or its answers contradict each other.

mod archive;
mod directory;
mod extents;
mod image;
mod inode;
mod lz4;
mod pclusters;
mod superblock;
mod xattrs;

pub use archive::archive;
pub use directory::directory;
pub use extents::{devices, extents};
pub use image::image;
pub use inode::inode;
pub use lz4::lz4;
pub use pclusters::pclusters;
pub use superblock::superblock;
pub use xattrs::xattrs;

use crate::question::Question;
use erodax_format::inode::Inode;
use erodax_format::superblock::SuperBlock;
use erodax_format::Volume;

/// What most checks are about: one inode.
struct Subject<'a> {
    image: &'a [u8],
    sb: SuperBlock,
    inode: Inode,
    question: Question,
}

impl<'a> Subject<'a> {
    /// The inode that the image's question is about, if it can be read.
    fn of(image: &'a [u8]) -> Option<Self> {
        Self::on(image, image)
    }

    /// The same where the inode may be in what `volume` decodes of the image.
    fn on<V: Volume + ?Sized>(volume: &V, image: &'a [u8]) -> Option<Self> {
        let question = Question::of(image);
        let sb = SuperBlock::read(image).ok()?;
        let nid = sb.root_nid().wrapping_add(question.inode);
        let inode = Inode::read(volume, &sb, nid).ok()?;
        Some(Subject {
            image,
            sb,
            inode,
            question,
        })
    }

    /// The position in question, before the end of data of `len` bytes.
    fn pos_in(&self, len: u64) -> u64 {
        match self.question.pos {
            pos if pos < len => pos,
            pos => pos.checked_rem(len).unwrap_or(0),
        }
    }
}
