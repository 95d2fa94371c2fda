// SPDX-License-Identifier: GPL-2.0

//! Files in memory: the image's own pages in programs, whatever kind of memory they are.

mod accounts;
mod asleep;
mod ends;
mod kinds;
mod layout;
mod pinned;
mod poison;
mod private;
mod programs;
mod stress;
mod traced;
mod waiting;

use std::{
    fs::File,
    io::Read,
    marker::PhantomData,
    os::unix::{fs::FileExt, process::ExitStatusExt},
};

use anyhow::{ensure, Result};
use erodax_agent::guest::{
    mapping::{Mapping, ProtFlags, PAGE},
    system::in_child,
};

use crate::{
    erodax::GOOD,
    image::{Content, Image},
    kinds::{mount_each, Kind, RetainedInitrd},
    suites::{zoo, BIGGER},
    Machine, Suite, Test,
};

/// The tests of one kind of memory.
struct Tests<K>(PhantomData<K>);

/// Lists of tests by module, for a kind of memory.
macro_rules! tests_of {
    ($kind:ident: $($module:ident { $($name:ident),* $(,)? })*) => {
        &[$($(Test::new(stringify!($name), $module::$name::<$kind>)),*),*]
    };
}

/// [`tests_of`] every kind, and further ones.
macro_rules! with_tests_of_all {
    ($kind:ident: $($further:tt)*) => {
        tests_of! { $kind:
        private {
            private_and_shared,
            copy_on_write,
            write_before_read,
            shared_writing_is_refused,
            inherited_by_fork,
            outlives_the_open_file,
            no_page_cache,
            many_threads_fault_at_once,
            leaks_nothing,
        }
        layout {
            at_an_offset,
            populated,
            protection_changes,
            unmapped_in_the_middle,
            moved_and_resized,
            dropped_pages_come_back,
            advice,
            locked,
            in_core,
            synchronized,
        }
        ends {
            zeros_beyond_the_end,
            holes_are_zeros,
            sigbus_beyond_the_last_page,
        }
        pinned {
            direct_io_from_a_mapping,
            direct_io_into_a_mapping,
            spliced_from_a_mapping,
            fixed_buffers,
            held_after_unmounting,
        }
        traced {
            read_by_a_debugger,
            breakpoint,
            probed,
            core_dump,
        }
        programs {
            static_program,
            without_block_devices,
        }
        waiting {
            futex,
            shared_futex,
            userfaultfd_missing_is_refused,
            userfaultfd_writes,
        }
        accounts {
            shown_as_resident,
            pages_of_the_image,
            counts_return,
        }
        stress {
            everything_at_once,
        }
        asleep {
            woken_while_used,
        }
            $($further)*
        }
    };
}

impl<K: Kind> Tests<K> {
    const ALL: &'static [Test] = with_tests_of_all! { K: };

    /// Those, and what is only done to pages that can be made anew.
    const WITH_LOSSES: &'static [Test] = with_tests_of_all! { K:
        poison {
            kills_users_only,
        }
    };
}

/// The guest's own binary.
const PROGRAM: Image = Image::good("program", Content::Program);

const IMAGES: &[Image] = &[
    Image::good(GOOD, Content::Small),
    zoo::INLINE,
    zoo::PLAIN,
    zoo::EXTENDED,
    zoo::COMPACT,
    zoo::GARBAGE,
    zoo::SMALL_BLOCKS,
    zoo::CHUNKED,
    PROGRAM,
];

const MACHINE: Machine = Machine {
    cpus: 2,
    modules: &["brd"],
    images: IMAGES,
    ..BIGGER
};

pub(super) static RETAINED_INITRD: Suite = Suite {
    name: "memory_initrd",
    machine: MACHINE,
    tests: Tests::<RetainedInitrd>::ALL,
};

pub(super) static CARVE_OUT: Suite = Suite {
    name: "memory_carve_out",
    machine: Machine {
        memory_mib: kinds::MEMORY_MIB,
        cmdline: kinds::CARVED_OUT,
        ..MACHINE
    },
    tests: Tests::<kinds::CarveOut>::WITH_LOSSES,
};

pub(super) static PMEM: Suite = Suite {
    name: "memory_pmem",
    machine: Machine {
        memory_mib: kinds::MEMORY_MIB,
        cmdline: kinds::PERSISTENT,
        modules: &["brd", "nd_e820", "nd_pmem"],
        ..MACHINE
    },
    tests: Tests::<kinds::Pmem>::WITH_LOSSES,
};

pub(super) static FSDEV: Suite = Suite {
    name: "memory_fsdev",
    machine: Machine {
        memory_mib: kinds::MEMORY_MIB,
        cmdline: kinds::SOFT_RESERVED,
        modules: &["brd", "dax_hmem", "device_dax", "fsdev_dax"],
        ..MACHINE
    },
    tests: Tests::<kinds::Fsdev>::WITH_LOSSES,
};

const WRITABLE: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);

/// In place, and through the page cache.
const OPTIONS: [&str; 2] = ["dax", "dax=never"];

/// A file of several hundred pages that ends in the middle of one.
const BIG: &str = "big";

/// The big file of each image, with its content, under each of [`OPTIONS`].
fn each_big<K: Kind>(mut body: impl FnMut(&File, &[u8]) -> Result<()>) -> Result<()> {
    each_big_and_options::<K>(|file, whole, _| body(file, whole))
}

/// As [`each_big`], for what depends on the options.
fn each_big_and_options<K: Kind>(
    mut body: impl FnMut(&File, &[u8], &str) -> Result<()>,
) -> Result<()> {
    let kind = K::serve()?;
    for options in OPTIONS {
        let images = [zoo::INLINE.name, zoo::PLAIN.name];
        mount_each(&kind, &images, options, |root, _| {
            let file = File::open(root.join(BIG))?;
            let whole = content(&file)?;
            body(&file, &whole, options)
        })?;
    }
    kind.end()
}

/// What the big file holds.
fn content(mut big: &File) -> Result<Vec<u8>> {
    let mut whole = Vec::new();
    big.read_to_end(&mut whole)?;
    let odd = whole.len() % PAGE != 0;
    ensure!(whole.len() > 500 * PAGE && odd, "{} bytes", whole.len());
    Ok(whole)
}

/// One byte in every third page.
fn overwrite(map: &mut Mapping) {
    for byte in map.bytes_mut().iter_mut().step_by(3 * PAGE) {
        *byte = !*byte;
    }
}

/// Overwritten in the first bytes up to `end`, and what the file has from there on.
fn check_overwritten_to(map: &Mapping, whole: &[u8], end: usize) -> Result<()> {
    const STEP: usize = 3 * PAGE;
    for (index, (now, then)) in map.bytes().chunks(STEP).zip(whole.chunks(STEP)).enumerate() {
        let at = index * STEP;
        let first = if at < end { !then[0] } else { then[0] };
        ensure!(now[0] == first, "byte {at}");
        let len = now.len().min(then.len());
        ensure!(now[1..len] == then[1..len], "after byte {at}");
    }
    Ok(())
}

fn check_overwritten(map: &Mapping, whole: &[u8]) -> Result<()> {
    check_overwritten_to(map, whole, whole.len())
}

fn check_file(file: &File, whole: &[u8]) -> Result<()> {
    let mut now = vec![0; whole.len()];
    file.read_exact_at(&mut now, 0)?;
    ensure!(now == whole, "the file has changed");
    Ok(())
}

/// Signal numbers, the same on every architecture that the tests run on.
pub(super) mod signal {
    pub(in crate::suites) const BUS: i32 = 7;
    pub(super) const SEGV: i32 = 11;
}

pub(super) fn check_dies<T>(signal: i32, body: impl FnOnce() -> T) -> Result<()> {
    let status = in_child(|| {
        body();
        Ok(())
    })?;
    ensure!(
        status.signal() == Some(signal),
        "{status}, not signal {signal}"
    );
    Ok(())
}
