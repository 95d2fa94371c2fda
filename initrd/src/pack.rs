// SPDX-License-Identifier: GPL-2.0

//! Building an initrd that carries EROFS images in place.

use std::ffi::OsString;
use std::io::BufWriter;
use std::path::PathBuf;

use crate::align::{AlignFiles, AlignReport, HUGE_PAGE};
use crate::compress::Compression;
use crate::copy::Copier;
use crate::early::Early;
use crate::error::{Error, Result};
use crate::images::Images;
use crate::layout::{is_valid_alignment, PAGE};
use crate::microcode::Microcode;
use crate::output::{Output, Target, BUFFER};
use crate::progress::{Progress, Unwatched};
use crate::source::{ImageArg, Mkfs};

/// What to pack, and how.
#[derive(Clone, Debug)]
pub struct PackOptions {
    /// The directory that the kernel unpacks: `/init`, modules and what they need.
    pub early: PathBuf,
    /// Early archives with microcode. They come first, where the kernel looks for them.
    pub microcode: Vec<PathBuf>,
    /// The images, in order.
    pub images: Vec<ImageArg>,
    /// Images start at multiples of this, in bytes: a power of two of at least [`PAGE`].
    pub align: u64,
    /// Files in the images that begin at multiples of [`HUGE_PAGE`].
    pub align_files: AlignFiles,
    /// Compression of the early directory's archive.
    pub compression: Compression,
    /// Further arguments for mkfs.erofs, which makes images from directories.
    pub mkfs_args: Vec<OsString>,
    /// Modification time of all members and build time of images made from directories, in
    /// seconds since 1970; see [`source_date_epoch`].
    pub mtime: u32,
    /// Whether an existing output is replaced.
    pub force: bool,
    /// Where the initrd goes.
    pub output: PathBuf,
}

impl PackOptions {
    /// An initrd of `early` alone, with the defaults of `erodax pack`.
    pub fn new(early: impl Into<PathBuf>, output: impl Into<PathBuf>) -> Self {
        Self {
            early: early.into(),
            microcode: Vec::new(),
            images: Vec::new(),
            align: PAGE,
            align_files: AlignFiles::default(),
            compression: Compression::default(),
            mkfs_args: Vec::new(),
            mtime: 0,
            force: false,
            output: output.into(),
        }
    }
}

/// What was packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackReport {
    /// Size of the initrd in bytes.
    pub size: u64,
    /// The images, in order.
    pub images: Vec<PackedImage>,
    /// Offset in bytes of the archive that the kernel unpacks, which is the last one.
    pub early_offset: u64,
    /// Its size in bytes as it lies in the initrd.
    pub early_size: u64,
    /// Number of its files, directories and so on.
    pub early_members: usize,
    /// What is allowed but probably not meant.
    pub warnings: Vec<String>,
}

/// An image inside the initrd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedImage {
    /// Name by which it is chosen.
    pub name: String,
    /// Offset of its first byte from the initrd's start.
    pub offset: u64,
    /// Its own length in bytes.
    pub size: u64,
    /// Zeros after it up to a whole page.
    pub padding: u64,
    /// What was done to align its files.
    pub aligned: AlignReport,
}

/// The time given by the environment variable `SOURCE_DATE_EPOCH`
/// (<https://reproducible-builds.org/specs/source-date-epoch/>), else 0.
///
/// # Errors
///
/// When it is set to something that is no time, or later than a cpio archive can hold.
pub fn source_date_epoch() -> Result<u32> {
    match std::env::var_os("SOURCE_DATE_EPOCH") {
        None => Ok(0),
        Some(value) => value
            .to_str()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Error::SourceDateEpoch(value.to_string_lossy().into_owned())),
    }
}

/// Builds an initrd. On an error there is no output, and an earlier one is as it was.
///
/// # Errors
///
/// See [`Error`]; each says what to do.
pub fn pack(options: &PackOptions) -> Result<PackReport> {
    pack_with(options, &Unwatched)
}

/// Like [`pack`], but watched by `progress`.
///
/// # Errors
///
/// Those of [`pack`], and [`Error::Interrupted`].
pub fn pack_with(options: &PackOptions, progress: &dyn Progress) -> Result<PackReport> {
    let plan = Plan::new(options, progress)?;
    plan.write(options, progress)
}

/// Everything checked and measured, nothing written.
struct Plan {
    target: Target,
    microcode: Vec<Microcode>,
    images: Images,
    early: Early,
}

impl Plan {
    fn new(options: &PackOptions, progress: &dyn Progress) -> Result<Self> {
        if !is_valid_alignment(options.align) {
            return Err(Error::Alignment(options.align));
        }
        let target = Target::new(&options.output, options.force)?;
        let early = Early::scan(&options.early)?;
        target.must_be_outside(&options.early)?;
        let microcode = Microcode::open_all(&options.microcode)?;
        let mkfs = Mkfs {
            target: &target,
            extra_args: &options.mkfs_args,
            build_time: options.mtime,
            progress,
        };
        let start = microcode.iter().map(Microcode::padded_len).sum();
        let images = Images::open(&options.images, &mkfs)?
            .align(&options.align_files, &target, progress)?
            .place(start, options.align);
        Ok(Self {
            target,
            microcode,
            images,
            early,
        })
    }

    fn write(self, options: &PackOptions, progress: &dyn Progress) -> Result<PackReport> {
        let path = self.target.path();
        let mut copier = Copier::new(path, progress);
        let mut out = BufWriter::with_capacity(BUFFER, self.target.create()?);

        progress.begin("packing", Some(self.bytes()));
        let written = self.write_archives(options, &mut out, &mut copier);
        progress.end();
        let early_offset = written?;

        let size = Output::unbuffered(out, path)?.commit()?;
        let mut warnings = Vec::from_iter(self.early.warning());
        warnings.extend(self.images.warnings());
        if !options.align_files.is_empty() && options.align % HUGE_PAGE != 0 {
            warnings.push(format!(
                "files are aligned in images that are not: images start at multiples of {} bytes; give \
                 --align 2M, too",
                options.align
            ));
        }
        Ok(PackReport {
            size,
            images: self.images.report(),
            early_offset,
            early_size: size - early_offset,
            early_members: self.early.len(),
            warnings,
        })
    }

    /// Bytes to be copied.
    fn bytes(&self) -> u64 {
        let microcode: u64 = self.microcode.iter().map(Microcode::padded_len).sum();
        microcode + self.images.bytes() + self.early.bytes()
    }

    /// Writes one archive after the other; gives the offset of the last.
    fn write_archives(
        &self,
        options: &PackOptions,
        out: &mut BufWriter<Output>,
        copier: &mut Copier<'_>,
    ) -> Result<u64> {
        let mut position = 0;
        for archive in &self.microcode {
            archive.write(out, copier)?;
            position += archive.padded_len();
        }
        position = self.images.write(out, position, options.mtime, copier)?;
        self.early
            .write(out, options.compression, options.mtime, copier)?;
        Ok(position)
    }
}
