// SPDX-License-Identifier: GPL-2.0

//! What an initrd or an EROFS image holds, and whether it can be used in place.

use std::fs::File;
use std::path::{Path, PathBuf};

use erodax_format::image::Part;
use erodax_format::names::Uuid;
use erodax_format::superblock::{has_magic, SuperBlock};
use erodax_format::{newc, Image};
use serde::Serialize;

use crate::archive::{member_name, Archive, Archives};
use crate::error::{Error, Result};
use crate::file_image::FileImage;
use crate::layout::PAGE;

/// The largest alignment that is told apart: that of a huge page.
const MAX_ALIGNMENT: u64 = 2 << 20;

/// First bytes of what the kernel can decompress (its lib/decompress.c).
const COMPRESSIONS: [(&[u8], &str); 8] = [
    (b"\x1f\x8b", "gzip"),
    (b"\x1f\x9e", "gzip"),
    (b"\x42\x5a", "bzip2"),
    (b"\x5d\x00", "lzma"),
    (b"\xfd\x37", "xz"),
    (b"\x89\x4c", "lzo"),
    (b"\x02\x21", "lz4"),
    (b"\x28\xb5", "zstd"),
];

/// What a file holds. All offsets and sizes are in bytes, offsets from the file's start.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// The file.
    pub file: PathBuf,
    /// Its size.
    pub size: u64,
    /// The uncompressed archives at its start; none in a plain EROFS image.
    pub archives: Vec<ArchiveFacts>,
    /// The EROFS images: of a plain image, the file itself.
    pub images: Vec<ImageFacts>,
    /// What follows the archives, as far as the kernel can decompress it.
    pub compressed: Option<CompressedPart>,
    /// What is wrong with the file; empty if nothing is.
    pub problems: Vec<String>,
}

/// An uncompressed archive.
#[derive(Clone, Debug, Serialize)]
pub struct ArchiveFacts {
    /// Where its first header starts.
    pub offset: u64,
    /// Its members without the trailer.
    pub members: Vec<MemberFacts>,
}

/// A member of an archive.
#[derive(Clone, Debug, Serialize)]
pub struct MemberFacts {
    /// Its path; bytes that are no UTF-8 are replaced.
    pub name: String,
    /// File type and permissions, as in `st_mode`.
    pub mode: u32,
    /// Where its body starts.
    pub offset: u64,
    /// Size of its body.
    pub size: u64,
}

/// An EROFS image.
#[derive(Clone, Debug, Serialize)]
pub struct ImageFacts {
    /// Name by which it is chosen; empty for a plain image.
    pub name: String,
    /// Where it starts.
    pub offset: u64,
    /// Its size in the file.
    pub size: u64,
    /// The largest power of two up to 2 MiB that divides `offset`.
    pub alignment: u64,
    /// Whether it starts at a page, so that it can be mapped in place.
    pub page_aligned: bool,
    /// Its superblock, if that is sound.
    pub superblock: Option<SuperBlockFacts>,
}

/// What a sound superblock says.
#[derive(Clone, Debug, Serialize)]
pub struct SuperBlockFacts {
    /// Block size in bytes.
    pub block_size: u32,
    /// Number of blocks.
    pub blocks: u64,
    /// Number of inodes.
    pub inodes: u64,
    /// `feature_compat` as stored.
    pub feature_compat: u32,
    /// `feature_incompat` as stored.
    pub feature_incompat: u32,
    /// The names of both.
    pub features: Vec<String>,
    /// UUID in its usual form.
    pub uuid: String,
    /// Volume label.
    pub label: String,
    /// When the image was made, in seconds since 1970.
    pub build_time: i64,
    /// Whether it has a checksum; one that is present has been found right.
    pub checksum: bool,
}

/// The rest of an initrd, which the kernel decompresses.
#[derive(Clone, Debug, Serialize)]
pub struct CompressedPart {
    /// Where it starts.
    pub offset: u64,
    /// Its size as it lies in the file.
    pub size: u64,
    /// The format's name.
    pub format: &'static str,
}

/// Looks into an initrd or an EROFS image.
///
/// # Errors
///
/// [`Error::Read`] and [`Error::Unrecognized`]. A damaged file that can be recognized is
/// described with [`Inspection::problems`] instead.
pub fn inspect(path: &Path) -> Result<Inspection> {
    let file = File::open(path).map_err(Error::read(path))?;
    if file.metadata().map_err(Error::read(path))?.is_dir() {
        return Err(Error::Unrecognized {
            path: path.to_owned(),
            reason: "it is a directory".to_owned(),
        });
    }
    let image = FileImage::new(file).map_err(Error::read(path))?;
    let inspection = Inspector {
        path,
        image: &image,
    }
    .inspect();
    image.check_io().map_err(Error::read(path))?;
    inspection
}

struct Inspector<'a> {
    path: &'a Path,
    image: &'a FileImage,
}

impl Inspector<'_> {
    fn inspect(&self) -> Result<Inspection> {
        let found = Archives::scan(self.image);
        let mut inspection = Inspection {
            file: self.path.to_owned(),
            size: self.image.len(),
            archives: found.archives.iter().map(|a| self.archive(a)).collect(),
            images: Vec::new(),
            compressed: None,
            problems: Vec::new(),
        };
        if found.archives.is_empty() && has_magic(self.image) {
            inspection.push_image(self.image, String::new(), 0, self.image.len());
            return Ok(inspection);
        }
        self.initrd(&found, &mut inspection)?;
        Ok(inspection)
    }

    fn initrd(&self, found: &Archives, inspection: &mut Inspection) -> Result<()> {
        // By the rule of the module: what it does not find is none.
        for member in newc::images(self.image).flatten() {
            let mut name = vec![0; member.name_len];
            let name = member.image_name(self.image, &mut name).unwrap_or_default();
            let name = String::from_utf8_lossy(name).into_owned();
            inspection.push_image(self.image, name, member.data_offset, member.size);
        }
        inspection.compressed = self.compressed_part(found.end);
        let problem = match found.malformed {
            Some(error) => error.to_string(),
            None if inspection.compressed.is_some() || found.end == self.image.len() => {
                return self.require_something(inspection);
            }
            None => "neither an archive nor compressed data".to_owned(),
        };
        if inspection.archives.is_empty() {
            return Err(self.unrecognized(format!("{problem}, at offset {}", found.end)));
        }
        inspection.problems.push(format!(
            "at offset {}: {problem}; the kernel stops unpacking there",
            found.end
        ));
        Ok(())
    }

    fn require_something(&self, inspection: &Inspection) -> Result<()> {
        if inspection.archives.is_empty() && inspection.compressed.is_none() {
            return Err(self.unrecognized("it is empty or all zeros".to_owned()));
        }
        Ok(())
    }

    fn unrecognized(&self, reason: String) -> Error {
        Error::Unrecognized {
            path: self.path.to_owned(),
            reason,
        }
    }

    fn archive(&self, archive: &Archive) -> ArchiveFacts {
        let member = |member: &newc::Member| MemberFacts {
            name: String::from_utf8_lossy(&member_name(self.image, member)).into_owned(),
            mode: member.mode,
            offset: member.data_offset,
            size: member.size,
        };
        ArchiveFacts {
            offset: archive.members[0].header_offset,
            members: archive.members.iter().map(member).collect(),
        }
    }

    fn compressed_part(&self, offset: u64) -> Option<CompressedPart> {
        let mut magic = [0; 2];
        self.image.read_at(offset, &mut magic).ok()?;
        let (_, format) = COMPRESSIONS.iter().find(|(bytes, _)| *bytes == magic)?;
        Some(CompressedPart {
            offset,
            size: self.image.len() - offset,
            format,
        })
    }
}

impl Inspection {
    fn push_image(&mut self, whole: &FileImage, name: String, offset: u64, size: u64) {
        let superblock = Part::new(whole, offset, size).and_then(|part| SuperBlock::read(&part));
        if let Err(error) = &superblock {
            let which = if name.is_empty() {
                "the image".to_owned()
            } else {
                format!("image {name}")
            };
            self.problems
                .push(format!("{which} cannot be mounted: {error}"));
        }
        self.images.push(ImageFacts {
            name,
            offset,
            size,
            alignment: alignment_of(offset),
            page_aligned: offset % PAGE == 0,
            superblock: superblock.ok().map(|superblock| facts(&superblock)),
        });
    }
}

fn alignment_of(offset: u64) -> u64 {
    // Zero has 64 trailing zeros.
    1 << offset.trailing_zeros().min(MAX_ALIGNMENT.trailing_zeros())
}

fn facts(superblock: &SuperBlock) -> SuperBlockFacts {
    let compat = superblock.feature_compat();
    let incompat = superblock.feature_incompat();
    SuperBlockFacts {
        block_size: superblock.block_size(),
        blocks: superblock.blocks(),
        inodes: superblock.inodes(),
        feature_compat: compat,
        feature_incompat: incompat,
        features: superblock.features().map(|it| it.to_string()).collect(),
        uuid: Uuid(superblock.uuid()).to_string(),
        label: String::from_utf8_lossy(superblock.volume_name()).into_owned(),
        build_time: superblock.build_time(),
        checksum: compat & 1 != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alignments_end_at_a_huge_page() {
        for (offset, alignment) in [
            (0, 2 << 20),
            (1, 1),
            (5980, 4),
            (4096, 4096),
            (12288, 4096),
            (6 << 20, 2 << 20),
            (8 << 20, 2 << 20),
        ] {
            assert_eq!(alignment_of(offset), alignment, "{offset}");
        }
    }
}
