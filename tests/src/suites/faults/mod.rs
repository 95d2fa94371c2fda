// SPDX-License-Identifier: GPL-2.0

//! What goes wrong around the filesystem: readers that are killed, memory that is missing, a module
//! that is to go while it is used.

mod allocations;
mod cycles;
mod killed;
mod starved;
mod unloading;

use crate::{
    erodax::GOOD,
    image::{Content, Image},
    suites::{compressed, formats, stock::long, zoo},
    Machine, Suite, Test,
};

pub(super) static SUITE: Suite = Suite {
    name: "faults",
    machine: Machine {
        memory_mib: 1024,
        cpus: 2,
        modules: &["erofs"],
        images: &[
            Image::good(GOOD, Content::Small),
            zoo::PLAIN,
            zoo::LONG,
            formats::CROWD,
            compressed::LZ4_LARGE,
            compressed::LZMA,
            compressed::ZSTD_SHARED,
        ],
        ..Machine::RETAINING
    },
    tests: &[
        Test::new("killed_in_a_file", killed::in_a_file),
        Test::new("killed_in_a_list", killed::in_a_list),
        Test::new("killed_in_a_map", killed::in_a_map),
        Test::new("killed_in_a_device", killed::in_a_device),
        long("out_of_memory", starved::out_of_memory),
        Test::new("held_by_all_uses", unloading::held_by_all_uses),
        Test::new("fails_to_load_while_opened", unloading::fails_to_load),
        long("unloaded_while_used", unloading::while_used),
        long("cycles", cycles::nothing_is_left),
    ],
};

/// Only where allocations can be made to fail. With a single image, as each device has dozens.
pub(super) static FAILING_TO_LOAD: Suite = Suite {
    name: "failing_to_load",
    machine: Machine {
        needs_debug_kernel: true,
        images: &[Image::good(GOOD, Content::Small)],
        ..Machine::RETAINING
    },
    tests: allocations::LOADING,
};

/// The same for all that is done with a module that is loaded.
pub(super) static FAILING: Suite = Suite {
    name: "failing_allocations",
    machine: Machine {
        memory_mib: 1024,
        needs_debug_kernel: true,
        images: &[
            Image::good(GOOD, Content::Small),
            zoo::INLINE,
            zoo::CHUNKED,
            compressed::LZ4_LARGE,
            compressed::LZMA,
            compressed::DEFLATE,
            compressed::ZSTD,
            compressed::ZSTD_SHARED,
            compressed::METABOX,
            compressed::DIRECTORIES,
        ],
        ..Machine::RETAINING
    },
    tests: allocations::TESTS,
};
