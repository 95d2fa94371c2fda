// SPDX-License-Identifier: GPL-2.0

//! What statx(2) tells beside the inode's own fields.

use super::{inode::InodeCell, super_block, FileSystem};
use crate::bindings;
use kernel::ffi::{c_int, c_uint};

/// Attributes of an inode for statx(2).
#[derive(Clone, Copy, Default)]
pub(crate) struct Attributes {
    /// Its data is compressed.
    pub(crate) is_compressed: bool,
    /// Its data is mapped from memory directly.
    pub(crate) is_direct: bool,
}

/// `getattr` of every inode of `T`.
///
/// # Safety
///
/// Called by the VFS with a path of `T` and a `kstat` to be filled in.
pub(super) unsafe extern "C" fn getattr<T: FileSystem>(
    idmap: *mut bindings::mnt_idmap,
    path: *const bindings::path,
    stat: *mut bindings::kstat,
    wanted: u32,
    _flags: c_uint,
) -> c_int {
    // SAFETY: By this function's own requirements.
    let (inode, stat) = unsafe { ((*(*path).dentry).d_inode, &mut *stat) };
    // SAFETY: As above.
    let attributes = unsafe {
        super_block::instance::<T>((*inode).i_sb).attributes(InodeCell::<T>::data(inode))
    };
    let known = [
        (true, bindings::STATX_ATTR_IMMUTABLE),
        (attributes.is_compressed, bindings::STATX_ATTR_COMPRESSED),
        (attributes.is_direct, bindings::STATX_ATTR_DAX),
    ];
    for (is_set, bit) in known {
        stat.attributes_mask |= u64::from(bit);
        if is_set {
            stat.attributes |= u64::from(bit);
        }
    }
    // SAFETY: As above.
    let is_regular = unsafe { u32::from((*inode).i_mode) & bindings::S_IFMT == bindings::S_IFREG };
    if wanted & bindings::STATX_DIOALIGN != 0 && is_regular {
        // A direct read copies from memory like any other: it needs no alignment.
        stat.result_mask |= bindings::STATX_DIOALIGN;
        stat.dio_mem_align = 1;
        stat.dio_offset_align = 1;
    }
    // SAFETY: As above.
    unsafe { bindings::generic_fillattr(idmap, wanted, inode, stat) };
    0
}
