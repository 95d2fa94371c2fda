// SPDX-License-Identifier: GPL-2.0

//! /dev/erodaxN: the image's bytes for reading and mapping.

use super::{
    device::Device,
    mapping::{map_window, Run},
};
use crate::{
    bindings,
    vfs::{map_readonly, Fault, FaultHandler, Outcome, VmOperations},
};
use core::{ffi::c_int, ptr};
use kernel::{error::from_result, iov::IovIterDest, prelude::*};

pub(super) const OPERATIONS: &bindings::file_operations = &bindings::file_operations {
    owner: crate::THIS_MODULE.as_ptr(),
    open: Some(open),
    llseek: Some(llseek),
    read_iter: Some(read_iter),
    splice_read: Some(bindings::copy_splice_read),
    mmap_prepare: Some(mmap_prepare),
    ..pin_init::zeroed()
};

/// # Safety
///
/// Called by the VFS, as all of [`OPERATIONS`].
unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
    // SAFETY: The VFS opens with our operations.
    let device = unsafe { Device::of_inode(inode) };
    // SAFETY: The file is being opened. The mapping stays as long as the device.
    unsafe {
        (*file).private_data = ptr::from_ref(device).cast_mut().cast();
        (*file).f_mapping = device.mapping().as_ptr();
    }
    0
}

/// The device that a file was opened on.
///
/// # Safety
///
/// `file` must be open with [`OPERATIONS`].
pub(super) unsafe fn device_of<'a>(file: *const bindings::file) -> &'a Device {
    // SAFETY: `open` has set it; open files hold the module and thereby its devices.
    unsafe { &*(*file).private_data.cast::<Device>() }
}

/// # Safety
///
/// See [`open`].
unsafe extern "C" fn llseek(
    file: *mut bindings::file,
    offset: bindings::loff_t,
    whence: c_int,
) -> bindings::loff_t {
    // SAFETY: The VFS passes a file of ours.
    let size = unsafe { device_of(file) }.region().image().size;
    // SAFETY: As above.
    unsafe { bindings::fixed_size_llseek(file, offset, whence, size as bindings::loff_t) }
}

/// # Safety
///
/// See [`open`].
unsafe extern "C" fn read_iter(
    kiocb: *mut bindings::kiocb,
    iter: *mut bindings::iov_iter,
) -> isize {
    from_result(|| {
        // SAFETY: The VFS passes a file of ours, and an iterator to be written to.
        let (device, iter, position) = unsafe {
            (
                device_of((*kiocb).ki_filp),
                IovIterDest::from_raw(iter),
                &mut (*kiocb).ki_pos,
            )
        };
        let memory = device.memory()?;
        let start = u64::try_from(*position)?;
        let left = (memory.size() as u64).saturating_sub(start);
        let wanted = left.min(iter.len() as u64);
        let intact = device.region().intact_len(start, wanted);
        if intact == 0 && wanted > 0 {
            return Err(EIO);
        }
        let part = memory.part(start.min(memory.size() as u64), intact);
        let copied = part.ok_or(EINVAL)?.copy_to_iter(iter);
        if copied == 0 && wanted > 0 {
            return Err(EFAULT);
        }
        *position += copied as bindings::loff_t;
        Ok(copied as isize)
    })
}

/// # Safety
///
/// See [`open`].
unsafe extern "C" fn mmap_prepare(desc: *mut bindings::vm_area_desc) -> c_int {
    // SAFETY: The VFS passes a file of ours.
    let device = unsafe { device_of((*desc).file) };
    if device.region().offset_in_page() != 0 {
        return ENODEV.to_errno();
    }
    // SAFETY: Called for a mapping of such a file, whose handler `Device` is.
    unsafe { map_readonly(desc, VmOperations::<Device>::TABLE) }
}

impl FaultHandler for Device {
    unsafe fn fault(fault: &mut Fault<'_>) -> Outcome {
        // SAFETY: By the requirement of this function.
        let device = unsafe { device_of(fault.file()) };
        let region = device.region();
        let whole = Run {
            position: 0,
            offset: 0,
            len: region.image().size,
        };
        // Beyond the last whole page there are bytes that are not the image's.
        map_window(fault, region, whole).unwrap_or(Outcome::NOTHING_THERE)
    }
}
