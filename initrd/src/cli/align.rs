// SPDX-License-Identifier: GPL-2.0

//! `erodax align`, and what is said about aligned files.

use std::fmt::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use erodax_initrd::{align_with, AlignFiles, AlignReport, Error, HUGE_PAGE};

use crate::{complain, print, size, watch::Terminal};

/// Copy an EROFS image so that large files in it can be mapped by 2 MiB pages
///
/// The data of the chosen files begins at multiples of 2 MiB of the copy; put that at such a
/// multiple in memory, as at the start of /dev/pmemN. Other files fill the room between, and what
/// remains is zeros. Nothing else changes: inode numbers, names and contents are the same.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    files: Files,

    /// Replace OUT if it exists
    #[arg(long)]
    force: bool,

    /// The copy to be written
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,

    /// EROFS image with blocks of 4096 bytes
    image: PathBuf,
}

/// Which files, of one image or of several.
#[derive(clap::Args)]
pub(crate) struct Files {
    /// Align the data of this file, a path in the image, to 2 MiB
    #[arg(long, value_name = "PATH")]
    align_file: Vec<PathBuf>,

    /// Align the data of all files of more than SIZE to 2 MiB, such as 4M
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    align_larger_than: Option<u64>,
}

impl Files {
    pub(crate) fn chosen(&self) -> AlignFiles {
        AlignFiles {
            paths: self.align_file.clone(),
            larger_than: self.align_larger_than,
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Error> {
    let wanted = args.files.chosen();
    if wanted.is_empty() {
        return Err(Error::NoFilesChosen);
    }
    let terminal = Terminal::new().map_err(|source| Error::Read {
        path: "signals".into(),
        source,
    })?;
    let report = align_with(&args.image, &wanted, &args.output, args.force, &terminal)?;
    warn(&report);
    let output = args.output.display();
    let mut text = format!(
        "{output}: {} bytes ({})\n",
        report.size,
        size::display(report.size)
    );
    render(&mut text, &report).expect("writes to memory");
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Says which large files could not be aligned, and whether that of the others was dear.
pub(crate) fn warn(report: &AlignReport) {
    for (path, obstacle) in &report.left {
        let path = path.display();
        complain(&format_args!("warning: {path} is not aligned: {obstacle}"));
    }
    // Beside each file there can be a gap.
    let gaps = report.files.iter().map(|_| HUGE_PAGE).sum::<u64>();
    if report.unused > gaps {
        complain(&format_args!(
            "warning: {} of the image are unused, as inodes or compressed data lie between the \
             files' data: inodes do not in images of mkfs.erofs -E^inline_data",
            size::display(report.unused)
        ));
    }
}

/// Says where the aligned files are.
pub(crate) fn render(text: &mut String, report: &AlignReport) -> fmt::Result {
    for file in &report.files {
        let (path, offset) = (file.path.display(), file.offset);
        writeln!(
            text,
            "  {path} at offset {offset} of the image, {} bytes",
            file.size
        )?;
    }
    if report.files.is_empty() {
        return Ok(());
    }
    let (size, unused) = (report.size, report.unused);
    writeln!(
        text,
        "  {} bytes before, {size} now, {unused} of them unused",
        report.size_before
    )
}
