// SPDX-License-Identifier: GPL-2.0

//! `struct super_block`: one mounted instance.

use super::{
    context::Context,
    export,
    inode::{self, InodeCell},
    xattr, FileSystem,
};
use crate::bindings;
use core::{ffi::c_int, marker::PhantomData, ptr};
use kernel::{error::from_result, prelude::*, seq_file::SeqFile};

/// What a superblock says of its filesystem.
pub(crate) struct SuperParameters {
    /// Magic number, for statfs.
    pub(crate) magic: u32,
    /// log2 of the block size in bytes.
    pub(crate) block_bits: u32,
    /// UUID; all zero if there is none.
    pub(crate) uuid: [u8; 16],
    /// Whether access is decided by POSIX ACLs as well.
    pub(crate) has_acls: bool,
    /// Key of the root directory.
    pub(crate) root: u64,
}

/// What statfs says beside the superblock's parameters.
pub(crate) struct Statistics {
    /// Blocks of the filesystem.
    pub(crate) blocks: u64,
    /// Inodes in it.
    pub(crate) inodes: u64,
    /// Longest name in bytes.
    pub(crate) name_len: u32,
}

/// The instance behind a superblock.
///
/// # Safety
///
/// `sb` must be a superblock of `T` that was filled, for as long as the reference is used.
pub(super) unsafe fn instance<'a, T: FileSystem>(sb: *const bindings::super_block) -> &'a T {
    // SAFETY: `fill` has put a box of `T` there, which only `kill` takes back.
    unsafe { &*(*sb).s_fs_info.cast::<T>() }
}

/// Fills a new superblock in.
///
/// # Safety
///
/// Called by `get_tree_nodev` with a new superblock of `T`.
pub(super) unsafe extern "C" fn fill<T: FileSystem>(
    sb: *mut bindings::super_block,
    context: *mut bindings::fs_context,
) -> c_int {
    from_result(|| {
        // SAFETY: The context is one of `T`'s, and valid during this call.
        let fs = unsafe {
            let context = Context::from_raw(context);
            T::mount(&context, core::mem::take(&mut *context.options::<T>()))?
        };
        let parameters = fs.parameters();
        let fs = KBox::new(fs, GFP_KERNEL)?;
        // SAFETY: The superblock is ours to be filled in; `kill` takes the box back, after a
        // failure here as well.
        unsafe {
            (*sb).s_fs_info = KBox::into_raw(fs).cast();
            (*sb).s_flags |= bindings::SB_RDONLY | bindings::SB_NOATIME;
            (*sb).s_magic = parameters.magic as usize;
            (*sb).s_blocksize_bits = parameters.block_bits as u8;
            (*sb).s_blocksize = 1 << parameters.block_bits;
            (*sb).s_maxbytes = bindings::MAX_LFS_FILESIZE;
            (*sb).s_time_gran = 1;
            (*sb).s_uuid.b = parameters.uuid;
            (*sb).s_uuid_len = parameters.uuid.len() as u8;
            (*sb).s_xattr = xattr::Handlers::<T>::TABLE.as_ptr();
            if parameters.has_acls {
                (*sb).s_flags |= bindings::SB_POSIXACL;
            }
            (*sb).s_op = Operations::<T>::TABLE;
            (*sb).s_export_op = ptr::from_ref(export::Operations::<T>::TABLE).cast();
        }
        // SAFETY: The superblock is filled in.
        let root = unsafe { inode::get::<T>(sb, parameters.root)? };
        // SAFETY: `d_make_root` takes the reference to the inode over.
        let dentry = unsafe { bindings::d_make_root(root) };
        if dentry.is_null() {
            return Err(ENOMEM);
        }
        // SAFETY: As above.
        unsafe { (*sb).s_root = dentry };
        Ok(0)
    })
}

/// Ends a superblock.
///
/// # Safety
///
/// Called by the VFS with a superblock of `T`, filled or not.
pub(super) unsafe extern "C" fn kill<T: FileSystem>(sb: *mut bindings::super_block) {
    // SAFETY: No inode is left after `kill_anon_super`, so that nobody uses the instance.
    unsafe {
        bindings::kill_anon_super(sb);
        let fs = (*sb).s_fs_info.cast::<T>();
        if !fs.is_null() {
            drop(KBox::from_raw(fs));
        }
    }
}

struct Operations<T>(PhantomData<T>);

impl<T: FileSystem> Operations<T> {
    const TABLE: &'static bindings::super_operations = &bindings::super_operations {
        alloc_inode: Some(InodeCell::<T>::alloc),
        free_inode: Some(InodeCell::<T>::free),
        statfs: Some(Self::statfs),
        show_options: Some(Self::show_options),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by the VFS with a dentry of a superblock of `T`.
    unsafe extern "C" fn statfs(
        dentry: *mut bindings::dentry,
        out: *mut kernel::bindings::kstatfs,
    ) -> c_int {
        // SAFETY: By this function's own requirements; `out` is to be filled in.
        let (fs, out) = unsafe {
            (
                instance::<T>((*dentry).d_sb),
                &mut *out.cast::<bindings::kstatfs>(),
            )
        };
        let (parameters, statistics) = (fs.parameters(), fs.statistics());
        out.f_type = parameters.magic as isize;
        out.f_bsize = 1 << parameters.block_bits;
        out.f_blocks = statistics.blocks;
        // Read-only: no block is free, while the number of inodes has no limit of its own.
        out.f_files = u64::MAX;
        out.f_ffree = u64::MAX - statistics.inodes;
        out.f_namelen = statistics.name_len as isize;
        // As `uuid_to_fsid` in linux/statfs.h.
        let uuid = u128::from_le_bytes(parameters.uuid);
        let id = (uuid as u64) ^ ((uuid >> 64) as u64);
        out.f_fsid.val = [id as i32, (id >> 32) as i32];
        0
    }

    /// # Safety
    ///
    /// Called by the VFS with a dentry of a superblock of `T`.
    unsafe extern "C" fn show_options(
        out: *mut bindings::seq_file,
        dentry: *mut bindings::dentry,
    ) -> c_int {
        // SAFETY: By this function's own requirements.
        unsafe { instance::<T>((*dentry).d_sb).show_options(SeqFile::from_raw(out)) };
        0
    }
}
