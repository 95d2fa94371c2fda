// SPDX-License-Identifier: GPL-2.0

//! Regular files: reading and mapping.

use super::{
    extent,
    fault::{map_readonly, Fault, FaultHandler, Outcome, VmOperations},
    inode::InodeCell,
    iomap, splice, stat, super_block, trace, xattr, FileSystem,
};
use crate::bindings;
use core::marker::PhantomData;
use kernel::{
    error::from_result,
    ffi::{c_int, c_long, c_uint, c_ulong},
    iov::IovIterDest,
    prelude::*,
    uaccess::{UserPtr, UserSlice},
};

/// Bytes that a huge page maps.
const HUGE_PAGE: usize = 2 << 20;

/// `ioctl` of regular files and directories.
///
/// # Safety
///
/// Called by the VFS with an open file of `T`.
pub(super) unsafe extern "C" fn ioctl<T: FileSystem>(
    file: *mut bindings::file,
    command: c_uint,
    argument: c_ulong,
) -> c_long {
    if command != bindings::FS_IOC_GETFSLABEL_COMMAND {
        return ENOTTY.to_errno() as c_long;
    }
    // SAFETY: By this function's own requirements.
    let label = unsafe { super_block::instance::<T>((*(*file).f_inode).i_sb) }.label();
    let mut text = [0; bindings::FSLABEL_MAX as usize];
    text.iter_mut()
        .zip(label)
        .for_each(|(to, from)| *to = *from);
    // As much as there is of it, and a NUL: no more of the caller's buffer is its business.
    let len = (label.len() + 1).min(text.len());
    let mut out = UserSlice::new(UserPtr::from_addr(argument), len).writer();
    match text.get(..len).map(|text| out.write_slice(text)) {
        Some(Ok(())) => 0,
        _ => EFAULT.to_errno() as c_long,
    }
}

/// The operations of regular files of `T`.
pub(super) struct Operations<T>(PhantomData<T>);

impl<T: FileSystem> Operations<T> {
    pub(super) const INODE: &'static bindings::inode_operations = &bindings::inode_operations {
        getattr: Some(stat::getattr::<T>),
        listxattr: Some(xattr::list::<T>),
        get_inode_acl: Some(xattr::Handlers::<T>::acl),
        fiemap: Some(extent::fiemap::<T>),
        ..pin_init::zeroed()
    };

    /// Mappings are answered by [`FileSystem::fault`].
    pub(super) const MAPPED: &'static bindings::file_operations = &bindings::file_operations {
        open: Some(Self::open_direct),
        mmap_prepare: Some(Self::mmap_prepare),
        get_unmapped_area: Some(Self::get_unmapped_area),
        fadvise: Some(Self::fadvise),
        splice_read: Some(splice::read::<T>),
        ..Self::common()
    };

    /// Mappings go through `fs/dax.c`, but for pages that [`FileSystem::fault`] has. Pages of
    /// DAX devices are not handed around: they rest without a reference.
    pub(super) const DAX: &'static bindings::file_operations = &bindings::file_operations {
        mmap_prepare: Some(Self::mmap_prepare_dax),
        get_unmapped_area: Some(bindings::thp_get_unmapped_area),
        fadvise: Some(Self::fadvise),
        splice_read: Some(bindings::copy_splice_read),
        ..Self::common()
    };

    /// Mappings go through the page cache, which [`FileSystem::fill`] fills.
    pub(super) const COPIED: &'static bindings::file_operations = &bindings::file_operations {
        mmap_prepare: Some(bindings::generic_file_readonly_mmap_prepare),
        splice_read: Some(bindings::filemap_splice_read),
        ..Self::common()
    };

    /// Everything goes through the page cache, so that nothing is decoded twice.
    pub(super) const DECODED: &'static bindings::file_operations = &bindings::file_operations {
        open: Some(bindings::generic_file_open),
        read_iter: Some(bindings::generic_file_read_iter),
        ..*Self::COPIED
    };

    /// Reads do not go through the page cache: there is nothing that it would save.
    const fn common() -> bindings::file_operations {
        bindings::file_operations {
            open: Some(Self::open),
            llseek: Some(Self::llseek),
            unlocked_ioctl: Some(ioctl::<T>),
            compat_ioctl: Some(ioctl::<T>),
            setlease: Some(bindings::generic_setlease),
            read_iter: Some(Self::read_iter),
            ..pin_init::zeroed()
        }
    }

    /// # Safety
    ///
    /// Called by the VFS with a file of `T` that is being opened.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // A direct read (O_DIRECT) is like any other here.
        // SAFETY: By this function's own requirements.
        unsafe {
            (*file).f_mode |= bindings::FMODE_CAN_ODIRECT;
            bindings::generic_file_open(inode, file)
        }
    }

    /// # Safety
    ///
    /// See [`Self::open`].
    unsafe extern "C" fn open_direct(
        inode: *mut bindings::inode,
        file: *mut bindings::file,
    ) -> c_int {
        // SAFETY: By this function's own requirements.
        unsafe {
            // No reclaim needs to know which pages were used: spares each page that is unmapped
            // a note of it.
            (*file).f_mode |= bindings::FMODE_NOREUSE;
            Self::open(inode, file)
        }
    }

    /// # Safety
    ///
    /// Called by the VFS with an open file of `T`.
    unsafe extern "C" fn llseek(
        file: *mut bindings::file,
        offset: bindings::loff_t,
        whence: c_int,
    ) -> bindings::loff_t {
        let wants_data = match whence as u32 {
            bindings::SEEK_DATA => true,
            bindings::SEEK_HOLE => false,
            // SAFETY: By this function's own requirements.
            _ => return unsafe { bindings::generic_file_llseek(file, offset, whence) },
        };
        from_result(|| {
            // SAFETY: By this function's own requirements.
            let (fs, data, size, max) = unsafe {
                let inode = (*file).f_inode;
                (
                    super_block::instance::<T>((*inode).i_sb),
                    InodeCell::<T>::data(inode),
                    (*inode).i_size as u64,
                    (*(*inode).i_sb).s_maxbytes,
                )
            };
            let offset = u64::try_from(offset).map_err(|_| ENXIO)?;
            let position = extent::seek(fs, data, size, offset, wants_data)?;
            // SAFETY: As above.
            Ok(unsafe { bindings::vfs_setpos(file, position as bindings::loff_t, max) })
        })
    }

    /// Reading ahead would fill a page cache that nobody reads from.
    ///
    /// # Safety
    ///
    /// Called by the VFS with an open file of `T`.
    unsafe extern "C" fn fadvise(
        file: *mut bindings::file,
        offset: bindings::loff_t,
        len: bindings::loff_t,
        advice: c_int,
    ) -> c_int {
        if advice as u32 == bindings::POSIX_FADV_WILLNEED && len >= 0 {
            return 0;
        }
        // SAFETY: By this function's own requirements.
        unsafe { bindings::generic_fadvise(file, offset, len, advice) }
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

    /// Chooses addresses that differ from the physical ones by a multiple of 2 MiB, so that
    /// large pages of memory can be mapped as such. Where there are none addresses say nothing
    /// about where the memory is.
    ///
    /// # Safety
    ///
    /// Called by the MM with an open file of `T`.
    unsafe extern "C" fn get_unmapped_area(
        file: *mut bindings::file,
        address: c_ulong,
        len: c_ulong,
        index: c_ulong,
        flags: c_ulong,
    ) -> c_ulong {
        let mut alignment = index;
        if len >= HUGE_PAGE {
            // SAFETY: By this function's own requirements.
            let (fs, data) = unsafe {
                let inode = (*file).f_inode;
                (
                    super_block::instance::<T>((*inode).i_sb),
                    InodeCell::<T>::data(inode),
                )
            };
            if let Some(page) = fs.page(data, index as u64) {
                // SAFETY: The page is valid.
                let place = unsafe { bindings::erodax_place_in_huge_page(page.as_ptr()) };
                alignment = usize::try_from(place).unwrap_or(index);
            }
        }
        // SAFETY: By this function's own requirements. The last but one argument only says
        // how the address is to be aligned.
        unsafe { bindings::thp_get_unmapped_area(file, address, len, alignment, flags) }
    }

    /// # Safety
    ///
    /// Called by the VFS for a new mapping of a file of `T`.
    unsafe extern "C" fn mmap_prepare(desc: *mut bindings::vm_area_desc) -> c_int {
        // SAFETY: `Faults` answers for files of `T`.
        unsafe { map_readonly(desc, VmOperations::<Faults<T>>::TABLE) }
    }

    /// # Safety
    ///
    /// Called by the VFS for a new mapping of a file of `T` with `S_DAX`.
    unsafe extern "C" fn mmap_prepare_dax(desc: *mut bindings::vm_area_desc) -> c_int {
        // SAFETY: These operations are for such files.
        unsafe { map_readonly(desc, iomap::Operations::<T>::VMA) }
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
        let outcome = fs.fault(data, fault);
        // SAFETY: As above.
        unsafe { trace::fault::<T>(fault, outcome) };
        outcome
    }
}
