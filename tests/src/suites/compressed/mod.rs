// SPDX-License-Identifier: GPL-2.0

//! Compressed files: the same answers as from the kernel's own driver, whoever reads beside, with
//! little memory, and where the compressed data is damaged.

mod images;
mod pressure;
mod small;
mod spans;
mod sparse;

use std::{fs::File, os::unix::fs::FileExt, path::Path};

use anyhow::{ensure, Context, Result};
use rustix::io::Errno;

use crate::{
    beside::{compare_images, MODULES},
    erodax::with_each,
    expectation::{sha256, Entry},
    image::{Image, BROKEN_STREAM},
    suites::{formats::check_features, stock::long, BIGGER},
    Machine, Suite, Test,
};

pub(super) use images::{DEFLATE, DIRECTORIES, LZ4_LARGE, LZMA, METABOX, ZSTD, ZSTD_SHARED};

pub(super) static SUITE: Suite = Suite {
    name: "compressed",
    machine: Machine {
        cpus: 2,
        modules: MODULES,
        images: &images::ALL,
        ..BIGGER
    },
    tests: &[
        Test::new("features_are_there", features_are_there),
        long("lz4", lz4),
        long("small_blocks", small_blocks),
        long("fragments_and_duplicates", fragments_and_duplicates),
        long("other_algorithms", other_algorithms),
        long("encoded_extents", encoded_extents),
        long("metadata", metadata),
        long("second_heads", second_heads),
        long("holes", sparse::same_answers),
        Test::new("holes_inside", sparse::inside),
        Test::new("contents", contents),
        Test::new("streams_before_padding", streams_before_padding),
        Test::new("concurrent_readers", pressure::concurrent_readers),
        Test::new("in_a_small_cgroup", pressure::in_a_small_cgroup),
        long("slowed_down", pressure::slowed_down),
        Test::new("lengths_of_spans", spans::lengths),
        long("spans", spans::lz4),
        long("other_spans", spans::other_algorithms),
        long("longest_extents", spans::longest),
        long("concurrent_spans", spans::concurrently),
        Test::new("broken_streams", broken_streams),
    ],
};

/// A machine that cannot keep what it reads.
pub(super) static SMALL: Suite = Suite {
    name: "compressed_small_machine",
    machine: Machine {
        memory_mib: 96,
        images: &images::MANY,
        ..Machine::RETAINING
    },
    tests: &[long("reads_everything", small::reads_everything)],
};

fn features_are_there() -> Result<()> {
    check_features(&images::FEATURES)
}

fn lz4() -> Result<()> {
    compare_images(&images::LZ4, "")
}

fn small_blocks() -> Result<()> {
    compare_images(&images::SMALL_BLOCKS, "")
}

fn fragments_and_duplicates() -> Result<()> {
    compare_images(&images::SHARED, "")
}

fn other_algorithms() -> Result<()> {
    compare_images(&images::OTHERS, "")
}

fn encoded_extents() -> Result<()> {
    compare_images(&images::EXTENTS, "")
}

fn metadata() -> Result<()> {
    compare_images(&images::METADATA, "")
}

fn second_heads() -> Result<()> {
    compare_images(&images::SECOND_HEADS, "")?;
    with_each(&images::SECOND_HEADS.map(|image| image.name), "", check_all)
}

/// What the images were made of: both drivers could make the same mistake.
fn contents() -> Result<()> {
    let names = [
        images::LZ4_LARGE.name,
        images::LZMA.name,
        images::DEFLATE.name,
        images::ZSTD_SHARED.name,
    ];
    ["", "dax=never"]
        .into_iter()
        .try_for_each(|options| with_each(&names, options, check_all))
}

/// Stock EROFS takes the padding for a part of the stream (docs/differences.md).
fn streams_before_padding() -> Result<()> {
    with_each(&images::UNPADDED.map(|image| image.name), "", check_all)
}

/// Every regular file must have its content.
pub(super) fn check_all(root: &Path, entries: &[Entry]) -> Result<()> {
    entries.iter().try_for_each(|entry| check(root, entry))
}

/// A regular file must have its content.
fn check(root: &Path, entry: &Entry) -> Result<()> {
    let path = root.join(entry.path());
    if let Some(expected) = &entry.sha256 {
        let found = sha256(&std::fs::read(&path)?);
        ensure!(found == *expected, "{} has another content", path.display());
    }
    Ok(())
}

/// Of a file with a broken stream, what is elsewhere can be read; the rest cannot, however often
/// it is tried. All other files can.
fn broken_streams() -> Result<()> {
    with_each(
        &images::BROKEN.map(|Image { name, .. }| name),
        "",
        |root, entries| {
            let path = root.join(BROKEN_STREAM);
            let file = File::open(&path)?;
            let size = file.metadata()?.len();
            let read = |position| {
                let read = file.read_at(&mut [0; 512], position);
                read.map_err(|error| Errno::from_io_error(&error))
            };
            for attempt in 1..=3 {
                let first = read(0);
                ensure!(
                    first == Err(Some(Errno::UCLEAN)),
                    "read {attempt} of a broken stream: {first:?}"
                );
                let last = read(size - 512);
                ensure!(last == Ok(512), "the end of the file: {last:?}");
            }
            let others = entries
                .iter()
                .filter(|entry| entry.path() != Path::new(BROKEN_STREAM));
            others
                .into_iter()
                .try_for_each(|entry| check(root, entry))
                .context("beside the broken stream")
        },
    )
}
