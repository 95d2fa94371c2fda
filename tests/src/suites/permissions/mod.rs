// SPDX-License-Identifier: GPL-2.0

//! Who may do what, and what nobody gets to see. Elsewhere are: that nothing can be written to a
//! device (`devices`), that nothing follows a file's end in its last page (`memory_…`), who may open
//! which file (`interplay`, `xattrs`), and mounts on `nodev` (`mounts`).

mod devices;
mod lockdown;
mod namespaces;
mod places;

use crate::{
    erodax::GOOD,
    image::{Content, Image},
    suites::{zoo, BIGGER},
    tests, Machine, Suite,
};
use devices::{
    bytes_of_the_image_only, forced_writes, ioctls, opened_by_root_only, private_writes,
};
use lockdown::{addresses_are_refused, images_of_the_initrd_are_served};
use namespaces::{contexts, mounts, remounts};
use places::{
    addresses_of_mappings, attributes, extents_are_offsets, messages_without_pointers,
    nothing_tells_physical_addresses,
};

/// Who is nobody in particular.
const USER: u32 = 1000;

pub(super) static SUITE: Suite = Suite {
    name: "permissions",
    machine: Machine {
        // Writing through /proc/PID/mem is then what a debugger's is.
        cmdline: &["retain_initrd", "proc_mem.force_override=always"],
        images: &[Image::good(GOOD, Content::Small), zoo::INLINE],
        ..BIGGER
    },
    tests: tests![
        opened_by_root_only,
        private_writes,
        forced_writes,
        ioctls,
        bytes_of_the_image_only,
        attributes,
        nothing_tells_physical_addresses,
        extents_are_offsets,
        addresses_of_mappings,
        messages_without_pointers,
        contexts,
        mounts,
        remounts,
        // Nothing leads back from here.
        addresses_are_refused,
    ],
};

/// A machine of its own: under lockdown the kernel loads no module that it has no signature of.
pub(super) static LOCKDOWN: Suite = Suite {
    name: "lockdown",
    machine: Machine {
        images: &[Image::good(GOOD, Content::Small)],
        ..Machine::RETAINING
    },
    tests: tests![images_of_the_initrd_are_served],
};
