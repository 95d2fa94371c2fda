// SPDX-License-Identifier: GPL-2.0

//! Trace events, as `erodax_trace.h` declares them.
//!
//! Where an event is not switched on, a no-op instruction is all that is left of it: what it
//! needs is put together behind the branch only.

use super::{
    fault::{Fault, Outcome},
    inode::InodeCell,
    super_block, FileSystem,
};
use crate::bindings;
use kernel::prelude::*;

pub(crate) use bindings::erodax_map_blocks as MapBlocks;

impl MapBlocks {
    /// Data was found.
    pub(crate) const MAPPED: u32 = bindings::ERODAX_MAP_MAPPED;
    /// It is among the metadata.
    pub(crate) const META: u32 = bindings::ERODAX_MAP_META;
}

/// What a superblock is known by in stat(2) and mountinfo.
#[derive(Clone, Copy)]
pub(crate) struct DeviceNumber(bindings::dev_t);

impl DeviceNumber {
    /// # Safety
    ///
    /// `sb` must be a superblock that has got its number.
    pub(super) unsafe fn of(sb: *const bindings::super_block) -> Self {
        // SAFETY: By the caller's promise.
        Self(unsafe { (*sb).s_dev })
    }
}

/// Whether an event is switched on.
macro_rules! is_enabled {
    ($event:ident) => {
        ::kernel::macros::paste! {
            // SAFETY: The key is one that TRACE_EVENT defines.
            unsafe {
                ::kernel::jump_label::static_branch_unlikely!(
                    bindings::[< __tracepoint_ $event >],
                    bindings::tracepoint,
                    key
                )
            }
        }
    };
}

/// A name is looked up in a directory.
///
/// # Safety
///
/// `dir` must be an inode of `T`.
#[inline(always)]
pub(super) unsafe fn lookup<T: FileSystem>(dir: *mut bindings::inode, name: &[u8], flags: u32) {
    if is_enabled!(erodax_lookup) {
        // SAFETY: By the caller's promise; the name is copied.
        unsafe {
            let (number, key) = names_of::<T>(dir);
            bindings::rust_do_trace_erodax_lookup(
                number,
                key,
                name.as_ptr().cast(),
                name.len() as u32,
                flags,
            );
        }
    }
}

/// An inode is about to be read. `place` gives its offset in the metadata, and log2 of a block's
/// size.
#[inline(always)]
pub(crate) fn fill_inode(device: DeviceNumber, nid: u64, place: impl FnOnce() -> (u64, u32)) {
    if is_enabled!(erodax_fill_inode) {
        let (offset, block_bits) = place();
        let block = offset >> block_bits;
        let rest = offset - (block << block_bits);
        // SAFETY: Takes any numbers.
        unsafe { bindings::rust_do_trace_erodax_fill_inode(device.0, nid, block, rest as u32) };
    }
}

/// Who asks where data lies.
#[derive(Clone, Copy)]
pub(crate) enum Asker {
    /// A read or a page fault.
    Access,
    /// FIEMAP, or lseek(2) for data and holes.
    Report,
}

impl Asker {
    fn flags(self) -> u32 {
        match self {
            Self::Access => 0,
            Self::Report => bindings::ERODAX_GET_BLOCKS_FIEMAP,
        }
    }
}

/// It is asked where `len` bytes of a file from `position` on lie.
#[inline(always)]
pub(crate) fn map_blocks_enter(
    device: DeviceNumber,
    nid: u64,
    position: u64,
    len: u64,
    asker: Asker,
) {
    if is_enabled!(erodax_map_blocks_enter) {
        // SAFETY: Takes any numbers.
        unsafe {
            bindings::rust_do_trace_erodax_map_blocks_enter(
                device.0,
                nid,
                position,
                len,
                asker.flags(),
            );
        }
    }
}

/// The answer to it.
#[inline(always)]
pub(crate) fn map_blocks_exit(
    device: DeviceNumber,
    nid: u64,
    asker: Asker,
    answer: impl FnOnce() -> (MapBlocks, Result),
) {
    if is_enabled!(erodax_map_blocks_exit) {
        let (map, result) = answer();
        let code = result.map_or_else(Error::to_errno, |()| 0);
        // SAFETY: Takes any numbers; `map` is copied.
        unsafe {
            bindings::rust_do_trace_erodax_map_blocks_exit(
                device.0,
                nid,
                asker.flags(),
                &map,
                code,
            );
        }
    }
}

/// A fault in a mapping of memory was answered.
///
/// # Safety
///
/// The file that is mapped must be one of `T`.
#[inline(always)]
pub(super) unsafe fn fault<T: FileSystem>(fault: &Fault<'_>, outcome: Outcome) {
    if is_enabled!(erodax_fault) {
        // SAFETY: By the caller's promise; the fault is valid.
        unsafe {
            let (number, key) = names_of::<T>((*fault.file()).f_inode);
            bindings::rust_do_trace_erodax_fault(number, key, fault.as_ptr(), outcome.code());
        }
    }
}

/// A folio of a file is about to be filled.
///
/// # Safety
///
/// `folio` must be locked, and of a file of `T`.
#[inline(always)]
pub(super) unsafe fn read_folio<T: FileSystem>(folio: *mut bindings::folio) {
    if is_enabled!(erodax_read_folio) {
        // SAFETY: By the caller's promise.
        unsafe {
            let inode = bindings::erodax_folio_inode(folio);
            let (number, key) = names_of::<T>(inode);
            let is_dir = u32::from((*inode).i_mode) & bindings::S_IFMT == bindings::S_IFDIR;
            let is_raw = is_raw::<T>(inode);
            bindings::rust_do_trace_erodax_read_folio(number, key, folio, is_dir, is_raw);
        }
    }
}

/// Folios of a file are about to be filled before they are needed.
///
/// # Safety
///
/// `request` must be what the page cache asks of a file of `T`.
#[inline(always)]
pub(super) unsafe fn readahead<T: FileSystem>(request: *mut bindings::readahead_control) {
    if is_enabled!(erodax_readahead) {
        // SAFETY: By the caller's promise.
        unsafe {
            let inode = (*(*request).mapping).host;
            let (number, key) = names_of::<T>(inode);
            let (start, count) = ((*request)._index, (*request)._nr_pages);
            let is_raw = is_raw::<T>(inode);
            bindings::rust_do_trace_erodax_readahead(number, key, start, count, is_raw);
        }
    }
}

/// What an event names an inode by: its superblock's number, and its key.
///
/// # Safety
///
/// `inode` must be an inode of `T`.
unsafe fn names_of<T: FileSystem>(inode: *mut bindings::inode) -> (bindings::dev_t, u64) {
    // SAFETY: By the caller's promise.
    unsafe {
        (
            DeviceNumber::of((*inode).i_sb).0,
            InodeCell::<T>::key(inode),
        )
    }
}

/// Whether a file's data is stored as it is.
///
/// # Safety
///
/// `inode` must be an inode of `T`.
unsafe fn is_raw<T: FileSystem>(inode: *mut bindings::inode) -> bool {
    // SAFETY: By the caller's promise.
    let (fs, data) = unsafe {
        (
            super_block::instance::<T>((*inode).i_sb),
            InodeCell::<T>::data(inode),
        )
    };
    !fs.attributes(data).is_compressed
}
