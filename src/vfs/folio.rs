// SPDX-License-Identifier: GPL-2.0

//! The page cache, for files whose memory cannot be mapped as it is.

use super::{inode::InodeCell, super_block, trace, FileSystem};
use crate::bindings;
use core::{marker::PhantomData, slice};
use kernel::{error::from_result, ffi::c_int, prelude::*};

/// The address-space operations of regular files of `T`.
///
/// Also files that are mapped directly have them: uprobes read through `read_folio`.
pub(super) struct Operations<T>(PhantomData<T>);

impl<T: FileSystem> Operations<T> {
    pub(super) const TABLE: &'static bindings::address_space_operations =
        &bindings::address_space_operations {
            read_folio: Some(Self::read_folio),
            readahead: Some(Self::readahead),
            ..pin_init::zeroed()
        };

    /// # Safety
    ///
    /// Called by the page cache with a locked folio, not up to date, of a file of `T`.
    unsafe extern "C" fn read_folio(
        _file: *mut bindings::file,
        folio: *mut bindings::folio,
    ) -> c_int {
        // SAFETY: By this function's own requirements.
        from_result(|| unsafe {
            trace::read_folio::<T>(folio);
            Self::fill(folio).map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// Called by the page cache with locked folios, not up to date, of a file of `T`.
    unsafe extern "C" fn readahead(request: *mut bindings::readahead_control) {
        // SAFETY: By this function's own requirements.
        unsafe { trace::readahead::<T>(request) };
        loop {
            // SAFETY: The request is valid; this takes its next folio.
            let folio = unsafe { bindings::erodax_readahead_folio(request) };
            // SAFETY: By this function's own requirements.
            if folio.is_null() || unsafe { Self::fill(folio) }.is_err() {
                // The rest is unlocked by the caller. Who needs these bytes meets the error.
                return;
            }
        }
    }

    /// Fills a folio and unlocks it.
    ///
    /// # Safety
    ///
    /// `folio` must be locked, not up to date, and of a file of `T`.
    unsafe fn fill(folio: *mut bindings::folio) -> Result {
        // SAFETY: By the caller's promise. The folio is in lowmem, and while it is locked and
        // not up to date nobody else looks at its bytes.
        let (fs, data, position, bytes) = unsafe {
            let inode = bindings::erodax_folio_inode(folio);
            let address = bindings::erodax_folio_address(folio).cast::<u8>();
            (
                super_block::instance::<T>((*inode).i_sb),
                InodeCell::<T>::data(inode),
                bindings::erodax_folio_pos(folio) as u64,
                slice::from_raw_parts_mut(address, bindings::erodax_folio_size(folio)),
            )
        };
        let filled = fs.fill(data, position, bytes);
        // SAFETY: The folio is locked; this unlocks it.
        unsafe { bindings::erodax_folio_end_read(folio, filled.is_ok()) };
        filled
    }
}
