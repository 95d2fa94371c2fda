// SPDX-License-Identifier: GPL-2.0

//! File handles, for open_by_handle_at(2) and NFS.
//!
//! A handle is the inode's key and generation (always 0: the tree never changes), with
//! those of its directory after them if asked for: FILEID_INO64_GEN and
//! FILEID_INO64_GEN_PARENT of linux/exportfs.h.

use super::{inode, inode::InodeCell, super_block, FileSystem};
use crate::bindings;
use core::{marker::PhantomData, ptr};
use kernel::{ffi::c_int, prelude::*};

/// 32-bit words that one inode takes in a handle.
const WORDS: c_int = 3;

/// The export operations of `T`.
pub(super) struct Operations<T>(PhantomData<T>);

impl<T: FileSystem> Operations<T> {
    pub(super) const TABLE: &'static bindings::export_operations = &bindings::export_operations {
        encode_fh: Some(Self::encode),
        fh_to_dentry: Some(Self::to_dentry),
        fh_to_parent: Some(Self::to_parent),
        get_parent: Some(Self::parent),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by exportfs with inodes of `T` and room for `*len` words.
    unsafe extern "C" fn encode(
        inode: *mut bindings::inode,
        words: *mut u32,
        len: *mut c_int,
        parent: *mut bindings::inode,
    ) -> c_int {
        let with_parent = !parent.is_null();
        let needed = if with_parent { 2 * WORDS } else { WORDS };
        // SAFETY: By this function's own requirements.
        unsafe {
            let room = *len;
            *len = needed;
            if room < needed {
                return bindings::fid_type_FILEID_INVALID as c_int;
            }
            write_words(words, InodeCell::<T>::key(inode), inode);
            if with_parent {
                write_words(
                    words.add(WORDS as usize),
                    InodeCell::<T>::key(parent),
                    parent,
                );
            }
        }
        if with_parent {
            bindings::fid_type_FILEID_INO64_GEN_PARENT as c_int
        } else {
            bindings::fid_type_FILEID_INO64_GEN as c_int
        }
    }

    /// # Safety
    ///
    /// Called by exportfs with a superblock of `T` and a handle of `len` words.
    unsafe extern "C" fn to_dentry(
        sb: *mut bindings::super_block,
        handle: *mut bindings::fid,
        len: c_int,
        kind: c_int,
    ) -> *mut bindings::dentry {
        let kind = kind as u32;
        let is_ours = kind == bindings::fid_type_FILEID_INO64_GEN
            || kind == bindings::fid_type_FILEID_INO64_GEN_PARENT;
        if !is_ours || len < WORDS {
            return ptr::null_mut();
        }
        // SAFETY: The handle has at least the words of one inode.
        unsafe { Self::dentry(sb, read_words(handle.cast())) }
    }

    /// # Safety
    ///
    /// Called by exportfs with a superblock of `T` and a handle of `len` words.
    unsafe extern "C" fn to_parent(
        sb: *mut bindings::super_block,
        handle: *mut bindings::fid,
        len: c_int,
        kind: c_int,
    ) -> *mut bindings::dentry {
        if kind as u32 != bindings::fid_type_FILEID_INO64_GEN_PARENT || len < 2 * WORDS {
            return ptr::null_mut();
        }
        // SAFETY: The handle has the words of two inodes.
        unsafe { Self::dentry(sb, read_words(handle.cast::<u32>().add(WORDS as usize))) }
    }

    /// # Safety
    ///
    /// Called by exportfs with a dentry of a directory of `T`.
    unsafe extern "C" fn parent(child: *mut bindings::dentry) -> *mut bindings::dentry {
        // SAFETY: By this function's own requirements.
        let (sb, found) = unsafe {
            let sb = (*child).d_sb;
            let fs = super_block::instance::<T>(sb);
            (sb, fs.lookup(InodeCell::<T>::data((*child).d_inode), b".."))
        };
        match found {
            // SAFETY: As above.
            Ok(Some(number)) => unsafe { Self::dentry(sb, number) },
            Ok(None) => ENOENT.to_ptr(),
            Err(error) => error.to_ptr(),
        }
    }

    /// # Safety
    ///
    /// `sb` must be a superblock of `T`.
    unsafe fn dentry(sb: *mut bindings::super_block, number: u64) -> *mut bindings::dentry {
        // SAFETY: By the caller's promise.
        match unsafe { inode::get::<T>(sb, number) } {
            // SAFETY: `d_obtain_alias` takes the reference to the inode over.
            Ok(inode) => unsafe { bindings::d_obtain_alias(inode) },
            // A handle of something that is no inode is as good as one that is gone.
            Err(error) if error == ENOMEM => error.to_ptr(),
            Err(_) => ESTALE.to_ptr(),
        }
    }
}

/// # Safety
///
/// `words` must have room for one inode's.
unsafe fn write_words(words: *mut u32, key: u64, inode: *const bindings::inode) {
    // SAFETY: By the caller's promise.
    unsafe {
        words.write((key >> 32) as u32);
        words.add(1).write(key as u32);
        words.add(2).write((*inode).i_generation);
    }
}

/// # Safety
///
/// `words` must be those of one inode.
unsafe fn read_words(words: *const u32) -> u64 {
    // SAFETY: By the caller's promise.
    unsafe { u64::from(words.read()) << 32 | u64::from(words.add(1).read()) }
}
