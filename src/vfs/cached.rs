// SPDX-License-Identifier: GPL-2.0

//! Data of inodes of our own, read through their page cache.

use super::{inode, FileSystem, FilledSuperBlock};
use crate::bindings;
use core::{ptr, sync::atomic::AtomicPtr, sync::atomic::Ordering};
use kernel::{error::from_err_ptr, page::PAGE_SIZE, prelude::*};

/// An inode that a mounted filesystem holds for itself, until its superblock goes.
///
/// # Invariants
///
/// The pointer is null or an inode, not of another superblock, with a reference that is ours.
pub(crate) struct OwnInode(AtomicPtr<bindings::inode>);

impl OwnInode {
    /// None yet.
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// Gets the inode with a key.
    pub(crate) fn get<T: FileSystem>(&self, sb: &FilledSuperBlock<'_, T>, key: u64) -> Result {
        // SAFETY: By the superblock's invariant.
        let inode = unsafe { inode::get::<T>(sb.as_ptr(), key)? };
        // INVARIANT: With a reference.
        let before = self.0.swap(inode, Ordering::Release);
        Self::put(before);
        Ok(())
    }

    /// Drops it: a superblock must have no inodes in use when it ends.
    pub(crate) fn drop(&self) {
        Self::put(self.0.swap(ptr::null_mut(), Ordering::AcqRel));
    }

    fn put(inode: *mut bindings::inode) {
        // SAFETY: The reference was ours by the invariant; null is ignored.
        unsafe { bindings::iput(inode) };
    }

    /// Copies bytes of its data, all of which must be before its end; None if there is no inode.
    pub(crate) fn read(&self, position: u64, out: &mut [u8]) -> Option<Result> {
        let inode = self.0.load(Ordering::Acquire);
        if inode.is_null() {
            return None;
        }
        // SAFETY: By the invariant, and nobody reads any more when `drop` is called.
        Some(unsafe { read(inode, position, out) })
    }
}

/// Copies bytes of an inode's data through its page cache.
///
/// # Safety
///
/// `inode` must be valid, with the address-space operations of this module.
pub(super) unsafe fn read(
    inode: *mut bindings::inode,
    mut position: u64,
    mut out: &mut [u8],
) -> Result {
    while !out.is_empty() {
        // SAFETY: By the caller's promise. Without a filler it is `read_folio` that is called.
        let folio = from_err_ptr(unsafe {
            let index = (position / PAGE_SIZE as u64) as usize;
            bindings::read_cache_folio((*inode).i_mapping, index, None, ptr::null_mut())
        })?;
        // SAFETY: The folio is up to date and in lowmem; this drops our reference when the bytes
        // are copied.
        unsafe {
            let within = (position - bindings::erodax_folio_pos(folio) as u64) as usize;
            let len = (bindings::erodax_folio_size(folio) - within).min(out.len());
            let from = bindings::erodax_folio_address(folio).cast::<u8>();
            ptr::copy_nonoverlapping(from.add(within), out.as_mut_ptr(), len);
            bindings::erodax_folio_put(folio);
            position += len as u64;
            out = out.get_mut(len..).unwrap_or_default();
        }
    }
    Ok(())
}
