// SPDX-License-Identifier: GPL-2.0

//! Early archives with microcode, merged into the initrd instead of being put before it
//! by a boot loader, which would shift the images.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use erodax_format::Image;

use crate::archive::{member_name, Archives};
use crate::copy::Copier;
use crate::error::{Error, Result};
use crate::file_image::FileImage;
use crate::layout::IMAGE_DIR;
use crate::newc_writer::align;

/// A checked archive.
pub(crate) struct Microcode {
    path: PathBuf,
    file: File,
    len: u64,
}

impl Microcode {
    pub(crate) fn open_all(paths: &[PathBuf]) -> Result<Vec<Self>> {
        paths.iter().map(|path| Self::open(path)).collect()
    }

    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::read(path))?;
        let image = FileImage::new(file).map_err(Error::read(path))?;
        let checked = check(path, &image);
        let (file, len) = image.into_parts().map_err(Error::read(path))?;
        checked?;
        Ok(Self {
            path: path.to_owned(),
            file,
            len,
        })
    }

    /// Length up to where another archive may start.
    pub(crate) fn padded_len(&self) -> u64 {
        align(self.len)
    }

    pub(crate) fn write(&self, out: &mut impl Write, copier: &mut Copier<'_>) -> Result<()> {
        let padding = io::repeat(0).take(self.padded_len() - self.len);
        let bytes = (&self.file).take(self.len).chain(padding);
        copier.copy(&self.path, bytes, self.padded_len(), out)
    }
}

/// The whole file must be archives that the kernel can search for microcode, and they
/// must not create the directory that the images hide below.
fn check(path: &Path, image: &FileImage) -> Result<()> {
    let malformed = |reason: String| Error::Microcode {
        path: path.to_owned(),
        reason,
    };
    let found = Archives::scan(image);
    if let Some(error) = found.malformed {
        return Err(malformed(format!("{error}, at offset {}", found.end)));
    }
    if found.archives.is_empty() {
        return Err(malformed("it starts with no newc header".to_owned()));
    }
    if found.end < image.len() {
        return Err(malformed(format!(
            "something else follows at offset {}",
            found.end
        )));
    }
    let is_image_dir = |name: Vec<u8>| {
        let mut parts = name.split(|&b| b == b'/');
        let first = parts.find(|part| !part.is_empty() && part != b".");
        first == Some(IMAGE_DIR.as_bytes())
    };
    if found
        .members()
        .any(|member| is_image_dir(member_name(image, member)))
    {
        return Err(Error::ReservedName {
            path: path.to_owned(),
            name: IMAGE_DIR,
        });
    }
    Ok(())
}
