// SPDX-License-Identifier: GPL-2.0

//! EROFS images in the retained initrd.
//!
//! With `retain_initrd` the kernel keeps the initrd and shows it as /sys/firmware/initrd.
//! That attribute (init/initramfs.c) is the kernel's own record of where it lies: it is right
//! after a relocation too, and it exists only if the memory was kept.

use super::{memory::Memory, param::Range, region::Region};
use crate::bindings;
use core::ptr::NonNull;
use erodax_format::newc;
use kernel::{prelude::*, str::CStrExt, sync::Arc};

/// The initrd that the kernel has kept for good.
pub(super) struct Retained {
    range: Range,
    memory: Memory<'static>,
}

impl Retained {
    /// Looks the kernel's record up; None if it kept no initrd.
    pub(super) fn find() -> Option<Self> {
        // SAFETY: The kernel creates /sys/firmware at boot and never removes it.
        let firmware = unsafe { (*bindings::firmware_kobj).sd };
        let (name, no_namespace) = (c"initrd".as_char_ptr(), core::ptr::null());
        // SAFETY: `firmware` is a valid node, and `name` a string.
        let node = NonNull::new(unsafe {
            bindings::kernfs_find_and_get_ns(firmware, name, no_namespace)
        })?;
        // SAFETY: The lookup gave us a reference to the node; `priv` of a binary attribute's
        // node is the attribute, which is static in init/initramfs.c.
        let (address, size) = unsafe {
            let attribute = (*node.as_ptr()).priv_.cast::<bindings::bin_attribute>();
            ((*attribute).private, (*attribute).size)
        };
        // SAFETY: We own the reference.
        unsafe { bindings::kernfs_put(node.as_ptr()) };

        let start = NonNull::new(address.cast())?;
        // SAFETY: An address in the kernel's direct map.
        let physical = unsafe { bindings::erodax_virt_to_phys(address) };
        Some(Self {
            range: Range::new(physical, size as u64).ok()?,
            // SAFETY: The record exists only if the kernel keeps the initrd, in its direct map
            // and for ever.
            memory: unsafe { Memory::new(start, size) },
        })
    }

    /// Its physical bytes.
    pub(super) fn range(&self) -> Range {
        self.range
    }
}

/// A region for each EROFS image among the members of the retained initrd.
pub(super) fn images() -> Result<KVec<Arc<Region>>> {
    let retained = Retained::find().ok_or_else(|| {
        pr_err!("the kernel keeps no initrd: boot with retain_initrd on the kernel command line\n");
        ENXIO
    })?;
    let mut regions = KVec::new();
    for member in newc::images(&retained.memory) {
        let member = match member {
            Ok(member) => member,
            Err(error) => {
                pr_warn!(
                    "the initrd's members cannot be read to the end: {}\n",
                    format_args!("{error}")
                );
                break;
            }
        };
        let address = retained.range.address.checked_add(member.data_offset);
        let image = address.and_then(|address| Range::new(address, member.size).ok());
        let mut buffer = [0; 64];
        let mut name = KVec::new();
        if let Ok(bytes) = member.image_name(&retained.memory, &mut buffer) {
            name.extend_from_slice(bytes, GFP_KERNEL)?;
        }
        regions.push(Region::in_retained(image.ok_or(EINVAL)?, name)?, GFP_KERNEL)?;
    }
    if regions.is_empty() {
        pr_err!(
            "no EROFS image in the retained initrd at {:#x},{:#x}: make one with `erodax pack`\n",
            retained.range.address,
            retained.range.size
        );
        return Err(ENOENT);
    }
    Ok(regions)
}
