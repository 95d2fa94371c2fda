// SPDX-License-Identifier: GPL-2.0

//! Images that have broken EROFS drivers before, or would break a careless one.
//!
//! Each test is a row of the list of such images: its table says what is wrong with the image,
//! what is changed in which fields for that, and what each operation answers then. Whatever it
//! answers, it does so within a limit, complains nowhere (the harness looks for that), shows nothing
//! of the memory behind the image, leaves another image usable and the module unloadable.
//! docs/attacks.md lists the rows.
//!
//! Mistakes in superblocks are in the suite `damaged_images`, those that both drivers must answer
//! alike in `stock_formats` (`same_mistakes`, `same_refusals`), streams of no algorithm in
//! `compressed` (`broken_streams`).

mod ask;
mod changing;
mod concurrent;
mod directories;
mod extents;
mod ground;
mod images;
mod indexes;
mod lz4;
mod metadata;
mod probed;
mod sizes;
mod stock;
mod streams;
#[cfg(test)]
mod table;
mod truncated;
mod wide;
mod xattrs;

use anyhow::Result;
use erodax_mutation::edit::Edit;
use rustix::io::Errno;

use crate::{
    image::Image,
    suites::{fsdax::kinds::Kind, stock::long},
    Machine, Suite,
};
use ask::Question;

/// One image.
pub(super) struct Attack {
    /// What is wrong with it.
    what: &'static str,
    /// What it is made of.
    image: &'static Image,
    /// Makes it so.
    change: fn(&mut Edit) -> Result<()>,
    /// What erodax answers.
    answers: Answers,
    /// What the kernel's own driver answers.
    stock: Stock,
}

/// What mounting answers, and the rest.
enum Answers {
    /// There is nothing to be asked.
    Refused(Errno),
    /// It is mounted; then these are asked.
    Mounted(&'static [Question]),
}

/// What stock EROFS, of the kernel that the tests run on, answers. Of data that it does not find it
/// says EIO, where erodax says EUCLEAN.
enum Stock {
    /// The same.
    Alike,
    /// This.
    Otherwise(Answers),
}

/// The rows that have a table.
type Row = (&'static str, &'static [Attack]);

const MACHINE: Machine = Machine {
    memory_mib: ground::MEMORY_MIB,
    cpus: 2,
    cmdline: ground::CMDLINE,
    modules: &["erofs", "brd", "nd_e820", "ramdax", "nd_pmem"],
    images: &images::ALL,
    ..Machine::RETAINING
};

/// A test for each table, of a runner of attacks.
macro_rules! rows {
    ($run:path) => {
        &[
            long("cve_2023_52497", || $run(streams::CVE_2023_52497)),
            long("cve_2024_26590", || $run(indexes::CVE_2024_26590)),
            long("cve_2024_47736", || $run(indexes::CVE_2024_47736)),
            long("cve_2024_53234", || $run(indexes::CVE_2024_53234)),
            long("cve_2026_43166", || $run(extents::CVE_2026_43166)),
            long("cve_2026_43179", || $run(metadata::CVE_2026_43179)),
            long("dirents", || $run(directories::DIRENTS)),
            long("extents", || $run(extents::EXTENTS)),
            long("lclusters", || $run(indexes::LCLUSTERS)),
            long("zstd", || $run(streams::ZSTD)),
            long("lz4", || $run(streams::LZ4)),
            long("xattrs", || $run(xattrs::XATTRS)),
            long("wide_addresses", || $run(wide::ADDRESSES)),
            long("legal_oddities", || $run(streams::LEGAL_ODDITIES)),
            long("sizes", || $run(sizes::SIZES)),
        ]
    };
}
use rows;

/// What erodax answers.
pub(super) static SUITE: Suite = Suite {
    name: "attacks",
    machine: MACHINE,
    tests: rows!(ground::run),
};

/// What stock EROFS answers: if the kernel gets another one, docs/attacks.md has to follow.
pub(super) static ON_STOCK: Suite = Suite {
    name: "attacks_on_stock",
    machine: Machine {
        needs_stock_kernel: true,
        ..MACHINE
    },
    tests: rows!(stock::run),
};

/// What takes more than a table.
pub(super) static IN_MOTION: Suite = Suite {
    name: "attacks_in_motion",
    machine: MACHINE,
    tests: &[
        long("cve_2023_53777", concurrent::looping_pclusters),
        long("cve_2026_43179_again_and_again", metadata::leaks_nothing),
        long("leaks_nothing", ground::leaks_nothing),
        long("probed_behind_damage", probed::behind_damage),
        long("truncated", truncated::anywhere),
        long("truncated_with_a_smaller_superblock", truncated::admitted),
        long("changing_on_pmem", || changing::on(Kind::E820)),
        long("changing_on_ramdax", || changing::on(Kind::Ramdax)),
    ],
};

/// The tables of [`SUITE`].
const ROWS: &[Row] = &[
    streams::CVE_2023_52497,
    indexes::CVE_2024_26590,
    indexes::CVE_2024_47736,
    indexes::CVE_2024_53234,
    extents::CVE_2026_43166,
    metadata::CVE_2026_43179,
    directories::DIRENTS,
    extents::EXTENTS,
    indexes::LCLUSTERS,
    streams::ZSTD,
    streams::LZ4,
    xattrs::XATTRS,
    wide::ADDRESSES,
    streams::LEGAL_ODDITIES,
    sizes::SIZES,
];
