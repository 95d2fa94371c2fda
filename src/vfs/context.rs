// SPDX-License-Identifier: GPL-2.0

//! `struct fs_context`: options, source and log of a mount in progress.

use super::{super_block, FileSystem};
use crate::bindings;
use core::{ffi::c_int, marker::PhantomData};
use kernel::{
    cred::Credential,
    error::from_result,
    fmt,
    prelude::*,
    str::{CStrExt, CString},
};

/// A mount, or a change of one, in progress.
///
/// # Invariants
///
/// The pointer is an `fs_context` that outlives the value.
pub(crate) struct Context<'a>(*mut bindings::fs_context, PhantomData<&'a ()>);

impl Context<'_> {
    /// # Safety
    ///
    /// `raw` must be valid for as long as the value exists.
    pub(super) unsafe fn from_raw(raw: *mut bindings::fs_context) -> Self {
        // INVARIANT: By the caller's promise.
        Self(raw, PhantomData)
    }

    /// What is to be mounted, if that was said.
    pub(crate) fn source(&self) -> Option<&CStr> {
        // SAFETY: By the invariant; `source` is null or a string that lives as long.
        unsafe {
            let source = (*self.0).source;
            (!source.is_null()).then(|| CStr::from_char_ptr(source))
        }
    }

    /// Who mounts.
    pub(crate) fn credentials(&self) -> &Credential {
        // SAFETY: The context holds its credentials.
        unsafe { Credential::from_ptr((*self.0).cred) }
    }

    /// Writes an error to the kernel log and to the mounter's own (fsopen(2)).
    pub(crate) fn error(&self, message: fmt::Arguments<'_>) {
        pr_err!("{}\n", message);
        let Ok(text) = CString::try_from_fmt(fmt!("erodax: {}", message)) else {
            return;
        };
        // SAFETY: Valid by the invariant; the text is copied.
        unsafe { bindings::erodax_log_error(self.0, text.as_char_ptr()) };
    }

    /// The parsed options.
    ///
    /// # Safety
    ///
    /// The context must be one that [`init`] has prepared for `T`.
    pub(super) unsafe fn options<T: FileSystem>(&self) -> *mut T::Options {
        // SAFETY: `init` has put a box of this type there.
        unsafe { (*self.0).fs_private.cast() }
    }
}

/// The operations of a context for `T`.
struct Operations<T>(PhantomData<T>);

impl<T: FileSystem> Operations<T> {
    const TABLE: &'static bindings::fs_context_operations = &bindings::fs_context_operations {
        free: Some(Self::free),
        parse_param: Some(Self::parse_param),
        get_tree: Some(Self::get_tree),
        reconfigure: Some(Self::reconfigure),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by the VFS with a context prepared by [`init`], as all of these.
    unsafe extern "C" fn free(context: *mut bindings::fs_context) {
        // SAFETY: `init` has put a box of this type there; this is the last use.
        unsafe {
            let options = (*context).fs_private.cast::<T::Options>();
            if !options.is_null() {
                drop(KBox::from_raw(options));
            }
        }
    }

    /// # Safety
    ///
    /// See [`Self::free`].
    unsafe extern "C" fn parse_param(
        context: *mut bindings::fs_context,
        parameter: *mut bindings::fs_parameter,
    ) -> c_int {
        // SAFETY: Valid pointers by the VFS. It answers ENOPARAM for all but `source`.
        let answer = unsafe { bindings::vfs_parse_fs_param_source(context, parameter) };
        if answer != -(bindings::ENOPARAM as c_int) {
            return answer;
        }
        from_result(|| {
            // SAFETY: Valid pointers by the VFS, which parses one parameter at a time; the
            // value is a string if the type says so.
            unsafe {
                let context = Context::from_raw(context);
                let is_string = (*parameter).type_() == bindings::fs_value_type_fs_value_is_string;
                let value = (*parameter).__bindgen_anon_1.string;
                T::set_option(
                    &mut *context.options::<T>(),
                    &context,
                    CStr::from_char_ptr((*parameter).key),
                    (is_string && !value.is_null()).then(|| CStr::from_char_ptr(value)),
                )?;
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// See [`Self::free`].
    unsafe extern "C" fn get_tree(context: *mut bindings::fs_context) -> c_int {
        from_result(|| {
            // SAFETY: The context is one of `T`'s, which has no superblock yet.
            unsafe {
                // There is nothing to write to, whatever was asked for.
                (*context).sb_flags |= bindings::SB_RDONLY as u32;
                super_block::get::<T>(context)?;
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// See [`Self::free`].
    unsafe extern "C" fn reconfigure(context: *mut bindings::fs_context) -> c_int {
        from_result(|| {
            // SAFETY: The context's root is of the superblock that is to be changed, which
            // is one of `T`'s.
            unsafe {
                let fs = super_block::instance::<T>((*(*context).root).d_sb);
                // As in `get_tree`.
                (*context).sb_flags |= bindings::SB_RDONLY as u32;
                let context = Context::from_raw(context);
                fs.reconfigure(&context, &*context.options::<T>())?;
            }
            Ok(0)
        })
    }
}

/// `init_fs_context` of a filesystem type.
///
/// Whoever may not mount may not begin to: a user namespace's root can open a context of any type,
/// and its options would take the kernel's memory, and its mistakes the kernel's log.
///
/// # Safety
///
/// Called by the VFS with a new context.
pub(super) unsafe extern "C" fn init<T: FileSystem>(
    context: *mut kernel::bindings::fs_context,
) -> c_int {
    // Opaque for the kernel crate, complete for us.
    let context = context.cast::<bindings::fs_context>();
    from_result(|| {
        // SAFETY: May be called by any task.
        if !unsafe { bindings::capable(bindings::CAP_SYS_ADMIN as c_int) } {
            return Err(EPERM);
        }
        let options = KBox::new(T::Options::default(), GFP_KERNEL)?;
        // SAFETY: The context is ours to be filled in; `Operations::free` takes the box back.
        unsafe {
            (*context).fs_private = KBox::into_raw(options).cast();
            (*context).ops = Operations::<T>::TABLE;
        }
        Ok(0)
    })
}
