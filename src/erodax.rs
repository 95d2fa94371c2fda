// SPDX-License-Identifier: GPL-2.0

//! erodax: EROFS images served straight from the memory where the boot loader left them.
//!
//! `dax` makes devices of memory regions, `fs` is the EROFS driver on top of them, `vfs` wraps
//! the kernel interfaces that both need. The format itself is the crate `erodax_format`.

#![deny(unsafe_code)]
#![warn(clippy::undocumented_unsafe_blocks)]

#[expect(unsafe_code, reason = "generated declarations of C functions")]
mod bindings;
#[expect(unsafe_code, reason = "calls of the kernel's decompressors")]
mod codec;
#[path = "../dax/mod.rs"]
#[expect(unsafe_code, reason = "memory regions, C devices")]
mod dax;
mod fs;
#[cfg(CONFIG_KUNIT = "y")]
#[expect(unsafe_code, reason = "test cases are C structs, and call the VFS")]
mod kunit;
#[expect(unsafe_code, reason = "wraps the C interfaces of VFS and MM")]
mod vfs;

use kernel::prelude::*;

module! {
    type: Erodax,
    name: "erodax",
    authors: ["The erodax authors"],
    description: "EROFS straight from boot memory",
    license: "GPL",
}

/// The module, as the owner of what it registers.
const THIS_MODULE: ThisModule = <Erodax as kernel::ModuleMetadata>::THIS_MODULE;

/// The loaded module.
///
/// The fields are dropped in this order: nothing can be mounted any more when the devices go.
struct Erodax {
    _filesystem: vfs::Registration<fs::Erofs>,
    _devices: dax::Devices,
}

impl kernel::Module for Erodax {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let regions = dax::regions(parameters::region())?;
        let filesystem = fs::register(parameters::fstype())?;
        // Last, when only memory can be missing: who opens a device holds the module, but a
        // module that fails to load goes nevertheless.
        let devices = dax::Devices::create(regions)?;
        devices.announce();
        Ok(Self {
            _filesystem: filesystem,
            _devices: devices,
        })
    }
}

/// The module's parameters, which `helpers.c` declares.
#[expect(unsafe_code, reason = "strings owned by C")]
mod parameters {
    use crate::bindings;
    use kernel::{prelude::*, str::CStrExt};

    /// `region=`, if it was given.
    pub(super) fn region() -> Option<&'static [u8]> {
        // SAFETY: Null or a string that stays as it is: the parameter cannot be written.
        unsafe {
            let value = bindings::erodax_param_region();
            (!value.is_null()).then(|| CStr::from_char_ptr(value).to_bytes())
        }
    }

    /// `fstype=`, which has a default.
    pub(super) fn fstype() -> &'static CStr {
        // SAFETY: A string that stays as it is: the parameter cannot be written.
        unsafe { CStr::from_char_ptr(bindings::erodax_param_fstype()) }
    }
}
