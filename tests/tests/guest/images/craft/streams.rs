// SPDX-License-Identifier: GPL-2.0

//! Compressed data that does not decode.

use anyhow::{bail, ensure, Context, Result};
use erodax_format::pcluster::{Cursor, Data, Encoding, Place};
use erodax_tests::image::BROKEN_STREAM;

use super::Edit;

/// No stream of any algorithm begins so: an endless run of literals in LZ4, a match before there is
/// anything to match in LZMA, a block of the reserved type in DEFLATE, no magic number in Zstd.
const NO_STREAM: u8 = 0xff;

/// Overwrites the first pcluster of the file.
pub(super) fn broken(image: &mut Edit) -> Result<()> {
    let inode = image.file(BROKEN_STREAM)?.inode;
    let bytes = &image.bytes[..];
    let header = inode.map_header(bytes, &image.sb)?;
    let first = inode.pcluster_at(bytes, &image.sb, &header, &mut Cursor::default(), 0)?;
    ensure!(
        first.start + first.len < inode.size,
        "{BROKEN_STREAM} is one pcluster, of which nothing would be left"
    );
    let Data::Encoded(encoded) = &first.data else {
        bail!("{BROKEN_STREAM} begins with {first:?}")
    };
    ensure!(
        matches!(encoded.encoding, Encoding::Compressed(_)),
        "{BROKEN_STREAM} is not compressed: {encoded:?}"
    );
    let Place::Device { device: 0, offset } = encoded.place else {
        bail!("{BROKEN_STREAM} is elsewhere: {encoded:?}")
    };
    let (start, len) = (usize::try_from(offset)?, usize::try_from(encoded.len)?);
    let stream = image.bytes.get_mut(start..start + len);
    stream.context("not in the image")?.fill(NO_STREAM);
    Ok(())
}
