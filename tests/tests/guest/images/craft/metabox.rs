// SPDX-License-Identifier: GPL-2.0

//! What the format puts into the metabox and mkfs.erofs does not.

use anyhow::Result;
use erodax_format::inode::{Inode, Layout};

use super::{inode, superblock, Crafted};

/// `S_IFLNK`
const LINK: u64 = 0o120_000;

/// Makes the metabox inode a symbolic link, which the format allows; but it is too long for one.
pub(super) fn link(image: &mut Crafted) -> Result<()> {
    let nid = image.get(superblock::START, superblock::METABOX_NID);
    let start = usize::try_from(image.sb.inode_offset(nid)?)?;
    let mode = image.get(start, inode::MODE);
    image.set(start, inode::MODE, LINK | mode & 0o7777)
}

/// `EROFS_FEATURE_COMPAT_SHARED_EA_IN_METABOX`
const SHARED_EA_IN_METABOX: u64 = 1 << 3;

/// Moves the shared xattrs into the metabox. They are addressed from a block on, and so the whole
/// image, with them at their place, becomes the second part of the metabox.
pub(super) fn shared_xattrs(image: &mut Crafted) -> Result<()> {
    let nid = image.get(superblock::START, superblock::METABOX_NID);
    let metabox = Inode::read(&image.bytes[..], &image.sb, nid)?;
    let block = image.block()?;
    let mut content = vec![0; usize::try_from(metabox.size)?];
    metabox.read_data(&image.bytes[..], &image.sb, 0, &mut content)?;
    content.resize(content.len().next_multiple_of(block), 0);
    let address = image.get(superblock::START, superblock::XATTR_BLKADDR);
    let address = address + u64::try_from(content.len() / block)?;
    content.extend_from_slice(&image.bytes);

    let start = usize::try_from(image.sb.inode_offset(metabox.nid)?)?;
    if metabox.layout != Layout::FlatPlain {
        let format = image.get(start, inode::FORMAT);
        image.set(start, inode::FORMAT, format & !inode::LAYOUT)?;
    }
    let first = image.append(&content)?;
    image.set(start, inode::U, first)?;
    image.set(start, inode::SIZE_LO, u64::try_from(content.len())?)?;
    image.set(superblock::START, superblock::XATTR_BLKADDR, address)?;
    image.set_bits(
        superblock::START,
        superblock::FEATURE_COMPAT,
        SHARED_EA_IN_METABOX,
    )
}
