// SPDX-License-Identifier: GPL-2.0

//! Why a file cannot be aligned.

use std::fmt;

/// What keeps the data of a file where it is. The text says what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Obstacle {
    /// It is no regular file.
    NotAFile,
    /// It is compressed.
    Compressed,
    /// It is in chunks.
    Chunks,
    /// It is empty, a hole, or inline.
    NoBlocks,
    /// It is on a further device.
    OtherDevice,
    /// Something else has its blocks, too.
    Shared,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAFile => "it is not a regular file: name the files themselves",
            Self::Compressed => {
                "it is compressed, so its bytes are not mapped from the image: make the image without \
                 -z, or exempt the file (mkfs.erofs --compress-hints)"
            }
            Self::Chunks => "it is in chunks: make the image without --chunksize and --blobdev",
            Self::NoBlocks => "it has no blocks of its own, as it is empty, a hole, or too small",
            Self::OtherDevice => {
                "its data is on another device: make the image of the files, not of archives, blobs or \
                 layers"
            }
            Self::Shared => {
                "something else in the image has the same blocks: make the image again with mkfs.erofs"
            }
        })
    }
}
