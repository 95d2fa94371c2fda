// SPDX-License-Identifier: GPL-2.0

//! What the format puts into the metabox and mkfs.erofs does not.

use anyhow::Result;
use erodax_format::inode::Layout;
use erodax_mutation::places::SUPER_BLOCK;

use super::{format, Edit};

/// `S_IFLNK`
const LINK: u64 = 0o120_000;

/// Makes the metabox inode a symbolic link, which the format allows; but it is too long for one.
pub(super) fn link(image: &mut Edit) -> Result<()> {
    let nid = image.sb.metabox()?.nid;
    let place = image.file_of(nid)?.place;
    let mode = image.get(place, "i_mode")?;
    image.set(place, "i_mode", LINK | mode & 0o7777)
}

/// `EROFS_FEATURE_COMPAT_SHARED_EA_IN_METABOX`
const SHARED_EA_IN_METABOX: u64 = 1 << 3;

/// Moves the shared xattrs into the metabox. They are addressed from a block on, and so the whole
/// image, with them at their place, becomes the second part of the metabox.
pub(super) fn shared_xattrs(image: &mut Edit) -> Result<()> {
    let metabox = image.sb.metabox()?.clone();
    let block = image.block();
    let mut content = vec![0; usize::try_from(metabox.size)?];
    metabox.read_data(&image.bytes[..], &image.sb, 0, &mut content)?;
    content.resize(content.len().next_multiple_of(block), 0);
    let address = image.get(SUPER_BLOCK, "xattr_blkaddr")?;
    let address = address + u64::try_from(content.len() / block)?;
    content.extend_from_slice(&image.bytes);

    let place = image.file_of(metabox.nid)?.place;
    if metabox.layout != Layout::FlatPlain {
        let old = image.get(place, "i_format")?;
        image.set(place, "i_format", old & !format::LAYOUT)?;
    }
    let first = image.append(&content)?;
    image.set(place, "i_u", first)?;
    image.set(place, "i_size", u64::try_from(content.len())?)?;
    image.set(SUPER_BLOCK, "xattr_blkaddr", address)?;
    image.set_bits(SUPER_BLOCK, "feature_compat", SHARED_EA_IN_METABOX)
}
