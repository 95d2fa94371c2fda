// SPDX-License-Identifier: GPL-2.0

//! The bytes of files through two drivers, and where they lie.

use std::{
    fs::{self, File},
    io::{self, Read, Seek},
    os::unix::fs::FileExt,
    path::Path,
};

use anyhow::{ensure, Context, Result};
use erodax_agent::guest::{
    calls::{extents, name_to_handle, open_by_handle, FileExtent},
    mapping::{Mapping, PAGE},
};
use rustix::{
    fs::{fadvise, memfd_create, open, seek, sendfile, Advice, MemfdFlags, Mode, OFlags, SeekFrom},
    io::Errno,
};

/// Reading in one piece, in odd pieces, through a mapping and by sendfile(2), each with nothing of
/// the file in the page cache; holes.
pub(super) fn same(ours: &Path, theirs: &Path) -> Result<()> {
    let whole = fs::read(ours)?;
    ensure!(whole == fs::read(theirs)?, "another content");
    opened_directly(ours, theirs)?;
    let (ours, theirs) = (File::open(ours)?, File::open(theirs)?);
    for way in [pieces, mapped, sent] {
        for file in [&ours, &theirs] {
            fadvise(file, 0, None, Advice::DontNeed)?;
        }
        way(&ours, &theirs, whole.len())?;
    }
    holes(&ours, &theirs, whole.len())
}

/// Whether a file can be opened for direct reads.
fn opened_directly(ours: &Path, theirs: &Path) -> Result<()> {
    let error = |path: &Path| open(path, OFlags::RDONLY | OFlags::DIRECT, Mode::empty()).err();
    let (our, their) = (error(ours), error(theirs));
    ensure!(our == their, "O_DIRECT: {our:?}, stock {their:?}");
    Ok(())
}

/// The numbers under `count`, in no order that anybody would read ahead for.
fn scrambled(count: usize) -> impl Iterator<Item = usize> {
    /// A prime, greater than counts are.
    const STRIDE: usize = 104_729;
    (0..count).map(move |index| index * STRIDE % count)
}

fn pieces(ours: &File, theirs: &File, size: usize) -> Result<()> {
    const LENGTH: usize = 5001;
    let mut buffers = [[0; LENGTH], [0; LENGTH]];
    let [our, their] = &mut buffers;
    let step = (size / 20).max(997) | 1;
    for index in scrambled((size + LENGTH).div_ceil(step)) {
        let at = u64::try_from(index * step)?;
        let (our_len, their_len) = (ours.read_at(our, at)?, theirs.read_at(their, at)?);
        ensure!(
            our_len == their_len && our[..our_len] == their[..their_len],
            "another content at {at}"
        );
    }
    Ok(())
}

fn mapped(ours: &File, theirs: &File, size: usize) -> Result<()> {
    if size == 0 {
        return Ok(());
    }
    let (ours, theirs) = (
        Mapping::read_only(ours, size)?,
        Mapping::read_only(theirs, size)?,
    );
    // What follows the file's end in its last page is seen as well.
    for index in scrambled(size.div_ceil(PAGE)) {
        let page = index * PAGE..(index + 1) * PAGE;
        ensure!(
            ours.bytes()[page.clone()] == theirs.bytes()[page],
            "page {index} is mapped differently"
        );
    }
    Ok(())
}

fn sent(ours: &File, theirs: &File, size: usize) -> Result<()> {
    let through = |file: &File| -> Result<Vec<u8>> {
        let mut target = File::from(memfd_create("sent", MemfdFlags::empty())?);
        let mut at = 0;
        while sendfile(&target, file, Some(&mut at), size.max(1))? > 0 {}
        target.rewind()?;
        let mut bytes = Vec::new();
        target.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    ensure!(through(ours)? == through(theirs)?, "is sent differently");
    Ok(())
}

/// `SEEK_DATA` and `SEEK_HOLE` from everywhere where an answer could change.
fn holes(ours: &File, theirs: &File, size: usize) -> Result<()> {
    let size = u64::try_from(size)?;
    let step = (size / 40).max(4096) / 512 * 512;
    let marks = (0..=size.saturating_add(step)).step_by(usize::try_from(step)?);
    for from in marks
        .flat_map(|mark| [mark.saturating_sub(1), mark, mark + 1])
        .chain([size.saturating_sub(1), size, size + 1, 1 << 40])
    {
        for whence in [SeekFrom::Data(from), SeekFrom::Hole(from)] {
            let (our, their) = (seek(ours, whence), seek(theirs, whence));
            ensure!(our == their, "{whence:?}: {our:?}, stock {their:?}");
        }
    }
    Ok(())
}

/// Where a file or directory lies, of whole files and from the middle on.
pub(super) fn same_extents(ours: &Path, theirs: &Path) -> Result<()> {
    let (ours, theirs) = (File::open(ours)?, File::open(theirs)?);
    let (our, their) = (all_extents(&ours)?, all_extents(&theirs)?);
    ensure!(our == their, "FIEMAP: {our:x?}, stock {their:x?}");
    for length in [1, PAGE, 3 * PAGE + 1] {
        let length = u64::try_from(length)?;
        let (our, their) = (extents(&ours, 0, length)?, extents(&theirs, 0, length)?);
        let ends = |extents: &[FileExtent]| {
            let first = extents.first().copied();
            first.map(|extent| (extent.logical, extent.physical))
        };
        ensure!(
            ends(&our) == ends(&their),
            "FIEMAP of {length} bytes: {our:x?}, stock {their:x?}"
        );
    }
    Ok(())
}

/// Every extent; those that continue the one before are one with it, as drivers may tell them
/// in pieces of any size.
fn all_extents(file: &File) -> Result<Vec<FileExtent>> {
    let mut all: Vec<FileExtent> = Vec::new();
    loop {
        let start = all
            .last()
            .map_or(0, |extent| extent.logical + extent.length);
        let next = extents(file, start, u64::MAX - start)?;
        let is_end = next
            .last()
            .is_none_or(|extent| extent.flags & FileExtent::LAST != 0);
        for extent in next {
            match all.last_mut() {
                Some(last)
                    if last.logical + last.length == extent.logical
                        && last.physical + last.length == extent.physical
                        && last.flags == extent.flags & !FileExtent::LAST =>
                {
                    last.length += extent.length;
                    last.flags = extent.flags;
                }
                _ => all.push(extent),
            }
        }
        if is_end {
            return Ok(all);
        }
    }
}

/// A handle is the same through both drivers, and leads back to the file.
pub(super) fn same_handle(ours: &Path, theirs: &Path) -> Result<()> {
    let (our, their) = (name_to_handle(ours)?, name_to_handle(theirs)?);
    ensure!(our == their, "file handle {our:x?}, stock {their:x?}");
    let metadata = fs::symlink_metadata(ours)?;
    let open = |path: &Path| -> io::Result<_> {
        let within = File::open(path.parent().unwrap_or(path))?;
        let opened = open_by_handle(within, &our).map(File::from);
        Ok(opened.map_err(|error| Errno::from_io_error(&error)))
    };
    if metadata.is_fifo_or_device() {
        return Ok(());
    }
    match (open(ours)?, open(theirs)?) {
        (Ok(our), Ok(their)) => {
            let number = |file: &File| {
                use std::os::unix::fs::MetadataExt;
                file.metadata().map(|metadata| metadata.ino())
            };
            ensure!(number(&our)? == number(&their)?, "a handle leads elsewhere");
        }
        (our, their) => {
            let (our, their) = (our.err().context("opens")?, their.err().context("opens")?);
            ensure!(our == their, "open_by_handle_at: {our:?}, stock {their:?}");
        }
    }
    Ok(())
}

trait IsSpecial {
    fn is_fifo_or_device(&self) -> bool;
}

impl IsSpecial for fs::Metadata {
    /// Opening them does something else than showing a file.
    fn is_fifo_or_device(&self) -> bool {
        !(self.is_file() || self.is_dir() || self.is_symlink())
    }
}
