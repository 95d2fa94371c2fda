// SPDX-License-Identifier: GPL-2.0

//! Regular files: reading and mapping.

use super::{
    fault::{map_readonly, Fault, FaultHandler, Outcome, VmOperations},
    inode::InodeCell,
    super_block, FileSystem,
};
use crate::bindings;
use core::marker::PhantomData;
use kernel::{error::from_result, ffi::c_int, iov::IovIterDest};

/// Inodes of regular files need no operations of their own.
pub(super) const INODE_OPERATIONS: &bindings::inode_operations = &pin_init::zeroed();

/// The operations of regular files of `T`.
pub(super) struct Operations<T>(PhantomData<T>);

impl<T: FileSystem> Operations<T> {
    /// Mappings are answered by [`FileSystem::fault`].
    pub(super) const DIRECT: &'static bindings::file_operations = &bindings::file_operations {
        mmap_prepare: Some(Self::mmap_prepare),
        ..Self::common()
    };

    /// Mappings go through the page cache, which [`FileSystem::fill`] fills.
    pub(super) const CACHED: &'static bindings::file_operations = &bindings::file_operations {
        mmap_prepare: Some(bindings::generic_file_readonly_mmap_prepare),
        ..Self::common()
    };

    /// Reads never go through the page cache: there is nothing that it would save.
    const fn common() -> bindings::file_operations {
        bindings::file_operations {
            llseek: Some(bindings::generic_file_llseek),
            read_iter: Some(Self::read_iter),
            splice_read: Some(bindings::copy_splice_read),
            ..pin_init::zeroed()
        }
    }

    /// # Safety
    ///
    /// Called by the VFS with an open file of `T` and an iterator to be written to.
    unsafe extern "C" fn read_iter(
        kiocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> isize {
        from_result(|| {
            // SAFETY: By this function's own requirements.
            let (fs, data, position, iter) = unsafe {
                let inode = (*(*kiocb).ki_filp).f_inode;
                (
                    super_block::instance::<T>((*inode).i_sb),
                    InodeCell::<T>::data(inode),
                    &mut (*kiocb).ki_pos,
                    IovIterDest::from_raw(iter),
                )
            };
            let read = fs.read(data, u64::try_from(*position)?, iter)?;
            *position += read as bindings::loff_t;
            Ok(read as isize)
        })
    }

    /// # Safety
    ///
    /// Called by the VFS for a new mapping of a file of `T`.
    unsafe extern "C" fn mmap_prepare(desc: *mut bindings::vm_area_desc) -> c_int {
        // SAFETY: `Faults` answers for files of `T`.
        unsafe { map_readonly(desc, VmOperations::<Faults<T>>::TABLE) }
    }
}

struct Faults<T>(PhantomData<T>);

impl<T: FileSystem> FaultHandler for Faults<T> {
    unsafe fn fault(fault: &mut Fault<'_>) -> Outcome {
        // SAFETY: By the requirement of this function.
        let (fs, data) = unsafe {
            let inode = (*fault.file()).f_inode;
            (
                super_block::instance::<T>((*inode).i_sb),
                InodeCell::<T>::data(inode),
            )
        };
        fs.fault(data, fault)
    }
}
