// SPDX-License-Identifier: GPL-2.0

//! What can go wrong on the host. Every message says what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use crate::align::Obstacle;
use crate::layout::MAX_BODY;

/// A failure of packing or inspecting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An input could not be read.
    #[error("cannot read {}: {source}{}", path.display(), read_hint(source))]
    Read {
        /// The input.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The output could not be written; nothing of it is left behind.
    #[error("cannot write {}: {source}{}", path.display(), write_hint(source))]
    Write {
        /// The output.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The output is already there.
    #[error("{} exists already: choose another name, or give --force to replace it", .0.display())]
    OutputExists(PathBuf),
    /// The output is a directory, a device or the like.
    #[error("{} is not a regular file and will not be replaced: choose another name", .0.display())]
    OutputNotRegular(PathBuf),
    /// The output would become a part of what is being packed.
    #[error("{} lies inside {}, which is being packed: put the output elsewhere", output.display(), input.display())]
    OutputInsideInput {
        /// The output.
        output: PathBuf,
        /// The directory being packed.
        input: PathBuf,
    },
    /// An input got shorter between the check and the copy.
    #[error("{} changed while it was being read: try again when nothing writes to it", .0.display())]
    Changed(PathBuf),
    /// `--early` or another directory argument names something else.
    #[error("{} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// `--image` names neither a file nor a directory.
    #[error("{} is neither a file nor a directory: give an EROFS image, or a directory to make one from", .0.display())]
    NeitherFileNorDirectory(PathBuf),
    /// No name can be taken from the image's path, or the given one cannot be a member's name.
    #[error(
        "{name:?} cannot be an image's name (letters, digits, '.', '_' and '-', not '.' first, \
         at most {} characters): give one as --image NAME={}", crate::layout::MAX_NAME, path.display()
    )]
    ImageName {
        /// The refused name.
        name: String,
        /// The image.
        path: PathBuf,
    },
    /// Two images have one name.
    #[error("two images are named {0}: give one of them another name as --image NAME=PATH")]
    DuplicateName(String),
    /// The file has no EROFS magic.
    #[error("{} is not an EROFS image: make one with mkfs.erofs, or give the directory itself to --image", .0.display())]
    NotErofs(PathBuf),
    /// The image has the magic but cannot be used.
    #[error("{} is a damaged EROFS image ({reason}): make it again with mkfs.erofs", path.display())]
    DamagedImage {
        /// The image.
        path: PathBuf,
        /// What is wrong with it.
        reason: erodax_format::Error,
    },
    /// A member of a newc archive has 8 hexadecimal digits for its size, and the kernel
    /// cuts sizes at 4 GiB after rounding.
    #[error(
        "{} has {size} bytes, and an initrd member holds at most {MAX_BODY} (4 GiB - 4 KiB): \
         split the tree into several images, or compress it (mkfs.erofs -zlz4hc)", path.display()
    )]
    ImageTooLarge {
        /// The image.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// A file of a packed tree does not fit a newc member.
    #[error("{} has {size} bytes, and a cpio member holds at most {}", path.display(), u32::MAX)]
    FileTooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// `--align` is no power of two between a page and 1 GiB.
    #[error("alignment {0} will not do: give a power of two from 4K to 1G, such as 2M")]
    Alignment(u64),
    /// A top-level name of the early directory or of a microcode archive is the packer's own.
    #[error(
        "{} holds {name}, which is reserved: the kernel would unpack the images into \
         a directory of that name, or lose the packer's map; rename or remove it", path.display()
    )]
    ReservedName {
        /// Where it was found.
        path: PathBuf,
        /// The reserved name.
        name: &'static str,
    },
    /// `--microcode` is not an uncompressed newc archive.
    #[error(
        "{} is not an uncompressed newc archive ({reason}): give the early archive itself, \
         such as made by `find kernel | cpio -o -H newc`", path.display()
    )]
    Microcode {
        /// The archive.
        path: PathBuf,
        /// What was found instead.
        reason: String,
    },
    /// `erodax align` is not told what to align.
    #[error("no files are to be aligned: give --align-file PATH or --align-larger-than SIZE")]
    NoFilesChosen,
    /// No image has a file that is to be aligned.
    #[error(
        "no image has {}, which is to be aligned: give the path of a file as it is when the image is \
         mounted", .0.display()
    )]
    NothingToAlign(PathBuf),
    /// A file that is to be aligned cannot be.
    #[error("cannot align {} in {}: {obstacle}", file.display(), image.display())]
    FileNotAligned {
        /// The image.
        image: PathBuf,
        /// The path in it.
        file: PathBuf,
        /// What is in the way.
        obstacle: Obstacle,
    },
    /// What an image has cannot be read, or it cannot say where its data is after that has moved.
    #[error(
        "cannot align files of {} ({reason}): make it again with mkfs.erofs, without -z and -m",
        path.display()
    )]
    ImageNotAligned {
        /// The image.
        path: PathBuf,
        /// What the format says.
        reason: erodax_format::Error,
    },
    /// An image's files are not mapped, wherever they are.
    #[error(
        "cannot align files of {}: its blocks have {size} bytes, and only whole pages are mapped; make \
         it again with -b4096", path.display()
    )]
    BlocksNotPages {
        /// The image.
        path: PathBuf,
        /// Its block size in bytes.
        size: u32,
    },
    /// The device table leaves no room behind the image.
    #[error(
        "cannot align files of {}: its device table has another device's blocks behind its own; make \
         the image of the files, not of archives, blobs or layers", .0.display()
    )]
    NoRoomToAlign(PathBuf),
    /// mkfs.erofs is not installed.
    #[error(
        "mkfs.erofs was not found, and {} is a directory: install the package erofs-utils \
         (apt install erofs-utils), or give a ready-made image", .0.display()
    )]
    MkfsMissing(PathBuf),
    /// mkfs.erofs refused or failed.
    #[error("mkfs.erofs failed on {} ({status}){}", path.display(), mkfs_hint(output))]
    MkfsFailed {
        /// The directory.
        path: PathBuf,
        /// How it ended.
        status: String,
        /// What it printed.
        output: String,
    },
    /// `SOURCE_DATE_EPOCH` is not a number that a newc member can hold.
    #[error("SOURCE_DATE_EPOCH is {0:?}: it must be seconds since 1970, less than 2^32")]
    SourceDateEpoch(String),
    /// The caller asked to stop.
    #[error("interrupted; {} was not written", .0.display())]
    Interrupted(PathBuf),
    /// The inspected file is neither an EROFS image nor an initrd.
    #[error("{} is neither an EROFS image nor an initrd: {reason}", path.display())]
    Unrecognized {
        /// The file.
        path: PathBuf,
        /// What was found instead.
        reason: String,
    },
}

/// Result of packing or inspecting.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// For `map_err` on reads of `path`.
    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Read {
            path: path.to_owned(),
            source,
        }
    }

    /// For `map_err` on what is decoded of the image at `path` to align its files.
    pub(crate) fn unalignable(path: &Path) -> impl FnOnce(erodax_format::Error) -> Self + '_ {
        |reason| Self::ImageNotAligned {
            path: path.to_owned(),
            reason,
        }
    }

    /// For `map_err` on writes of `path`.
    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Write {
            path: path.to_owned(),
            source,
        }
    }
}

fn read_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; check the path",
        io::ErrorKind::PermissionDenied => "; run as a user who may read it",
        _ => "",
    }
}

fn write_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space there or write elsewhere"
        }
        io::ErrorKind::FileTooLarge => "; a file-size limit applies (see `ulimit -f`)",
        io::ErrorKind::NotFound => "; create the directory first",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; write to a directory where you may"
        }
        _ => "",
    }
}

fn mkfs_hint(output: &str) -> String {
    let mut text = if output.is_empty() {
        String::new()
    } else {
        format!(": {output}")
    };
    if output.contains("unrecognized option") {
        text.push_str("\nerofs-utils 1.8 or newer is needed unless --mkfs-arg gave that option");
    } else if output.contains("No space left") {
        text.push_str("\nthe image is made beside the output: free some space there");
    }
    text
}
