// SPDX-License-Identifier: GPL-2.0

//! `struct super_block`: one mounted instance.

use super::{
    context::Context,
    export,
    inode::{self, InodeCell},
    iomap,
    registration::FileSystemType,
    sysfs::Directory,
    trace::DeviceNumber,
    xattr, FileSystem,
};
use crate::bindings;
use core::{
    ffi::c_int,
    marker::PhantomData,
    mem::{self, MaybeUninit},
    ptr,
    sync::atomic::{AtomicBool, Ordering},
};
use kernel::{
    error::{from_err_ptr, from_result, to_result},
    prelude::*,
    seq_file::SeqFile,
    str::{BStr, CStrExt, CString},
};

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

/// A superblock, as the filesystem sees the one that it is mounted with.
#[derive(Clone, Copy)]
pub(crate) struct SuperBlock(*mut bindings::super_block);

impl SuperBlock {
    /// # Safety
    ///
    /// `raw` must be a superblock, and stay one as long as the value is used.
    pub(crate) unsafe fn from_raw(raw: *mut bindings::super_block) -> Self {
        Self(raw)
    }

    /// For the C side.
    pub(crate) fn as_ptr(self) -> *mut bindings::super_block {
        self.0
    }

    /// The block device that is mounted; null if what is mounted is none.
    pub(crate) fn disk(self) -> *mut bindings::block_device {
        // SAFETY: By the promise of `from_raw`; set before a superblock is filled in.
        unsafe { (*self.0).s_bdev }
    }

    /// Keeps it from being unmounted; None if it is being mounted or unmounted.
    pub(crate) fn try_lock(self) -> Option<LockedSuperBlock> {
        // SAFETY: By the promise of `from_raw`.
        let is_locked = unsafe { bindings::down_read_trylock(&raw mut (*self.0).s_umount) };
        (is_locked != 0).then_some(LockedSuperBlock(self.0))
    }

    /// Keeps it from ending; None if it ends already.
    pub(crate) fn activate(self) -> Option<ActiveSuperBlock> {
        // SAFETY: By the promise of `from_raw`.
        let is_active = unsafe { bindings::erodax_super_activate(self.0) };
        // INVARIANT: The reference was just taken.
        is_active.then_some(ActiveSuperBlock(self.0))
    }

    /// What trace events name it by.
    pub(crate) fn number(self) -> DeviceNumber {
        // SAFETY: By the promise of `from_raw`; superblocks get their number when they are made.
        unsafe { DeviceNumber::of(self.0) }
    }
}

/// A superblock whose instance is there, so that inodes of `T` can be got.
///
/// # Invariants
///
/// The pointer is a superblock of `T` that was filled, and is not ended as long as the value
/// exists.
pub(crate) struct FilledSuperBlock<'a, T>(*mut bindings::super_block, PhantomData<&'a T>);

impl<T> FilledSuperBlock<'_, T> {
    /// For the C side.
    pub(super) fn as_ptr(&self) -> *mut bindings::super_block {
        self.0
    }
}

/// A superblock that is not unmounted as long as the value exists.
///
/// # Invariants
///
/// `s_umount` is held shared.
pub(crate) struct LockedSuperBlock(*mut bindings::super_block);

impl LockedSuperBlock {
    /// Ends the use of its devices, one of which goes.
    pub(crate) fn shut_down(&self) {
        // SAFETY: Valid by the invariant. The operation is ours, for a mounted superblock.
        unsafe {
            if (*self.0).s_flags & bindings::SB_ACTIVE == 0 {
                return;
            }
            if let Some(shutdown) = (*(*self.0).s_op).shutdown {
                shutdown(self.0);
            }
        }
    }
}

impl Drop for LockedSuperBlock {
    fn drop(&mut self) {
        // SAFETY: By the invariant.
        unsafe { bindings::up_read(&raw mut (*self.0).s_umount) };
    }
}

/// A superblock that does not end as long as the value exists; dropping it may end it.
///
/// # Invariants
///
/// There is an active reference for the value.
pub(crate) struct ActiveSuperBlock(*mut bindings::super_block);

impl ActiveSuperBlock {
    /// Takes what is mapped of its files from all mappings, but for copies that programs have made.
    pub(crate) fn unmap_files(&self) {
        /// # Safety
        ///
        /// `inode` must be referenced.
        unsafe extern "C" fn unmap(inode: *mut bindings::inode) {
            // SAFETY: By this function's own requirements.
            unsafe { bindings::unmap_mapping_range((*inode).i_mapping, 0, 0, 0) };
        }
        // SAFETY: It has inodes until it ends, by the invariant not before the value.
        unsafe { bindings::erodax_for_each_inode(self.0, Some(unmap)) };
    }
}

impl Drop for ActiveSuperBlock {
    fn drop(&mut self) {
        // SAFETY: The reference is ours by the invariant.
        unsafe { bindings::deactivate_super(self.0) };
    }
}

/// What is behind a superblock.
///
/// # Invariants
///
/// `fs` is initialized if `is_ready`. It becomes so once, before the superblock is used by
/// others, and stays until nobody uses it any more.
struct Private<T: FileSystem> {
    identity: T::Identity,
    fs: MaybeUninit<T>,
    is_ready: bool,
    /// A device of it is gone: who mounts the like of it does not want this one.
    is_shut_down: AtomicBool,
    /// Its directory in sysfs, from `fill` to `kill`.
    directory: Option<Pin<KBox<Directory<T>>>>,
}

impl<T: FileSystem> Private<T> {
    /// Gives the instance up, if there is one. A pointer, since `is_same` may look at the identity
    /// meanwhile.
    ///
    /// # Safety
    ///
    /// `this` must be valid, and nobody use the instance any more.
    unsafe fn drop_instance(this: *mut Self) {
        // SAFETY: By the caller's promise, and by the invariant.
        unsafe {
            if mem::replace(&mut (*this).is_ready, false) {
                (*this).fs.assume_init_drop();
            }
        }
    }
}

impl<T: FileSystem> Drop for Private<T> {
    fn drop(&mut self) {
        // SAFETY: The last use.
        unsafe { Self::drop_instance(self) };
    }
}

/// What is behind a superblock.
///
/// # Safety
///
/// `sb` must be a superblock of `T`.
unsafe fn private<T: FileSystem>(sb: *const bindings::super_block) -> *mut Private<T> {
    // SAFETY: `sget_fc` has given the superblock the box of `get`, which only `kill` takes back.
    unsafe { (*sb).s_fs_info.cast() }
}

/// The instance behind a superblock.
///
/// # Safety
///
/// `sb` must be a superblock of `T` that was filled, for as long as the reference is used.
pub(super) unsafe fn instance<'a, T: FileSystem>(sb: *const bindings::super_block) -> &'a T {
    // SAFETY: `fill` has initialized it, and nobody changes it.
    unsafe { (*private::<T>(sb)).fs.assume_init_ref() }
}

/// Gives a context the root of a superblock: of the one with the same identity, or of a new one.
///
/// # Safety
///
/// `context` must be one of `T`'s, without a root.
pub(super) unsafe fn get<T: FileSystem>(context: *mut bindings::fs_context) -> Result {
    // SAFETY: By the caller's promise.
    let identity = unsafe {
        let context = Context::from_raw(context);
        T::identity(&context, &*context.options::<T>())?
    };
    // INVARIANT: Not ready, and so not initialized.
    let private = Private::<T> {
        identity,
        fs: MaybeUninit::uninit(),
        is_ready: false,
        is_shut_down: AtomicBool::new(false),
        directory: None,
    };
    let private = KBox::into_raw(KBox::new(private, GFP_KERNEL)?);
    // SAFETY: The context is valid, and `s_fs_info` unused until now. A new superblock takes the
    // box over and clears it; what is left of it is not needed any more.
    unsafe {
        (*context).s_fs_info = private.cast();
        let answer = if is_disk((*context).source) {
            get_root_of_disk::<T>(context)
        } else {
            get_root::<T>(context)
        };
        let left = mem::replace(&mut (*context).s_fs_info, ptr::null_mut());
        if !left.is_null() {
            drop(KBox::from_raw(left.cast::<Private<T>>()));
        }
        answer
    }
}

/// Whether a mount's source is a block device.
///
/// # Safety
///
/// `source` must be null or a string.
unsafe fn is_disk(source: *const kernel::ffi::c_char) -> bool {
    let mut number = 0;
    // SAFETY: By the caller's promise; the number is ours to be written.
    !source.is_null() && unsafe { bindings::lookup_bdev(source, &mut number) } == 0
}

/// The second part of [`get`] for a block device, which has one superblock for all its mounts.
///
/// # Safety
///
/// As for [`get_root`].
unsafe fn get_root_of_disk<T: FileSystem>(context: *mut bindings::fs_context) -> Result {
    // SAFETY: By the caller's promise. If it succeeds, there is a root with its superblock held
    // and locked for us; if that is not new, what would be behind a new one is still there.
    unsafe {
        to_result(bindings::get_tree_bdev(context, Some(fill_from_disk::<T>)))?;
        let sb = (*(*context).root).d_sb;
        if (*context).s_fs_info.is_null() || has_identity::<T>(sb, context) {
            return Ok(());
        }
        bindings::dput(mem::replace(&mut (*context).root, ptr::null_mut()));
        bindings::deactivate_locked_super(sb);
        let context = Context::from_raw(context);
        let source = context.source().map_or(&[][..], CStr::to_bytes);
        context.error(fmt!(
            "{}: mounted with other options: give the same, or unmount it first",
            BStr::from_bytes(source)
        ));
    }
    Err(EBUSY)
}

/// # Safety
///
/// Called by `get_tree_bdev` with a superblock that it has just made for the context of [`get`].
unsafe extern "C" fn fill_from_disk<T: FileSystem>(
    sb: *mut bindings::super_block,
    context: *mut bindings::fs_context,
) -> c_int {
    // SAFETY: By this function's own requirements.
    from_result(|| unsafe { fill::<T>(sb, context) }.map(|()| 0))
}

/// The second part of [`get`].
///
/// # Safety
///
/// As for [`get`]; the context has what will be behind its superblock.
unsafe fn get_root<T: FileSystem>(context: *mut bindings::fs_context) -> Result {
    // SAFETY: By the caller's promise. What `sget_fc` returns is held and locked for us. It is
    // new if it has no root, and then nobody else uses it until it is active.
    unsafe {
        let set = bindings::set_anon_super_fc;
        let sb = from_err_ptr(bindings::sget_fc(context, Some(is_same::<T>), Some(set)))?;
        if (*sb).s_root.is_null() {
            fill::<T>(sb, context).inspect_err(|_| bindings::deactivate_locked_super(sb))?;
            (*sb).s_flags |= bindings::SB_ACTIVE;
        }
        (*context).root = bindings::erodax_dget((*sb).s_root);
    }
    Ok(())
}

/// Whether a superblock is the one that a context asks for, whose source is no block device.
///
/// # Safety
///
/// Called by `sget_fc` with a superblock of `T` that is not dead and the context of [`get`].
unsafe extern "C" fn is_same<T: FileSystem>(
    sb: *mut bindings::super_block,
    context: *mut bindings::fs_context,
) -> c_int {
    // SAFETY: `sget_fc` calls this under `sb_lock`, under which a superblock is listed with its
    // number and what is behind it. `kill_anon_super` marks it dead there before `kill` frees
    // that; `kill_block_super` does not, and so nothing behind a block device's is looked at.
    let is_same = unsafe {
        !is_of_disk(sb)
            && !(*private::<T>(sb)).is_shut_down.load(Ordering::Relaxed)
            && has_identity::<T>(sb, context)
    };
    c_int::from(is_same)
}

/// Whether a superblock is that of a block device, also if that could not be opened.
///
/// # Safety
///
/// `sb` must be a superblock that has got its number.
unsafe fn is_of_disk(sb: *const bindings::super_block) -> bool {
    // SAFETY: By the caller's promise.
    unsafe { (*sb).s_dev >= bindings::FIRST_NAMED_DEVICE }
}

/// Whether a superblock is known by what a context asks for.
///
/// # Safety
///
/// `sb` must be a superblock of `T` that [`kill`] does not end meanwhile; `context` one of [`get`]
/// that still has what would be behind a new superblock.
unsafe fn has_identity<T: FileSystem>(
    sb: *const bindings::super_block,
    context: *const bindings::fs_context,
) -> bool {
    // SAFETY: By the caller's promise. Identities do not change.
    unsafe {
        let asked = (*context).s_fs_info.cast::<Private<T>>();
        (*private::<T>(sb)).identity == (*asked).identity
    }
}

/// Mounts what a context asks for as a new superblock.
///
/// # Safety
///
/// `sb` must be a superblock that was just made for `context`.
unsafe fn fill<T: FileSystem>(
    sb: *mut bindings::super_block,
    context: *mut bindings::fs_context,
) -> Result {
    // SAFETY: By the caller's promise. Others look at the identity only.
    // INVARIANT: Initialized before it is ready.
    let parameters = unsafe {
        if (*sb).s_bdev.is_null() {
            name_and_set_up(sb)?;
        }
        let context = Context::from_raw(context);
        let options = mem::take(&mut *context.options::<T>());
        let fs = T::mount(&context, SuperBlock::from_raw(sb), options)?;
        let private = private::<T>(sb);
        (&raw mut (*private).fs).write(MaybeUninit::new(fs));
        (*private).is_ready = true;
        instance::<T>(sb).parameters()
    };
    // SAFETY: The superblock is ours to be filled in.
    unsafe {
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
    // SAFETY: As above. Nobody else looks at the directory.
    unsafe {
        (*sb).s_root = dentry;
        // Not before: a superblock without a root is ended without `put_super`, which gives back
        // the inodes that the filesystem takes here.
        // INVARIANT: It is filled in.
        instance::<T>(sb).start(FilledSuperBlock(sb, PhantomData))?;
        (*private::<T>(sb)).directory = Some(directory_of(sb)?);
    }
    Ok(())
}

/// Gives a new superblock the name that mountinfo has for it, and with it settings of readahead,
/// in /sys/class/bdi: without them a page cache is filled page by page.
///
/// # Safety
///
/// `sb` must be a superblock that [`get`] has just made.
unsafe fn name_and_set_up(sb: *mut bindings::super_block) -> Result {
    // SAFETY: By the caller's promise.
    let (name, id) = unsafe { (name_of((*sb).s_dev)?, &mut (*sb).s_id) };
    let bytes = name.to_bytes_with_nul();
    id.get_mut(..bytes.len())
        .ok_or(EINVAL)?
        .copy_from_slice(bytes);
    // SAFETY: By the caller's promise; the format is only read, and its argument is a string.
    to_result(unsafe {
        let format = c"%s".as_char_ptr().cast_mut();
        bindings::super_setup_bdi_name(sb, format, name.as_char_ptr())
    })
}

/// The name of a superblock with a device number, as mountinfo has it.
fn name_of(number: bindings::dev_t) -> Result<CString> {
    let (major, minor) = (number >> bindings::MINORBITS, number & bindings::MINORMASK);
    CString::try_from_fmt(fmt!("{}:{}", major, minor))
}

/// Makes a superblock's directory in sysfs.
///
/// # Safety
///
/// `sb` must be a new superblock of `T`.
unsafe fn directory_of<T: FileSystem>(
    sb: *mut bindings::super_block,
) -> Result<Pin<KBox<Directory<T>>>> {
    // SAFETY: The type is registered, and so has a root; `kill` drops the directory before the
    // instance.
    unsafe {
        let root = FileSystemType::<T>::directory_of(sb);
        Directory::new(root, &name_of((*sb).s_dev)?, instance::<T>(sb))
    }
}

/// Ends a superblock.
///
/// # Safety
///
/// Called by the VFS with a superblock of `T`, filled or not.
pub(super) unsafe extern "C" fn kill<T: FileSystem>(sb: *mut bindings::super_block) {
    // SAFETY: The directory must go first, as its name can be used again after `kill_…_super`.
    // No inode is left then, and `is_same` does not look at the superblock any more, so that
    // nobody uses what is behind it.
    unsafe {
        let private = private::<T>(sb);
        drop((*private).directory.take());
        if is_of_disk(sb) {
            bindings::kill_block_super(sb);
        } else {
            bindings::kill_anon_super(sb);
        }
        drop(KBox::from_raw(private));
    }
}

struct Operations<T>(PhantomData<T>);

impl<T: FileSystem> Operations<T> {
    const TABLE: &'static bindings::super_operations = &bindings::super_operations {
        alloc_inode: Some(InodeCell::<T>::alloc),
        free_inode: Some(InodeCell::<T>::free),
        evict_inode: Some(iomap::evict),
        put_super: Some(Self::put_super),
        shutdown: Some(Self::shutdown),
        statfs: Some(Self::statfs),
        show_options: Some(Self::show_options),
        ..pin_init::zeroed()
    };

    /// Gives the devices back while the block device is still open, which keeps it from others.
    ///
    /// # Safety
    ///
    /// Called by the VFS with a superblock of `T` that has a root, when it ends: it has no inodes
    /// any more but those that the filesystem holds itself.
    unsafe extern "C" fn put_super(sb: *mut bindings::super_block) {
        // SAFETY: By this function's own requirements, and `kill` has dropped the directory:
        // nobody uses the instance any more.
        unsafe {
            let fs = instance::<T>(sb);
            fs.stop();
            fs.wait_until_returned();
            Private::drop_instance(private::<T>(sb));
        }
    }

    /// A device goes: no page of it may be in use when this returns.
    ///
    /// # Safety
    ///
    /// Called by the VFS or by [`LockedSuperBlock::shut_down`] with a mounted superblock of `T`,
    /// `s_umount` being held.
    unsafe extern "C" fn shutdown(sb: *mut bindings::super_block) {
        // SAFETY: By this function's own requirements.
        unsafe {
            (*private::<T>(sb))
                .is_shut_down
                .store(true, Ordering::Relaxed);
            let fs = instance::<T>(sb);
            fs.shut_down();
            bindings::erodax_for_each_inode(sb, Some(iomap::unmap));
            fs.wait_until_returned();
        }
    }

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
