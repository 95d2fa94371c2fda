// SPDX-License-Identifier: GPL-2.0

//! `erodax pack`.

use std::ffi::OsString;
use std::fmt::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::{OsStringValueParser, TypedValueParser};
use erodax_initrd::{
    pack_with, source_date_epoch, Compression, Error, ImageArg, PackOptions, PackReport,
};

use crate::{align, complain, print, size, watch::Terminal};

/// Build an initrd with EROFS images that the kernel leaves where they are
///
/// The images come first, uncompressed and page-aligned, under a path that the kernel's
/// unpacker skips; the early directory follows as a compressed cpio archive. Boot the result
/// with retain_initrd on the kernel command line, and as the only initrd: what a boot loader
/// puts before it shifts the images. The same input gives the same bytes; times are
/// SOURCE_DATE_EPOCH, or 0.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Directory that the kernel unpacks: erodax-init as init, lib/erodax/*.ko, and so on
    ///
    /// Everything in it belongs to root.
    #[arg(long, value_name = "DIR")]
    early: PathBuf,

    /// Early archive with microcode, to be put first
    #[arg(long, value_name = "FILE")]
    microcode: Vec<PathBuf>,

    /// EROFS image, or a directory to make an uncompressed image from with mkfs.erofs
    ///
    /// At boot, erodax.image=NAME chooses an image; without NAME it is PATH's last part without
    /// its extension.
    #[arg(
        long,
        value_name = "[NAME=]PATH",
        value_parser = OsStringValueParser::new().map(ImageArg::from)
    )]
    image: Vec<ImageArg>,

    /// Power of two at whose multiples images start; 2M allows huge pages where the boot
    /// loader puts the initrd at such a multiple as well
    #[arg(long, value_name = "SIZE", default_value = "4K", value_parser = size::parse)]
    align: u64,

    #[command(flatten)]
    files: align::Files,

    /// Compression of the early directory
    #[arg(long, value_name = "METHOD", default_value_t)]
    compress: Compression,

    /// Further argument for mkfs.erofs, such as --mkfs-arg=--all-root
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    mkfs_arg: Vec<OsString>,

    /// Replace OUT if it exists
    #[arg(long)]
    force: bool,

    /// The initrd to be written
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Error> {
    let options = PackOptions {
        early: args.early.clone(),
        microcode: args.microcode.clone(),
        images: args.image.clone(),
        align: args.align,
        align_files: args.files.chosen(),
        compression: args.compress,
        mkfs_args: args.mkfs_arg.clone(),
        mtime: source_date_epoch()?,
        force: args.force,
        output: args.output.clone(),
    };
    let terminal = Terminal::new().map_err(|source| Error::Read {
        path: "signals".into(),
        source,
    })?;
    let report = pack_with(&options, &terminal)?;
    for warning in &report.warnings {
        complain(&format_args!("warning: {warning}"));
    }
    for image in &report.images {
        align::warn(&image.aligned);
    }
    print(&render(&report, &args.output, args.compress).expect("writes to memory"))?;
    Ok(ExitCode::SUCCESS)
}

fn render(
    report: &PackReport,
    output: &Path,
    compression: Compression,
) -> Result<String, fmt::Error> {
    let mut text = String::new();
    let (output, size) = (output.display(), size::display(report.size));
    writeln!(text, "{output}: {} bytes ({size})", report.size)?;
    for image in &report.images {
        let padding = match image.padding {
            0 => String::new(),
            padding => format!(", padded by {padding} bytes to whole pages"),
        };
        let (name, offset, size) = (&image.name, image.offset, image.size);
        writeln!(
            text,
            "image {name} at offset {offset}, {size} bytes{padding}"
        )?;
        align::render(&mut text, &image.aligned)?;
    }
    writeln!(
        text,
        "early directory at offset {}, {} members, {} bytes ({compression})",
        report.early_offset, report.early_members, report.early_size
    )?;
    Ok(text)
}
