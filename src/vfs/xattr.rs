// SPDX-License-Identifier: GPL-2.0

//! Extended attributes and POSIX ACLs.

use super::{inode::InodeCell, super_block, FileSystem};
use crate::bindings;
use core::{marker::PhantomData, ptr, slice};
use kernel::{
    error::from_result,
    ffi::{c_char, c_int, c_void},
    prelude::*,
    str::CStrExt,
};

/// What an attribute's full name begins with.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Namespace {
    /// `user.`
    User,
    /// `system.posix_acl_access`, which is a whole name.
    AclAccess,
    /// `system.posix_acl_default`, which is a whole name.
    AclDefault,
    /// `trusted.`
    Trusted,
    /// `security.`
    Security,
}

impl Namespace {
    /// The namespace that a handler has in its flags.
    fn from_flags(flags: c_int) -> Option<Self> {
        [Self::User, Self::Trusted, Self::Security]
            .into_iter()
            .find(|namespace| *namespace as c_int == flags)
    }

    fn prefix(self) -> &'static [u8] {
        match self {
            Self::User => b"user.",
            Self::AclAccess => b"system.posix_acl_access",
            Self::AclDefault => b"system.posix_acl_default",
            Self::Trusted => b"trusted.",
            Self::Security => b"security.",
        }
    }

    /// Whether the caller may see that there are attributes of this kind.
    fn is_visible(self) -> bool {
        // SAFETY: May be called by any task.
        self != Self::Trusted || unsafe { bindings::capable(bindings::CAP_SYS_ADMIN as c_int) }
    }
}

/// Takes the names of an inode's attributes for listxattr(2).
pub(crate) struct NameList<'a> {
    /// Where they go; empty if only their size is wanted.
    out: &'a mut [u8],
    used: usize,
}

impl NameList<'_> {
    /// Adds a name, unless the caller may not see it. `ERANGE` if there is no room for it.
    pub(crate) fn add(&mut self, namespace: Namespace, name: &[u8]) -> Result {
        if !namespace.is_visible() {
            return Ok(());
        }
        for piece in [namespace.prefix(), name, b"\0"] {
            let end = self.used.checked_add(piece.len()).ok_or(ERANGE)?;
            if !self.out.is_empty() {
                let room = self.out.get_mut(self.used..end).ok_or(ERANGE)?;
                room.copy_from_slice(piece);
            }
            self.used = end;
        }
        Ok(())
    }
}

/// `listxattr` of every inode of `T`.
///
/// # Safety
///
/// Called by the VFS with a dentry of `T` and a buffer of `size` bytes, or none and 0.
pub(super) unsafe extern "C" fn list<T: FileSystem>(
    dentry: *mut bindings::dentry,
    buffer: *mut c_char,
    size: usize,
) -> isize {
    from_result(|| {
        // SAFETY: By this function's own requirements.
        let (fs, data, out) = unsafe {
            let inode = (*dentry).d_inode;
            (
                super_block::instance::<T>((*inode).i_sb),
                InodeCell::<T>::data(inode),
                buffer_of(buffer.cast(), size),
            )
        };
        let mut names = NameList { out, used: 0 };
        fs.list_xattrs(data, &mut names)?;
        Ok(names.used as isize)
    })
}

/// The handlers of the namespaces that getxattr(2) reaches directly; ACLs go through
/// [`Handlers::acl`].
pub(super) struct Handlers<T>(PhantomData<T>);

impl<T: FileSystem> Handlers<T> {
    /// Ends with a null.
    pub(super) const TABLE: &'static [*const bindings::xattr_handler; 4] = &[
        &Self::handler(c"user.", Namespace::User),
        &Self::handler(c"trusted.", Namespace::Trusted),
        &Self::handler(c"security.", Namespace::Security),
        ptr::null(),
    ];

    const fn handler(prefix: &'static CStr, namespace: Namespace) -> bindings::xattr_handler {
        bindings::xattr_handler {
            prefix: prefix.to_bytes_with_nul().as_ptr(),
            flags: namespace as c_int,
            get: Some(Self::get),
            ..pin_init::zeroed()
        }
    }

    /// # Safety
    ///
    /// Called by the VFS with a handler of the table, an inode of `T`, a name without its
    /// prefix, and a buffer of `size` bytes, or none and 0.
    unsafe extern "C" fn get(
        handler: *const bindings::xattr_handler,
        _dentry: *mut bindings::dentry,
        inode: *mut bindings::inode,
        name: *const c_char,
        buffer: *mut c_void,
        size: usize,
    ) -> c_int {
        from_result(|| {
            // SAFETY: By this function's own requirements.
            let (flags, fs, data, name, out) = unsafe {
                (
                    (*handler).flags,
                    super_block::instance::<T>((*inode).i_sb),
                    InodeCell::<T>::data(inode),
                    CStr::from_char_ptr(name),
                    buffer_of(buffer.cast(), size),
                )
            };
            let namespace = Namespace::from_flags(flags).ok_or(EOPNOTSUPP)?;
            let len = fs.xattr(data, namespace, name.to_bytes(), out)?;
            Ok(c_int::try_from(len)?)
        })
    }

    /// `get_inode_acl` of every inode of `T`.
    ///
    /// # Safety
    ///
    /// Called by the VFS with an inode of `T`.
    pub(super) unsafe extern "C" fn acl(
        inode: *mut bindings::inode,
        kind: c_int,
        in_rcu_walk: bool,
    ) -> *mut bindings::posix_acl {
        if in_rcu_walk {
            return ECHILD.to_ptr();
        }
        let namespace = match kind as u32 {
            bindings::ACL_TYPE_ACCESS => Namespace::AclAccess,
            bindings::ACL_TYPE_DEFAULT => Namespace::AclDefault,
            _ => return EINVAL.to_ptr(),
        };
        // SAFETY: By this function's own requirements.
        let (fs, data) = unsafe {
            (
                super_block::instance::<T>((*inode).i_sb),
                InodeCell::<T>::data(inode),
            )
        };
        match read_acl(fs, data, namespace) {
            // SAFETY: The value is as long as it says.
            Ok(value) => unsafe {
                bindings::erodax_acl_from_xattr(value.as_ptr().cast(), value.len())
            },
            Err(error) if error == ENODATA => ptr::null_mut(),
            Err(error) => error.to_ptr(),
        }
    }
}

/// The value of an inode's ACL, in the format of the attribute.
fn read_acl<T: FileSystem>(fs: &T, data: &T::Inode, namespace: Namespace) -> Result<KVec<u8>> {
    let len = fs.xattr(data, namespace, b"", &mut [])?;
    let mut value = KVec::from_elem(0, len, GFP_KERNEL)?;
    let read = fs.xattr(data, namespace, b"", &mut value)?;
    value.truncate(read);
    Ok(value)
}

/// # Safety
///
/// `buffer` must be writable for `size` bytes for as long as the slice is used, or `size` be 0.
unsafe fn buffer_of<'a>(buffer: *mut u8, size: usize) -> &'a mut [u8] {
    if buffer.is_null() || size == 0 {
        return &mut [];
    }
    // SAFETY: By the caller's promise. What is in it is arbitrary, and only written to.
    unsafe { slice::from_raw_parts_mut(buffer, size) }
}
