// SPDX-License-Identifier: GPL-2.0

//! `erodax inspect`.

use std::fmt::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use erodax_initrd::{inspect, Error, ImageFacts, Inspection, SuperBlockFacts};

use crate::{complain, print, size};

/// List the archives, members and images of an initrd or EROFS image
///
/// The exit status is 1 if the file is damaged or none of these.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Initrd or EROFS image
    file: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Error> {
    let inspection = inspect(&args.file)?;
    let text = if args.json {
        let json = serde_json::to_string_pretty(&inspection);
        json.expect("the facts are strings and numbers") + "\n"
    } else {
        render(&inspection).expect("writes to memory")
    };
    print(&text)?;
    for problem in &inspection.problems {
        complain(&format_args!("{}: {problem}", args.file.display()));
    }
    Ok(if inspection.problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn render(inspection: &Inspection) -> Result<String, fmt::Error> {
    let mut text = String::new();
    let size = inspection.size;
    let (file, readable) = (inspection.file.display(), size::display(size));
    writeln!(text, "{file}: {size} bytes ({readable})")?;
    for archive in &inspection.archives {
        writeln!(text, "\nnewc archive at offset {}", archive.offset)?;
        writeln!(text, "{:>14} {:>14}  name", "offset", "size")?;
        for member in &archive.members {
            let name = member.name.escape_debug();
            writeln!(text, "{:>14} {:>14}  {name}", member.offset, member.size)?;
        }
    }
    if let Some(part) = &inspection.compressed {
        let (offset, size, format) = (part.offset, part.size, part.format);
        writeln!(
            text,
            "\ncompressed part at offset {offset}: {format}, {size} bytes"
        )?;
    }
    for image in &inspection.images {
        writeln!(text)?;
        render_image(&mut text, image)?;
    }
    if inspection.images.is_empty() {
        writeln!(text, "\nno EROFS image before the compressed part")?;
    }
    Ok(text)
}

fn render_image(text: &mut String, image: &ImageFacts) -> fmt::Result {
    let (offset, size) = (image.offset, image.size);
    let space = if image.name.is_empty() { "" } else { " " };
    writeln!(
        text,
        "EROFS image{space}{} at offset {offset}, {size} bytes ({})",
        image.name.escape_debug(),
        size::display(size),
    )?;
    writeln!(text, "  alignment   {}", size::display(image.alignment))?;
    if let Some(superblock) = &image.superblock {
        render_superblock(text, superblock)?;
    }
    writeln!(text, "  verdict     {}", verdict(image))
}

fn render_superblock(text: &mut String, superblock: &SuperBlockFacts) -> fmt::Result {
    let checksum = if superblock.checksum { "ok" } else { "none" };
    writeln!(
        text,
        "  blocks      {} of {} bytes",
        superblock.blocks, superblock.block_size
    )?;
    writeln!(text, "  inodes      {}", superblock.inodes)?;
    writeln!(text, "  features    {}", superblock.features.join(" "))?;
    writeln!(text, "  UUID        {}", superblock.uuid)?;
    if !superblock.label.is_empty() {
        writeln!(text, "  label       {}", superblock.label.escape_debug())?;
    }
    writeln!(text, "  checksum    {checksum}")
}

fn verdict(image: &ImageFacts) -> &'static str {
    match (&image.superblock, image.page_aligned) {
        (None, _) => "cannot be mounted",
        (_, true) => "page-aligned: can be mapped in place",
        (_, false) => {
            "not page-aligned: can only be copied, -o dax is refused; build the initrd with \
             `erodax pack` and put nothing before it (microcode: --microcode)"
        }
    }
}
