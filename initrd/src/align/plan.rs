// SPDX-License-Identifier: GPL-2.0

//! What is to be done to one image.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use erodax_format::inode::FileType;
use erodax_format::superblock::SuperBlock;

use super::blocks::Blocks;
use super::lookup::lookup;
use super::obstacle::Obstacle;
use super::place::{place, Placement, Run};
use super::survey::{survey, File};
use super::{AlignFiles, AlignReport, AlignedFile, Missing, HUGE_PAGE};
use crate::error::{Error, Result};
use crate::file_image::FileImage;
use crate::layout::PAGE;
use crate::source::Source;

/// No image has more blocks.
const MAX_BLOCKS: u64 = 1 << 48;

/// The image as it is, and where everything goes.
pub(crate) struct Plan {
    pub(super) sb: SuperBlock,
    /// The files whose data can be moved, and of each where that is.
    pub(super) files: Vec<File>,
    pub(super) runs: Vec<Run>,
    pub(super) placement: Placement,
    /// The block from which on flat addresses mean other devices.
    pub(super) room: u64,
    left: Vec<(PathBuf, Obstacle)>,
}

impl Plan {
    /// Finds the files in an image that are to be aligned, and a place for each; `missing` gets told of
    /// the paths that are there.
    pub(crate) fn new(
        source: &Source,
        wanted: &AlignFiles,
        missing: &mut Missing<'_>,
    ) -> Result<Self> {
        let image = source.image()?;
        let plan = Self::of_image(&image, &source.path, wanted, missing);
        // After an I/O error, nothing that was decoded counts.
        image.check_io().map_err(Error::read(&source.path))?;
        plan
    }

    fn of_image(
        image: &FileImage,
        path: &Path,
        wanted: &AlignFiles,
        missing: &mut Missing<'_>,
    ) -> Result<Self> {
        let sb = SuperBlock::read(image).map_err(Error::unalignable(path))?;
        if u64::from(sb.block_size()) != PAGE {
            return Err(Error::BlocksNotPages {
                path: path.to_owned(),
                size: sb.block_size(),
            });
        }
        let room = first_of_other_devices(image, &sb).map_err(Error::unalignable(path))?;
        let files = survey(image, &sb, room).map_err(Error::unalignable(path))?;
        let mut choice = Choice {
            image,
            path,
            sb: &sb,
            files: &files,
            nids: HashSet::new(),
            left: Vec::new(),
        };
        choice.add_paths(wanted, missing)?;
        choice.add_large(wanted.larger_than);
        let Choice { nids, left, .. } = choice;
        let (files, runs): (Vec<_>, Vec<_>) = files
            .into_iter()
            .filter_map(|file| {
                let now = file.data.clone().ok()?;
                let is_chosen = nids.contains(&file.inode.nid);
                Some((file, Run { now, is_chosen }))
            })
            .unzip();
        let placement = place(&runs, sb.blocks(), room, HUGE_PAGE / PAGE);
        Ok(Self {
            placement: placement.ok_or_else(|| Error::NoRoomToAlign(path.to_owned()))?,
            sb,
            files,
            runs,
            room,
            left,
        })
    }

    /// The blocks that stay.
    pub(super) fn fixed(&self) -> Blocks {
        let mut fixed = Blocks::default();
        fixed.insert(0..self.sb.blocks());
        for run in &self.runs {
            fixed.remove(&run.now);
        }
        fixed
    }

    pub(crate) fn report(&self) -> AlignReport {
        let files = self
            .files
            .iter()
            .zip(&self.runs)
            .zip(&self.placement.starts);
        let chosen = files.filter(|((_, run), _)| run.is_chosen);
        let used = |range: std::ops::Range<u64>| range.end - range.start;
        let fixed: u64 = self.fixed().ranges().map(used).sum();
        let moved: u64 = self.runs.iter().map(|run| used(run.now.clone())).sum();
        AlignReport {
            files: chosen
                .map(|((file, _), start)| AlignedFile {
                    path: file.path.clone(),
                    offset: start * PAGE,
                    size: file.inode.size,
                })
                .collect(),
            left: self.left.clone(),
            size_before: self.sb.size(),
            size: self.placement.blocks * PAGE,
            unused: (self.placement.blocks - fixed - moved) * PAGE,
        }
    }
}

/// The block from which on flat addresses mean other devices.
fn first_of_other_devices(image: &FileImage, sb: &SuperBlock) -> erodax_format::Result<u64> {
    (1..=sb.extra_devices()).try_fold(MAX_BLOCKS, |first, id| {
        let slot = sb.device_slot(image, id)?;
        Ok(match slot.uniaddr {
            0 => first,
            uniaddr => first.min(uniaddr),
        })
    })
}

/// The files to be aligned.
struct Choice<'a> {
    image: &'a FileImage,
    path: &'a Path,
    sb: &'a SuperBlock,
    files: &'a [File],
    nids: HashSet<u64>,
    left: Vec<(PathBuf, Obstacle)>,
}

impl Choice<'_> {
    fn add_paths(&mut self, wanted: &AlignFiles, missing: &mut Missing<'_>) -> Result<()> {
        for path in &wanted.paths {
            let found = lookup(self.image, self.sb, path);
            let Some(inode) = found.map_err(Error::unalignable(self.path))? else {
                continue;
            };
            missing.found(path);
            let mut files = self.files.iter();
            let obstacle = match files.find(|file| file.inode.nid == inode.nid) {
                Some(file) if inode.file_type() == FileType::Regular => file.data.as_ref().err(),
                _ => Some(&Obstacle::NotAFile),
            };
            if let Some(obstacle) = obstacle {
                return Err(Error::FileNotAligned {
                    image: self.path.to_owned(),
                    file: path.clone(),
                    obstacle: *obstacle,
                });
            }
            self.nids.insert(inode.nid);
        }
        Ok(())
    }

    fn add_large(&mut self, larger_than: Option<u64>) {
        let is_large = |file: &&File| larger_than.is_some_and(|size| file.inode.size > size);
        for file in self.files.iter().filter(is_large) {
            match &file.data {
                Ok(_) => {
                    self.nids.insert(file.inode.nid);
                }
                Err(obstacle) => self.left.push((file.path.clone(), *obstacle)),
            }
        }
    }
}
