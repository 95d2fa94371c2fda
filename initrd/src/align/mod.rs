// SPDX-License-Identifier: GPL-2.0

//! Copies of images in which the data of chosen files begins at multiples of 2 MiB, so that whole
//! blocks of it can be mapped by huge pages wherever the image lies at such a multiple.

mod blocks;
mod lookup;
mod obstacle;
mod place;
mod plan;
mod recorder;
mod rewrite;
mod survey;

use std::fs::File;
use std::path::{Path, PathBuf};

use tempfile::TempPath;

pub use obstacle::Obstacle;

use crate::error::{Error, Result};
use crate::output::Target;
use crate::progress::{Progress, Unwatched};
use crate::source::Source;
use plan::Plan;

/// What a huge page maps, in bytes.
pub const HUGE_PAGE: u64 = 2 << 20;

/// Which files are aligned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlignFiles {
    /// Those at these paths, from the image's root on; symbolic links in the image are followed. A
    /// path that cannot be aligned is an error.
    pub paths: Vec<PathBuf>,
    /// Those of more than so many bytes, as far as they can be.
    pub larger_than: Option<u64>,
}

impl AlignFiles {
    /// Whether any are.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.larger_than.is_none()
    }
}

/// A file that was aligned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlignedFile {
    /// One of its names in the image.
    pub path: PathBuf,
    /// Where in the image it begins, in bytes: a multiple of [`HUGE_PAGE`].
    pub offset: u64,
    /// Its size in bytes.
    pub size: u64,
}

/// What was done to an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlignReport {
    /// The files that begin at a multiple of [`HUGE_PAGE`] now, or did before.
    pub files: Vec<AlignedFile>,
    /// Large files that could not be aligned, and why.
    pub left: Vec<(PathBuf, Obstacle)>,
    /// Bytes of the image before.
    pub size_before: u64,
    /// Bytes of the image.
    pub size: u64,
    /// Bytes of it that nothing is in any more: zeros.
    pub unused: u64,
}

/// Writes a copy of the image at `path` with aligned files to `output`, which is replaced if `force` is
/// set.
///
/// # Errors
///
/// See [`Error`]; each says what to do. There is no output then.
pub fn align(path: &Path, wanted: &AlignFiles, output: &Path, force: bool) -> Result<AlignReport> {
    align_with(path, wanted, output, force, &Unwatched)
}

/// Like [`align`], but watched by `progress`.
///
/// # Errors
///
/// Those of [`align`], and [`Error::Interrupted`].
pub fn align_with(
    path: &Path,
    wanted: &AlignFiles,
    output: &Path,
    force: bool,
    progress: &dyn Progress,
) -> Result<AlignReport> {
    let target = Target::new(output, force)?;
    let source = Source::open_any_size(path)?;
    let mut missing = Missing::of(wanted);
    let plan = Plan::new(&source, wanted, &mut missing)?;
    missing.check()?;
    let output = target.create()?;
    plan.write(&source, output.file(), &target, progress)?;
    output.commit()?;
    Ok(plan.report())
}

/// Paths that no image has had yet.
pub(crate) struct Missing<'a>(Vec<&'a PathBuf>);

impl<'a> Missing<'a> {
    pub(crate) fn of(wanted: &'a AlignFiles) -> Self {
        Self(wanted.paths.iter().collect())
    }

    /// An image has it.
    fn found(&mut self, path: &Path) {
        self.0.retain(|missing| *missing != path);
    }

    /// Fails if there is one still.
    pub(crate) fn check(self) -> Result<()> {
        match self.0.first() {
            None => Ok(()),
            Some(path) => Err(Error::NothingToAlign(path.to_path_buf())),
        }
    }
}

/// Makes a copy with aligned files beside the output, if the image has any of them.
pub(crate) fn align_source(
    source: &Source,
    wanted: &AlignFiles,
    missing: &mut Missing<'_>,
    target: &Target,
    progress: &dyn Progress,
) -> Result<(Option<TempPath>, AlignReport)> {
    let plan = Plan::new(source, wanted, missing)?;
    let report = plan.report();
    if report.files.is_empty() {
        return Ok((None, report));
    }
    let temporary = target.temporary()?;
    let file = File::options().read(true).write(true).open(&temporary);
    let file = file.map_err(Error::write(target.path()))?;
    plan.write(source, &file, target, progress)?;
    Ok((Some(temporary), report))
}
