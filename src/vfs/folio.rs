// SPDX-License-Identifier: GPL-2.0

//! The page cache, for files whose memory cannot be mapped as it is.

use super::{inode::InodeCell, super_block, FileSystem};
use crate::bindings;
use core::{marker::PhantomData, slice};
use kernel::{error::from_result, ffi::c_int};

/// The address-space operations of regular files of `T`.
///
/// Also files that are mapped directly have them: uprobes read through `read_folio`.
pub(super) struct Operations<T>(PhantomData<T>);

impl<T: FileSystem> Operations<T> {
    pub(super) const TABLE: &'static bindings::address_space_operations =
        &bindings::address_space_operations {
            read_folio: Some(Self::read_folio),
            ..pin_init::zeroed()
        };

    /// # Safety
    ///
    /// Called by the page cache with a locked folio, not up to date, of a file of `T`.
    unsafe extern "C" fn read_folio(
        _file: *mut bindings::file,
        folio: *mut bindings::folio,
    ) -> c_int {
        // SAFETY: By this function's own requirements. The folio is in lowmem, and while it is
        // locked and not up to date nobody else looks at its bytes.
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
        from_result(|| filled.map(|()| 0))
    }
}
