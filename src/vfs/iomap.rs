// SPDX-License-Identifier: GPL-2.0

//! Mappings of files through `fs/dax.c`, which wants to hear of extents by iomap.
//!
//! Nothing else uses iomap, whose interface changes with each release. `fs/dax.c` maps by single
//! pages and by 2 MiB, and records in the inode's page cache and in the pages which file has
//! them; all of this is undone when the inode is evicted ([`evict`]) or its device goes
//! ([`unmap`]).
//!
//! Locks: the mapping's `invalidate_lock`, shared, in each fault, below the mmap or VMA lock;
//! exclusive for a moment in [`unmap`].

use super::{fault, inode::InodeCell, super_block, trace, Fault, FileSystem, Outcome};
use crate::bindings;
use core::{marker::PhantomData, ptr};
use kernel::{
    error::from_result,
    ffi::{c_int, c_uint},
    page::PAGE_SIZE,
    prelude::*,
};

/// Bytes that `fs/dax.c` maps at most as one page.
const HUGE: u64 = (PAGE_SIZE as u64) << bindings::PMD_ORDER;

/// Whole pages of a file that lie in one piece in a DAX device.
pub(crate) struct DaxExtent {
    /// The device, which the filesystem holds.
    pub(crate) device: *mut bindings::dax_device,
    /// First byte in the device.
    pub(crate) address: u64,
    /// First byte in the file.
    pub(crate) position: u64,
    /// Bytes.
    pub(crate) len: u64,
}

/// VMA operations of files of `T` with `S_DAX`.
pub(super) struct Operations<T>(PhantomData<T>);

impl<T: FileSystem> Operations<T> {
    pub(super) const VMA: &'static bindings::vm_operations_struct =
        &bindings::vm_operations_struct {
            fault: Some(Self::fault),
            huge_fault: Some(Self::huge_fault),
            map_pages: Some(fault::map_no_pages),
            ..pin_init::zeroed()
        };

    const IOMAP: &'static bindings::iomap_ops = &bindings::iomap_ops {
        iomap_begin: Some(Self::iomap_begin),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by the MM for a mapping of a file of `T` made by [`fault::map_readonly`].
    unsafe extern "C" fn fault(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
        // SAFETY: By this function's own requirements.
        let mut fault = unsafe { Fault::from_raw(vmf) };
        // SAFETY: A mapped file has an inode of `T`.
        let _locked = unsafe { Shared::lock(&fault) };
        // SAFETY: As above.
        let (fs, data) = unsafe { parts::<T>((*fault.file()).f_inode) };
        let wanted = fault::position_of(fault.index());
        let extent = wanted.and_then(|position| fs.dax_extent(data, position, PAGE_SIZE as u64));
        let outcome = match extent {
            // `fs/dax.c` maps nothing where a mark is, and would try forever.
            Some(_) if fault.is_marked() && !fault.is_copy() => Outcome::NOTHING_THERE,
            // SAFETY: As above.
            Some(_) => unsafe { Self::map(vmf, 0) },
            // A page that is no page of the device: the filesystem's own.
            None => fs.fault(data, &mut fault),
        };
        // SAFETY: As above.
        unsafe { trace::fault::<T>(&fault, outcome) };
        outcome.code()
    }

    /// Lets `fs/dax.c` map a page.
    ///
    /// # Safety
    ///
    /// As for [`Self::fault`], the mapping's invalidate lock being held.
    unsafe fn map(vmf: *mut bindings::vm_fault, order: c_uint) -> Outcome {
        // SAFETY: By the caller's promise; as no synchronous writes are asked for, no pfn is
        // returned.
        Outcome::from_code(unsafe {
            bindings::dax_iomap_fault(vmf, order, ptr::null_mut(), ptr::null_mut(), Self::IOMAP)
        })
    }

    /// # Safety
    ///
    /// See [`Self::fault`].
    unsafe extern "C" fn huge_fault(
        vmf: *mut bindings::vm_fault,
        order: c_uint,
    ) -> bindings::vm_fault_t {
        // SAFETY: By this function's own requirements.
        let fault = unsafe { Fault::from_raw(vmf) };
        // SAFETY: A mapped file has an inode of `T`.
        let _locked = unsafe { Shared::lock(&fault) };
        // `fs/dax.c` decides for itself whether all of it can be mapped, but its record of an
        // attempt is in the way of pages that are not the device's.
        // SAFETY: As above.
        let (fs, data) = unsafe { parts::<T>((*fault.file()).f_inode) };
        let extent = fault::position_of(fault.index())
            .and_then(|position| fs.dax_extent(data, position & !(HUGE - 1), HUGE));
        if order != bindings::PMD_ORDER || extent.is_none_or(|extent| extent.len < HUGE) {
            return bindings::vm_fault_reason_VM_FAULT_FALLBACK;
        }
        // SAFETY: As above.
        unsafe {
            let outcome = Self::map(vmf, order);
            trace::fault::<T>(&fault, outcome);
            outcome.code()
        }
    }

    /// # Safety
    ///
    /// Called by `fs/dax.c` in a fault in a file of `T`.
    unsafe extern "C" fn iomap_begin(
        inode: *mut bindings::inode,
        position: bindings::loff_t,
        len: bindings::loff_t,
        _flags: c_uint,
        iomap: *mut bindings::iomap,
        _source: *mut bindings::iomap,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By this function's own requirements.
            let (fs, data) = unsafe { parts::<T>(inode) };
            let (position, len) = (u64::try_from(position)?, u64::try_from(len)?);
            let extent = fs.dax_extent(data, position, len).ok_or(EIO)?;
            // SAFETY: `iomap` is to be filled in.
            let iomap = unsafe { &mut *iomap };
            iomap.addr = extent.address;
            iomap.offset = bindings::loff_t::try_from(extent.position)?;
            iomap.length = extent.len;
            iomap.type_ = bindings::IOMAP_MAPPED as u16;
            iomap.dax_dev = extent.device;
            Ok(0)
        })
    }
}

/// The filesystem and its data of an inode.
///
/// # Safety
///
/// `inode` must be an inode of `T` that is in use, for as long as the references are.
unsafe fn parts<'a, T: FileSystem>(inode: *mut bindings::inode) -> (&'a T, &'a T::Inode) {
    // SAFETY: By the caller's promise.
    unsafe {
        (
            super_block::instance::<T>((*inode).i_sb),
            InodeCell::<T>::data(inode),
        )
    }
}

/// The invalidate lock of a file's mapping, held shared.
struct Shared(*mut bindings::rw_semaphore);

impl Shared {
    /// # Safety
    ///
    /// The fault must be in a file, and outlive the value.
    unsafe fn lock(fault: &Fault<'_>) -> Self {
        // SAFETY: By the caller's promise.
        unsafe {
            let lock = &raw mut (*(*fault.file()).f_mapping).invalidate_lock;
            bindings::down_read(lock);
            Self(lock)
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: Locked in `lock`.
        unsafe { bindings::up_read(self.0) };
    }
}

/// `evict_inode`: gives back what `fs/dax.c` has recorded, when nobody uses a page any more.
///
/// # Safety
///
/// Called by the VFS with an inode that nobody uses.
pub(super) unsafe extern "C" fn evict(inode: *mut bindings::inode) {
    // SAFETY: By this function's own requirements.
    unsafe {
        if is_dax(inode) {
            bindings::dax_break_layout_final(inode);
        }
        bindings::truncate_inode_pages_final(&raw mut (*inode).i_data);
        bindings::clear_inode(inode);
    }
}

/// Takes all pages of devices back from mappings of an inode, and waits until nobody has pinned
/// one. The filesystem must refuse to map any more.
///
/// # Safety
///
/// `inode` must be referenced.
pub(super) unsafe extern "C" fn unmap(inode: *mut bindings::inode) {
    // SAFETY: By this function's own requirements.
    unsafe {
        if !is_dax(inode) {
            return;
        }
        // Faults that have begun before the filesystem refused end here. The lock is not kept:
        // who has pinned a page may have to fault to go on.
        let mapping = (*inode).i_mapping;
        bindings::down_write(&raw mut (*mapping).invalidate_lock);
        bindings::up_write(&raw mut (*mapping).invalidate_lock);
        bindings::unmap_mapping_range(mapping, 0, 0, 0);
        bindings::dax_break_layout_final(inode);
    }
}

/// # Safety
///
/// `inode` must be valid.
unsafe fn is_dax(inode: *const bindings::inode) -> bool {
    // SAFETY: By the caller's promise.
    unsafe { (*inode).i_flags & bindings::S_DAX != 0 }
}
