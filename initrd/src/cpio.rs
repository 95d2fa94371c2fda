// SPDX-License-Identifier: GPL-2.0

//! A whole directory tree as an initramfs that the kernel unpacks.

use std::io::{BufWriter, Write};
use std::path::Path;

use crate::compress::{Compression, Encoder};
use crate::copy::Copier;
use crate::error::{Error, Result};
use crate::newc_writer::NewcWriter;
use crate::output::{Output, Target, BUFFER};
use crate::progress::Unwatched;
use crate::tree::{Style, Tree};

/// How [`write_tree_cpio`] writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpioOptions {
    /// Compression of the archive.
    pub compression: Compression,
    /// Whether an existing output is replaced.
    pub force: bool,
}

/// Writes the tree below `dir` as one newc archive at `out`, with owners, permissions,
/// modification times, device nodes and hard links as they are: what
/// `find . | cpio -o -H newc` makes, but sorted. Returns its size in bytes.
///
/// It serves to boot a tree by unpacking it, next to the same tree as an image in place.
///
/// # Errors
///
/// Those of [`crate::pack`] that concern a directory and an output; on an error there is no
/// output, and an earlier one is as it was.
pub fn write_tree_cpio(dir: &Path, out: &Path, options: CpioOptions) -> Result<u64> {
    let target = Target::new(out, options.force)?;
    let tree = Tree::scan(dir)?;
    target.must_be_outside(dir)?;
    let mut copier = Copier::new(target.path(), &Unwatched);
    let mut buffered = BufWriter::with_capacity(BUFFER, target.create()?);
    write_archive(
        &mut buffered,
        options.compression,
        &mut copier,
        |writer, copier| tree.write(Style::Faithful, writer, copier),
    )?;
    Output::unbuffered(buffered, target.path())?.commit()
}

/// Writes one archive, compressed, with the members that `write_members` writes.
pub(crate) fn write_archive<W: Write>(
    out: W,
    compression: Compression,
    copier: &mut Copier<'_>,
    write_members: impl FnOnce(&mut NewcWriter<Encoder<W>>, &mut Copier<'_>) -> Result<()>,
) -> Result<()> {
    let path = copier.output();
    let encoder = Encoder::new(out, compression).map_err(Error::write(path))?;
    let mut writer = NewcWriter::new(encoder, 0);
    write_members(&mut writer, copier)?;
    let finished = writer.finish().and_then(Encoder::finish);
    finished.map(drop).map_err(Error::write(path))
}
