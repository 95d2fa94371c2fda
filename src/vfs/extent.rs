// SPDX-License-Identifier: GPL-2.0

//! Where a file's bytes lie: SEEK_DATA, SEEK_HOLE and FIEMAP.

use super::{inode::InodeCell, is_killed, super_block, FileSystem};
use crate::bindings;
use kernel::{
    error::{from_result, to_result},
    ffi::c_int,
    prelude::*,
};

/// Bytes of a file that lie together, from the position that was asked for on.
pub(crate) struct Extent {
    /// Bytes of the same extent before that position, if it cannot be taken apart there.
    pub(crate) before: u64,
    /// Bytes; at least one, and all before the end of the file.
    pub(crate) len: u64,
    pub(crate) place: Place,
}

/// Where the bytes of an extent are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// At this byte of the image.
    Data { address: u64, form: Form },
    /// Zeros that are stored nowhere.
    Hole,
}

/// How the bytes of an extent are there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// In blocks of the file's own.
    Blocks,
    /// Beside the inode.
    Inline,
    /// Not as they are read.
    Encoded,
}

/// The extent at a position, unless the caller has been killed: files may have any number of them,
/// and holes are passed over without a word.
fn extent_at<T: FileSystem>(fs: &T, data: &T::Inode, position: u64) -> Result<Extent> {
    match is_killed() {
        true => Err(EINTR),
        false => fs.extent(data, position),
    }
}

/// The position that `whence` (SEEK_DATA or SEEK_HOLE) leads to from `offset`; `ENXIO` if there is
/// none, as lseek(2) says.
///
/// The end of the file counts as a hole.
pub(super) fn seek<T: FileSystem>(
    fs: &T,
    data: &T::Inode,
    size: u64,
    offset: u64,
    wants_data: bool,
) -> Result<u64> {
    if offset >= size {
        return Err(ENXIO);
    }
    let mut position = offset;
    while position < size {
        let extent = extent_at(fs, data, position)?;
        if (extent.place != Place::Hole) == wants_data {
            return Ok(position);
        }
        position = position.saturating_add(extent.len);
    }
    if wants_data {
        Err(ENXIO)
    } else {
        Ok(size)
    }
}

/// `fiemap` of regular files and directories.
///
/// # Safety
///
/// Called by the VFS with an inode of `T` and a request.
pub(super) unsafe extern "C" fn fiemap<T: FileSystem>(
    inode: *mut bindings::inode,
    info: *mut bindings::fiemap_extent_info,
    start: u64,
    len: u64,
) -> c_int {
    from_result(|| {
        let mut len = len;
        // SAFETY: By this function's own requirements.
        let (fs, data, size, block_size) = unsafe {
            to_result(bindings::fiemap_prep(inode, info, start, &mut len, 0))?;
            (
                super_block::instance::<T>((*inode).i_sb),
                InodeCell::<T>::data(inode),
                u64::try_from((*inode).i_size)?,
                1 << (*inode).i_blkbits,
            )
        };
        let end = start.saturating_add(len).min(size);
        let mut position = start;
        while position < end {
            let extent = extent_at(fs, data, position)?;
            let extent_end = position.saturating_add(extent.len);
            if let Place::Data { address, form } = extent.place {
                let start = position.saturating_sub(extent.before);
                let (mut len, mut flags) = (extent_end - start, 0);
                match form {
                    Form::Inline => flags |= bindings::FIEMAP_EXTENT_DATA_INLINE,
                    // A file's blocks are its own to their end.
                    Form::Blocks if extent_end >= size => {
                        len += size.next_multiple_of(block_size) - size;
                    }
                    Form::Blocks | Form::Encoded => {}
                }
                if seek(fs, data, size, extent_end, true) == Err(ENXIO) {
                    flags |= bindings::FIEMAP_EXTENT_LAST;
                }
                // SAFETY: The request is valid; it takes any numbers.
                let answer =
                    unsafe { bindings::fiemap_fill_next_extent(info, start, address, len, flags) };
                match answer {
                    0 => {}
                    1 => break,
                    error => return Err(Error::from_errno(error)),
                }
            }
            position = extent_end;
        }
        Ok(0)
    })
}
