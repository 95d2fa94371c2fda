// SPDX-License-Identifier: GPL-2.0

//! Filesystem types, their inode caches and their directories in sysfs.

use super::{context, inode, super_block, sysfs, FileSystem};
use crate::bindings;
use core::{
    marker::PhantomData,
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};
use kernel::{error::to_result, prelude::*, str::CStrExt, types::Opaque};

/// A filesystem type, for a `static`: lock classes must have static addresses.
pub(crate) struct FileSystemType<T> {
    raw: Opaque<bindings::file_system_type>,
    cache: AtomicPtr<bindings::kmem_cache>,
    /// Where the superblocks' directories are made.
    directory: AtomicPtr<bindings::kobject>,
    _of: PhantomData<T>,
}

// SAFETY: `raw` is changed only before it is registered, and then by the VFS under its locks.
unsafe impl<T> Sync for FileSystemType<T> {}

impl<T: FileSystem> FileSystemType<T> {
    /// A type that is not registered.
    pub(crate) const fn new() -> Self {
        Self {
            raw: Opaque::zeroed(),
            cache: AtomicPtr::new(ptr::null_mut()),
            directory: AtomicPtr::new(ptr::null_mut()),
            _of: PhantomData,
        }
    }

    /// Makes it known to mount(2) under `name`; `EBUSY` if another type has that name.
    ///
    /// Can be called once in the life of the module; `EBUSY` afterwards.
    pub(crate) fn register(&'static self, name: &'static CStr) -> Result<Registration<T>> {
        let directory = sysfs::Root::new()?;
        let order = Ordering::Relaxed;
        let first =
            self.directory
                .compare_exchange(ptr::null_mut(), directory.as_ptr(), order, order);
        first.map_err(|_| EBUSY)?;
        let cache = inode::create_cache::<T>()?;
        self.cache.store(cache, Ordering::Relaxed);
        let raw = self.raw.get();
        // SAFETY: Nobody knows the type yet, as there was no directory. All that it points to is
        // static.
        let answer = to_result(unsafe {
            (*raw).name = name.as_char_ptr();
            (*raw).fs_flags = bindings::FS_ALLOW_IDMAP as i32;
            (*raw).init_fs_context = Some(context::init::<T>);
            (*raw).kill_sb = Some(super_block::kill::<T>);
            (*raw).owner = crate::THIS_MODULE.as_ptr();
            bindings::register_filesystem(raw)
        });
        match answer {
            Ok(()) => Ok(Registration {
                of: self,
                _directory: directory,
            }),
            Err(error) => {
                // SAFETY: Made above, and nothing was allocated from it.
                unsafe { bindings::kmem_cache_destroy(cache) };
                Err(error)
            }
        }
    }

    /// The type that a superblock is of.
    ///
    /// # Safety
    ///
    /// `sb` must be a superblock of `T`.
    unsafe fn of(sb: *const bindings::super_block) -> &'static Self {
        // SAFETY: Superblocks of `T` are only made by a registered `FileSystemType<T>`.
        unsafe {
            let raw = Opaque::cast_from((*sb).s_type);
            &*kernel::container_of!(raw, Self, raw)
        }
    }

    /// The inode cache of the type that a superblock is of.
    ///
    /// # Safety
    ///
    /// `sb` must be a superblock of `T`.
    pub(super) unsafe fn cache_of(sb: *const bindings::super_block) -> *mut bindings::kmem_cache {
        // SAFETY: By the caller's promise.
        unsafe { Self::of(sb) }.cache.load(Ordering::Relaxed)
    }

    /// Where the directories of a superblock's type are made in sysfs.
    ///
    /// # Safety
    ///
    /// `sb` must be a superblock of `T`.
    pub(super) unsafe fn directory_of(sb: *const bindings::super_block) -> *mut bindings::kobject {
        // SAFETY: By the caller's promise.
        unsafe { Self::of(sb) }.directory.load(Ordering::Relaxed)
    }
}

/// A registered filesystem type; dropping it, as the module is unloaded, unregisters.
pub(crate) struct Registration<T: 'static> {
    of: &'static FileSystemType<T>,
    _directory: sysfs::Root,
}

impl<T> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: Registered; the module is being unloaded or has failed to load, and both may
        // sleep. Nothing is mounted any more, since superblocks hold the module; inodes are freed
        // by RCU callbacks, which the barrier waits for.
        unsafe {
            bindings::unregister_filesystem(self.of.raw.get());
            while bindings::erodax_is_held() {
                bindings::msleep(100);
            }
            bindings::rcu_barrier();
            bindings::kmem_cache_destroy(self.of.cache.load(Ordering::Relaxed));
        }
    }
}
