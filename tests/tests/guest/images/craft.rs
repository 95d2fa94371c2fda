// SPDX-License-Identifier: GPL-2.0

//! Images that no mkfs.erofs makes: those that it makes, with fields of single files changed.

mod broken;
mod chunks;
mod indexes;
mod inodes;
mod metabox;
mod streams;

use std::{fs, path::Path};

use anyhow::{ensure, Result};
use erodax_format::inode::{FileType, Layout};
use erodax_mutation::edit::{Edit, File};
use erodax_tests::image::Craft;

/// Changes an image.
pub(super) fn apply(file: &Path, craft: Craft) -> Result<()> {
    let mut image = Edit::open(fs::read(file)?)?;
    match craft {
        Craft::Garbage | Craft::Aligned => unreachable!("is no change of single fields"),
        Craft::Compact => inodes::compact(&mut image)?,
        Craft::Extended => inodes::extended(&mut image)?,
        Craft::Unfiltered => inodes::unfiltered(&mut image)?,
        Craft::Indexes => chunks::indexes(&mut image)?,
        Craft::Map => chunks::map(&mut image)?,
        Craft::Long => chunks::long(&mut image)?,
        Craft::SharedInMetabox => metabox::shared_xattrs(&mut image)?,
        Craft::LinkedMetabox => metabox::link(&mut image)?,
        Craft::Redirected => chunks::redirected(&mut image)?,
        Craft::Broken => broken::all(&mut image)?,
        Craft::Streams => streams::broken(&mut image)?,
        Craft::SecondHeads => indexes::second_heads(&mut image)?,
        Craft::Holes => indexes::holes(&mut image)?,
        Craft::HolesOfNoBlocks => indexes::holes_of_no_blocks(&mut image)?,
        Craft::HolesInside => indexes::holes_inside(&mut image)?,
    }
    Ok(fs::write(file, image.finish())?)
}

/// Bits of `i_format`.
mod format {
    pub(super) const LAYOUT: u64 = 7 << 1;
    pub(super) const NLINK_1: u64 = 1 << 4;
}

/// A regular file that has its data as the craft needs it.
fn regular(image: &Edit, path: &str, layout: Layout) -> Result<File> {
    let file = image.file(path)?;
    ensure!(
        file.inode.file_type() == FileType::Regular && file.inode.layout == layout,
        "{path}: {:?}",
        file.inode.layout
    );
    Ok(file)
}

/// Moves an inode of a file with one name, with its xattrs and tail, to a place behind all
/// blocks: as many bytes before the end of a new block as are to be in it.
fn move_across_blocks(image: &mut Edit, path: &str, bytes_before: usize) -> Result<()> {
    let block = image.block();
    let file = image.file(path)?;
    ensure!(file.inode.nlink == 1, "{path} has more names");
    let tail = file.inode.inline_tail(&image.sb)?;
    let tail = tail.map_or(Ok(0), |tail| usize::try_from(tail.len))?;
    let old = file.place.offset..file.behind_xattrs()? + tail;

    let start = image.bytes.len() + block - bytes_before;
    let new_rest = start + file.behind_xattrs()? - file.place.offset;
    ensure!(
        tail == 0 || new_rest / block == (new_rest + tail - 1) / block,
        "the tail of {path} would cross a block, too"
    );
    let mut moved = vec![0; block - bytes_before];
    moved.extend_from_slice(&image.bytes[old]);
    image.append(&moved)?;
    image.lead_to(path, start)
}
