// SPDX-License-Identifier: GPL-2.0

//! `/sys/fs/erodax/`, with a directory for each superblock.

use super::FileSystem;
use crate::bindings;
use core::{marker::PhantomPinned, slice};
use kernel::{
    error::to_result,
    ffi::c_char,
    fmt::{self, Write},
    page::PAGE_SIZE,
    prelude::*,
    str::{CStrExt, Formatter},
    sync::Completion,
    types::Opaque,
};

/// A file in the directory of each superblock of `T`.
#[repr(C)]
pub(crate) struct Attribute<T> {
    raw: bindings::attribute,
    show: fn(&T, &mut Text<'_>) -> Result,
}

impl<T> Attribute<T> {
    /// An attribute that everybody can read.
    pub(crate) const fn new(name: &'static CStr, show: fn(&T, &mut Text<'_>) -> Result) -> Self {
        Self {
            raw: bindings::sysfs_attribute(name, 0o444),
            show,
        }
    }
}

/// What a reader of an attribute gets: less than a page.
pub(crate) struct Text<'a>(Formatter<'a>);

impl Text<'_> {
    /// Appends to it; `EFBIG` if there is no room.
    pub(crate) fn add(&mut self, text: fmt::Arguments<'_>) -> Result {
        self.0.write_fmt(text).map_err(|_| EFBIG)
    }
}

/// `/sys/fs/erodax`, which is removed when this is dropped.
///
/// # Invariants
///
/// Holds a reference to a kobject.
pub(super) struct Root(*mut bindings::kobject);

// SAFETY: A kobject can be used, and its last reference given up, by any thread.
unsafe impl Send for Root {}
// SAFETY: As above.
unsafe impl Sync for Root {}

impl Root {
    pub(super) fn new() -> Result<Self> {
        // SAFETY: `fs_kobj` is set once, while the kernel boots; the name is static.
        let root =
            unsafe { bindings::kobject_create_and_add(c"erodax".as_char_ptr(), bindings::fs_kobj) };
        if root.is_null() {
            return Err(ENOMEM);
        }
        // INVARIANT: The reference is ours.
        Ok(Self(root))
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::kobject {
        self.0
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        // SAFETY: By the invariant.
        unsafe { bindings::kobject_put(self.0) };
    }
}

/// The directory of a superblock, which is removed when this is dropped.
///
/// # Invariants
///
/// The kobject is initialized. `fs` is valid as long as the value.
#[pin_data(PinnedDrop)]
#[repr(C)]
pub(super) struct Directory<T: FileSystem> {
    kobject: Opaque<bindings::kobject>,
    fs: *const T,
    /// Nobody has a reference to the kobject any more.
    #[pin]
    released: Completion,
    #[pin]
    _pinned: PhantomPinned,
}

impl<T: FileSystem> Directory<T> {
    const TYPE: &'static bindings::kobj_type = &bindings::kobj_type {
        release: Some(Self::release),
        sysfs_ops: &bindings::sysfs_ops {
            show: Some(Self::show),
            ..pin_init::zeroed()
        },
        ..pin_init::zeroed()
    };

    /// Makes the directory `name` under `root`, with the attributes of `T`.
    ///
    /// # Safety
    ///
    /// `root` must be a kobject that is in sysfs, and `fs` stay valid until the value is dropped.
    pub(super) unsafe fn new(
        root: *mut bindings::kobject,
        name: &CStr,
        fs: *const T,
    ) -> Result<Pin<KBox<Self>>> {
        let this = KBox::pin_init(
            pin_init!(Self {
                // `kobject_init` wants it zeroed.
                kobject: Opaque::zeroed(),
                fs,
                released <- Completion::new(),
                _pinned: PhantomPinned,
            }),
            GFP_KERNEL,
        )?;
        let kobject = this.kobject.get();
        // INVARIANT: `kobject_init_and_add` initializes the kobject even when it fails.
        // SAFETY: The kobject is pinned and zeroed; the name is copied; `root` is valid.
        unsafe {
            to_result(bindings::kobject_init_and_add(
                kobject,
                Self::TYPE,
                root,
                c"%s".as_char_ptr(),
                name.as_char_ptr(),
            ))?;
        }
        for attribute in T::ATTRIBUTES {
            // SAFETY: The kobject is in sysfs; the attribute is static.
            to_result(unsafe {
                bindings::sysfs_create_file_ns(kobject, &attribute.raw, core::ptr::null())
            })?;
        }
        Ok(this)
    }

    /// # Safety
    ///
    /// Called with a kobject of a `Directory<T>` when its last reference is gone.
    unsafe extern "C" fn release(kobject: *mut bindings::kobject) {
        // SAFETY: `drop` keeps the value until it has been told here.
        unsafe { (*Self::of(kobject)).released.complete_all() };
    }

    /// # Safety
    ///
    /// Called by sysfs with the kobject of a `Directory<T>`, one of its attributes, and a page
    /// of zeros.
    unsafe extern "C" fn show(
        kobject: *mut bindings::kobject,
        attribute: *mut bindings::attribute,
        page: *mut c_char,
    ) -> isize {
        // SAFETY: `drop` waits for the readers; the attribute is the first member of a C layout;
        // the page is ours, and sysfs wants one byte of it back.
        let (fs, attribute, page) = unsafe {
            (
                &*(*Self::of(kobject)).fs,
                &*attribute.cast_const().cast::<Attribute<T>>(),
                slice::from_raw_parts_mut(page.cast::<u8>(), PAGE_SIZE - 1),
            )
        };
        let mut text = Text(Formatter::new(page));
        match (attribute.show)(fs, &mut text) {
            Ok(()) => text.0.bytes_written() as isize,
            Err(error) => error.to_errno() as isize,
        }
    }

    /// The directory of a kobject, which is the first member of a C layout.
    fn of(kobject: *mut bindings::kobject) -> *const Self {
        kobject.cast_const().cast()
    }
}

#[pinned_drop]
impl<T: FileSystem> PinnedDrop for Directory<T> {
    fn drop(self: Pin<&mut Self>) {
        let kobject = self.kobject.get();
        // SAFETY: Initialized by the invariant. The first function waits until nobody is in
        // `show`, and does nothing to a kobject that was not added; the second one gives our
        // reference up.
        unsafe {
            bindings::kobject_del(kobject);
            bindings::kobject_put(kobject);
        }
        self.released.wait_for_completion();
    }
}
