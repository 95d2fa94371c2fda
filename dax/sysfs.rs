// SPDX-License-Identifier: GPL-2.0

//! The device class `erodax` and the attributes of its devices.

use super::device::Device;
use crate::bindings;
use core::ptr;
use kernel::{
    error::to_result,
    fmt,
    prelude::*,
    str::{BStr, CStrExt},
};

/// The registered class; unregistered when dropped.
pub(super) struct Class(());

impl Class {
    pub(super) fn register() -> Result<Self> {
        // SAFETY: The class is static and, as the module is loaded once, not registered yet.
        to_result(unsafe { bindings::class_register(Self::as_ptr()) })?;
        Ok(Self(()))
    }

    /// The class for the driver core, registered as long as a `Class` exists.
    pub(super) fn as_ptr() -> *const bindings::class {
        &CLASS.0
    }
}

impl Drop for Class {
    fn drop(&mut self) {
        // SAFETY: Registered in `register`.
        unsafe { bindings::class_unregister(Self::as_ptr()) };
    }
}

/// Constant C data with pointers to other such data.
#[repr(transparent)]
struct Constant<T>(T);

// SAFETY: Never changed.
unsafe impl<T> Sync for Constant<T> {}

static CLASS: Constant<bindings::class> = Constant(bindings::class {
    name: c"erodax".to_bytes_with_nul().as_ptr(),
    dev_groups: (&raw const GROUPS.0).cast(),
    ..pin_init::zeroed()
});

static GROUPS: Constant<[*const bindings::attribute_group; 2]> = Constant([&GROUP.0, ptr::null()]);

static GROUP: Constant<bindings::attribute_group> = Constant(bindings::attribute_group {
    __bindgen_anon_2: bindings::attribute_group__bindgen_ty_2 {
        attrs_const: (&raw const ATTRIBUTES.0).cast(),
    },
    ..pin_init::zeroed()
});

/// Declares the attributes: name, mode, and what is shown of a device.
macro_rules! attributes {
    ($($name:ident($device:ident), $mode:expr => $format:tt, $value:expr;)*) => {
        static ATTRIBUTES: Constant<[*const bindings::attribute; [$(stringify!($name)),*].len() + 1]> =
            Constant([$(&$name::ATTRIBUTE.0.attr,)* ptr::null()]);
        $(
            mod $name {
                use super::*;

                pub(super) static ATTRIBUTE: Constant<bindings::device_attribute> =
                    Constant(bindings::device_attribute {
                        attr: bindings::sysfs_attribute(kernel::c_str!(stringify!($name)), $mode),
                        __bindgen_anon_1: bindings::device_attribute__bindgen_ty_1 {
                            show_const: Some(show),
                        },
                        ..pin_init::zeroed()
                    });

                /// # Safety
                ///
                /// Called by sysfs with a device made by `Node::new` and a page.
                unsafe extern "C" fn show(
                    device: *mut bindings::device,
                    _attribute: *const bindings::device_attribute,
                    page: *mut kernel::ffi::c_char,
                ) -> isize {
                    // SAFETY: `Node::new` made a `Device` the device's data, which stays as long
                    // as the node.
                    let $device = unsafe { &*(*device).driver_data.cast::<Device>() };
                    // SAFETY: `page` is sysfs's buffer.
                    unsafe { emit(page, fmt!($format, $value)) }
                }
            }
        )*
    };
}

attributes! {
    // Where memory lies is root's to know, as in /proc/iomem.
    address(device), 0o400 => "{:#x}\n", device.region().image().address;
    aligned(device), 0o444 => "{}\n", u8::from(device.region().offset_in_page() == 0);
    kind(device), 0o444 => "{}\n", device.region().kind();
    name(device), 0o444 => "{}\n", BStr::from_bytes(device.region().name());
    offset(device), 0o444 => "{}\n", device.region().offset_in_page();
    size(device), 0o444 => "{}\n", device.region().image().size;
}

/// Writes an attribute's text; returns its length.
///
/// # Safety
///
/// `page` must be the buffer that sysfs passed to `show`.
unsafe fn emit(page: *mut kernel::ffi::c_char, text: fmt::Arguments<'_>) -> isize {
    let text = ptr::from_ref(&text).cast::<kernel::ffi::c_void>();
    // SAFETY: `%pA` takes a pointer to `Arguments`; the caller vouches for the page.
    unsafe { bindings::sysfs_emit(page, c"%pA".as_char_ptr(), text) as isize }
}
