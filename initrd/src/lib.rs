// SPDX-License-Identifier: GPL-2.0

//! Initrds that carry EROFS images in place.
//!
//! [`pack`] builds one from an early directory (with `/init` and the module) and images,
//! [`align`](align()) moves large files in an image to where huge pages can map them, [`inspect`] says
//! what a file holds and whether its images can be mapped directly, and
//! [`write_tree_cpio`] makes a conventional initramfs of a tree for comparison. The programs
//! `erodax` and `erodax-init` of this package are built on and booted from it.
//!
//! # The initrd
//!
//! ```text
//! microcode archives, if given             each padded to 4 bytes
//! newc archive, not compressed
//!   erofs.map                              text: name, offset and size of each image
//!   .erofs.d/pad0                          zeros
//!   .erofs.d/NAME.erofs                    the image, at a multiple of the alignment
//!   ... pad1, another image ...
//! newc archive, compressed                 /init, the module, and so on
//! ```
//!
//! The kernel unpacks all of it except the images: nothing creates `.erofs.d`, so it cannot
//! open files there and skips them. With `retain_initrd` on its command line their bytes stay
//! where the boot loader put them.

#![forbid(unsafe_code)]

mod align;
mod archive;
mod compress;
mod copy;
mod cpio;
mod early;
mod error;
mod file_image;
mod images;
mod inspect;
mod layout;
mod microcode;
mod newc_writer;
mod output;
mod pack;
mod progress;
mod source;
mod tree;

pub use align::{align, align_with, AlignFiles, AlignReport, AlignedFile, Obstacle, HUGE_PAGE};
pub use compress::Compression;
pub use cpio::{write_tree_cpio, CpioOptions};
pub use error::{Error, Result};
pub use inspect::{
    inspect, ArchiveFacts, CompressedPart, ImageFacts, Inspection, MemberFacts, SuperBlockFacts,
};
pub use layout::{MAX_BODY, MAX_NAME, PAGE};
pub use pack::{pack, pack_with, source_date_epoch, PackOptions, PackReport, PackedImage};
pub use progress::{Progress, Unwatched};
pub use source::ImageArg;
