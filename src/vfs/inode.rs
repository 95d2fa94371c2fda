// SPDX-License-Identifier: GPL-2.0

//! `struct inode` with a filesystem's own data behind it.

use super::{dir, file, folio, registration::FileSystemType, stat, super_block, xattr, FileSystem};
use crate::bindings;
use core::{ffi::c_void, marker::PhantomData, mem::MaybeUninit, ptr};
use kernel::{ffi::c_int, prelude::*, types::Opaque};

/// What [`FileSystem::inode`] tells of an inode.
pub(crate) struct NewInode<D> {
    /// File type and permissions.
    pub(crate) mode: u16,
    /// Owner.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
    /// Hard links.
    pub(crate) nlink: u32,
    /// Bytes.
    pub(crate) size: u64,
    /// 512-byte units that it takes.
    pub(crate) blocks: u64,
    /// Seconds since 1970, and nanoseconds, of every one of its times.
    pub(crate) time: (i64, u32),
    /// Major and minor number of a device node.
    pub(crate) rdev: (u32, u32),
    /// Where a symbolic link leads to, with a NUL at its end; None for other types.
    pub(crate) target: Option<KVec<u8>>,
    /// How the bytes of a regular file reach user space.
    pub(crate) delivery: Delivery,
    /// Whether there can be a POSIX ACL.
    pub(crate) may_have_acl: bool,
    /// The filesystem's own data.
    pub(crate) data: D,
}

/// How the bytes of a regular file reach user space.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Mappings are of the memory that holds them, through [`FileSystem::fault`]; reads copy from it.
    Mapped,
    /// Mappings are of DAX devices of other drivers, with `S_DAX`: by [`FileSystem::dax_extent`], or
    /// else by [`FileSystem::fault`]; reads copy from their memory.
    Dax,
    /// Mappings go through the page cache; reads copy from the memory.
    Copied,
    /// Both go through the page cache: the bytes must be decoded.
    Decoded,
}

/// An inode and what belongs to it.
///
/// # Invariants
///
/// `data` is initialized if `is_ready`. It becomes so once, before the inode is unlocked for
/// others, and stays until the inode is freed.
#[repr(C)]
pub(super) struct InodeCell<T: FileSystem> {
    inode: Opaque<bindings::inode>,
    data: MaybeUninit<T::Inode>,
    target: Option<KVec<u8>>,
    is_ready: bool,
    /// What the filesystem finds the inode by.
    key: u64,
}

impl<T: FileSystem> InodeCell<T> {
    fn of(inode: *mut bindings::inode) -> *mut Self {
        // The inode is the first member of a C layout.
        inode.cast()
    }

    /// The filesystem's data of an inode.
    ///
    /// # Safety
    ///
    /// `inode` must be an inode of `T` that [`get`] has returned, for as long as the
    /// reference is used.
    pub(super) unsafe fn data<'a>(inode: *mut bindings::inode) -> &'a T::Inode {
        // SAFETY: `get` returns inodes that are ready.
        unsafe { (*Self::of(inode)).data.assume_init_ref() }
    }

    /// The key of an inode.
    ///
    /// # Safety
    ///
    /// `inode` must be an inode of `T` that [`get`] has returned.
    pub(super) unsafe fn key(inode: *mut bindings::inode) -> u64 {
        // SAFETY: Set before the inode was hashed, and never changed.
        unsafe { (*Self::of(inode)).key }
    }

    /// Whether a hashed inode is the one with the key that `key` points to.
    ///
    /// # Safety
    ///
    /// Called by `iget5_locked` with an inode of `T` and what [`get`] passed.
    unsafe extern "C" fn has_key(inode: *mut bindings::inode, key: *mut c_void) -> c_int {
        // SAFETY: By this function's own requirements.
        unsafe { c_int::from(Self::key(inode) == *key.cast::<u64>()) }
    }

    /// Gives a new inode its key and number, before it is hashed.
    ///
    /// # Safety
    ///
    /// Called by `iget5_locked` with a new inode of `T` and what [`get`] passed.
    unsafe extern "C" fn set_key(inode: *mut bindings::inode, key: *mut c_void) -> c_int {
        // SAFETY: By this function's own requirements.
        unsafe {
            let key = *key.cast::<u64>();
            (*Self::of(inode)).key = key;
            (*inode).i_ino = super_block::instance::<T>((*inode).i_sb).inode_number(key);
        }
        0
    }

    /// # Safety
    ///
    /// Called by the VFS with a superblock of `T`.
    pub(super) unsafe extern "C" fn alloc(sb: *mut bindings::super_block) -> *mut bindings::inode {
        // SAFETY: The cache makes objects of this type, with `inode` initialized by
        // `init_once`; the other members are set here.
        unsafe {
            let cell = bindings::kmem_cache_alloc_lru_noprof(
                FileSystemType::<T>::cache_of(sb),
                &raw mut (*sb).s_inode_lru,
                bindings::GFP_KERNEL,
            )
            .cast::<Self>();
            if cell.is_null() {
                return ptr::null_mut();
            }
            (&raw mut (*cell).target).write(None);
            (*cell).is_ready = false;
            (*cell).inode.get()
        }
    }

    /// Frees an inode, after the grace period that path walks without references need.
    ///
    /// # Safety
    ///
    /// Called by the VFS with an inode of `T` that nobody uses.
    pub(super) unsafe extern "C" fn free(inode: *mut bindings::inode) {
        let cell = Self::of(inode);
        // SAFETY: Made by `alloc`. `kfree` finds the cache that it is from; the superblock,
        // and with it the type, may be gone.
        unsafe {
            ptr::drop_in_place(&raw mut (*cell).target);
            if (*cell).is_ready {
                (*cell).data.assume_init_drop();
            }
            bindings::kfree(cell.cast());
        }
    }
}

/// The operations of inodes that are neither files nor directories.
struct Others<T>(PhantomData<T>);

impl<T: FileSystem> Others<T> {
    const SPECIAL: &'static bindings::inode_operations = &bindings::inode_operations {
        getattr: Some(stat::getattr::<T>),
        listxattr: Some(xattr::list::<T>),
        get_inode_acl: Some(xattr::Handlers::<T>::acl),
        ..pin_init::zeroed()
    };

    const SYMLINK: &'static bindings::inode_operations = &bindings::inode_operations {
        get_link: Some(bindings::simple_get_link),
        getattr: Some(stat::getattr::<T>),
        listxattr: Some(xattr::list::<T>),
        get_inode_acl: Some(xattr::Handlers::<T>::acl),
        ..pin_init::zeroed()
    };
}

/// Makes the cache that inodes of `T` are allocated from.
pub(super) fn create_cache<T: FileSystem>() -> Result<*mut bindings::kmem_cache> {
    /// # Safety
    ///
    /// Called by the slab allocator with a new object.
    unsafe extern "C" fn init_once(object: *mut c_void) {
        // SAFETY: An `InodeCell` begins with the inode.
        unsafe { bindings::inode_init_once(object.cast()) };
    }
    let mut arguments = bindings::kmem_cache_args {
        align: align_of::<InodeCell<T>>() as u32,
        ctor: Some(init_once),
        ..pin_init::zeroed()
    };
    // SAFETY: The name is static, the arguments are read during the call.
    let cache = unsafe {
        bindings::__kmem_cache_create_args(
            c"erodax_inode".as_char_ptr(),
            size_of::<InodeCell<T>>() as u32,
            &mut arguments,
            bindings::INODE_CACHE_FLAGS,
        )
    };
    if cache.is_null() {
        return Err(ENOMEM);
    }
    Ok(cache)
}

/// The inode with a key, read if it is not in memory; with a reference for the caller.
///
/// # Safety
///
/// `sb` must be a superblock of `T` that was filled.
pub(super) unsafe fn get<T: FileSystem>(
    sb: *mut bindings::super_block,
    mut key: u64,
) -> Result<*mut bindings::inode> {
    // SAFETY: A valid superblock; the functions take a pointer to a key.
    let inode = unsafe {
        bindings::iget5_locked(
            sb,
            key,
            Some(InodeCell::<T>::has_key),
            Some(InodeCell::<T>::set_key),
            (&raw mut key).cast(),
        )
    };
    if inode.is_null() {
        return Err(ENOMEM);
    }
    // SAFETY: We have a reference.
    if !unsafe { bindings::erodax_inode_is_new(inode) } {
        return Ok(inode);
    }
    // SAFETY: By the caller's promise.
    match unsafe { super_block::instance::<T>(sb) }.inode(key) {
        Ok(new) => {
            // SAFETY: A new inode is locked, so that it is ours to be filled in.
            unsafe {
                fill::<T>(inode, new);
                bindings::unlock_new_inode(inode);
            }
            Ok(inode)
        }
        Err(error) => {
            // SAFETY: As above; this gives the reference up.
            unsafe { bindings::iget_failed(inode) };
            Err(error)
        }
    }
}

/// Fills a new inode in. Through the pointer only: others who look for an inode can have its lock
/// and its state meanwhile.
///
/// # Safety
///
/// `inode` must be new, locked, and of `T`.
#[inline(always)]
unsafe fn fill<T: FileSystem>(inode: *mut bindings::inode, new: NewInode<T::Inode>) {
    let cell = InodeCell::<T>::of(inode);
    // SAFETY: By the caller's promise nobody else uses these members.
    // INVARIANT: `data` is initialized before `is_ready` says so.
    unsafe {
        set_attributes(inode, &new);
        set_operations::<T>(inode, &new);
        (*cell).target = new.target;
        (*cell).data.write(new.data);
        (*cell).is_ready = true;
    }
}

/// What stat(2) tells.
///
/// # Safety
///
/// As for [`fill`].
#[inline(always)]
unsafe fn set_attributes<D>(inode: *mut bindings::inode, new: &NewInode<D>) {
    let (seconds, nanoseconds) = new.time;
    // SAFETY: By the caller's promise nobody else uses these members.
    unsafe {
        (*inode).i_mode = new.mode;
        if !new.may_have_acl {
            // As `cache_no_acl`: nobody need look.
            (*inode).i_acl = ptr::null_mut();
            (*inode).i_default_acl = ptr::null_mut();
        }
        (*inode).i_size = new.size as bindings::loff_t;
        (*inode).i_blocks = new.blocks;
        ((*inode).i_atime_sec, (*inode).i_atime_nsec) = (seconds, nanoseconds);
        ((*inode).i_mtime_sec, (*inode).i_mtime_nsec) = (seconds, nanoseconds);
        ((*inode).i_ctime_sec, (*inode).i_ctime_nsec) = (seconds, nanoseconds);
        bindings::set_nlink(inode, new.nlink);
        bindings::erodax_inode_set_owner(inode, new.uid, new.gid);
    }
}

/// What is called for an inode of its type.
///
/// # Safety
///
/// As for [`fill`].
#[inline(always)]
unsafe fn set_operations<T: FileSystem>(inode: *mut bindings::inode, new: &NewInode<T::Inode>) {
    // SAFETY: By the caller's promise nobody else uses these members. `i_mapping` is the inode's
    // own, and empty. Folios are filled through their kernel address, so they must have one. (Also
    // [`OwnInode`](super::OwnInode)s are read like this, whatever their type is.)
    unsafe {
        (*(*inode).i_mapping).a_ops = folio::Operations::<T>::TABLE;
        bindings::inode_nohighmem(inode);
        match u32::from(new.mode) & bindings::S_IFMT {
            bindings::S_IFREG => set_file_operations::<T>(inode, new.delivery),
            bindings::S_IFDIR => {
                (*inode).i_op = dir::Operations::<T>::INODE;
                (*inode).__bindgen_anon_3.i_fop = dir::Operations::<T>::FILE;
            }
            bindings::S_IFLNK => {
                (*inode).i_op = Others::<T>::SYMLINK;
                if let Some(target) = &new.target {
                    (*inode).__bindgen_anon_5.i_link = target.as_ptr().cast_mut().cast();
                }
            }
            _ => {
                (*inode).i_op = Others::<T>::SPECIAL;
                let (major, minor) = new.rdev;
                // As MKDEV of linux/kdev_t.h.
                let number = major << 20 | minor & 0xf_ffff;
                bindings::init_special_inode(inode, new.mode, number);
            }
        }
    }
}

/// # Safety
///
/// As for [`fill`]; it is a regular file.
#[inline(always)]
unsafe fn set_file_operations<T: FileSystem>(inode: *mut bindings::inode, delivery: Delivery) {
    // SAFETY: By the caller's promise nobody else uses these members; nothing is in the mapping yet.
    unsafe {
        let mapping = (*inode).i_mapping;
        (*inode).i_op = file::Operations::<T>::INODE;
        if delivery == Delivery::Dax {
            (*inode).i_flags |= bindings::S_DAX;
            // The records of `fs/dax.c` tolerate no folios beside them.
            (*mapping).a_ops = folio::NONE;
        }
        (*inode).__bindgen_anon_3.i_fop = match delivery {
            Delivery::Mapped => file::Operations::<T>::MAPPED,
            Delivery::Dax => file::Operations::<T>::DAX,
            Delivery::Copied => file::Operations::<T>::COPIED,
            Delivery::Decoded => file::Operations::<T>::DECODED,
        };
        if delivery != Delivery::Mapped {
            // Not where pages are mapped: khugepaged and MADV_COLLAPSE take it as leave to
            // replace page tables by a large folio (`file_thp_enabled` in mm/huge_memory.c), and
            // free them as empty while they map the image's pages.
            bindings::erodax_mapping_set_large_folios(mapping);
        }
    }
}
