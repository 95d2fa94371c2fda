// SPDX-License-Identifier: GPL-2.0

//! Writing an image with its data in other places.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use erodax_format::change::Change;
use erodax_format::superblock::SuperBlock;
use erodax_format::Image;

use super::plan::Plan;
use crate::copy::Copier;
use crate::error::{Error, Result};
use crate::file_image::FileImage;
use crate::layout::PAGE;
use crate::output::Target;
use crate::progress::Progress;
use crate::source::Source;

/// Bytes that go to another place, or to the same one.
struct Piece {
    from: Range<u64>,
    to: u64,
}

impl Plan {
    /// Writes the image as planned to `file`, which is empty.
    pub(crate) fn write(
        &self,
        source: &Source,
        mut file: &File,
        target: &Target,
        progress: &dyn Progress,
    ) -> Result<()> {
        let image = source.image()?;
        let pieces = self.pieces(image.len());
        let (len, bytes) = pieces.iter().fold((0, 0), |(len, bytes), piece| {
            let size = piece.from.end - piece.from.start;
            (len.max(piece.to + size), bytes + size)
        });
        let write_error = || Error::write(target.path());
        // What nothing is written to is zeros.
        file.set_len(len).map_err(write_error())?;
        let mut copier = Copier::new(target.path(), progress);
        progress.begin("aligning files", Some(bytes));
        let mut from = &source.file;
        for piece in pieces {
            let seek = |mut file: &File, to| file.seek(SeekFrom::Start(to));
            seek(from, piece.from.start).map_err(Error::read(&source.path))?;
            seek(file, piece.to).map_err(write_error())?;
            let size = piece.from.end - piece.from.start;
            copier.copy(&source.path, (&mut from).take(size), size, &mut file)?;
        }
        progress.end();
        for change in self
            .changes(&image)
            .map_err(Error::unalignable(&source.path))?
        {
            apply(file, &change).map_err(write_error())?;
        }
        seal(file).map_err(write_error())
    }

    /// All that has something in it, from the start to the end.
    fn pieces(&self, image_len: u64) -> Vec<Piece> {
        let bytes = |blocks: &Range<u64>| blocks.start * PAGE..blocks.end * PAGE;
        let fixed = self.fixed();
        let fixed = fixed.ranges().map(|range| (range.start, range));
        let runs = self.placement.starts.iter().zip(&self.runs);
        let runs = runs.map(|(start, run)| (*start, run.now.clone()));
        let mut pieces: Vec<_> = fixed
            .chain(runs)
            .map(|(to, blocks)| Piece {
                from: bytes(&blocks),
                to: to * PAGE,
            })
            .collect();
        // Further devices that follow in the same file.
        let devices = self.room.saturating_mul(PAGE);
        if devices < image_len {
            pieces.push(Piece {
                from: devices..image_len,
                to: devices,
            });
        }
        pieces.sort_by_key(|piece| piece.to);
        pieces
    }

    /// The fields that say where things are.
    fn changes(&self, image: &FileImage) -> erodax_format::Result<Vec<Change>> {
        let mut changes = Vec::new();
        let moved = self
            .files
            .iter()
            .zip(&self.runs)
            .zip(&self.placement.starts);
        for ((file, _), start) in moved.filter(|((_, run), start)| run.now.start != **start) {
            changes.extend(file.inode.start_block_changes(image, &self.sb, *start)?);
        }
        changes.extend(SuperBlock::blocks_changes(image, self.placement.blocks)?);
        Ok(changes)
    }
}

fn apply(file: &File, change: &Change) -> std::io::Result<()> {
    file.write_all_at(change.bytes(), change.offset)
}

/// Makes the superblock state the checksum that it has now.
fn seal(file: &File) -> std::io::Result<()> {
    let image = FileImage::new(file.try_clone()?)?;
    let change = SuperBlock::checksum_change(&image);
    image.check_io()?;
    // The superblock was read before, and only its numbers have changed.
    let change = change.map_err(|error| std::io::Error::other(error.to_string()))?;
    change.map_or(Ok(()), |change| apply(file, &change))
}
