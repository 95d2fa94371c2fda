// SPDX-License-Identifier: GPL-2.0

//! On-disk formats that erodax reads: EROFS, and the newc cpio archives that carry EROFS images
//! inside an initrd.
//!
//! Everything here is a pure decoder. It reads an [`Image`] through bounded reads, allocates
//! nothing, holds no unsafe code and never panics, whatever the bytes are: a wrong image gives an
//! [`Error`]. The same source is built by cargo for the host tools and by Kbuild for the kernel
//! module.
//!
//! The layouts are those of Linux's `fs/erofs/erofs_fs.h` (MIT); the names used here are the names
//! used there. All integers on disk are little endian.
//!
//! | module | subject |
//! |---|---|
//! | [`image`] | bounded reads of one image |
//! | [`superblock`] | the superblock: features, block size, where inodes are |
//! | [`inode`] | compact and extended inodes |
//! | [`volume`] | the devices of a filesystem |
//! | [`flat`] | where the bytes of uncompressed files are |
//! | [`pcluster`] | where the bytes of compressed files are |
//! | [`dir`] | lookup and listing of directories |
//! | [`xattr`] | extended attributes |
//! | [`names`] | how features and UUIDs are written |
//! | `change` | changes of single fields; not in the kernel |
//! | [`newc`] | members of a newc cpio, and the images among them |
//!
//! # Examples
//!
//! ```no_run
//! use erodax_format::{dir, inode::Inode, superblock::SuperBlock};
//!
//! let bytes = std::fs::read("root.erofs")?;
//! let image = bytes.as_slice();
//! let sb = SuperBlock::read(image)?;
//! let root = Inode::read(image, &sb, sb.root_nid())?;
//! if let Some(etc) = dir::lookup(image, &sb, &root, b"etc")? {
//!     println!("/etc has {} links", Inode::read(image, &sb, etc.nid)?.nlink);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// Kbuild makes every crate `no_std` itself.
#![cfg_attr(not(any(in_kernel, test)), no_std)]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod algorithms;
#[cfg(not(in_kernel))]
pub mod change;
mod chunk;
mod contents;
mod crc32c;
pub mod dir;
mod error;
mod features;
pub mod flat;
pub mod image;
pub mod inode;
pub mod names;
pub mod newc;
pub mod pcluster;
mod record;
pub mod superblock;
#[cfg(test)]
mod testing;
pub mod volume;
pub mod xattr;
mod xxh32;

pub use algorithms::Algorithms;
pub use error::{Error, Result};
pub use image::Image;
pub use volume::Volume;
