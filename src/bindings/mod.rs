// SPDX-License-Identifier: GPL-2.0

//! The kernel's C interface: `kernel::bindings` and what it lacks.
//!
//! The file is made by Kbuild from `bindings_helper.h`; its items shadow the opaque
//! ones of the same name in `kernel::bindings`.

#![allow(
    clippy::all,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]

include!(concat!(
    env!("ERODAX_OBJ"),
    "/src/bindings/bindings_generated.rs"
));

/// A sysfs attribute with this mode. With lockdep the structure has more fields.
pub(crate) const fn sysfs_attribute(name: &'static core::ffi::CStr, mode: umode_t) -> attribute {
    let mut attribute: attribute = pin_init::zeroed();
    attribute.name = name.as_ptr().cast();
    attribute.mode = mode;
    attribute
}
