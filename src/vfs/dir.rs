// SPDX-License-Identifier: GPL-2.0

//! Directories: lookup and readdir.

use super::{extent, file, inode, inode::InodeCell, stat, super_block, trace, xattr, FileSystem};
use crate::bindings;
use core::{ffi::c_int, marker::PhantomData, ptr, slice};
use kernel::{error::from_result, prelude::*};

/// Longest name that any of the kernel's interfaces passes.
const NAME_MAX: usize = bindings::NAME_MAX as usize;

/// Takes directory entries for the reader.
///
/// # Invariants
///
/// The pointer is a `dir_context` that is valid as long as the value.
pub(crate) struct Emitter<'a>(*mut bindings::dir_context, PhantomData<&'a mut ()>);

impl Emitter<'_> {
    /// Where to go on: 0, or what [`set_position`](Self::set_position) said, or any number
    /// that the reader has put there with seekdir(3).
    pub(crate) fn position(&self) -> u64 {
        // SAFETY: Valid by the invariant. The VFS keeps it from becoming negative.
        unsafe { (*self.0).pos as u64 }
    }

    /// Says where to go on after the entries so far.
    pub(crate) fn set_position(&mut self, position: u64) {
        // SAFETY: Valid by the invariant.
        unsafe { (*self.0).pos = position as bindings::loff_t };
    }

    /// Passes an entry on, with the position as its cookie; false if there is no room for it.
    pub(crate) fn emit(&mut self, name: &[u8], number: u64, file_type: u32) -> bool {
        // SAFETY: A slice is readable.
        unsafe { self.emit_at(name.as_ptr(), name.len(), number, file_type) }
    }

    /// The same for a name that lies somewhere, even if it changes meanwhile.
    ///
    /// # Safety
    ///
    /// The `len` bytes at `name` must be readable.
    pub(crate) unsafe fn emit_at(
        &mut self,
        name: *const u8,
        len: usize,
        number: u64,
        file_type: u32,
    ) -> bool {
        // As `dir_emit`, whose mask concerns flags that no `file_type` has.
        // SAFETY: The context is valid by the invariant, and has an actor. Every actor copies the
        // name, and takes its length as it is told here.
        unsafe {
            let context = self.0;
            let Some(actor) = (*context).actor else {
                return false;
            };
            actor(
                context,
                name.cast(),
                len as c_int,
                (*context).pos,
                number,
                file_type,
            )
        }
    }
}

/// The operations of directories of `T`.
pub(super) struct Operations<T>(PhantomData<T>);

impl<T: FileSystem> Operations<T> {
    pub(super) const INODE: &'static bindings::inode_operations = &bindings::inode_operations {
        lookup: Some(Self::lookup),
        getattr: Some(stat::getattr::<T>),
        listxattr: Some(xattr::list::<T>),
        get_inode_acl: Some(xattr::Handlers::<T>::acl),
        fiemap: Some(extent::fiemap::<T>),
        ..pin_init::zeroed()
    };

    pub(super) const FILE: &'static bindings::file_operations = &bindings::file_operations {
        llseek: Some(bindings::generic_file_llseek),
        read: Some(bindings::generic_read_dir),
        iterate_shared: Some(Self::iterate),
        unlocked_ioctl: Some(file::ioctl::<T>),
        compat_ioctl: Some(file::ioctl::<T>),
        setlease: Some(bindings::generic_setlease),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by the VFS with a directory of `T` and a dentry that is being looked up.
    unsafe extern "C" fn lookup(
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        flags: u32,
    ) -> *mut bindings::dentry {
        // SAFETY: By this function's own requirements; the name does not change meanwhile.
        let (sb, data, name) = unsafe {
            let name = (*dentry).__bindgen_anon_1.d_name;
            let len = name.__bindgen_anon_1.__bindgen_anon_1.len as usize;
            (
                (*dir).i_sb,
                InodeCell::<T>::data(dir),
                slice::from_raw_parts(name.name.cast::<u8>(), len),
            )
        };
        // SAFETY: By this function's own requirements.
        unsafe { trace::lookup::<T>(dir, name, flags) };
        if name.len() > NAME_MAX {
            return ENAMETOOLONG.to_ptr();
        }
        // SAFETY: An inode's superblock was filled.
        let found = match unsafe { super_block::instance::<T>(sb) }.lookup(data, name) {
            // SAFETY: As above.
            Ok(Some(number)) => unsafe { inode::get::<T>(sb, number) },
            Ok(None) => Ok(ptr::null_mut()),
            Err(error) => Err(error),
        };
        match found {
            // SAFETY: `d_splice_alias` takes the reference to the inode over.
            Ok(inode) => unsafe { bindings::d_splice_alias(inode, dentry) },
            Err(error) => error.to_ptr(),
        }
    }

    /// # Safety
    ///
    /// Called by the VFS with an open directory of `T`.
    unsafe extern "C" fn iterate(
        file: *mut bindings::file,
        context: *mut bindings::dir_context,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By this function's own requirements.
            let (fs, data) = unsafe {
                let inode = (*file).f_inode;
                (
                    super_block::instance::<T>((*inode).i_sb),
                    InodeCell::<T>::data(inode),
                )
            };
            // INVARIANT: Valid during this call.
            fs.read_dir(data, &mut Emitter(context, PhantomData))?;
            Ok(0)
        })
    }
}
