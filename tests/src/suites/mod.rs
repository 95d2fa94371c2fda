// SPDX-License-Identifier: GPL-2.0

//! The suites, one file per subject.

mod aligned;
mod attacks;
mod carve_outs;
mod compressed;
mod damaged;
mod debugger;
mod devices;
mod directories;
mod faults;
mod files;
mod formats;
mod freed;
mod fsdax;
mod harness;
mod interplay;
mod kunit;
mod lost;
mod memory;
mod mounts;
mod options;
mod payload;
mod permissions;
mod reading;
mod regions;
mod stock;
mod superblocks;
mod tracing;
mod unaligned;
mod xattrs;
mod zoo;

use crate::{Machine, Suite};

/// Every suite; those that take longest come first.
pub const ALL: &[&Suite] = &[
    &memory::RETAINED_INITRD,
    &memory::PMEM,
    &memory::FSDEV,
    &memory::CARVE_OUT,
    &faults::FAILING,
    &faults::FAILING_TO_LOAD,
    &faults::SUITE,
    &payload::SUITE,
    &fsdax::SUITE,
    &files::SUITE,
    &stock::SUITE,
    &attacks::SUITE,
    &attacks::ON_STOCK,
    &attacks::IN_MOTION,
    &formats::SUITE,
    &compressed::SUITE,
    &directories::SUITE,
    &interplay::SUITE,
    &reading::SUITE,
    &harness::SUITE,
    &regions::SUITE,
    &carve_outs::SUITE,
    &lost::SUITE,
    &damaged::SUITE,
    &options::SUITE,
    &xattrs::SUITE,
    &mounts::SUITE,
    &superblocks::SUITE,
    &tracing::SUITE,
    &aligned::SUITE,
    &debugger::SUITE,
    &compressed::SMALL,
    &devices::SUITE,
    &kunit::SUITE,
    &permissions::SUITE,
    &permissions::LOCKDOWN,
    &unaligned::SUITE,
    &freed::SUITE,
];

/// Room for copies of images, and for all of them in the initrd.
const BIGGER: Machine = Machine {
    memory_mib: 768,
    ..Machine::RETAINING
};
